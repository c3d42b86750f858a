"""Findings: the names that all data sets share, and how the words of tables and folders become names.

A finding is named in lower case with underscores (``pleural_effusion``). Words of the data sets are translated where
`FINDINGS` or `FINDING_ALIASES` know them; any other word of a table is a finding of its own under its own name, which
counts where a task names it and nowhere else.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.errors import DataError
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

FINDINGS: Mapping[str, str] = MappingProxyType(
    {
        "no_finding": "read as normal",
        "no_pneumonia": "negative for pneumonia; other findings possible (SIIM)",
        "covid19": "COVID-19 by the data set's own label (PCR or clinical)",
        "typical_appearance": "appearance typical of COVID-19 (SIIM, RSNA consensus wording)",
        "indeterminate_appearance": "appearance indeterminate for COVID-19 (SIIM)",
        "atypical_appearance": "appearance atypical for COVID-19 (SIIM)",
        "bacterial_pneumonia": "bacterial pneumonia",
        "viral_pneumonia": "viral pneumonia other than COVID-19 (SARS and MERS included)",
        "fungal_pneumonia": "fungal pneumonia (Pneumocystis included)",
        "pneumonia": "pneumonia of unnamed or other cause",
        "tuberculosis": "tuberculosis",
        "lung_opacity": "lung opacity of unnamed cause",
        "atelectasis": "atelectasis",
        "cardiomegaly": "enlarged heart",
        "consolidation": "consolidation",
        "edema": "pulmonary edema",
        "emphysema": "emphysema",
        "enlarged_cardiomediastinum": "enlarged heart or mediastinum (CheXpert)",
        "fibrosis": "pulmonary fibrosis",
        "fracture": "fracture",
        "hernia": "hernia",
        "infiltration": "infiltration",
        "lung_lesion": "lesion of the lung (CheXpert)",
        "mass": "mass",
        "nodule": "nodule",
        "pleural_effusion": "pleural effusion",
        "pleural_other": "finding of the pleura other than effusion (CheXpert)",
        "pleural_thickening": "thickening of the pleura",
        "pneumothorax": "pneumothorax",
        "support_devices": "tubes, lines, pacemakers and other devices: no disease",
        "other": "another finding",
    }
)
"""Findings whose names all data sets share, with what each means; any other name is a finding of your own."""

FINDING_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "no_finding",
        "healthy": "no_finding",
        "no findings": "no_finding",
        "no finding": "no_finding",
        "negative for pneumonia": "no_pneumonia",
        "covid": "covid19",
        "covid positive": "covid19",
        "covid pneumonia": "covid19",
        "covid 19 pneumonia": "covid19",
        "sars cov 2": "covid19",
        "covid19 typical appearance": "typical_appearance",
        "typical": "typical_appearance",
        "indeterminate": "indeterminate_appearance",
        "atypical": "atypical_appearance",
        "bacteria": "bacterial_pneumonia",
        "bacterial": "bacterial_pneumonia",
        "pneumonia bacterial": "bacterial_pneumonia",
        "virus": "viral_pneumonia",
        "viral": "viral_pneumonia",
        "pneumonia viral": "viral_pneumonia",
        "sars": "viral_pneumonia",
        "mers": "viral_pneumonia",
        "fungal": "fungal_pneumonia",
        "pneumonia fungal": "fungal_pneumonia",
        "other pneumonia": "pneumonia",
        "tb": "tuberculosis",
        "opacity": "lung_opacity",
        "effusion": "pleural_effusion",
        "pulmonary edema": "edema",
        "pulmonary fibrosis": "fibrosis",
    }
)
"""Other names of the findings, in lower case with single spaces; `finding_of` folds case, ``_``, ``-`` and spaces."""

UNLABELLED = ""
"""The finding of an image whose set holds it without a label."""

UNLABELLED_NAMES = frozenset({"", "todo", "unknown", "unlabelled", "unlabeled", "none", "nan", "na", "n a"})
"""What tables write where nobody has said."""

SEPARATOR = "|"
"""Stands between the findings of one image."""

LONGEST_NAME = 100
"""Characters of a finding or class."""

_NEAR = 0.85  # likeness from which a name is taken for a misspelt one of the vocabulary
_NO_NAME = frozenset("|=*")


def finding_of(name: str, aliases: Mapping[str, str] | None = None) -> str | None:
    """Translate a set's own word (a folder's or a table's) into the vocabulary.

    Args:
        name: such as ``Viral Pneumonia``, ``COVID-19`` or ``no_finding``; case and separators do not matter.
        aliases: the user's own words, looked up first; an empty value means unlabelled.

    Returns:
        A key of `FINDINGS` or what an alias names, `UNLABELLED` where the word says that nobody knows, None where it is
        unknown.
    """
    own = aliased(name, aliases)
    if own is not None:
        return own
    word = _folded(name)
    if word in UNLABELLED_NAMES:
        return UNLABELLED
    return FINDING_ALIASES.get(word) or _VOCABULARY.get(word) or _VOCABULARY.get(word.replace(" ", ""))


def finding_named(name: str, aliases: Mapping[str, str] | None = None) -> str:
    """Finding that a word of a table stands for: as `finding_of`, and a word that it does not know under its own name.

    Raises:
        DataError: a word that cannot be a name.
    """
    found = finding_of(name, aliases)
    if found is not None:
        return found
    refused = no_name(name)
    if refused:
        raise DataError(f"finding {one_line(name)[:LONGEST_NAME]!r}: {refused}")
    return _folded(name).replace(" ", "_")


def no_name(name: str) -> str:
    """Why a word cannot be the name of a finding or class; "" where it can."""
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        return f"expected 1 to {LONGEST_NAME} visible characters"
    held = sorted(_NO_NAME.intersection(name))
    return f"a name cannot hold {held[0]}, which stands between names in tables" if held else ""


def aliased(name: str, aliases: Mapping[str, str] | None) -> str | None:
    """What the user says that a word means; None where that is not said."""
    return {_folded(key): value for key, value in (aliases or {}).items()}.get(_folded(name))


def checked_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Aliases with their findings as this project writes them; a value may be empty, which means unlabelled.

    Raises:
        DataError: naming an alias whose finding is no name, or looks like a misspelt one of the vocabulary.
    """
    found: dict[str, str] = {}
    for name, finding in aliases.items():
        try:
            found[name] = finding_named(finding)
        except DataError as error:
            raise DataError(f"finding alias {name}={one_line(finding)}: {error}") from error
        near = difflib.get_close_matches(found[name], FINDINGS, n=1, cutoff=_NEAR)
        if near and found[name] not in FINDINGS and _folded(name) != _folded(finding):
            raise DataError(f"finding alias {name}={finding}: there is no such finding; did you mean {near[0]}?")
    return found


def known_words(names: Mapping[str, object], aliases: Mapping[str, str]) -> dict[str, str]:
    """Aliases of a user, and the names that a task uses, so that folders of these names are classes.

    Args:
        names: findings of the task, as `finding_named` gives them.
        aliases: from the user, which count more.
    """
    return {**{name: name for name in names if finding_of(name) is None}, **aliases}


def unknown_finding(name: str, what: str = "finding") -> str:
    """The one line for a word that no alias knows, with what to do."""
    name = one_line(name)
    return (
        f"{what} {name!r} is not in the vocabulary and is no class of the task; name it with a finding alias such as "
        f"{name}=pneumonia, or {name}={name} for a finding of your own"
    )


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFC", name)).strip().lower()


_VOCABULARY = {_folded(finding): finding for finding in FINDINGS}
