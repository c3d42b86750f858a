"""A prediction as a self-contained piece of HTML, for a notebook."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

from pocketcxr.errors import PocketCxrError

if TYPE_CHECKING:
    from PIL.Image import Image

    from pocketcxr.inference.prediction import Prediction

_LARGEST_SIDE = 384
NOTICE = "Research use only; not a medical device."


def prediction_html(prediction: Prediction) -> str:
    """Return the image with its heatmap, the decision, the probabilities and the reasons; all text is escaped."""
    rows = "".join(
        f"<tr><td>{escape(label)}</td><td style='text-align:right'>{probability:.3f}</td></tr>"
        for label, probability in prediction.probabilities.items()
    )
    if prediction.novelty is not None:
        rows += f"<tr><td>novelty (limit 1)</td><td style='text-align:right'>{prediction.novelty:.2f}</td></tr>"
    reasons = "".join(f"<div>{escape(reason.words)}</div>" for reason in prediction.reasons)
    return (
        "<div style='display:flex;gap:1em;align-items:flex-start'>"
        f"{_picture(prediction)}<div><div><b>{escape(prediction.decision)}</b></div>"
        f"<div>{escape(prediction.path)}</div>{reasons}<table>{rows}</table>"
        f"<div><small>{escape(prediction.bundle)}. {NOTICE}</small></div></div></div>"
    )


def _picture(prediction: Prediction) -> str:
    if not prediction.probabilities:
        return ""
    try:
        overlay = prediction.overlay()
    except PocketCxrError:  # the file is gone since
        return ""
    return f"<img alt='image with heatmap' src='data:image/png;base64,{_png(overlay)}'>"


def _png(image: Image) -> str:
    image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
