"""What the service says, as types for its OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

_RECORD: dict[str, Any] = {
    "path": "picture 1",
    "decision": "covid19",
    "probabilities": {"normal": 0.03, "pneumonia": 0.06, "covid19": 0.91},
    "novelty": 0.42,
    "reasons": [],
    "bundle": "covid-3class 0.1.0 sha256:1f0c2a9b7d3e",
}
_FAILED: dict[str, Any] = {
    **_RECORD,
    "path": "picture 2",
    "decision": "error",
    "probabilities": {},
    "novelty": None,
    "reasons": [{"code": "unreadable", "words": "picture 2: the file is empty; copy it again from its source"}],
}


class Reason(BaseModel):
    """Why a picture was not decided, refused or not read."""

    code: str = Field(description="stays the same")
    words: str = Field(description="for people")


class Prediction(BaseModel):
    """One answer: the record that `pocketcxr predict --format json` writes."""

    path: str = Field(description="the file's name as it was sent, or a generic one")
    decision: str = Field(description="a label of the model, `uncertain`, `refused` or `error`")
    probabilities: dict[str, float] = Field(description="calibrated, by label; empty where nothing was scored")
    novelty: float | None = Field(description="above 1: unlike the training pictures; null where nothing was scored")
    reasons: list[Reason]
    bundle: str = Field(description="the model that answered")
    heatmap: str | None = Field(
        default=None, description="PNG in base64 where `heatmap=true` and the picture was scored, else absent"
    )


class Predictions(BaseModel):
    """One record per file, in the order of the files."""

    model_config = {"json_schema_extra": {"examples": [{"predictions": [_RECORD, _FAILED]}]}}

    predictions: list[Prediction]


class Problem(BaseModel):
    """Problem document (RFC 9457)."""

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "type": "/v1/problems#unreadable",
                    "title": "The picture cannot be read",
                    "status": 422,
                    "detail": "picture: the file is empty; copy it again from its source",
                    "code": "unreadable",
                    "request": "7f6b0d0d5d0e4f1fa1c8b3c1d9a4e2b7",
                }
            ]
        }
    }

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="stays the same; listed under /v1/problems")
    request: str = Field(description="the request's id, as in the header X-Request-ID and in the log")


class ProblemKind(BaseModel):
    """What stays the same of a problem."""

    code: str
    status: int
    title: str
    advice: str


class OperatingPoint(BaseModel):
    """A threshold on the probability of a label, and what it reached on the set that it was chosen on."""

    name: str
    label: str
    threshold: float
    sensitivity: float
    specificity: float
    chosen_on: str


class ServiceLimits(BaseModel):
    """What one request may hold."""

    file_bytes: int
    request_bytes: int
    files: int
    pixels: int
    upload_timeout_s: float
    picture_timeout_s: float
    content_types: list[str]


class Model(BaseModel):
    """The model that answers, as its manifest describes it, and the limits of the service."""

    name: str
    version: str
    created: str
    task: str
    sha256: str
    labels: list[str]
    positive: str
    operating_points: list[OperatingPoint]
    conformal_coverage: float
    intended_use: str
    limits: list[str] = Field(description="what the model is not for")
    licence: str
    program: str = Field(description="version of pocketcxr")
    service: ServiceLimits


class Health(BaseModel):
    """State of the service."""

    status: str
    workers: int = Field(description="worker processes that are up")
