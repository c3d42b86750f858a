"""What the networks are made of, seen from outside: their sizes, their outputs, what is refused."""

import dataclasses

import pytest
import torch
from torch import nn

from pocketcxr.errors import ConfigError
from pocketcxr.models.backbones import build_backbone
from pocketcxr.models.networks import NetworkSpec, Student, Teacher, build_network

STUDENT = NetworkSpec(
    kind="student", backbones=("mobilenetv2_035",), labels=("a", "b", "c"), image_size=64, dropout=0.1
)


def test_of_vgg_only_the_convolutions_are_kept():
    backbone = build_backbone("vgg19_bn", image_size=32)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 20_034_240  # of timm's 139.6 M
    assert (backbone.features, backbone.has_map) == (512, True)


def test_a_network_takes_0_to_1_and_normalises_inside():
    backbone = build_backbone("test_resnet.r160_in1k", image_size=32).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        inside = backbone.trunk.forward_features((images - 0.5) / 0.5).mean(dim=(2, 3))
        assert torch.equal(backbone(images), inside)
        backbone.normalise(0.0, 1.0)
        assert torch.allclose(backbone(images), backbone.trunk.forward_features(images).mean(dim=(2, 3)))


def test_the_average_of_an_activation_map_is_the_logit_without_its_bias():
    torch.manual_seed(0)
    student = build_network(STUDENT)
    assert isinstance(student, Student)
    with torch.no_grad():
        outputs = student.eval()(torch.rand(3, 1, 64, 64))
        maps = student.saliency(outputs.features)
    assert maps.shape == (3, 3, 2, 2)
    assert torch.allclose(maps.mean(dim=(2, 3)) + student.classifier.bias, outputs.logits, atol=1e-5)
    assert torch.allclose(outputs.embedding, outputs.features.mean(dim=(2, 3)))


def test_a_teacher_fuses_the_pooled_features_of_any_timm_networks():
    spec = NetworkSpec(
        kind="teacher",
        backbones=("test_resnet.r160_in1k", "test_vit.r160_in1k"),
        labels=("a", "b"),
        image_size=160,
        embedding_features=24,
    )
    teacher = build_network(spec)
    assert isinstance(teacher, Teacher)
    assert [backbone.has_map for backbone in teacher.backbones] == [True, False]
    with torch.no_grad():
        outputs = teacher.eval()(torch.rand(2, 1, 160, 160))
    assert outputs.logits.shape == (2, 2)
    assert outputs.embedding.shape == (2, 24)
    assert (outputs.embedding >= 0).all()
    widths = [backbone.features for backbone in teacher.backbones]
    assert outputs.features.shape == (2, sum(widths))
    assert torch.allclose(outputs.features[:, widths[0] :], teacher.backbones[1](torch.zeros(2, 1, 160, 160))) is False


def test_a_network_with_an_inner_size_sees_the_images_resized_inside():
    spec = NetworkSpec("backbone", ("test_resnet.r160_in1k",), ("a", "b"), image_size=64, inner_size=48)
    torch.manual_seed(0)
    network = build_network(spec).eval()
    torch.manual_seed(0)
    plain = build_network(dataclasses.replace(spec, image_size=48, inner_size=0)).eval()
    images = torch.rand(3, 1, 64, 64)
    small = nn.functional.interpolate(images, size=(48, 48), mode="bilinear", antialias=True)
    with torch.no_grad():
        assert torch.equal(network(images).logits, plain(small).logits)
        assert torch.allclose(network(images[:1]).logits, plain(small).logits[:1], atol=1e-5)
        assert not torch.allclose(plain(images).logits, plain(small).logits, atol=1e-3)


def test_a_specification_without_an_inner_size_reads_as_in_earlier_versions():
    assert "inner_size" not in STUDENT.table()
    spec = dataclasses.replace(STUDENT, kind="backbone", inner_size=48)
    assert NetworkSpec(**spec.table()) == spec
    assert (spec.image_size, spec.backbone_size, STUDENT.backbone_size) == (64, 48, 64)
    with pytest.raises(ConfigError, match="inner_size: expected 0 for a student"):
        dataclasses.replace(STUDENT, inner_size=48)


def test_a_student_without_a_feature_map_is_refused():
    spec = NetworkSpec(kind="student", backbones=("test_vit.r160_in1k",), labels=("a", "b"), image_size=160)
    with pytest.raises(ConfigError, match="ends in no feature map"):
        build_network(spec)


def test_an_unknown_backbone_is_refused_with_near_names():
    with pytest.raises(ConfigError, match=r"'mobilnetv2_100' is unknown to timm .*mobilenetv2_100"):
        build_backbone("mobilnetv2_100", image_size=32)


def test_an_image_too_small_for_the_backbone_is_refused():
    with pytest.raises(ConfigError, match=r"vgg19_bn.* gives no features for 8 px"):
        build_backbone("vgg19_bn", image_size=8)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pupil"}, "kind: expected one of"),
        ({"backbones": ("mobilenetv2_035", "vgg19_bn")}, "backbones: a student has exactly one"),
        ({"backbones": ()}, "backbones: a student has exactly one"),
    ],
)
def test_a_specification_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        NetworkSpec(**{**vars(STUDENT), **fields})


def test_dropout_acts_in_training_only():
    student = build_network(STUDENT)
    assert any(isinstance(module, nn.Dropout) and module.p == 0.1 for module in student.modules())
    images = torch.rand(2, 1, 64, 64)
    student.eval()
    with torch.no_grad():
        assert torch.equal(student(images).logits, student(images).logits)
