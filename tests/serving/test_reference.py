"""The reference and the OpenAPI document say what the service does, and every answer has an example."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from pocketcxr.cli import build_parser
from pocketcxr.serving.api import schemas
from pocketcxr.serving.api.examples import DETAILS, MODEL
from pocketcxr.serving.api.problems import KINDS
from pocketcxr.serving.settings import Limits, settings_from

REFERENCE = Path(__file__).parents[2] / "docs" / "_ext" / "http_interface.py"


@pytest.fixture(scope="module")
def module():
    sys.path.insert(0, str(REFERENCE.parent))
    spec = importlib.util.spec_from_file_location("http_reference", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(REFERENCE.parent))
    return module


def test_the_reference_describes_every_address_member_and_problem(module):
    document = module.document()
    page = module.addresses() + module.answers() + module.problems()
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page
    for schema in document["components"]["schemas"].values():
        for member in schema.get("properties", {}):
            assert f"`{member}`" in page or f'"{member}"' in page
    for code, kind in KINDS.items():
        assert f"| `{code}` | {kind.status} | {kind.title} |" in page


def test_every_answer_of_every_address_has_an_example(module):
    document = module.document()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                for media_type, content in response["content"].items():
                    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
                    of_schema = document["components"]["schemas"].get(name, {}).get("examples")
                    given = content.get("examples") or content.get("example") or of_schema
                    assert given or media_type == "image/png", f"{path} {status} {media_type}"


def test_examples_are_answers_of_their_type(module):
    document = module.document()
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                problems = response["content"].get("application/problem+json", {}).get("examples", {})
                for code, example in problems.items():
                    problem = schemas.Problem.model_validate(example["value"])
                    assert (problem.code, problem.status) == (code, KINDS[code].status)
    predictions = document["paths"]["/v1/predictions"]["post"]["responses"]["200"]["content"]["application/json"]
    decisions = set()
    for example in predictions["examples"].values():
        decisions |= {one.decision for one in schemas.Predictions.model_validate(example["value"]).predictions}
    assert decisions == {"covid19", "uncertain", "refused", "error"}
    schemas.Model.model_validate(MODEL)


def test_every_problem_has_its_example():
    assert list(DETAILS) == list(KINDS)


def test_a_running_service_gives_the_same_document(service, module):
    assert service.client.get("/v1/openapi.json").json() == module.document()


def test_limits_of_the_command_line_are_those_of_the_settings(monkeypatch):
    monkeypatch.delenv("POCKETCXR_TOKEN", raising=False)
    limits = settings_from(build_parser().parse_args(["serve", "--workers", "2"])).limits
    assert limits == Limits()
    options = ["--max-megapixels", "12.5", "--max-wait", "0.5", "--max-file-mb", "8", "--queue", "40"]
    limits = settings_from(build_parser().parse_args(["serve", *options])).limits
    assert (limits.pixels, limits.wait_s, limits.file_bytes, limits.queue) == (12_500_000, 0.5, 8 * 2**20, 40)
