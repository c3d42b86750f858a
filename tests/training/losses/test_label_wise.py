"""Losses of findings by themselves: unknown labels take no part, equal answers cost nothing, others are refused."""

from __future__ import annotations

import math

import pytest
import torch

from pocketcxr.errors import ConfigError
from pocketcxr.training.losses.distillation import check_losses, distillation_losses
from pocketcxr.training.losses.parts import label_wise_kd_loss, label_wise_loss


def test_the_loss_is_the_mean_over_the_labels_that_are_known():
    logits = torch.tensor([[0.0, 2.0, 9.0], [-1.0, 7.0, 7.0]])
    labels = torch.tensor([[1, 0, -1], [0, -2, -1]])
    expected = (math.log(2) + math.log1p(math.exp(2)) + math.log1p(math.exp(-1))) / 3
    assert float(label_wise_loss(logits, labels)) == pytest.approx(expected, rel=1e-6)
    smoothed = (math.log(2) + 0.95 * math.log1p(math.exp(2)) + 0.05 * math.log1p(math.exp(-2))) / 2
    found = label_wise_loss(logits[:1], labels[:1], label_smoothing=0.1)
    assert float(found) == pytest.approx(smoothed, rel=1e-6)


def test_labels_that_are_not_known_have_no_gradient_and_a_batch_without_any_costs_nothing():
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.full((4, 3), -1)
    loss = label_wise_loss(logits, labels)
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_distillation_costs_nothing_where_the_student_is_the_teacher_and_else_the_binary_divergence():
    teacher = torch.tensor([[0.0, 4.0]])
    assert float(label_wise_kd_loss(teacher, teacher, temperature=4.0)) == 0
    student = torch.tensor([[2.0, 4.0]])
    p, q = 0.5, 1 / (1 + math.exp(-1))  # of the first label at temperature 2; the second agrees
    divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert float(label_wise_kd_loss(student, teacher, temperature=2.0)) == pytest.approx(divergence / 2 * 4, rel=1e-6)


def test_labels_of_several_findings_choose_the_parts_for_each_label_by_itself():
    student, teacher, labels = torch.randn(5, 3), torch.randn(5, 3), torch.tensor([[1, 0, -1]] * 5)
    found = distillation_losses(
        {"ce": 0.5, "kd": 2.0}, student_logits=student, labels=labels, teacher_logits=teacher, temperature=3.0
    )
    assert float(found["ce"]) == pytest.approx(0.5 * float(label_wise_loss(student, labels)))
    assert float(found["kd"]) == pytest.approx(2 * float(label_wise_kd_loss(student, teacher, temperature=3.0)))


@pytest.mark.parametrize("name", ["standardised", "dkd", "multilevel", "dist"])
def test_losses_that_need_classes_which_exclude_each_other_are_refused(name):
    check_losses({"ce": 1.0, name: 1.0}, 3)
    with pytest.raises(ConfigError, match=f"'{name}' makes no sense for several findings per image: .*; use kd"):
        check_losses({"ce": 1.0, name: 1.0}, 3, multilabel=True)
    check_losses({"ce": 1.0, "kd": 1.0, "embedding": 1.0, "similarity": 1.0, "contrastive": 1.0}, 2, multilabel=True)
