"""Writes `http.md` beside it from the service itself, so that it cannot go stale: ``python docs/reference/write_http.py``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of
from pocketcxr.cli import build_parser
from pocketcxr.serving.app import make_service, openapi_document
from pocketcxr.serving.middleware import SECURITY_HEADERS
from pocketcxr.serving.static_site import PAGE_HEADERS
from pocketcxr.serving.problems import KINDS
from pocketcxr.serving.examples import DETAILS
from pocketcxr.serving.settings import Settings

PAGE = Path(__file__).with_name("http.md")

HEAD = """\
# HTTP interface

Written by `python docs/reference/write_http.py` from the service's OpenAPI document, which a running service gives at `/v1/openapi.json`.
How to start and run it: [Answer over HTTP](../how-to/serve.md).

"""

AFTER_ADDRESSES = """\
With a token set, all of these but `/health/` and `/v1/openapi.json` want the header `Authorization: Bearer TOKEN` and answer 401
without it; the page's static files stay open, they hold no data. Without a token the service answers on the loopback address alone, to
requests for `localhost` or `127.0.0.1` (else 421) that no other web site had a browser send (else 403).

## Sending pictures

The body of `/v1/predictions` and `/v1/heatmaps` is either the bytes of one picture or a form. What a picture is, its first bytes tell, not the
content type.

{types}

- A form holds its files in the field `files` (`file` is taken, too). A file's name comes back in `path`, without its folders; a bare picture is called
  `picture`, a part without a name `picture 1` and so on.
- `/v1/heatmaps` takes one picture.
- One picture that cannot be read is a problem (422). Among several, it is a record with the decision `error`, and the others are answered.
- `Expect: 100-continue` spares sending a file to a service that is busy: the 503 comes before the body.
- Content codings (`Content-Encoding: gzip`) and transfer encodings of parts (base64) are not read.

"""

AFTER_PROBLEMS = """\
A problem's `type` is a reference relative to the service, `request` is the id that stands in the header `X-Request-ID` and in the service's log, and
`reasons` of `not-scored` are those of the record. Bytes that are no HTTP at all are refused by the server below with a plain 400.

## Limits

| option of `pocketcxr serve` | what |
| --- | --- |
{options}

A request holds at most twice the bytes of a file, all requests together at most eight times as many; it must arrive within 60 s. `/v1/model`
tells the limits of a running service under `service`. A worker needs up to about 16 bytes per pixel for the worst of pictures (measured: 1.0 GB
for a JPEG Lossless DICOM of 64 million pixels): lower `--max-megapixels` where memory is scarce.

**Back-pressure.** The service measures how long a picture takes and answers 503 `busy` at once where a new one would wait longer than `--max-wait`
for its turn. `Retry-After` is when there should be room, behind all that were sent away before: clients that obey it do not all come back in the same second.

## Headers of every answer

| header | interface | page |
| --- | --- | --- |
{headers}

`X-Request-ID` is new for every request; one that the client sends is not taken over.

The page's files are sent by Brotli or gzip to whoever takes them (`Accept-Encoding`, weights heeded), each form with an `ETag` of its own and
`Vary: Accept-Encoding`; a request for a part (`Range`) is answered from the plain file, or with all of it where only compressed forms are kept.

"""


def document() -> dict[str, Any]:
    """OpenAPI document of a service with the student that ships, which has no part in it."""
    path = default_bundle_path()
    data = read_bundle(path)
    manifest = read_manifest(data, str(path))
    return openapi_document(make_service(Settings(bundle=path), manifest, sha256=sha256_of(data, str(path))))


def reference() -> str:
    """The whole page."""
    found = document()
    picture = found["paths"]["/v1/predictions"]["post"]
    types = ", ".join(f"`{name}`" for name in picture["requestBody"]["content"])
    return "".join(
        (
            HEAD,
            _addresses(found),
            AFTER_ADDRESSES.format(types=f"Content types: {types}."),
            _answers(found),
            _problems(),
            AFTER_PROBLEMS.format(options=_options(), headers=_headers()),
            _curl(),
        )
    )


def _addresses(found: dict[str, Any]) -> str:
    lines = ["## Addresses", "", "| | what | parameters | answers |", "| --- | --- | --- | --- |"]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parameters = [
                f"`{one['name']}` ({one['schema']['type']}, default {json.dumps(one['schema']['default'])}): {one['description']}"
                for one in operation.get("parameters", [])
            ]
            statuses = ", ".join(sorted(operation["responses"]))
            lines.append(
                f"| `{method.upper()} {path}` | {operation['summary']} | {'; '.join(parameters) or '–'} | {statuses} |"
            )
    lines.append("| `GET /v1/openapi.json` | This interface as an OpenAPI 3.1 document | – | 200 |")
    lines.append(
        "| `GET /` and below | The page, where it was built; else a paragraph that says how to | – | 200, 304, 404 |"
    )
    return "\n".join([*lines, "", ""])


def _answers(found: dict[str, Any]) -> str:
    parts = ["## Answers\n"]
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


def _problems() -> str:
    lines = [
        "## Problems",
        "",
        "Every error is a document of the type `application/problem+json` (RFC 9457). Its `code` stays the same; words may become better.",
        "",
        "```json",
        json.dumps(_problem_example(), indent=2),
        "```",
        "",
        "| code | status | title | what to do | `detail`, for example |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{code}` | {kind.status} | {kind.title} | {kind.advice} | {DETAILS[code]} |" for code, kind in KINDS.items()
    ]
    return "\n".join([*lines, "", ""])


def _problem_example() -> dict[str, Any]:
    content = document()["paths"]["/v1/heatmaps"]["post"]["responses"]["422"]["content"]
    return content["application/problem+json"]["examples"]["not-scored"]["value"]


def _options() -> str:
    commands = next(action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    rows = [
        f"| `{action.option_strings[-1]}{f' {action.metavar}' if action.metavar else ''}` | {action.help} |"
        for action in commands.choices["serve"]._actions
        if action.option_strings[-1].startswith(("--max", "--queue", "--timeout", "--workers"))
    ]
    return "\n".join(rows)


def _headers() -> str:
    names = [*SECURITY_HEADERS, *(name for name in PAGE_HEADERS if name not in SECURITY_HEADERS)]
    of_page = {
        **PAGE_HEADERS,
        "Cache-Control": "no-cache; files with a hash in their name: public, max-age=31536000, immutable",
    }
    cell = lambda value: f"`{value}`" if value else "–"  # noqa: E731
    return "\n".join(f"| `{name}` | {cell(SECURITY_HEADERS.get(name))} | {cell(of_page.get(name))} |" for name in names)


def _curl() -> str:
    return """\
## Examples

```sh
curl --data-binary @scan.dcm -H 'content-type: application/dicom' http://127.0.0.1:8000/v1/predictions
curl -F files=@a.png -F files=@b.jpg 'http://127.0.0.1:8000/v1/predictions?heatmap=true'
curl --data-binary @scan.png -H 'content-type: image/png' http://127.0.0.1:8000/v1/heatmaps > heatmap.png
curl -H "authorization: Bearer $POCKETCXR_TOKEN" http://clinic:8000/v1/model
```
"""


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
