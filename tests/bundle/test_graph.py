"""A graph that takes numbers from elsewhere, or draws them, is refused, wherever in the file it does so."""

from __future__ import annotations

import numpy as np
import pytest

from pocketcxr.bundle.format import seal, sha256_of
from pocketcxr.bundle.graph import check_graph, refuse_external_data
from pocketcxr.errors import BundleError

onnx = pytest.importorskip("onnx", reason="needs the extra train, to write ONNX models")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def external(name="far"):
    """A tensor of one number that lies in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return tensor


def near(name="near"):
    return numpy_helper.from_array(np.ones(1, np.float32), name)


def subgraph(tensor):
    """A graph that gives back one constant."""
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_graph([helper.make_node("Identity", [tensor.name], ["y"])], "inner", [], [out], [tensor])


def sparse(tensor):
    return helper.make_sparse_tensor(tensor, numpy_helper.from_array(np.zeros(1, np.int64), "at"), [4])


def attribute(name, value):
    return helper.make_node("Constant", [], ["y"], **{name: value})


def branches(tensor):
    return helper.make_node("If", ["c"], ["y"], then_branch=subgraph(tensor), else_branch=subgraph(near()))


def add_initialiser(model):
    model.graph.initializer.append(external())


def add_location_alone(model):
    tensor = near("odd")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(tensor)


def add_entries_alone(model):
    tensor = near("odd")
    tensor.external_data.add().key = "location"
    model.graph.initializer.append(tensor)


def add_constant(model):
    model.graph.node.append(attribute("value", external()))


def add_tensors(model):
    model.graph.node.append(helper.make_node("Odd", [], ["y"], values=[near(), external()]))


def add_branch(model):
    model.graph.node.append(branches(external()))


def add_branch_of_a_branch(model):
    inner = subgraph(near())
    inner.node.append(branches(external()))
    model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=subgraph(near())))


def add_sparse_initialiser(model):
    model.graph.sparse_initializer.append(sparse(external()))


def add_sparse_constant(model):
    model.graph.node.append(attribute("sparse_value", sparse(external())))


def add_function(model):
    function = helper.make_function(
        "own", "Far", [], ["y"], [attribute("value", external())], [helper.make_opsetid("", 18)]
    )
    model.functions.append(function)


def add_training(model):
    model.training_info.add().algorithm.initializer.append(external())


OUTSIDE = [
    add_initialiser, add_location_alone, add_entries_alone, add_constant, add_tensors, add_branch,
    add_branch_of_a_branch, add_sparse_initialiser, add_sparse_constant, add_function, add_training,
]  # fmt: skip


@pytest.mark.parametrize("change", OUTSIDE, ids=lambda change: change.__name__)
def test_external_data_is_refused_wherever_it_hides(tiny_model, change):
    model = onnx.load_from_string(tiny_model)
    change(model)
    data = model.SerializeToString()
    with pytest.raises(BundleError, match="external data"):
        refuse_external_data(data, "x.onnx")
    with pytest.raises(BundleError, match=r"^x\.onnx: expected .*, found "):
        check_graph(data, "x.onnx")
    with pytest.raises(BundleError, match=r"^model to seal: expected "):
        seal(data)


def add_if(model):
    model.graph.node.append(branches(near()))


def add_near_sparse_initialiser(model):
    model.graph.sparse_initializer.append(sparse(near()))


def add_near_function(model):
    model.functions.append(helper.make_function("", "Own", [], ["y"], [attribute("value", near())], []))


def add_foreign_node(model):
    model.graph.node.append(helper.make_node("Gelu", ["image"], ["y"], domain="com.microsoft"))


def add_foreign_operators(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def add_noise(model):
    model.graph.node.append(helper.make_node("RandomNormalLike", ["image"], ["y"]))


def add_dropout(model):
    model.graph.node.append(helper.make_node("Dropout", ["image"], ["y"]))


@pytest.mark.parametrize(
    "change, found",
    [
        (add_if, "a graph inside it"),
        (add_near_sparse_initialiser, "a sparse tensor inside it"),
        (add_near_function, "a function"),
        (add_foreign_node, "the domain 'com.microsoft'"),
        (add_foreign_operators, "the domain 'com.microsoft'"),
        (add_noise, "the operator RandomNormalLike"),
        (add_dropout, "the operator Dropout"),
    ],
)
def test_what_no_bundle_needs_is_refused_in_a_bundle_and_not_in_other_models(tiny_model, change, found):
    model = onnx.load_from_string(tiny_model)
    change(model)
    data = model.SerializeToString()
    with pytest.raises(BundleError, match=f"found {found}"):
        check_graph(data, "x.onnx")
    refuse_external_data(data, "x.onnx")


def test_constants_with_their_numbers_inside_are_allowed(tiny_model):
    model = onnx.load_from_string(tiny_model)
    model.graph.node.append(attribute("value", near()))
    model.opset_import[0].domain = "ai.onnx"
    assert len(sha256_of(seal(model.SerializeToString()), "x")) == 64


def test_a_second_graph_field_is_read_too(tiny_model):
    """Protobuf joins repeated occurrences of one message: what stands in the second runs as well."""
    second = onnx.ModelProto()
    second.graph.initializer.append(external())
    with pytest.raises(BundleError, match="external data"):
        seal(tiny_model + second.SerializeToString())


def test_a_field_whose_number_other_readers_would_cut_is_refused(tiny_model):
    """The tag of field 7 plus 2**32: a reader that keeps 32 bits of it sees a graph."""
    tag, rest = bytearray(), 7 << 3 | 2 | 1 << 32
    while rest >= 0x80:
        tag.append(rest & 0x7F | 0x80)
        rest >>= 7
    graph = subgraph(external()).SerializeToString()
    hidden = bytes([*tag, rest, len(graph)]) + graph
    with pytest.raises(BundleError, match="not a complete ONNX file"):
        seal(tiny_model + hidden)


@pytest.mark.parametrize("levels, fits", [(10, True), (11, False)])
def test_levels_of_subgraphs_are_limited(levels, fits):
    """Three messages a level, node, attribute and graph, below the model's graph; 32 in all."""
    graph = subgraph(near())
    for _ in range(levels):
        outer = onnx.GraphProto()
        outer.node.append(helper.make_node("If", ["c"], ["y"], then_branch=graph))
        graph = outer
    data = onnx.ModelProto(graph=graph).SerializeToString()
    if fits:
        refuse_external_data(data, "x.onnx")
    else:
        with pytest.raises(BundleError, match="at most 32 levels"):
            refuse_external_data(data, "x.onnx")


@pytest.mark.parametrize("data", [b"", b"\x3a\x05abc", b"\x3a\x03\x0a\x7f\x00", b"\x80" * 80])
def test_damaged_messages_are_one_line(data):
    with pytest.raises(BundleError, match=r"x\.onnx: not a complete ONNX file"):
        refuse_external_data(data, "x.onnx")


def test_two_manifests_or_two_hashes_are_refused(tiny_model):
    model = onnx.load_from_string(tiny_model)
    model.metadata_props.append(model.metadata_props[0])
    with pytest.raises(BundleError, match=r"expected one pocketcxr\.manifest in the metadata, found two"):
        seal(model.SerializeToString())
