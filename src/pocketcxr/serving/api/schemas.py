"""What the service says, as types for its OpenAPI document."""

from __future__ import annotations

from pydantic import BaseModel, Field

from pocketcxr.serving.api import examples


class Reason(BaseModel):
    """Why a picture was not decided, refused or not read."""

    code: str = Field(description="stays the same")
    words: str = Field(description="for people")


class Prediction(BaseModel):
    """One answer: the record that `pocketcxr predict --format json` writes."""

    path: str = Field(description="the file's name as it was sent, or a generic one")
    decision: str = Field(
        description="a label of the model, `uncertain`, `refused` or `error`; of a model of several findings "
        "those that are present with bars between them, or `none`"
    )
    probabilities: dict[str, float] = Field(description="calibrated, by label; empty where nothing was scored")
    novelty: float | None = Field(description="above 1: unlike the training pictures; null where nothing was scored")
    reasons: list[Reason]
    bundle: str = Field(description="the model that answered")
    findings: dict[str, str] | None = Field(
        default=None,
        description="`present`, `absent` or `uncertain`, by label, of a model of several findings; else absent",
    )
    heatmap: str | None = Field(
        default=None, description="PNG in base64 where `heatmap=true` and the picture was scored, else absent"
    )


class Predictions(BaseModel):
    """One record per file, in the order of the files."""

    predictions: list[Prediction]


class Problem(BaseModel):
    """Problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="stays the same; listed under /v1/problems")
    request: str = Field(description="the request's id, as in the header X-Request-ID and in the log")
    reasons: list[Reason] = Field(default=[], description="of `not-scored`: why the picture was refused; else absent")


class ProblemKind(BaseModel):
    """What stays the same of a problem."""

    code: str
    status: int
    title: str
    advice: str = Field(description="what the caller can do")


class OperatingPoint(BaseModel):
    """A threshold on the probability of a label, and what it reached on the set that it was chosen on."""

    name: str
    label: str
    threshold: float
    sensitivity: float
    specificity: float
    chosen_on: str


class InputFilter(BaseModel):
    """What the model takes a picture for before it answers; the others are refused with their kind as the code."""

    kinds: list[str]
    accept: str = Field(description="the kind that is answered")
    threshold: float = Field(description="probability of that kind below which a picture is refused")
    words: dict[str, str] = Field(description="what is said of each other kind")


class ServiceLimits(BaseModel):
    """What one request may hold."""

    file_bytes: int
    request_bytes: int
    files: int
    pixels: int = Field(description="of one picture")
    wait_s: float = Field(description="expected wait beyond which a request is told to come back")
    upload_timeout_s: float
    upload_bytes_per_s: int = Field(description="least average pace of an upload after its first seconds")
    picture_timeout_s: float
    content_types: list[str]


class Model(BaseModel):
    """The model that answers, as its manifest describes it, and the limits of the service."""

    model_config = {"json_schema_extra": {"examples": [examples.MODEL]}}

    name: str
    version: str
    created: str
    task: str
    sha256: str
    labels: list[str]
    positive: str
    operating_points: list[OperatingPoint]
    conformal_coverage: float
    multilabel: bool = Field(
        default=False, description="probabilities are of findings by themselves and do not sum to 1"
    )
    input_gate: InputFilter | None = Field(description="null where the model has none")
    intended_use: str
    limits: list[str] = Field(description="what the model is not for")
    licence: str
    program: str = Field(description="version of pocketcxr")
    service: ServiceLimits


class Health(BaseModel):
    """State of the service."""

    model_config = {"json_schema_extra": {"examples": [{"status": "ready", "workers": 2}]}}

    status: str = Field(description="`live` or `ready`")
    workers: int = Field(description="worker processes that are up")
