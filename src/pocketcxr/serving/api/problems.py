"""Every error of the HTTP service as a problem document (RFC 9457) with a code that stays the same."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from pocketcxr.serving.api import examples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"
LIST_PATH = "/v1/problems"


@dataclass(frozen=True)
class Kind:
    """What stays the same of a problem: HTTP status, title, and what the caller can do."""

    status: int
    title: str
    advice: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "malformed-request": Kind(400, "The request cannot be understood", "check how the body is encoded"),
        "unauthorised": Kind(401, "A token is needed", "send the header  Authorization: Bearer TOKEN"),
        "cross-origin": Kind(403, "Another web site asked", "open the page from the service's own address"),
        "not-found": Kind(404, "There is nothing at this address", "see /v1/docs for what there is"),
        "method-not-allowed": Kind(405, "This address takes another method", "see the header Allow"),
        "upload-timeout": Kind(408, "The request came too slowly", "send it again over a faster connection"),
        "request-too-large": Kind(413, "The request is too large", "send fewer files in one request"),
        "file-too-large": Kind(413, "A file is too large", "send a compressed or reduced picture"),
        "too-many-files": Kind(413, "Too many files in one request", "send the files in several requests"),
        "unsupported-media-type": Kind(415, "The content type is not read", "see the accepted types in the detail"),
        "wrong-host": Kind(421, "The request names another host", "use localhost, or start the service with a token"),
        "no-file": Kind(422, "The request holds no file", "send at least one file in the field `files`"),
        "unexpected-field": Kind(422, "A form field is not known", "send files in the field `files`"),
        "invalid-parameter": Kind(422, "A parameter is not known or has a wrong value", "see the detail"),
        "unreadable": Kind(422, "The picture cannot be read", "export or copy the file again"),
        "unusable": Kind(422, "The picture has no defined grey scale", "see the detail"),
        "picture-timeout": Kind(422, "The picture took too long", "export it in a plainer format"),
        "decoder-crash": Kind(422, "The picture broke its decoder", "export it uncompressed"),
        "not-scored": Kind(422, "The picture was refused, so there is no heatmap", "see the reasons"),
        "internal": Kind(500, "The service failed", "report it with the request's id"),
        "busy": Kind(503, "The service is busy", "send it again after the seconds in Retry-After"),
        "not-ready": Kind(503, "The model is not loaded", "wait, and see the service's log"),
    }
)
"""All problems by code."""


class ProblemError(Exception):
    """Raised anywhere in a request; becomes the problem document of its code."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        """Take a code of `KINDS`, words for people, and further members of the document."""
        super().__init__(code)
        self.code, self.detail, self.members = code, detail, members
        self.status = KINDS[code].status if status is None else status
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """Return the members of the problem document."""
        return {
            "type": f"{LIST_PATH}#{self.code}",
            "title": KINDS[self.code].title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            **self.members,
        }


def problem_response(problem: ProblemError) -> JSONResponse:
    """Return the problem as a response of its own media type."""
    return JSONResponse(problem.document(), status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def handle_errors(app: FastAPI) -> None:
    """Have every error of an application answered with its problem document."""

    async def problem(request: Request, error: Exception) -> JSONResponse:
        found = _as_problem(error)
        found.members["request"] = request.state.request_id
        request.state.log["code"] = found.code
        return problem_response(found)

    for kind in (ProblemError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, problem)


def _as_problem(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestValidationError):
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        return ProblemError("invalid-parameter", "; ".join(faults))
    if isinstance(error, HTTPException):
        codes = {404: "not-found", 405: "method-not-allowed"}
        code = codes.get(error.status_code, "malformed-request" if error.status_code < 500 else "internal")  # noqa: PLR2004
        return ProblemError(code, KINDS[code].advice, status=error.status_code, headers=error.headers)
    return ProblemError("internal", KINDS["internal"].advice)


_HEADERS = {
    401: {"WWW-Authenticate": "`Bearer`"},
    415: {"Accept-Post": "the content types that are read, where the one that was sent is not"},
    503: {"Retry-After": "of `busy`: whole seconds after which there should be room"},
}


def responses_of(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Responses of an address for its OpenAPI document: one per status, with an example of each code it can have."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": "; ".join(f"`{code}`: {KINDS[code].title}" for code in found),
            "content": {MEDIA_TYPE: {"schema": schema, "examples": {code: _example(code) for code in found}}},
            **_headers_of(status),
        }
        for status, found in by_status.items()
    }


def _headers_of(status: int) -> dict[str, Any]:
    headers = _HEADERS.get(status, {})
    described = {name: {"description": words, "schema": {"type": "string"}} for name, words in headers.items()}
    return {"headers": described} if described else {}


def _example(code: str) -> dict[str, Any]:
    members = {"request": examples.REQUEST_ID, **examples.MEMBERS.get(code, {})}
    return {"summary": KINDS[code].title, "value": ProblemError(code, examples.DETAILS[code], **members).document()}
