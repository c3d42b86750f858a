"""Reference of the HTTP interface, from the service's OpenAPI document, problems, headers and options."""

from __future__ import annotations

import json
from typing import Any

from commands import subcommands
from markdown import code, table

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of
from pocketcxr.serving.api.docs_page import DOCS_HEADERS
from pocketcxr.serving.api.examples import DETAILS
from pocketcxr.serving.api.problems import KINDS
from pocketcxr.serving.app import make_service, openapi_document
from pocketcxr.serving.middleware import SECURITY_HEADERS
from pocketcxr.serving.settings import Settings
from pocketcxr.serving.static_site import PAGE_HEADERS


def document() -> dict[str, Any]:
    """OpenAPI document of a service with the student that ships, which has no part in it."""
    path = default_bundle_path()
    data = read_bundle(path)
    manifest = read_manifest(data, str(path))
    return openapi_document(make_service(Settings(bundle=path), manifest, sha256=sha256_of(data, str(path))))


def addresses() -> str:
    """Table of all addresses with their parameters and statuses."""
    found = document()
    lines = ["| | what | parameters | answers |", "| --- | --- | --- | --- |"]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parameters = [_parameter(one) for one in operation.get("parameters", [])]
            statuses = ", ".join(sorted(operation["responses"]))
            lines.append(
                f"| `{method.upper()} {path}` | {operation['summary']} | {'; '.join(parameters) or '–'} | {statuses} |"
            )
    lines.append("| `GET /v1/docs` | This interface for a browser, to read and to try | – | 200 |")
    lines.append("| `GET /v1/openapi.json` | This interface as an OpenAPI 3.1 document | – | 200 |")
    lines.append(
        "| `GET /` and below | The page, where it was built; else a paragraph that says how to | – | 200, 304, 404 |"
    )
    return "\n".join(lines)


def _parameter(one: dict[str, Any]) -> str:
    default = json.dumps(one["schema"]["default"])
    return f"`{one['name']}` ({one['schema']['type']}, default {default}): {one['description']}"


def content_types() -> str:
    """Content types that a request's body may have."""
    picture = document()["paths"]["/v1/predictions"]["post"]
    return f"Content types: {', '.join(f'`{name}`' for name in picture['requestBody']['content'])}."


def answers() -> str:
    """Members and an example of every answer."""
    found = document()
    parts: list[str] = []
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            for media_type, content in operation["responses"]["200"]["content"].items():
                parts.append(f"### `{method.upper()} {path}`: {media_type}\n")
                parts += _schema_rows(found, content.get("schema", {}))
                parts += _examples_of(found, content, media_type)
    return "\n".join(parts) + "\n"


def _schema_rows(found: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """Tables of an object's members, and of the objects in it."""
    tables: list[str] = []
    names = [_name(schema)]
    for name in names:
        if not name:
            continue
        described = found["components"]["schemas"][name]
        tables += [f"`{name}`: {described.get('description', '')}\n", "| member | type | what |", "| --- | --- | --- |"]
        for member, value in described["properties"].items():
            tables.append(f"| `{member}` | {_type(value)} | {value.get('description', '')} |")
            names += [_name(value)] if _name(value) not in names else []
        tables.append("")
    return tables


def _name(schema: dict[str, Any]) -> str:
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref") or ""
    return reference.rpartition("/")[2]


def _type(value: dict[str, Any]) -> str:
    if "$ref" in value:
        return f"`{_name(value)}`"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if value.get("type") == "array":
        return f"list of {_type(value['items'])}"
    if isinstance(value.get("additionalProperties"), dict):
        return f"object of {_type(value['additionalProperties'])}"
    return value.get("type", "any")


def _examples_of(found: dict[str, Any], content: dict[str, Any], media_type: str) -> list[str]:
    named = {name: one["value"] for name, one in content.get("examples", {}).items()}
    if not named and "example" in content:
        named = {"": content["example"]}
    if not named and _name(content.get("schema", {})):
        examples = found["components"]["schemas"][_name(content["schema"])].get("examples", [])
        named = {"": examples[0]} if examples else {}
    parts: list[str] = []
    for name, value in named.items():
        text = value if media_type == "text/plain" else json.dumps(value, indent=2, ensure_ascii=False)
        language = "text" if media_type == "text/plain" else "json"
        parts += [*([f"{name.capitalize()}:\n"] if name else []), f"```{language}", text.rstrip(), "```", ""]
    return parts


def problems() -> str:
    """Every problem document by its code, after an example."""
    example = json.dumps(_problem_example(), indent=2)
    rows = ((f"`{code}`", str(kind.status), kind.title, kind.advice, DETAILS[code]) for code, kind in KINDS.items())
    head = ("code", "status", "title", "what to do", "`detail`, for example")
    return f"```json\n{example}\n```\n\n{table(head, rows)}"


def _problem_example() -> dict[str, Any]:
    content = document()["paths"]["/v1/heatmaps"]["post"]["responses"]["422"]["content"]
    return content["application/problem+json"]["examples"]["not-scored"]["value"]


def limits() -> str:
    """Options of ``pocketcxr serve`` that limit a request or the service."""
    rows = (
        (f"`{action.option_strings[-1]}{f' {action.metavar}' if action.metavar else ''}`", str(action.help))
        for action in subcommands()["serve"]._actions
        if action.option_strings[-1].startswith(("--max", "--queue", "--timeout", "--workers"))
    )
    return table(("option of `pocketcxr serve`", "meaning"), rows)


def headers() -> str:
    """Headers of every answer, of the interface and of the page."""
    names = list(dict.fromkeys([*SECURITY_HEADERS, *PAGE_HEADERS]))
    hashed = "no-cache; files with a hash in their name: public, max-age=31536000, immutable"
    columns = (SECURITY_HEADERS, {**SECURITY_HEADERS, **DOCS_HEADERS}, {**PAGE_HEADERS, "Cache-Control": hashed})
    rows = ((f"`{name}`", *(code(column.get(name, "")) for column in columns)) for name in names)
    return table(("header", "interface", "`/v1/docs`", "page"), rows)
