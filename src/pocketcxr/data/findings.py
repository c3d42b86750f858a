"""What data sets call a finding, translated into the project's one vocabulary (`labels.FINDINGS`)."""

from __future__ import annotations

import re
import unicodedata
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.errors import DataError
from pocketcxr.labels import FINDINGS
from pocketcxr.plain_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

UNLABELLED = ""
"""The finding of an image whose set holds it without a label."""

FINDING_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "no_finding",
        "healthy": "no_finding",
        "no findings": "no_finding",
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
    }
)
"""Other names of the findings, in lower case with single spaces; `finding_of` folds case, ``_``, ``-`` and spaces."""

UNLABELLED_NAMES = frozenset({"", "todo", "unknown", "unlabelled", "unlabeled", "none", "nan", "na", "n a"})
"""What tables write where nobody has said."""


def finding_of(name: str, aliases: Mapping[str, str] | None = None) -> str | None:
    """Translate a set's own word (a folder's or a table's) into the vocabulary.

    Args:
        name: such as ``Viral Pneumonia``, ``COVID-19`` or ``no_finding``; case and separators do not matter.
        aliases: the user's own words, looked up first; an empty value means unlabelled.

    Returns:
        A key of `labels.FINDINGS`, `UNLABELLED` where the word says that nobody knows, None where it is unknown.
    """
    own = aliased(name, aliases)
    if own is not None:
        return own
    word = _folded(name)
    if word in UNLABELLED_NAMES:
        return UNLABELLED
    return FINDING_ALIASES.get(word) or _VOCABULARY.get(word) or _VOCABULARY.get(word.replace(" ", ""))


def aliased(name: str, aliases: Mapping[str, str] | None) -> str | None:
    """What the user says that a word means; None where that is not said."""
    return {_folded(key): value for key, value in (aliases or {}).items()}.get(_folded(name))


def check_aliases(aliases: Mapping[str, str]) -> None:
    """Refuse an alias that points outside the vocabulary.

    Raises:
        DataError: naming the alias and the vocabulary.
    """
    for name, finding in aliases.items():
        if finding and finding not in FINDINGS:
            raise DataError(
                f"finding alias {name}={finding}: expected one of {', '.join(FINDINGS)}, or nothing for unlabelled"
            )


def unknown_finding(name: str, what: str = "finding") -> str:
    """The one line for a word that no alias knows, with what to do."""
    name = one_line(name)
    return f"{what} {name!r} is not in the vocabulary; name it with a finding alias such as {name}=pneumonia"


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFC", name)).strip().lower()


_VOCABULARY = {_folded(finding): finding for finding in FINDINGS}
