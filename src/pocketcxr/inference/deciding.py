"""From calibrated probabilities to a decision: the class or findings that stay in a split conformal set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import ABSENT, NONE, PRESENT, UNCERTAIN
from pocketcxr.vocabulary import SEPARATOR

if TYPE_CHECKING:
    from pocketcxr.bundle.manifest import Manifest


def decide(probabilities: dict[str, float], manifest: Manifest) -> tuple[str, tuple[Reason, ...]]:
    """Return a label when exactly one class stays in the conformal set, otherwise ``uncertain`` with the reason.

    A class stays when its probability is at least ``1 - conformal_quantile``. Source: Sadinle, Lei, Wasserman, Least
    ambiguous set-valued classifiers with bounded error levels, 2019 (split conformal prediction on 1 - p).
    """
    needed = 1 - manifest.conformal_quantile
    possible = [label for label, probability in probabilities.items() if probability >= needed]
    if len(possible) == 1:
        return possible[0], ()
    line = f"{needed:.2f}, the line that the true class reaches {manifest.conformal_coverage:.0%} of the time"
    if possible:
        shares = " and ".join(f"{label} {probabilities[label]:.2f}" for label in possible)
        return UNCERTAIN, (Reason("several-classes", f"more than one class stays possible: {shares} reach {line}"),)
    return UNCERTAIN, (Reason("no-class", f"no class is probable enough: none reaches {line}"),)


def decide_findings(probabilities: dict[str, float], manifest: Manifest) -> dict[str, str]:
    """Say of each finding whether it is present, absent or uncertain; empty for a bundle of one class per image.

    A finding is present or absent where only that answer stays in its own conformal set (see `decide`).
    """
    found: dict[str, str] = {}
    for one in manifest.findings:
        needed, probability = 1 - one.conformal_quantile, probabilities[one.label]
        present, absent = probability >= needed, 1 - probability >= needed
        found[one.label] = UNCERTAIN if present == absent else PRESENT if present else ABSENT
    return found


def combined(findings: dict[str, str]) -> tuple[str, tuple[Reason, ...]]:
    """Decision of an image from those of its findings, with a reason that names the uncertain ones."""
    present, doubtful = ([label for label, one in findings.items() if one == kind] for kind in (PRESENT, UNCERTAIN))
    reasons = (
        (Reason("uncertain-findings", f"cannot tell whether there is {' or '.join(doubtful)}"),) if doubtful else ()
    )
    if present:
        return SEPARATOR.join(present), reasons
    return UNCERTAIN if doubtful else NONE, reasons


def limits_of(manifest: Manifest) -> dict[str, tuple[float, ...]]:
    """Probabilities of each label at which the decision changes."""
    if manifest.findings:
        return {one.label: (1 - one.conformal_quantile, one.conformal_quantile) for one in manifest.findings}
    return dict.fromkeys(manifest.labels, (1 - manifest.conformal_quantile,))
