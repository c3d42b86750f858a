"""Completes the OpenAPI document that FastAPI makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pocketcxr.serving.api import examples, schemas
from pocketcxr.serving.api.uploads import FORM_TYPE, PICTURE_TYPES

if TYPE_CHECKING:
    from fastapi import FastAPI


def complete_openapi(app: FastAPI) -> None:
    """Add what FastAPI cannot say: the type of problem documents, and examples with a null in them."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        problem = schemas.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        problem.pop("$defs", None)  # `Reason` is among the others
        document["components"]["schemas"]["Problem"] = problem
        answer = document["paths"]["/v1/predictions"]["post"]["responses"]["200"]["content"]["application/json"]
        answer["examples"] = {name: {"value": value} for name, value in examples.PREDICTIONS.items()}
        return document

    app.openapi = openapi


def request_body() -> dict[str, Any]:
    """Return the body of an address that takes pictures, which is read by `uploads` and not by FastAPI."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    form = {"type": "object", "properties": {"files": files}, "required": ["files"], "additionalProperties": False}
    bare = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "description": "Files in a form, or the bytes of one picture",
        "content": {FORM_TYPE: {"schema": form}, **dict.fromkeys(PICTURE_TYPES, bare)},
    }
