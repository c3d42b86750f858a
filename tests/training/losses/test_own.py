"""Losses, students and teachers of installed packages are found by entry point, and tried out before training."""

import sys

import pytest
import tiny_runs
import torch
from torch import nn

from pocketcxr.api import read_settings
from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.labels import load_task
from pocketcxr.models.backbones import build_backbone
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.models.networks import NetworkSpec, build_network
from pocketcxr.own_parts import name_in_python
from pocketcxr.pipeline.preflight import check_experiment
from pocketcxr.training.config import StudentConfig, load_experiment
from pocketcxr.training.losses.distillation import check_without_embedding, needs_teacher
from pocketcxr.training.losses.own import check_own, own_loss
from pocketcxr.training.teacher.sources import open_teacher

PACKAGE = """
import torch
from torch import nn
from torch.nn import functional
from pocketcxr.bundle.description import ModelDescription

def margin(student_logits, labels):
    known = labels >= 0
    return functional.multi_margin_loss(student_logits[known], labels[known])

def copied(student_logits, teacher_logits, temperature):
    return ((student_logits - teacher_logits) / temperature).square().mean()

class Mapped(nn.Module):
    def __init__(self, student_features, teacher_features, classes):
        super().__init__()
        self.map = nn.Linear(student_features, teacher_features)

    def forward(self, student_embedding, teacher_embedding):
        return (self.map(student_embedding) - teacher_embedding).square().mean()

def wrong_argument(student_logits, patient_names):
    return student_logits.sum()

def vector(student_logits):
    return student_logits.sum(dim=1)

def constant(labels):
    return torch.zeros(())

def detached(student_logits):
    return student_logits.detach().sum()

def endless(student_logits):
    return student_logits.sum() * torch.inf

def broken(student_logits):
    raise RuntimeError("no such thing")

def of_embedding(student_embedding):
    return student_embedding.square().mean()

class Tiny(nn.Module):
    def __init__(self, image_size):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3))

    def forward(self, images):
        return self.layers(images)

def pooled():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def teacher():
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    return network, ModelDescription(labels=("Normal", "Pneumonia"), positive="Pneumonia", image_size=32)
"""
LOSSES = ("margin", "copied", "Mapped", "wrong_argument", "vector", "constant", "detached", "endless", "broken",
          "of_embedding", "missing")  # fmt: skip
SIZE = tiny_runs.SIZE


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """An installed package, `cxrparts` 1.2, that adds losses, students and a teacher."""
    site = tmp_path / "site"
    about = site / "cxrparts-1.2.dist-info"
    about.mkdir(parents=True)
    (site / "cxrparts.py").write_text(PACKAGE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cxrparts\nVersion: 1.2\n")
    (about / "top_level.txt").write_text("cxrparts\n")
    lines = ["[pocketcxr.losses]", *(f"{name} = cxrparts:{name}" for name in LOSSES)]
    lines += ["[pocketcxr.students]", "tiny = cxrparts:Tiny", "pooled = cxrparts:pooled"]
    lines += ["[pocketcxr.teachers]", "two-class = cxrparts:teacher"]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("cxrparts", None)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_network(NetworkSpec("student", (tiny_runs.BACKBONE,), ("a", "b", "c"), SIZE))


def test_a_loss_says_by_its_arguments_what_it_needs():
    assert own_loss("margin").takes == ("student_logits", "labels")
    assert not needs_teacher({"margin": 1.0, "ce": 1.0})
    assert needs_teacher({"copied": 1.0})
    assert not needs_teacher({"margin": 1.0, "copied": 0.0})
    check_without_embedding({"copied": 1.0})
    with pytest.raises(ConfigError, match="'Mapped' cannot be used with teacher"):
        check_without_embedding({"Mapped": 1.0})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong_argument", "expected arguments among student_logits, .*, found patient_names"),
        ("missing", r"pocketcxr\.losses: 'missing' \(cxrparts:missing\) cannot be loaded"),
        ("margim", r"losses: unknown part 'margim'; did you mean margin\?: expected some of ce, kd"),
        ("os:system", "losses: os:system: expected arguments among"),
        ("no_such_module:loss", "import no_such_module and go on from there"),
    ],
)
def test_a_loss_that_cannot_be_used_is_refused_by_name(name, said):
    with pytest.raises(ConfigError, match=said):
        check_experiment(load_experiment(None, (f'student.losses={{"{name}"=1.0}}',)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vector", r"expected a finite scalar tensor, found \[4\]"),
        ("endless", "expected a finite scalar tensor"),
        ("constant", "its gradient does not reach the student"),
        ("detached", "its gradient does not reach the student"),
        ("broken", "broken fails on four random images: no such thing"),
        ("of_embedding", "of_embedding leaves the classifier untrained"),
    ],
)
def test_a_loss_that_would_fail_or_teach_nothing_is_refused_before_training(name, said, student):
    with pytest.raises(ConfigError, match=said):
        check_own([own_loss(name)], student, image_size=SIZE, teacher_features=0, classified=False)


def test_losses_that_work_pass_the_trial(student):
    own = [own_loss(name) for name in ("margin", "copied", "Mapped", "of_embedding")]
    check_own(own, student, image_size=SIZE, teacher_features=24, classified=False)


def test_losses_of_a_package_train_a_student_and_its_record_names_the_package(dataset, teacher, tmp_path):
    config = StudentConfig(**{**vars(tiny_runs.STUDENT), "losses": {"margin": 1.0, "copied": 0.5, "Mapped": 0.1}})
    path = tiny_runs.train_tiny_student(dataset, tmp_path / "run", config, teacher=teacher)
    own = read_record(path)["own"]
    assert set(own) == {"margin", "copied", "Mapped"}
    assert {(one["package"], one["version"]) for one in own.values()} == {("cxrparts", "1.2")}
    state = load_network(path)[0].state_dict()
    assert not any("map" in name for name in state)  # the loss's own weights are not exported
    again = tiny_runs.train_tiny_student(dataset, tmp_path / "again", config, teacher=teacher)
    torch.testing.assert_close(load_network(again)[0].state_dict(), state)


def test_a_run_does_not_go_on_with_a_loss_that_has_changed(dataset, tmp_path, monkeypatch):
    config = StudentConfig(**{**vars(tiny_runs.STUDENT), "losses": {"margin": 1.0}, "epochs": 1})
    tiny_runs.train_tiny_student(dataset, tmp_path / "run", config)
    file = tmp_path / "site" / "cxrparts.py"
    file.write_text(PACKAGE.replace("functional.multi_margin_loss(", "2.0 * functional.multi_margin_loss("))
    sys.modules.pop("cxrparts")
    with pytest.raises(CheckpointError, match="own"):
        tiny_runs.train_tiny_student(dataset, tmp_path / "run", config)


def test_a_student_of_a_package_gets_our_head_and_is_rebuilt_from_its_checkpoint(dataset, tmp_path):
    config = StudentConfig(**{**vars(tiny_runs.BASELINE), "backbone": "tiny", "weights": "pretrained", "epochs": 1})
    path = tiny_runs.train_tiny_student(dataset, tmp_path / "run", config)
    network, spec, record = load_network(path)
    assert spec.backbones == ("tiny",)
    assert record["own"]["tiny"]["package"] == "cxrparts"
    outputs = network(torch.rand(2, 1, SIZE, SIZE))
    assert outputs.logits.shape == (2, 3)
    maps = network.saliency(outputs.features)
    torch.testing.assert_close(maps.mean(dim=(2, 3)) + network.classifier.bias, outputs.logits)


def test_a_student_sees_images_as_they_are():
    backbone = build_backbone("tiny", image_size=SIZE)
    images = torch.rand(2, 1, SIZE, SIZE)
    torch.testing.assert_close(backbone.feature_map(images), backbone.trunk.network(images))


def test_a_student_without_a_map_says_what_it_would_lose():
    with pytest.raises(ConfigError, match=r"expected a feature map \[2, c, h, w\] .* heatmaps, which every bundle has"):
        build_backbone("pooled", image_size=SIZE)
    with pytest.raises(ConfigError, match=r"expected a class of torch\.nn\.Module"):
        build_backbone("os:getcwd", image_size=SIZE)
    with pytest.raises(ConfigError, match="nearest names: tiny"):
        build_backbone("tinny", image_size=SIZE)


def test_a_teacher_of_a_package_is_found_by_its_name():
    found = open_teacher("two-class", load_task("pneumonia,normal"), classes={})
    assert (found.about["entry_point"], found.embedding_features) == ("cxrparts:teacher", 8)


def test_parts_of_python_are_named_by_where_they_stand(tmp_path):
    settings = {"student.losses": {"ce": 1.0, top_loss: 0.5}, "student.backbone": TopStudent}
    student = read_settings(tmp_path / "none", settings=settings).student
    assert student.losses == {"ce": 1.0, f"{__name__}:top_loss": 0.5}
    assert own_loss(f"{__name__}:top_loss").part is top_loss
    assert isinstance(build_backbone(student.backbone, image_size=SIZE).trunk.network, TopStudent)

    def inside(student_logits):
        return student_logits.sum()

    for part in (inside, lambda student_logits: student_logits.sum()):
        with pytest.raises(ConfigError, match="at the top of a module"):
            name_in_python(part)


def top_loss(student_logits):
    return student_logits.square().mean()


class TopStudent(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 4, 3)
