"""Weights in eight bits: the same network in fewer bytes, computed in float32, undone by whatever reads weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the extra train")
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from pocketcxr.bundle.contract import INPUT_NAME  # noqa: E402
from pocketcxr.export.export import write_bundle  # noqa: E402
from pocketcxr.export.int8.core import constants, float_core, session  # noqa: E402
from pocketcxr.export.novelty import NoveltyReference  # noqa: E402
from pocketcxr.export.onnx_tail import attach_tail  # noqa: E402
from pocketcxr.export.randomised import randomised_bundle  # noqa: E402
from pocketcxr.export.weight_storage import store_weights  # noqa: E402
from pocketcxr.inference.session import load_bundle  # noqa: E402
from pocketcxr.models.stored_weights import widened  # noqa: E402

SIZE, FEATURES = 32, 160
LAYERS = {  # shape of the weights, strides, pads, groups
    "stem": ((48, 1, 3, 3), 4, 1, 1),
    "expand": ((192, 48, 1, 1), 1, 0, 1),
    "depthwise": ((192, 1, 3, 3), 1, 1, 192),
    "project": ((64, 192, 1, 1), 1, 0, 1),
    "head": ((FEATURES, 64, 1, 1), 1, 0, 1),
}
LARGE = ("expand", "project", "head")  # more than 8,192 weights, dense


def core_model(layers: dict = LAYERS) -> onnx.ModelProto:
    """A MobileNetV2 in small, as the exporter writes it: batch norms folded, normalisation first."""
    generator = np.random.default_rng(1)
    stored = {"mean": np.float32(0.5), "low": np.float32(0), "high": np.float32(6), "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Sub", [INPUT_NAME, "mean"], ["centred"], "sub"),
        helper.make_node("Div", ["centred", "mean"], ["maps.0"], "div"),
    ]
    for number, (name, (shape, stride, pad, group)) in enumerate(layers.items()):
        weight = generator.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        if name == "project":
            weight[:, :3] *= 8  # a few inputs far larger than the rest of their row: what rounding suffers from
        stored[f"{name}.weight"] = weight.astype(np.float32)
        stored[f"{name}.bias"] = generator.normal(0, 0.1, shape[0]).astype(np.float32)
        inputs = [f"maps.{number}", f"{name}.weight", f"{name}.bias"]
        sizes = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.out"], name, **sizes))
        clip = [f"{name}.out", "low", "high"]
        nodes.append(helper.make_node("Clip", clip, [f"maps.{number + 1}"], f"{name}.clip"))
    head = generator.normal(0, 0.3, (2, FEATURES)).astype(np.float32)
    stored |= {"classifier": head, "filter": head[:, :, None, None], "zero": np.zeros(2, dtype=np.float32)}
    last = f"maps.{len(layers)}"
    nodes += [
        helper.make_node("ReduceMean", [last, "axes"], ["embedding"], "pool", keepdims=0),
        helper.make_node("Gemm", ["embedding", "classifier", "zero"], ["logits"], "gemm", transB=1),
        helper.make_node("Conv", [last, "filter", "zero"], ["saliency"], "cam"),
    ]
    shapes = {"logits": ["n", 2], "embedding": ["n", FEATURES], "saliency": ["n", 2, 8, 8]}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["n", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def drawn(number: int, seed: int = 0) -> np.ndarray:
    """Waves of all directions with noise, float32 [n, 1, 32, 32] in [0, 1]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(6.3 * (a * x + b * y + c)) for a, b, c in generator.uniform(-4, 4, (number, 3))]
    noisy = 0.5 + 0.25 * np.stack(waves) + generator.normal(0, 0.1, (number, SIZE, SIZE))
    return np.clip(noisy, 0, 1)[:, None].astype(np.float32)


def logits(model, images):
    return session(model).run(["logits"], {INPUT_NAME: images})[0]


def stored_as(model, kind):
    return {one.name for one in model.graph.initializer if one.data_type == kind}


def names(stored):
    return tuple(name.removesuffix(".weight") for name in stored.layers)


def harm_per_byte(core, name):
    """Change of the logits by one layer on its nearest levels, for each byte that this saves."""
    images, changed, weight = drawn(24), onnx.ModelProto(), constants(core)[f"{name}.weight"]
    changed.CopyFrom(core)
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    one = next(tensor for tensor in changed.graph.initializer if tensor.name == f"{name}.weight")
    one.CopyFrom(numpy_helper.from_array((np.rint(weight / step) * step).astype(np.float32), one.name))
    move = logits(changed, images) - logits(core, images)
    return np.square(move - move.mean(axis=1, keepdims=True)).mean() / weight.size


@pytest.fixture(scope="module")
def core():
    return core_model()


@pytest.fixture(scope="module")
def small(core):
    return store_weights(core, "8-bit", most_bytes=1)


def test_large_dense_layers_are_whole_numbers_and_all_else_is_in_half_precision(core, small):
    assert names(small) == LARGE
    assert small.record == {"stored": "8-bit", "layers_in_8_bits": 3}
    assert stored_as(small.model, TensorProto.INT8) == {f"{name}.int8" for name in small.layers}
    assert stored_as(small.model, TensorProto.FLOAT16) == {
        *(f"{name}.weight.half" for name in ("stem", "depthwise")),
        *("classifier.half", "filter.half"),
    }
    half = store_weights(core, "half").model
    saved = len(half.SerializeToString()) - len(small.model.SerializeToString())
    weights = sum(int(np.prod(LAYERS[name][0])) for name in LARGE)
    assert weights - 4000 < saved < weights
    onnx.checker.check_model(small.model, full_check=True)
    read = {name for node in small.model.graph.node for name in node.input}
    assert {one.name for one in small.model.graph.initializer} <= read


def test_every_channel_has_a_scale_and_its_weights_lie_within_half_a_step(core, small):
    stored, exact = constants(small.model), constants(core)
    for name in small.layers:
        levels, scale = stored[f"{name}.int8"].astype(np.float64), stored[f"{name}.scale"]
        assert scale.shape == (len(levels), 1, 1, 1)
        assert np.abs(levels).max(axis=(1, 2, 3)).min() > 100
        inside = np.abs(levels) < 127  # the largest may be cut off where that pays for the others
        assert (np.abs(levels * scale - exact[name]) <= 0.501 * scale)[inside].all()
        plain = np.abs(exact[name]).max(axis=(1, 2, 3), keepdims=True) / 127
        rounded = np.rint(exact[name] / plain) * plain
        assert np.square(levels * scale - exact[name]).sum() <= 1.0001 * np.square(rounded - exact[name]).sum()


def test_a_channel_without_weights_stays_zero(core):
    changed = onnx.ModelProto()
    changed.CopyFrom(core)
    weight = next(one for one in changed.graph.initializer if one.name == "head.weight")
    values = numpy_helper.to_array(weight).copy()
    values[5] = 0
    weight.CopyFrom(numpy_helper.from_array(values, "head.weight"))
    stored = constants(widened(store_weights(changed, "8-bit", most_bytes=1).model))
    assert (stored["head.weight"][5] == 0).all()
    assert np.isfinite(stored["head.weight"]).all()


def test_answers_stay_near_those_of_float32(core, small):
    images = drawn(64, seed=1)
    before = logits(core, images)
    move = logits(small.model, images) - before
    assert 0 < move.std() < 0.1 * before.std()


def test_the_runtime_folds_the_widening_when_it_loads_the_file(small, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.log_severity_level = 4  # it warns of every file that it writes
    onnxruntime.InferenceSession(small.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx")
    assert {"Cast", "Mul"}.isdisjoint({node.op_type for node in loaded.graph.node})
    assert stored_as(loaded, TensorProto.INT8) | stored_as(loaded, TensorProto.FLOAT16) == set()


def test_only_as_many_layers_are_rounded_as_the_limit_asks_for_and_the_most_harmful_last(core):
    half = len(store_weights(core, "half").model.SerializeToString())
    found = []
    for most, count in ((half - 1, 1), (half - 12_000, 2)):
        stored = store_weights(core, "8-bit", lambda: drawn(24), most_bytes=most)
        assert len(stored.layers) == count
        assert len(stored.model.SerializeToString()) <= most
        found.append(set(names(stored)))
    assert found[0] < found[1]
    assert set(LARGE) - found[1] == {max(LARGE, key=lambda name: harm_per_byte(core, name))}


def test_nothing_is_rounded_or_looked_at_where_half_precision_fits(core):
    half = store_weights(core, "half")
    size = half.model.ByteSize()
    enough = store_weights(core, "8-bit", lambda: pytest.fail("no picture is needed"), most_bytes=size)
    assert enough.record == half.record == {"stored": "half"}
    assert enough.model == half.model
    assert store_weights(core, "float32").model == core
    shallow = {"stem": ((FEATURES, 1, 3, 3), 4, 1, 1)}
    assert store_weights(core_model(shallow), "8-bit", most_bytes=1).record == {"stored": "half"}  # no large layer


def test_the_same_graph_gives_the_same_file_and_stays_as_it_is(core):
    before = core.SerializeToString(deterministic=True)
    pair = [store_weights(core, "8-bit", lambda: drawn(8), most_bytes=60_000).model for _ in range(2)]
    assert pair[0].SerializeToString(deterministic=True) == pair[1].SerializeToString(deterministic=True)
    assert core.SerializeToString(deterministic=True) == before


def test_widened_weights_are_what_the_layers_read(core, small):
    wide, images = widened(small.model), drawn(8, seed=2)
    assert [node.op_type for node in wide.graph.node] == [node.op_type for node in core.graph.node]
    assert {one.name for one in wide.graph.initializer} == {one.name for one in core.graph.initializer}
    assert stored_as(wide, TensorProto.FLOAT) == stored_as(core, TensorProto.FLOAT)
    np.testing.assert_allclose(logits(wide, images), logits(small.model, images), atol=1e-5)
    assert widened(core).graph.initializer[:] == core.graph.initializer[:]


def test_products_that_are_no_widening_stay():
    """A scale that a graph computes, or applies to activations, is arithmetic."""
    nodes = [
        helper.make_node("Cast", ["whole"], ["weight"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "factor"], ["scaled"], "activations"),
        helper.make_node("Mul", ["weight", "scaled"], ["y"], "computed"),
        helper.make_node("Cast", ["whole"], ["count"], "long", to=TensorProto.INT64),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "products",
        [value("x", TensorProto.FLOAT, [3])],
        [value("y", TensorProto.FLOAT, [3]), value("count", TensorProto.INT64, [3])],
        [
            numpy_helper.from_array(np.array([1, -2, 3], dtype=np.int8), "whole"),
            numpy_helper.from_array(np.array([0.5, 1, 2], dtype=np.float32), "factor"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    wide = widened(model)
    assert [node.name for node in wide.graph.node] == ["activations", "computed", "long"]
    run = [session(each).run(None, {"x": np.array([1, 2, 3], dtype=np.float32)}) for each in (model, wide)]
    np.testing.assert_array_equal(run[0][0], run[1][0])


@pytest.fixture(scope="module")
def bundle(small, tiny_manifest, tmp_path_factory):
    """The small network as a sealed bundle."""
    reference = NoveltyReference(
        mean=np.zeros(FEATURES, dtype=np.float32),
        directions=np.eye(FEATURES, 2, dtype=np.float32),
        inverse_spread=np.ones(2, dtype=np.float32),
        inverse_rest=1.0,
        cut_off=100.0,
    )
    model = attach_tail(small.model, temperature=1.0, reference=reference, half_weights=True)
    path = tmp_path_factory.mktemp("bundle") / "small.onnx"
    write_bundle(model, dataclasses.replace(tiny_manifest, temperature=1.0), path)
    return path


def test_the_int8_search_starts_from_the_widened_weights(bundle):
    model, images = onnx.load(bundle), drawn(8, seed=3)
    core = float_core(model)
    assert stored_as(core, TensorProto.INT8) | stored_as(core, TensorProto.FLOAT16) == set()
    np.testing.assert_allclose(logits(core, images), logits(model, images), rtol=1e-3, atol=1e-3)


def test_the_audit_permutes_weights_not_levels(bundle):
    images = drawn(4, seed=4)
    plain = load_bundle(bundle, threads=1)(images)
    versions = {what: predict(images) for what, predict in randomised_bundle(bundle)()}
    np.testing.assert_allclose(versions["classifier"].embedding, plain.embedding, atol=1e-4)
    assert np.abs(versions["classifier"].logits - plain.logits).max() > 0.1
    assert np.abs(versions["all layers"].embedding - plain.embedding).max() > 0.01
