"""A bundle's student goes on learning: its backbone comes back out of the exported file."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.errors import BundleError, CheckpointError  # noqa: E402
from pocketcxr.evaluation.config import EvaluationConfig  # noqa: E402
from pocketcxr.export.export import export_student  # noqa: E402
from pocketcxr.models.batch_norm import unfold_batch_norm  # noqa: E402
from pocketcxr.models.networks import NetworkSpec, build_network  # noqa: E402
from pocketcxr.models.weights import prepare_backbone  # noqa: E402

NAME = "mobilenetv2_035"
SIZE = 32


@pytest.fixture(scope="module")
def images():
    return torch.rand(64, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[(0.4, 0.3), (0.5, 0.5)], ids=["mean is not std", "mean equals std"])
def normalisation(request):
    """The exporter keeps one constant where two are equal."""
    return request.param


@pytest.fixture(scope="module")
def trained(case, images, normalisation):
    """A student whose batch norms have statistics, scales and shifts of their own."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec("student", (NAME,), case.spec.labels, SIZE))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
    network.backbone.normalise(*normalisation)
    with torch.no_grad():
        for _ in range(30):
            network.train()(images)  # running statistics of these images
    return network.eval()


@pytest.fixture(scope="module")
def bundle(case, trained, tmp_path_factory):
    return export_student(
        trained,
        NetworkSpec("student", (NAME,), case.spec.labels, SIZE),
        case.dataset,
        out=tmp_path_factory.mktemp("bundle") / "toy.onnx",
        evaluation=EvaluationConfig(),
        name="toy",
        version="1",
        licence="CC0-1.0",
        records={},
        progress=False,
    )


def test_features_are_those_of_the_exported_student(trained, bundle, images, normalisation):
    backbone, record = prepare_backbone(NAME, str(bundle), image_size=SIZE)
    assert record.source == "toy.onnx"
    with torch.no_grad():
        wanted, found = trained.backbone(images), backbone.eval()(images)
    scale = float(wanted.abs().max())
    assert scale > 0.01
    assert float((found - wanted).abs().max()) < 0.03 * scale  # weights were stored in half precision
    assert float((found - wanted).abs().mean()) < 0.002 * scale
    assert (float(backbone.mean), float(backbone.std)) == pytest.approx(normalisation, rel=1e-6)


def test_it_can_be_trained_on_once_the_statistics_are_restored(bundle, images):
    backbone, _ = prepare_backbone(NAME, str(bundle), image_size=SIZE)
    with torch.no_grad():
        before = backbone.eval()(images)
        assert unfold_batch_norm(backbone, images)
        after = backbone.eval()(images)
        training = backbone.train()(images)
    scale = float(before.abs().max())
    assert float((after - before).abs().max()) < 1e-3 * scale
    assert float((training - before).abs().mean()) < 0.05 * scale  # a batch's own statistics, as measured on it


def test_another_size_of_image_is_welcome(bundle):
    backbone, _ = prepare_backbone(NAME, str(bundle), image_size=64)
    with torch.no_grad():
        assert np.isfinite(backbone.eval()(torch.rand(2, 1, 64, 64)).numpy()).all()


def test_a_bundle_of_another_network_is_refused(bundle):
    with pytest.raises(CheckpointError, match=r"its student is no float mobilenetv2_100"):
        prepare_backbone("mobilenetv2_100", str(bundle), image_size=SIZE)


def test_a_bundle_that_was_changed_is_refused(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "changed.onnx").write_bytes(data)
    with pytest.raises(BundleError, match="changed after it was sealed"):
        prepare_backbone(NAME, str(tmp_path / "changed.onnx"), image_size=SIZE)
