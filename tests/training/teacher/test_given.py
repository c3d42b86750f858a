"""A network of another make teaches: its input, its classes and its output are what it was made with."""

import json

import numpy as np
import pytest
import tiny_runs
import torch
from torch import nn
from torch.nn import functional

from foreign_models import write_brightness_classifier
from foreign_networks import HuggingFaceClassifier, XrvDenseNet
from pocketcxr.bundle.description import ModelDescription
from pocketcxr.errors import ConfigError, PocketCxrError
from pocketcxr.labels import Task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.given import AdaptedNetwork, adapt_teacher
from pocketcxr.training.teacher.sources import fits_directly, hugging_face_description, open_teacher

LABELS = ("normal", "pneumonia")
XRV = {"classes": {"normal": ""}}


def _task(*labels, multilabel=False):
    findings = {label: label for label in labels}
    return Task("t", labels, "" if multilabel else labels[-1], findings, multilabel=multilabel)


TASK = _task(*LABELS)
IMAGES = torch.rand(6, 1, 32, 32, generator=torch.Generator().manual_seed(1))


def _logits(teacher, images=IMAGES):
    with torch.no_grad():
        return teacher.network(images)


def test_a_network_of_torchxrayvision_gets_its_range_and_size_and_answers_by_its_log_odds():
    network = XrvDenseNet()
    teacher = open_teacher(network, TASK, **XRV)
    network.seen.clear()
    outputs = _logits(teacher)
    ((low, high, size),) = network.seen
    assert (-1024 <= low < -900, 900 < high <= 1024, size) == (True, True, 40)
    resized = functional.interpolate(IMAGES, size=(40, 40), mode="bilinear", antialias=True)
    with torch.inference_mode():
        said = network(resized * 2048 - 1024)[:, 1]
    odds = said / (1 - said)  # of pneumonia; normal is "none of the others"
    expected = torch.stack([1 / (1 + odds), odds / (1 + odds)], dim=1)
    torch.testing.assert_close(outputs.logits.softmax(dim=1), expected)
    torch.testing.assert_close(outputs.logits[:, 0], torch.zeros(6))


def test_the_embedding_is_what_the_last_layer_reads():
    network = XrvDenseNet()
    teacher = open_teacher(network, TASK, **XRV)
    assert teacher.embedding_features == 8
    embedding = _logits(teacher).embedding
    probabilities = torch.sigmoid(network.classifier(embedding))[
        :, 1
    ].detach()  # below the threshold: p / 2t, above: linear
    said = torch.where(probabilities < 0.5, probabilities, 1 - (1 - probabilities))
    torch.testing.assert_close(_logits(teacher).logits[:, 1], said.logit(), atol=1e-4, rtol=1e-4)


def test_without_thresholds_its_output_is_taken_as_logits():
    network = XrvDenseNet(thresholds=False, resolution=32)
    outputs = _logits(open_teacher(network, TASK, **XRV))
    with torch.inference_mode():
        torch.testing.assert_close(outputs.logits[:, 1], network(IMAGES * 2048 - 1024)[:, 1])


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (LABELS, {}, "knows no class 'normal'; it knows Atelectasis, Pneumonia, Lung Opacity, Fracture; say"),
        (LABELS, {"normal": "", "pneumonia": "Lung"}, "knows no class 'Lung'"),
        (LABELS, {"normal": "", "flu": "Pneumonia"}, "expected labels of the task"),
        (("normal", "other"), {"normal": "", "other": ""}, "one label may be ''"),
        (("normal", "fracture"), {"normal": ""}, "its output for 'fracture' is the same for every image"),
    ],
)
def test_classes_that_do_not_match_are_refused_with_what_there_is(labels, classes, said):
    with pytest.raises(ConfigError, match=said):
        open_teacher(XrvDenseNet(), _task(*labels), classes=classes)


def test_a_teacher_that_is_certain_of_every_drawn_image_is_no_untrained_one():
    network = XrvDenseNet()
    with torch.no_grad():
        network.classifier.bias.fill_(60.0)  # probabilities of 1, to the last bit
    assert bool((_logits(open_teacher(network, TASK, **XRV)).logits[:, 1] > 10).all())


def test_names_are_compared_without_case_spaces_and_signs():
    description = ModelDescription(labels=("COVID-19", "No Finding", "Viral Pneumonia"), image_size=32, channels=3)
    network = HuggingFaceClassifier(description.labels)
    teacher = open_teacher(
        (network, description), _task("normal", "viral_pneumonia", "covid19"), classes={"normal": "no finding"}
    )
    with torch.inference_mode():
        theirs = network(IMAGES.expand(-1, 3, -1, -1)).logits
    torch.testing.assert_close(_logits(teacher).logits, theirs[:, [1, 2, 0]])
    with pytest.raises(ConfigError, match=r"one label may be '', none of the others, of a teacher whose classes have"):
        open_teacher((network, description), _task("normal", "covid19"), classes={"normal": ""})


def test_a_module_that_is_not_known_needs_its_description():
    with pytest.raises(ConfigError, match="HuggingFaceClassifier: expected a network of torchxrayvision"):
        open_teacher(HuggingFaceClassifier(LABELS), TASK, classes={})


def test_a_hugging_face_folder_says_classes_size_and_normalisation(tmp_path):
    config = {"id2label": {"1": "PNEUMONIA", "0": "NORMAL"}, "num_channels": 3}
    prepared = {"size": {"height": 48, "width": 48}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.2, 0.3, 0.4]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(prepared))
    found = hugging_face_description(tmp_path)
    assert (found.labels, found.image_size, found.channels) == (("NORMAL", "PNEUMONIA"), 48, 3)
    assert (found.mean, found.std, found.activation) == ((0.485, 0.456, 0.406), (0.2, 0.3, 0.4), "softmax")
    several = {**config, "problem_type": "multi_label_classification"}
    (tmp_path / "config.json").write_text(json.dumps(several))
    cropped = {
        **prepared,
        "size": {"shortest_edge": 64},
        "do_center_crop": True,
        "crop_size": 56,
        "do_normalize": False,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(cropped))
    found = hugging_face_description(tmp_path)
    assert (found.image_size, found.mean, found.std, found.activation) == (56, (0.0,), (1.0,), "sigmoid")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**prepared, "rescale_factor": 1 / 127.5}))
    with pytest.raises(ConfigError, match="expected pixels scaled to"):
        hugging_face_description(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"preprocessor_config\.json with size"):
        hugging_face_description(tmp_path)


def test_an_onnx_file_teaches_with_its_description_and_its_embedding(tmp_path):
    path = write_brightness_classifier(tmp_path, labels=("normal", "pneumonia", "covid19"), batch=4, extra="")
    path.with_suffix(".toml").write_text(path.with_suffix(".toml").read_text() + 'embedding = "mean"\n')
    teacher = open_teacher(str(path), _task("covid19", "normal"), classes={})
    outputs = _logits(teacher)
    bright = IMAGES.mean(dim=(1, 2, 3))
    torch.testing.assert_close(outputs.logits, torch.stack([4 * (bright - 0.5), -4 * (bright - 0.5)], dim=1))
    torch.testing.assert_close(outputs.embedding[:, 0], bright)
    other = path.with_suffix(".toml").read_text().replace("image_size = 32", "image_size = 32\nmean = [0.25]")
    path.with_suffix(".toml").write_text(other)
    again = open_teacher(str(path), _task("covid19", "normal"), classes={})
    assert again.sha256 != teacher.sha256  # settings are part of what its cache is kept under


def test_a_checkpoint_of_this_project_of_another_size_and_order_teaches_through_the_adapter(teacher):
    labels = ("covid19", "normal", "pneumonia")
    assert fits_directly(str(teacher), _task("normal", "pneumonia", "covid19"), image_size=tiny_runs.SIZE)
    assert not fits_directly(str(teacher), _task(*labels), image_size=tiny_runs.SIZE)
    given = open_teacher(str(teacher), _task(*labels), classes={})
    network = load_network(teacher)[0]
    with torch.inference_mode():
        own = network(IMAGES)
    torch.testing.assert_close(_logits(given).logits, own.logits[:, [2, 0, 1]])
    torch.testing.assert_close(_logits(given).embedding, own.embedding)
    assert _logits(given, torch.rand(2, 1, 64, 64)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", r"an entry point pocketcxr\.teachers \(installed: none\), found 'nothing'"),
        ("python:Network", r"Network was given in Python and is in no file; give it again"),
        ("no/such.onnx", r"no/such\.onnx"),
        ("no/such.safetensors", r"no checkpoint at no/such\.safetensors"),
    ],
)
def test_what_is_no_teacher_is_refused(name, said):
    with pytest.raises(PocketCxrError, match=said):
        open_teacher(name, TASK, classes={})


class _Columns(nn.Module):
    """Gives fixed functions of the mean grey value."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.slope = kind, nn.Parameter(torch.tensor(2.0))

    def forward(self, images):
        bright = images.mean(dim=(1, 2, 3))
        p = torch.sigmoid(self.slope * bright)
        return {
            "one": p,
            "two": torch.stack([1 - p, p], dim=1),
            "wrong": torch.stack([p, p], dim=1),
            "many": torch.stack([p, p, p], dim=1),
            "nan": torch.stack([p, p * torch.nan], dim=1),
            "beyond": torch.stack([p - 2, p], dim=1),
        }[self.kind]


@pytest.mark.parametrize("kind", ["one", "two"])
def test_probabilities_become_logits_with_the_same_softmax(kind):
    description = ModelDescription(labels=LABELS, positive="pneumonia", image_size=32, activation="none")
    teacher = open_teacher((_Columns(kind), description), TASK, classes={})
    p = torch.sigmoid(2 * IMAGES.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(_logits(teacher).logits.softmax(dim=1)[:, 1], p)
    assert teacher.embedding_features == 0


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("wrong", "probabilities that sum to 1"),
        ("many", "expected an output of 2 columns"),
        ("nan", "expected finite outputs|probabilities"),
        ("beyond", "means probabilities, found others"),
    ],
)
def test_an_output_that_is_not_what_was_said_is_refused_before_anything_is_trained(kind, said):
    description = ModelDescription(labels=LABELS, positive="pneumonia", image_size=32, activation="none")
    with pytest.raises(ConfigError, match=said):
        open_teacher((_Columns(kind), description), TASK, classes={})


def test_a_module_without_weights_cannot_be_told_from_another():
    description = ModelDescription(labels=LABELS, positive="pneumonia", image_size=32)
    with pytest.raises(ConfigError, match="expected a module with weights"):
        adapt_teacher(nn.Identity(), description, TASK, classes={}, about={"name": "x"})


def test_weights_name_the_cache():
    first, same, other = (open_teacher(XrvDenseNet(seed=seed), TASK, **XRV).sha256 for seed in (0, 0, 1))
    assert first == same
    assert first != other


def test_its_views_are_cached_and_teach_a_student_as_when_it_runs_in_every_step(dataset, tmp_path):
    network = XrvDenseNet()
    teacher = open_teacher(network, dataset.task, classes={"normal": "", "covid19": "Lung Opacity"})
    views = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path / "views")
    assert views.embedding_features == 8
    positions = training_positions(dataset, unlabelled=True)[:5]
    logits, embedding = views.lookup(positions, np.zeros(5, np.int64))
    assert embedding is not None
    calls = len(network.seen)
    again = tiny_runs.cache_tiny_views(dataset, teacher, tmp_path / "views")
    assert len(network.seen) == calls
    torch.testing.assert_close(again.lookup(positions, np.zeros(5, np.int64))[0], logits)
    cached = tiny_runs.train_tiny_student(dataset, tmp_path / "cached", tiny_runs.STUDENT, views=views)
    online = tiny_runs.train_tiny_student(dataset, tmp_path / "online", tiny_runs.STUDENT, teacher=teacher)
    ours, theirs = (load_network(path)[0](IMAGES).logits for path in (cached, online))
    torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=0)  # the cache keeps embeddings in half precision


def test_adapted_images_keep_their_channels_last_layout():
    description = ModelDescription(labels=LABELS, positive="pneumonia", image_size=32, channels=3, layout="NHWC")

    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, images):
            assert images.shape[1:] == (32, 32, 3)
            return images.mean(dim=(1, 2, 3))[:, None] * self.weight

    outputs = AdaptedNetwork(Last(), description, (1, 0))(IMAGES)
    assert outputs.logits.shape == (6, 2)


def test_several_findings_need_a_sigmoid_each_and_are_its_logits():
    several = _task("lung_opacity", "pneumonia", multilabel=True)
    network = XrvDenseNet(thresholds=False, resolution=32)
    outputs = _logits(open_teacher(network, several, classes={}))
    with torch.no_grad():
        torch.testing.assert_close(outputs.logits, network(IMAGES * 2048 - 1024)[:, [3, 1]])
    with pytest.raises(ConfigError, match="where an image has one class"):
        open_teacher(network, several, classes={"lung_opacity": ""})
    exclusive = ModelDescription(labels=("Pneumonia", "Lung Opacity"), positive="Pneumonia", image_size=32, channels=3)
    with pytest.raises(ConfigError, match="whose classes exclude each other"):
        open_teacher((HuggingFaceClassifier(LABELS), exclusive), several, classes={})
