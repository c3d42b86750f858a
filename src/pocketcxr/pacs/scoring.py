"""The process that reads a file of the archive, scores it and makes its result objects.

A process of its own, because decoders and parsers meet whatever a sender put into the archive: a file that crashes it
or takes too much memory ends this process, not the worker, which then asks a new one for a result that says so.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import InputError
from pocketcxr.imaging.dicom.acquisition import read_acquisition
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import ERROR, Prediction
from pocketcxr.inference.processes.process import run_worker
from pocketcxr.pacs.results.identity import Instance, evidence_of, read_header
from pocketcxr.pacs.results.pictures import capture_of, map_of
from pocketcxr.pacs.results.report import report_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pocketcxr.imaging.radiograph import Radiograph
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.processes.process import Answer, Message

_NAME = "image"  # in messages, which become part of results
_DEVICE = ("manufacturer", "device_model", "station")


def main() -> None:
    """Answer each file with its result objects, the report last."""
    run_worker(_prepare, quiet=True)


def _prepare(options: dict[str, Any]) -> tuple[dict[str, Any], Answer]:
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.saliency import LONGEST_SIDE
    from pocketcxr.inference.session import load_bundle

    warnings.simplefilter("ignore")  # of pydicom and highdicom, about values of the input
    bundle = load_bundle(Path(options["bundle"]), threads=1)
    predictor = Predictor(bundle, smallest_side=LONGEST_SIDE)

    def answer(message: dict[str, Any], data: bytes) -> Message:
        failed = Reason("process-ended", message["failed"]) if message.get("failed") else None
        decision, files = results_of(
            predictor, data, Instance(**message["instance"]), failed=failed, site=options["site"]
        )
        return {"decision": decision, "sizes": [len(file) for file in files]}, b"".join(files)

    return {}, answer


def results_of(
    predictor: Predictor, data: bytes, instance: Instance, *, failed: Reason | None = None, site: str = ""
) -> tuple[str, list[bytes]]:
    """Score one file and return its decision and its result objects as files.

    A scored image gets pictures and, last, the report, whose presence in the archive means that all is there. An image
    that is refused or cannot be read gets a report with the reasons. `failed`: do not read the pixels, for this reason.
    """
    header = read_header(data)
    prediction, radiograph = (_error(predictor, failed), None) if failed else _scored(predictor, data)
    evidence = evidence_of(header, instance)
    manifest, sha256 = predictor.bundle.manifest, predictor.bundle.sha256
    objects: list[Dataset | None] = []
    if prediction.saliency is not None and radiograph is not None:
        objects.append(capture_of(prediction, radiograph, evidence, instance, manifest=manifest, sha256=sha256))
        objects.append(map_of(prediction, radiograph, evidence, instance, manifest=manifest, sha256=sha256))
    device = _device(header)
    objects.append(
        report_of(prediction, evidence, instance, manifest=manifest, sha256=sha256, device=device, site=site)
    )
    return prediction.decision, [_file(one) for one in objects if one is not None]


def _scored(predictor: Predictor, data: bytes) -> tuple[Prediction, Radiograph | None]:
    try:
        return predictor.read_bytes_and_predict(data, _NAME)
    except InputError as error:
        return _error(predictor, Reason(error.code, str(error))), None
    except MemoryError:
        return _error(predictor, Reason("too-much-memory", f"{_NAME}: it takes more memory than it may")), None


def _error(predictor: Predictor, reason: Reason) -> Prediction:
    return Prediction(_NAME, ERROR, {}, None, (reason,), predictor.bundle.identity)


def _device(header: Dataset) -> str:
    try:
        found = read_acquisition(header)
    except Exception:  # noqa: BLE001  # pydicom's converters raise nearly everything on invalid text
        return ""
    return ", ".join(found[name] for name in _DEVICE if name in found)


def _file(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
