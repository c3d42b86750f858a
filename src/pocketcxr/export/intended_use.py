"""What every bundle says of its own use: read by clinicians and reviewers, not by programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.labels import Task

_INTENDED_USE = """
Research on recognising {what} in one frontal (PA or AP) chest X-ray of an adult. It gives a
calibrated probability, where the model looked, and "uncertain" or "refused" where it has no business answering.
Research use only: not a medical device, not cleared by any authority, and not to be the ground for a diagnosis, a
treatment, or the absence of one. A qualified person reads the picture itself.
"""

_LIMITS = """
Only adult frontal chest X-rays: children, lateral views, CT slices, other body parts, photographs of radiographs
and screenshots with overlays are outside; the input filter and the novelty cut-off refuse many of them, not all.

{knows}

A chest X-ray does not decide on an infection: early and mild COVID-19 can leave the radiograph clear, and other causes
look the same. Laboratory tests decide.

Figures come from the data named in this manifest. At hospitals, scanners and populations that are not in it, published
models of this kind lost much of their accuracy; measure on your own patients before relying on any figure.

Where classes came from different sources, part of the accuracy may be recognition of the source (borders, markers,
contrast) and not of disease; see the figures per source.

Probabilities, operating points and conformal sets were fitted on the calibration split: they hold for the same mix of
patients and the same prevalence, on average over images, and not for each class or hospital.

The heatmap shows which regions moved the score, in cells of a few centimetres; it is no outline of a lesion and no
proof that the reason is medical.

How well it works by sex and age is known only where the data's tables name them.

Licence of these weights: {licence}. Terms of the images they were trained on may bind them further.
"""


_GUIDED_HEATMAP = (
    "The heatmap was trained to lie within boxes that radiologists drew around opacities; where it lies is therefore "
    "no evidence of what the answer rests on."
)

_CLASSES = """
It knows {count} classes ({labels}) and divides every picture among them. Any other disease, device or finding is put
into one of these or called uncertain; a low probability of {positive} does not say that the lungs are healthy.
"""

_FINDINGS = """
It knows {count} findings ({labels}), each by itself, and no other: low probabilities of all of them do not say that
the lungs are healthy. How well combinations of findings are recognised was not measured.
"""


def intended_use(task: Task) -> str:
    """For what, on whom and by whom the bundle may be used, as one paragraph."""
    return _unwrapped(_INTENDED_USE, task, licence="")[0]


def limits(task: Task, *, licence: str) -> tuple[str, ...]:
    """What the bundle cannot be trusted with, a sentence or two each."""
    return _unwrapped(_LIMITS, task, licence=licence)


def heatmap_limits(auxiliary: Mapping[str, float]) -> tuple[str, ...]:
    """What must be said of the heatmap of a student that had these auxiliary losses."""
    return (_GUIDED_HEATMAP,) if auxiliary.get("evidence", 0) > 0 else ()


def _unwrapped(text: str, task: Task, *, licence: str) -> tuple[str, ...]:
    """Paragraphs without their line breaks, the task's names filled in."""
    names = {"positive": task.positive, "labels": ", ".join(task.labels), "count": len(task.labels)}
    names["what"] = f"each of {names['labels']}" if task.multilabel else f"{task.positive} among {names['labels']}"
    names["knows"] = (_FINDINGS if task.multilabel else _CLASSES).strip().format(**names)
    names["licence"] = licence.rstrip(".")  # the sentence around it has a full stop of its own
    return tuple(" ".join(part.format(**names).split()) for part in text.strip().split("\n\n"))
