"""An example of every answer, for the OpenAPI document and the reference that is written from it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_ID = "7f6b0d0d5d0e4f1fa1c8b3c1d9a4e2b7"
_BUNDLE = "covid-3class 0.1.0 sha256:1f0c2a9b7d3e"

DECIDED: dict[str, Any] = {
    "path": "chest.dcm",
    "decision": "covid19",
    "probabilities": {"normal": 0.03, "pneumonia": 0.06, "covid19": 0.91},
    "novelty": 0.42,
    "reasons": [],
    "bundle": _BUNDLE,
}
UNCERTAIN: dict[str, Any] = {
    **DECIDED,
    "path": "b.png",
    "decision": "uncertain",
    "probabilities": {"normal": 0.46, "pneumonia": 0.09, "covid19": 0.45},
    "reasons": [
        {
            "code": "several-classes",
            "words": (
                "more than one class stays possible: normal 0.46 and covid19 0.45 reach 0.35, the line that the true "
                "class reaches 90% of the time"
            ),
        }
    ],
}
_SIDE_VIEW = {"code": "view", "words": "the DICOM header says view 'LL'; only frontal views (PA or AP) are scored"}
REFUSED: dict[str, Any] = {
    **DECIDED,
    "path": "side.dcm",
    "decision": "refused",
    "probabilities": {},
    "novelty": None,
    "reasons": [_SIDE_VIEW],
}
NOT_READ: dict[str, Any] = {
    **REFUSED,
    "path": "empty.jpg",
    "decision": "error",
    "reasons": [{"code": "unreadable", "words": "empty.jpg: the file is empty; copy it again from its source"}],
}
PREDICTIONS: Mapping[str, Any] = MappingProxyType(
    {
        "one picture": {"predictions": [DECIDED]},
        "several, one of each kind": {"predictions": [DECIDED, UNCERTAIN, REFUSED, NOT_READ]},
        "with a heatmap": {"predictions": [{**DECIDED, "heatmap": "iVBORw0KGgoAAAANSUhEUgAA..."}]},
    }
)  # fmt: skip

METRICS = """\
# HELP pocketcxr_pictures_total Pictures by what became of them
# TYPE pocketcxr_pictures_total counter
pocketcxr_pictures_total{outcome="decided"} 1207.0
# HELP pocketcxr_pictures_held Pictures that wait or are scored
# TYPE pocketcxr_pictures_held gauge
pocketcxr_pictures_held 3.0
"""

DETAILS: Mapping[str, str] = MappingProxyType(
    {
        "malformed-request": "the form ends before its last boundary",
        "unauthorised": "expected the token of this service in the header Authorization",
        "cross-origin": "without a token this service answers to its own pages only",
        "not-found": "see /v1/docs for what there is",
        "method-not-allowed": "see the header Allow",
        "upload-timeout": "the request did not arrive within 60 s, or came slower than 100,000 bytes a second",
        "request-too-large": "at most 134,217,728 bytes are taken in one request",
        "file-too-large": "at most 67,108,864 bytes are taken for one file",
        "too-many-files": "at most 16 files are taken in one request",
        "unsupported-media-type": "content codings are not read; send the file as it is",
        "wrong-host": "without a token this service answers to localhost and 127.0.0.1 only",
        "no-file": "the form holds no file",
        "unexpected-field": "expected files in the field `files`, found a field of another name",
        "invalid-parameter": "query.heatmap: Input should be a valid boolean, unable to interpret input",
        "unreadable": "picture: the file is empty; copy it again from its source",
        "unusable": "picture: expected one picture, found 2 frames; export the one to score",
        "picture-timeout": "picture: took longer than the 20 s that a picture may take; export it plainer",
        "decoder-crash": ("picture: the decoder broke down on this picture, which is damaged; export it uncompressed"),
        "not-scored": _SIDE_VIEW["words"],
        "internal": "report it with the request's id",
        "busy": "as many pictures are waiting as this service can score in time; send this one again later",
        "not-ready": "no worker process is up",
    }
)
"""What a problem of each code may say in its `detail`."""

MEMBERS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"not-scored": {"reasons": [_SIDE_VIEW]}})
"""Further members of the documents that have some."""

MODEL: dict[str, Any] = {
    "name": "covid-3class",
    "version": "0.1.0",
    "created": "2026-11-24T12:00:00+00:00",
    "task": "covid-3class",
    "sha256": "1f0c2a9b7d3e0000000000000000000000000000000000000000000000000000",
    "labels": ["normal", "pneumonia", "covid19"],
    "positive": "covid19",
    "operating_points": [
        {
            "name": "screening",
            "label": "covid19",
            "threshold": 0.31,
            "sensitivity": 0.95,
            "specificity": 0.81,
            "chosen_on": "calibration split, 1,790 images",
        }
    ],
    "conformal_coverage": 0.9,
    "input_gate": {
        "kinds": ["frontal", "lateral"],
        "accept": "frontal",
        "threshold": 0.5,
        "words": {"lateral": "this looks like a side view; only frontal chest X-rays are answered"},
    },
    "intended_use": "research and teaching; not a medical device",
    "limits": ["frontal chest X-rays of adults only"],
    "licence": "research only",
    "program": "0.1.0",
    "service": {
        "file_bytes": 67_108_864,
        "request_bytes": 134_217_728,
        "files": 16,
        "pixels": 64_000_000,
        "wait_s": 2.0,
        "upload_timeout_s": 60.0,
        "upload_bytes_per_s": 100_000,
        "picture_timeout_s": 20.0,
        "content_types": ["multipart/form-data", "application/dicom", "image/png"],
    },
}
