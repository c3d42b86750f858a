"""Distil heavy chest X-ray networks into a small one, and measure how far that one can be trusted.

The names in `__all__` are the public interface. Each is imported when it is first used: ``import pocketcxr`` costs
nothing::

    predictor = pocketcxr.load()
    prediction = predictor.predict("scan.dcm")
    print(prediction.decision, prediction.probabilities)
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import PocketCxrError
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from pocketcxr.api import audit, distill, evaluate
    from pocketcxr.imaging.reading import read_image
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.inference.predictor import Predictor, load

# ONNX Runtime's published builds send usage events to their maker and leave a file with an identifier (also on Linux
# since 1.29). Nothing may leave this machine; the runtime reads this once, when it is first imported (decision 0008).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# The hub's client names the installed frameworks in every request, unless told not to before its import.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# MLflow's client sends which of its functions are called, with an identifier, unless told not to before its import.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

__all__ = [
    "PocketCxrError",
    "Prediction",
    "Predictor",
    "__version__",
    "audit",
    "distill",
    "evaluate",
    "load",
    "read_image",
]

_MODULE_OF = {
    "distill": "pocketcxr.api",
    "evaluate": "pocketcxr.api",
    "Prediction": "pocketcxr.inference.prediction",
    "Predictor": "pocketcxr.inference.predictor",
    "load": "pocketcxr.inference.predictor",
    "read_image": "pocketcxr.imaging.reading",
    # former public names
    "Bundle": "pocketcxr.inference.session",
    "Radiograph": "pocketcxr.imaging.reading",
    "load_bundle": "pocketcxr.inference.session",
}


def __getattr__(name: str) -> Any:
    if name == "audit":  # a package that is callable; see there
        return importlib.import_module("pocketcxr.audit")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
