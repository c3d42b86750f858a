"""Other runtimes behind the same predictor: every answer, one tolerance, refusal beyond it, a measured choice."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from pocketcxr.bundle.format import WEIGHTS_FOLDER
from pocketcxr.bundle.golden import golden_path
from pocketcxr.bundle.verified import read_verified
from pocketcxr.cli import main
from pocketcxr.errors import BundleError, ConfigError
from pocketcxr.inference import fastest as choice
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.runtimes.checks import differences_from_golden, too_different
from pocketcxr.inference.runtimes.converted import ConvertedRecord, read_converted, sha256_of_file, write_record
from pocketcxr.inference.runtimes.sessions import OneByOne, check_runtime
from pocketcxr.inference.session import Bundle, load_bundle, load_verified

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")
SHIPPED, INT8 = WEIGHTS_FOLDER / "covid-3class.onnx", WEIGHTS_FOLDER / "int8" / "covid-3class.onnx"


@pytest.fixture
def picture(tmp_path):
    """A drawn chest, 500 x 400."""
    y, x = np.mgrid[0:500, 0:400] / 500
    grey = 0.75 - sum(0.5 * np.exp(-(((x - centre) / 0.12) ** 2 + ((y - 0.5) / 0.3) ** 2)) for centre in (0.22, 0.58))
    path = tmp_path / "drawn.png"
    Image.fromarray(np.uint8(255 * grey.clip(0, 1))).save(path)
    return path


@needs_openvino
def test_openvino_gives_every_answer_within_the_tolerance(picture):
    ours = Predictor(load_bundle(SHIPPED, threads=1)).predict_file(picture)
    theirs = Predictor(load_bundle(SHIPPED, threads=1, runtime="openvino")).predict_file(picture)
    assert theirs.decision == ours.decision
    assert [one.code for one in theirs.reasons] == [one.code for one in ours.reasons]
    assert theirs.probabilities == pytest.approx(ours.probabilities, abs=0.005)
    assert theirs.novelty == pytest.approx(ours.novelty, rel=0.02)
    assert theirs.accepted == pytest.approx(ours.accepted, abs=0.005)
    assert ours.novelty
    if ours.saliency is not None:
        assert np.abs(theirs.saliency - ours.saliency).max() < 0.02 * np.abs(ours.saliency).max()


@needs_openvino
def test_openvino_answers_a_batch_row_by_row():
    images = np.random.default_rng(1).random((3, 1, 224, 224), dtype=np.float32)
    one, other = load_bundle(SHIPPED, threads=1)(images), load_bundle(SHIPPED, threads=1, runtime="openvino")(images)
    for name in ("probabilities", "logits", "embedding", "saliency", "novelty", "input_kind"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-3, abs=1e-3)
    assert np.ptp(other.embedding, axis=0).max() > 0.01  # the rows differ, and are copies


@needs_openvino
def test_openvino_is_refused_with_the_int8_file_whose_probabilities_it_moves():
    with pytest.raises(BundleError, match=r"with openvino, .* differs from the golden vectors by 0\.0.*onnxruntime"):
        load_bundle(INT8, threads=1, runtime="openvino")


@needs_openvino
def test_openvino_is_imported_without_its_telemetry():
    code = (
        "from pocketcxr.inference.runtimes.sessions import import_openvino; import_openvino(); import sys; "
        "from openvino.tools.ovc import telemetry; print(type(telemetry).__module__); "
        "assert sys.modules['openvino_telemetry'] is None"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "openvino.tools.ovc.telemetry_stub"


@needs_openvino
def test_the_command_takes_a_runtime_in_one_process_and_in_several(picture, tmp_path, capsys):
    for workers in ("1", "2"):
        more = [shutil.copy(picture, tmp_path / f"more{k}.png") for k in range(2)]
        paths = [str(path) for path in (picture, *more)]
        assert main(["predict", *paths, "--runtime", "openvino", "--workers", workers, "--format", "jsonl"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3


def test_unknown_and_missing_runtimes_are_refused(monkeypatch, picture, capsys):
    with pytest.raises(ConfigError, match="expected auto or one of onnxruntime, openvino, litert, found 'tvm'"):
        check_runtime("tvm")
    monkeypatch.setattr("pocketcxr.errors.importlib.util.find_spec", lambda name: None)
    assert main(["predict", str(picture), "--runtime", "openvino"]) == 2
    assert "pip install 'pocketcxr[runtimes]'" in capsys.readouterr().err


def test_a_runtime_without_golden_vectors_to_check_it_is_refused(tmp_path):
    path = tmp_path / "alone.onnx"
    shutil.copy(SHIPPED, path)
    with pytest.raises(BundleError, match="cannot read golden vectors"):
        differences_from_golden(load_bundle(SHIPPED), path, "")
    shutil.copy(golden_path(INT8), golden_path(path))
    with pytest.raises(BundleError, match="of another bundle"):
        differences_from_golden(load_bundle(SHIPPED), path, load_bundle(SHIPPED).sha256)


def test_the_tolerance():
    assert not too_different({"probabilities": 0.0049, "logits": 0.019, "input_kind": 0.0})
    assert too_different({"probabilities": 0.0051, "logits": 0.0}).startswith("probabilities differs")
    assert too_different({"probabilities": 0.0, "logits": 0.021}).startswith("logits differs")
    assert not too_different({"saliency": 0.049, "novelty": 0.019})
    assert too_different({"saliency": 0.051}).startswith("saliency differs")
    assert too_different({"novelty": 0.021}).startswith("novelty differs")
    assert too_different({"probabilities": float("nan")})


# ------------------------------------------------------------------------------------------------------------- choosing


@pytest.fixture
def two_runtimes(monkeypatch, tmp_path):
    """ONNX Runtime, and another "runtime" around it: `made` says how, and counts the openings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "installed_runtimes", lambda: ["onnxruntime", "openvino"])
    made = {"delay": 0, "opened": 0}

    def load(file, *, threads, runtime):
        bundle = load_verified(file, threads=threads)
        slow = made["delay"] if runtime == "openvino" else 2
        if runtime == "openvino" and made["delay"] is None:
            raise BundleError("not the bundle's answers")
        made["opened"] += 1

        def score(image):
            names = bundle.outputs
            for _ in range(slow):
                arrays = bundle.session.run(list(names), {"image": image})
            return dict(zip(names, arrays, strict=True))

        return Bundle(bundle.path, bundle.manifest, bundle.sha256, OneByOne(score))

    monkeypatch.setattr(choice, "load_verified", load)
    return made


@pytest.mark.parametrize(("work", "expected"), [(1, "openvino"), (6, "onnxruntime"), (None, "onnxruntime")])
def test_the_faster_one_is_taken_where_it_is_right(two_runtimes, work, expected):
    two_runtimes["delay"] = work  # passes of the network per image; ONNX Runtime makes two
    assert choice.fastest_runtime(read_verified(SHIPPED), threads=1) == expected
    kept = next(iter(json.loads(choice.record_file().read_text()).values()))
    assert kept["runtime"] == expected
    assert set(kept["refused"]) == ({"openvino"} if work is None else set())


def test_a_measurement_is_kept_until_bundle_or_version_changes(two_runtimes, monkeypatch):
    two_runtimes["delay"] = 1
    choice.fastest_runtime(read_verified(SHIPPED), threads=1)
    assert two_runtimes["opened"] == 2
    choice.fastest_runtime(read_verified(SHIPPED), threads=1)
    assert two_runtimes["opened"] == 2
    choice.fastest_runtime(read_verified(INT8), threads=1)
    assert two_runtimes["opened"] == 4
    monkeypatch.setattr(choice, "_version", lambda module: "99")
    choice.fastest_runtime(read_verified(SHIPPED), threads=1)
    assert two_runtimes["opened"] == 6


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1', "null"])
def test_a_damaged_record_costs_a_measurement_only(two_runtimes, text):
    two_runtimes["delay"] = 1
    choice.record_file().parent.mkdir(parents=True)
    choice.record_file().write_text(text)
    assert choice.fastest_runtime(read_verified(SHIPPED), threads=1) == "openvino"


# ------------------------------------------------------------------------------------------------------ converted files


@pytest.fixture
def converted(tmp_path):
    bundle, path = tmp_path / "student.onnx", tmp_path / "student.tflite"
    path.write_bytes(b"weights")
    write_record(path, ConvertedRecord("litert", "abc", {path.name: sha256_of_file(path)}, ["logits"], {}, {}))
    return bundle, path


def test_a_converted_file_is_tied_to_its_bundle(converted):
    bundle, path = converted
    assert read_converted(bundle, "abc", "litert")[0] == path
    with pytest.raises(BundleError, match="converted from another bundle"):
        read_converted(bundle, "abd", "litert")
    path.write_bytes(b"weightz")
    with pytest.raises(BundleError, match="changed since it was converted"):
        read_converted(bundle, "abc", "litert")
    path.with_name("student.tflite.json").write_text('{"format": "litert"}')
    with pytest.raises(BundleError, match="not the record of a converted bundle"):
        read_converted(bundle, "abc", "litert")
    path.unlink()
    path.with_name("student.tflite.json").unlink()
    with pytest.raises(BundleError, match=r"pocketcxr export --bundle student\.onnx --format litert"):
        read_converted(bundle, "abc", "litert")
