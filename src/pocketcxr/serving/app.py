"""The application: routes of the HTTP interface."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from starlette.requests import ClientDisconnect

from pocketcxr.serving.api import examples, schemas
from pocketcxr.serving.api.docs_page import docs_routes
from pocketcxr.serving.api.openapi import complete_openapi, request_body
from pocketcxr.serving.api.problems import KINDS, LIST_PATH, ProblemError, handle_errors, responses_of
from pocketcxr.serving.api.query import parameters_known
from pocketcxr.serving.api.uploads import FORM_TYPE, PICTURE_TYPES, check_announced, read_uploads
from pocketcxr.serving.auth import check_token
from pocketcxr.serving.backpressure import Backpressure
from pocketcxr.serving.metrics import Metrics
from pocketcxr.serving.middleware import RequestMiddleware
from pocketcxr.serving.pool import ClientGoneError, Pool
from pocketcxr.serving.static_site import site_at
from pocketcxr.version import __version__

if TYPE_CHECKING:
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.serving.api.uploads import Upload
    from pocketcxr.serving.settings import Limits, Settings
    from pocketcxr.serving.worker import Answer

_CLIENT_LEFT = 499  # nginx's number; nobody receives it, the log shows it
_DESCRIPTION = "Scores chest X-rays with a small network. Research use only, not a medical device. No file is kept."


@dataclass(frozen=True)
class Service:
    """State that all routes share."""

    settings: Settings
    manifest: Manifest
    sha256: str
    pool: Pool
    backpressure: Backpressure
    metrics: Metrics


def make_service(settings: Settings, manifest: Manifest, *, sha256: str) -> Service:
    """Put the parts together; nothing is started."""
    identity = f"{manifest.name} {manifest.version} sha256:{sha256[:12]}"
    pool = Pool(
        settings.bundle,
        workers=settings.workers,
        sha256=sha256,
        identity=identity,
        timeout_s=settings.limits.picture_timeout_s,
        max_pixels=settings.limits.pixels,
    )
    backpressure = Backpressure(settings.limits, pool)
    metrics = Metrics(backpressure, pool, model=identity)
    return Service(settings, manifest, sha256, pool, backpressure, metrics)


def make_app(service: Service) -> RequestMiddleware:
    """Return the ASGI application of a service whose pool is running."""
    return RequestMiddleware(_interface(service), service.metrics, token=service.settings.token)


def openapi_document(service: Service) -> dict[str, Any]:
    """Return what ``/v1/openapi.json`` answers; the pool need not run."""
    return _interface(service).openapi()


def _interface(service: Service) -> FastAPI:
    app = FastAPI(
        title="pocketcxr",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # FastAPI's pages load scripts from another site; `docs_routes` are ours
        redoc_url=None,
        redirect_slashes=False,
    )
    handle_errors(app)
    complete_openapi(app)
    app.include_router(_health(service))
    app.include_router(docs_routes())
    guarded = _guarded(service)
    app.include_router(_about(service), **guarded)
    app.include_router(_pictures(service), **guarded)
    app.router.default = site_at(service.settings.page)  # not a mount, which would take the API's 405 away
    return app


def _health(service: Service) -> APIRouter:
    router = APIRouter(prefix="/health", tags=["health"])

    @router.get("/live", summary="The process answers")
    async def live() -> schemas.Health:
        return schemas.Health(status="live", workers=service.pool.running)

    @router.get("/ready", summary="Pictures can be scored", responses=responses_of("not-ready"))
    async def ready() -> schemas.Health:
        running = service.pool.running
        if not running:
            raise ProblemError("not-ready", "no worker process is up")
        return schemas.Health(status="ready", workers=running)

    return router


def _guarded(service: Service) -> dict[str, Any]:
    """What a router of addresses that need the token takes."""

    async def token_checked(request: Request) -> None:
        check_token(request.headers, service.settings.token)

    guards = [Depends(token_checked), Depends(parameters_known)]
    refused = ["unauthorised"] if service.settings.token else ["cross-origin", "wrong-host"]
    if service.settings.token:
        guards.append(Depends(HTTPBearer(auto_error=False, description="the token that the service was started with")))
    return {
        "dependencies": guards,
        "responses": responses_of("invalid-parameter", *refused),
    }


def _about(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get(
        "/metrics",
        summary="Counts and times for Prometheus",
        response_class=PlainTextResponse,
        responses={200: {"content": {"text/plain": {"example": examples.METRICS}}}},
        tags=["health"],
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/model", summary="The model that answers, and the limits of the service", tags=["model"])
    async def model() -> schemas.Model:
        return _model(service)

    @router.get(
        LIST_PATH,
        summary="All problems that a request can meet",
        responses={200: {"content": {"application/json": {"example": _problem_kinds()[:2]}}}},
        tags=["model"],
    )
    async def problems() -> list[schemas.ProblemKind]:
        return [schemas.ProblemKind(**kind) for kind in _problem_kinds()]

    return router


def _problem_kinds() -> list[dict[str, Any]]:
    return [{"code": code, **dataclasses.asdict(kind)} for code, kind in KINDS.items()]


def _pictures(service: Service) -> APIRouter:
    router = APIRouter(tags=["pictures"])

    @router.post(
        "/v1/predictions",
        summary="Score one or more pictures",
        description="One picture that cannot be read gives a problem; among several, a record of its own.",
        response_model=schemas.Predictions,
        response_model_exclude_unset=True,
        responses=responses_of(*_PICTURE_PROBLEMS),
        openapi_extra={"requestBody": request_body()},
    )
    async def predictions(
        request: Request,
        heatmap: Annotated[bool, Query(description="add a PNG of where the network looked to each record")] = False,
    ) -> Response:
        try:
            answers = await _score(request, service, service.settings.limits, heatmap=heatmap)
        except (ClientGoneError, ClientDisconnect):
            return Response(status_code=_CLIENT_LEFT)
        if len(answers) == 1 and answers[0].failure:
            raise _problem_of(answers[0])
        return JSONResponse({"predictions": [_record(answer) for answer in answers]})

    @router.post(
        "/v1/heatmaps",
        summary="Draw where the network looked in one picture",
        response_class=Response,
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **responses_of(*_PICTURE_PROBLEMS, "not-scored"),
        },
        openapi_extra={"requestBody": request_body()},
    )
    async def heatmaps(request: Request) -> Response:
        try:
            (answer,) = await _score(
                request, service, dataclasses.replace(service.settings.limits, files=1), heatmap=True
            )
        except (ClientGoneError, ClientDisconnect):
            return Response(status_code=_CLIENT_LEFT)
        if answer.failure:
            raise _problem_of(answer)
        if answer.heatmap is None:
            reasons = answer.record["reasons"]
            raise ProblemError("not-scored", "; ".join(reason["words"] for reason in reasons), reasons=reasons)
        return Response(answer.heatmap, media_type="image/png")

    return router


# ------------------------------------------------------------------------------------------------------------- pictures

_PICTURE_PROBLEMS = (
    "malformed-request", "upload-timeout", "request-too-large", "file-too-large", "too-many-files",
    "unsupported-media-type", "no-file", "unexpected-field", "invalid-parameter", "unreadable", "unusable",
    "picture-timeout", "decoder-crash", "internal", "busy", "not-ready",
)  # fmt: skip


async def _score(request: Request, service: Service, limits: Limits, *, heatmap: bool) -> list[Answer]:
    log = request.state.log
    check_announced(request, limits)
    with service.backpressure.admit() as ticket:
        uploads = await read_uploads(request, limits, arrived=lambda size: ticket.take(size=size))
        ticket.take(pictures=len(uploads))
        log["files"], log["bytes"] = len(uploads), sum(len(upload.data) for upload in uploads)
        tasks = [asyncio.create_task(_score_one(request, service, upload, heatmap=heatmap)) for upload in uploads]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # of which one failed or the request was cancelled: the others are not wanted any more
                task.cancel()
    places = [answer.place for answer in answers if answer.place]
    if places:
        log["place"] = places[0]
    return answers


async def _score_one(request: Request, service: Service, upload: Upload, *, heatmap: bool) -> Answer:
    answer, seconds, waited = await service.pool.score(
        upload.data, upload.name, heatmap=heatmap, left=request.is_disconnected
    )
    decision = answer.record["decision"]
    outcome = answer.failure or (decision if decision in {"uncertain", "refused"} else "decided")
    service.metrics.pictures.labels(outcome).inc()
    service.metrics.picture_seconds.observe(seconds)
    service.metrics.wait_seconds.observe(waited)
    log = request.state.log
    log["wait"] = max(log.get("wait", 0), round(waited, 4))
    outcomes = log.setdefault("outcomes", {})
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
    return answer


def _record(answer: Answer) -> dict[str, Any]:
    if answer.heatmap is None:
        return answer.record
    return {**answer.record, "heatmap": base64.b64encode(answer.heatmap).decode("ascii")}


def _problem_of(answer: Answer) -> ProblemError:
    return ProblemError(answer.failure, answer.record["reasons"][0]["words"])


def _model(service: Service) -> schemas.Model:
    manifest, limits, learned = service.manifest, service.settings.limits, service.manifest.input_filter
    return schemas.Model(
        name=manifest.name,
        version=manifest.version,
        created=manifest.created,
        task=manifest.task,
        sha256=service.sha256,
        labels=list(manifest.labels),
        positive=manifest.positive,
        operating_points=[schemas.OperatingPoint(**dataclasses.asdict(point)) for point in manifest.operating_points],
        conformal_coverage=manifest.conformal_coverage,
        multilabel=manifest.multilabel,
        input_gate=None if learned is None else schemas.InputFilter(**dataclasses.asdict(learned)),
        intended_use=manifest.intended_use,
        limits=list(manifest.limits),
        licence=manifest.licence,
        program=__version__,
        service=schemas.ServiceLimits(
            file_bytes=limits.file_bytes,
            request_bytes=limits.request_bytes,
            files=limits.files,
            pixels=limits.pixels,
            wait_s=limits.wait_s,
            upload_timeout_s=limits.upload_timeout_s,
            upload_bytes_per_s=limits.upload_bytes_per_s,
            picture_timeout_s=limits.picture_timeout_s,
            content_types=[FORM_TYPE, *PICTURE_TYPES],
        ),
    )
