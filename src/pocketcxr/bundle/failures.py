"""What a bundle says of the criteria that its audit failed: what is wrong, by how much, what it means for an image.

The page says the same sentences, in its languages (``web/src/locales/criteria``; a test compares them).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.bundle.manifest import Manifest

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "shortcut": (
            "The answer may come from the border, markers, device or hospital of this image and not from the lungs."
        ),
        "elsewhere": (
            "If this image comes from a hospital or device that took no part in training, "
            "the answer is wrong more often than the figures say."
        ),
        "figures": "The model is right less often than its figures say: do not judge this image by them.",
        "probability": "The probability shown for this image, or the classes that stay possible, may be wrong.",
        "refusal": "An image that is no frontal chest X-ray may get an answer, and a good one may get none.",
        "heatmap": "The heatmap may mark a place that has nothing to do with the finding.",
        "copy": "A recompressed, exported or photographed copy of this image may get another answer.",
    }
)
"""Kind of a failure to what it means for an image that the model answers."""


def failure_line(failure: Mapping[str, Any]) -> str:
    """One failure: what is wrong, value (interval) and limit.

    Args:
        failure: an entry of ``run.audit.failures``, or a criterion in an ``audit.json``.
    """
    fault = str(failure.get("fault") or failure.get("title", ""))
    words = str(failure.get("words", ""))
    return f"{fault[:1].upper()}{fault[1:]}{': ' if words else ''}{words}."


def failure_lines(manifest: Manifest) -> tuple[str, ...]:
    """What failed, a line each, then what that means for an image, each once; nothing where the bundle passed.

    Bundles of earlier versions kept only names, for which there are no lines either.
    """
    audit: Mapping[str, Any] = manifest.run.get("audit") or {}
    failures: list[dict[str, Any]] = audit.get("failures") or []
    meanings = dict.fromkeys(MEANINGS.get(str(one.get("meaning")), "") for one in failures)
    return (*map(failure_line, failures), *filter(None, meanings))
