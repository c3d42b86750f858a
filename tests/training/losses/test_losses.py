"""Distillation losses against formulas written again in NumPy, hand-computed values and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

from pocketcxr.errors import ConfigError
from pocketcxr.training.losses import parts
from pocketcxr.training.losses.distillation import (
    LOSSES,
    build_projection,
    check_losses,
    check_without_embedding,
    distillation_losses,
    needs_projection,
    needs_teacher,
)

T = 3.0
LABELS = torch.tensor([0, 2, 1, 3, 0, 1])
ZERO_WHEN_EQUAL = {
    "kd": lambda a, b: parts.kd_loss(a, b, temperature=T),
    "standardised": lambda a, b: parts.standardised_loss(a, b, temperature=T),
    "dkd": lambda a, b: parts.decoupled_loss(a, b, LABELS[: len(a)], temperature=T),
    "multilevel": parts.multilevel_loss,
    "dist": lambda a, b: parts.correlation_loss(a, b, temperature=T),
    "embedding": parts.embedding_loss,
    "similarity": parts.similarity_loss,
}


def random_pair(columns: int = 4, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, 6, columns, generator=generator) * 3)


def softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def kl(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum(axis=1).mean())


def numpy_kd(s, t, temperature=T):
    return kl(softmax(t / temperature), softmax(s / temperature)) * temperature**2


def numpy_standardised(s, t):
    def z(x):
        return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)

    return numpy_kd(z(s), z(t))


def numpy_dkd(s, t, alpha=1.0, beta=8.0):
    total = 0.0
    for student, teacher, label in zip(softmax(s / T), softmax(t / T), LABELS.numpy(), strict=True):
        b_s, b_t = (np.array([p[label], 1 - p[label]]) for p in (student, teacher))
        o_s, o_t = (np.delete(p, label) / (1 - p[label]) for p in (student, teacher))
        total += alpha * (b_t * np.log(b_t / b_s)).sum() + beta * (o_t * np.log(o_t / o_s)).sum()
    return total / len(s) * T**2


def numpy_multilevel(s, t):
    total = 0.0
    for temperature in (2.0, 3.0, 4.0, 5.0, 6.0):
        p, q = softmax(s / temperature), softmax(t / temperature)
        total += numpy_kd(s, t, temperature)
        total += np.linalg.norm(p @ p.T - q @ q.T) ** 2 / len(s)
        total += np.linalg.norm(p.T @ p - q.T @ q) ** 2 / s.shape[1]
    return total / 5


def numpy_dist(s, t):
    p, q = softmax(s / T), softmax(t / T)
    inter = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p, q, strict=True)])
    intra = np.mean([1 - np.corrcoef(a, b)[0, 1] for a, b in zip(p.T, q.T, strict=True)])
    return (inter + intra) * T**2


def numpy_embedding(s, t):
    return np.mean([1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(s, t, strict=True)])


def numpy_similarity(s, t):
    def g(x):
        gram = x @ x.T
        return gram / np.linalg.norm(gram, axis=1, keepdims=True)

    return np.linalg.norm(g(s) - g(t)) ** 2 / len(s) ** 2


NUMPY = {
    "kd": numpy_kd,
    "standardised": numpy_standardised,
    "dkd": numpy_dkd,
    "multilevel": numpy_multilevel,
    "dist": numpy_dist,
    "embedding": numpy_embedding,
    "similarity": numpy_similarity,
}


@pytest.mark.parametrize("name", NUMPY)
def test_agrees_with_the_formula_written_again_in_numpy(name):
    student, teacher = random_pair()
    expected = NUMPY[name](student.double().numpy(), teacher.double().numpy())
    assert expected > 1e-3
    assert ZERO_WHEN_EQUAL[name](student, teacher).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ZERO_WHEN_EQUAL)
def test_is_zero_when_the_student_equals_the_teacher_and_positive_otherwise(name):
    student, teacher = random_pair(seed=1)
    assert ZERO_WHEN_EQUAL[name](teacher, teacher).item() == pytest.approx(0, abs=1e-5)
    assert ZERO_WHEN_EQUAL[name](student, teacher).item() > 1e-2


def test_contrastive_agrees_with_infonce_in_numpy():
    student, teacher = random_pair(columns=8)
    s, t = (x.double().numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (student, teacher))
    cosines = s @ t.T / 0.07
    expected = -np.mean([np.log(softmax(c)[range(6), range(6)]).mean() for c in (cosines, cosines.T)])
    assert parts.contrastive_loss(student, teacher).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("loss", [parts.contrastive_loss, parts.embedding_loss, parts.similarity_loss])
def test_the_length_of_embeddings_does_not_matter(loss):
    student, teacher = random_pair(columns=8)
    expected = loss(student, teacher).item()
    for scales in ((0.01, 1.0), (1.0, 0.01), (100.0, 0.05)):
        scaled = loss(student * scales[0], teacher * scales[1]).item()
        assert scaled == pytest.approx(expected, rel=1e-4), scales


def test_contrastive_is_lowest_when_every_image_finds_itself():
    teacher = torch.eye(6)
    aligned = parts.contrastive_loss(teacher * 5, teacher).item()
    assert aligned == pytest.approx(math.log1p(5 * math.exp(-1 / 0.07)), abs=1e-6)
    assert parts.contrastive_loss(teacher.roll(1, 0), teacher).item() > aligned + 10


def test_an_image_drawn_twice_is_no_negative_of_itself():
    student, teacher = random_pair(columns=8)
    student, teacher = torch.cat([student, student[:1]]), torch.cat([teacher, teacher[:1]])
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 0])
    plain, masked = parts.contrastive_loss(student, teacher), parts.contrastive_loss(student, teacher, ids)
    assert masked.item() < plain.item()
    alone = parts.contrastive_loss(torch.eye(2)[:1].repeat(2, 1), torch.eye(2)[:1].repeat(2, 1), torch.tensor([4, 4]))
    assert alone.item() == pytest.approx(0, abs=1e-6)


def test_hand_computed_values():
    even, sure = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])  # (1/2, 1/2) and (3/4, 1/4)
    assert parts.cross_entropy_loss(sure, torch.tensor([0])).item() == pytest.approx(-math.log(0.75))
    assert parts.kd_loss(even, sure, temperature=1.0).item() == pytest.approx(
        0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    )
    # softened by 2: logits 2 log 3 become log 3, and the whole is times 4
    assert parts.kd_loss(even, 2 * sure, temperature=2.0).item() == pytest.approx(
        4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    )
    assert parts.embedding_loss(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.eye(2)[[0, 0]]).item() == pytest.approx(
        0.5
    )
    # rows of the student's normalised Gram matrix are (1, 0), (0, 1); of the teacher's (1, 1)/sqrt 2
    assert parts.similarity_loss(torch.eye(2), torch.ones(2, 3)).item() == pytest.approx(
        (2 * (1 - 0.5**0.5) ** 2 + 2 * 0.5) / 4
    )


def test_binary_loss_by_hand_over_known_images_only():
    logits = torch.tensor([math.log(3), -math.log(3), 50.0], requires_grad=True)  # 3/4, 1/4, nearly 1
    targets, known = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([True, True, False])
    expected = (-math.log(0.75) - 0.5 * math.log(0.25) - 0.5 * math.log(0.75)) / 2
    assert parts.binary_loss(logits, targets, known).item() == pytest.approx(expected)
    nothing = parts.binary_loss(logits, targets, torch.zeros(3, dtype=torch.bool))
    assert nothing.item() == 0
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert torch.equal(gradient, torch.zeros(3))
    assert parts.binary_loss(logits, targets + 7, known).item() == pytest.approx(
        (-math.log(0.75) - math.log(0.25)) / 2  # targets above 1 count as 1
    )


def test_binary_loss_of_maps_is_the_mean_of_the_pixels_of_known_images():
    generator = torch.Generator().manual_seed(5)
    logits, targets = torch.randn(3, 1, 4, 5, generator=generator), torch.rand(3, 1, 4, 5, generator=generator)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    t = targets.double().numpy()
    each = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    found = parts.binary_loss(logits, targets, torch.tensor([True, False, True]))
    assert found.item() == pytest.approx((each[0].mean() + each[2].mean()) / 2, rel=1e-5)


def test_label_smoothing_mixes_in_the_uniform_distribution():
    logits, label = torch.tensor([[math.log(3), 0.0]]), torch.tensor([0])
    expected = -(0.9 * math.log(0.75) + 0.1 * (math.log(0.75) + math.log(0.25)) / 2)
    assert parts.cross_entropy_loss(logits, label, label_smoothing=0.1).item() == pytest.approx(expected)


def test_images_without_a_label_are_left_out_of_ce_and_dkd():
    student, teacher = random_pair()
    some = LABELS.clone()
    some[[1, 4]] = -1
    kept = some >= 0
    for smoothing in (0.0, 0.1):
        assert parts.cross_entropy_loss(student, some, label_smoothing=smoothing).item() == pytest.approx(
            parts.cross_entropy_loss(student[kept], some[kept], label_smoothing=smoothing).item()
        )
    assert parts.decoupled_loss(student, teacher, some, temperature=T).item() == pytest.approx(
        parts.decoupled_loss(student[kept], teacher[kept], some[kept], temperature=T).item()
    )


def test_a_batch_without_any_label_costs_nothing_and_still_has_a_gradient():
    student, teacher = random_pair()
    student.requires_grad_()
    none = torch.full((6,), -1)
    for loss in (parts.cross_entropy_loss(student, none), parts.decoupled_loss(student, teacher, none, temperature=T)):
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.equal(gradient, torch.zeros_like(student))


ALL = dict.fromkeys(LOSSES, 1.0)


def whole(student, teacher, labels, weights=ALL, **changes):
    """All parts on logits [n, 4] whose fixed linear images stand for the embeddings."""
    torch.manual_seed(0)
    projection = build_projection(10, 5)
    wide, narrow = torch.randn(student.shape[1], 10), torch.randn(student.shape[1], 5)
    given = {
        "student_logits": student,
        "labels": labels,
        "student_embedding": student @ wide.to(student.dtype),
        "teacher_logits": teacher,
        "teacher_embedding": teacher @ narrow.to(teacher.dtype),
        "projection": projection,
    }
    return distillation_losses(weights, **{**given, **changes})


def test_parts_are_named_weighted_scalars_and_zero_weights_are_left_out():
    student, teacher = random_pair()
    full, half = whole(student, teacher, LABELS), whole(student, teacher, LABELS, {"kd": 0.5, "ce": 0.0})
    assert set(full) == set(LOSSES)
    assert set(half) == {"kd"}
    assert half["kd"].item() == pytest.approx(0.5 * full["kd"].item())
    assert all(part.shape == () and part.dtype == torch.float32 for part in full.values())


def test_the_defaults_are_a_temperature_of_four_and_no_smoothing():
    student, teacher = random_pair()
    found = whole(student, teacher, LABELS)
    s, t = student.double().numpy(), teacher.double().numpy()
    assert found["kd"].item() == pytest.approx(numpy_kd(s, t, 4.0), rel=1e-5)
    assert found["ce"].item() == pytest.approx(-np.log(softmax(s))[range(6), LABELS].mean(), rel=1e-5)
    changed = whole(student, teacher, LABELS, temperature=T, label_smoothing=0.2)
    assert changed["kd"].item() == pytest.approx(numpy_kd(s, t), rel=1e-5)
    smoothed = -(0.8 * np.log(softmax(s))[range(6), LABELS] + 0.2 * np.log(softmax(s)).mean(axis=1)).mean()
    assert changed["ce"].item() == pytest.approx(smoothed, rel=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_the_projection_is_computed_in_float32_with_and_without_autocast(autocast):
    student, teacher = random_pair()
    generator = torch.Generator().manual_seed(6)
    ours, theirs = torch.randn(6, 10, generator=generator), torch.randn(6, 5, generator=generator)
    projection = build_projection(10, 5)
    weight, bias = (value.detach().double().numpy() for value in projection.parameters())
    given = {"student_embedding": ours, "teacher_embedding": theirs, "projection": projection}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = whole(student, teacher, LABELS, {"embedding": 1.0}, **given)["embedding"].item()
    assert found == pytest.approx(
        numpy_embedding(ours.double().numpy() @ weight.T + bias, theirs.double().numpy()), rel=1e-5
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients_are_finite_and_parts_float32_in_any_precision_and_under_autocast(kind):
    student, teacher = (x.to(kind) for x in random_pair())
    student = student.requires_grad_()
    exact = whole(student.detach().float(), teacher.float(), LABELS, {"multilevel": 1.0, "similarity": 1.0})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = whole(student, teacher, LABELS)
        again = whole(
            student.detach(),
            teacher,
            LABELS,
            {"multilevel": 1.0, "similarity": 1.0},
            student_embedding=student.detach(),
            teacher_embedding=teacher,
        )
    reference = parts.similarity_loss(student.detach().float(), teacher.float())
    assert again["multilevel"].item() == exact["multilevel"].item()
    assert again["similarity"].item() == reference.item()
    for name, part in loss.items():
        assert part.dtype == torch.float32, name
        (gradient,) = torch.autograd.grad(part, student, retain_graph=True)
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().max() > 0, name


def test_the_teacher_gets_no_gradient_and_the_projection_does():
    student, teacher = random_pair()
    student, teacher = student.requires_grad_(), teacher.requires_grad_()
    torch.manual_seed(0)
    projection = build_projection(4, 4)
    losses = whole(
        student, teacher, LABELS, student_embedding=student, teacher_embedding=teacher, projection=projection
    )
    torch.stack(list(losses.values())).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in projection.parameters())


def test_the_order_of_the_batch_does_not_matter():
    student, teacher = random_pair()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    one, other = whole(student, teacher, LABELS), whole(student[order], teacher[order], LABELS[order])
    for name in LOSSES:
        assert one[name].item() == pytest.approx(other[name].item(), rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "contrastive"])
def test_descending_the_loss_brings_the_student_nearer(name):
    """The gradient has the right sign: a few steps lower the loss by half, whatever the part."""
    student, teacher = random_pair(seed=3)
    student = student.requires_grad_()
    first = whole(student, teacher, LABELS, {name: 1.0})[name].item()
    optimiser = torch.optim.Adam([student], lr=0.1)
    for _ in range(80):
        optimiser.zero_grad()
        whole(student, teacher, LABELS, {name: 1.0})[name].backward()
        optimiser.step()
    assert whole(student, teacher, LABELS, {name: 1.0})[name].item() < first / 2


logits = hypothesis_numpy.arrays(
    np.float32, (5, 3), elements=st.floats(-1e4, 1e4, width=32) | st.sampled_from([0.0, 1.0, -50.0, 88.0])
)


@settings(max_examples=60, deadline=None)
@given(student=logits, teacher=logits, labels=hypothesis_numpy.arrays(np.int64, 5, elements=st.integers(-1, 2)))
def test_any_finite_logits_give_finite_losses_and_gradients(student, teacher, labels):
    leaf = torch.tensor(student, requires_grad=True)
    losses = whole(leaf, torch.tensor(teacher), torch.tensor(labels))
    for name, part in losses.items():
        assert torch.isfinite(part), name
        assert part.item() >= -1e-3 * (1 + abs(part.item())), name
        (gradient,) = torch.autograd.grad(part, leaf, retain_graph=True)
        assert torch.isfinite(gradient).all(), name


@pytest.mark.parametrize("name, reason", [("standardised", "z-scores"), ("dkd", "non-target"), ("dist", "correlation")])
def test_parts_that_degenerate_for_two_classes_are_refused_with_the_reason(name, reason):
    with pytest.raises(ConfigError, match=rf"'{name}' makes no sense for two classes: .*{reason}.*use kd"):
        check_losses({"ce": 1.0, name: 1.0}, 2)
    check_losses({"ce": 1.0, name: 1.0}, 3)
    check_losses({"ce": 1.0, name: 0.0}, 2)


def test_the_reasons_for_refusing_are_true():
    """With two classes: two different teachers of equal decisions cost the same, or the gradient is nought."""
    student = torch.tensor([[1.0, 0.2], [-0.5, 0.4]], requires_grad=True)
    mild, wild = torch.tensor([[0.2, 0.0], [0.0, 0.3]]), torch.tensor([[90.0, 0.0], [0.0, 7.0]])
    labels = torch.tensor([0, 1])
    assert parts.standardised_loss(student, mild, temperature=1.0).item() == pytest.approx(0, abs=1e-5)
    assert parts.standardised_loss(student, wild, temperature=1.0).item() == pytest.approx(0, abs=1e-5)
    doubled = parts.decoupled_loss(student, mild, labels, temperature=T, beta=0.0)
    assert parts.decoupled_loss(student, mild, labels, temperature=T).item() == doubled.item()
    assert doubled.item() == pytest.approx(parts.kd_loss(student, mild, temperature=T).item(), rel=1e-4)
    ours, theirs = student.softmax(dim=1), wild.softmax(dim=1)
    (gradient,) = torch.autograd.grad((1 - parts._pearson(ours, theirs)).sum(), student)
    assert gradient.abs().max() < 1e-5


def test_multilevel_teaches_two_classes():
    student, teacher = random_pair(columns=2)
    student = student.requires_grad_()
    check_losses(["multilevel"], 2)
    (gradient,) = torch.autograd.grad(parts.multilevel_loss(student, teacher), student)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize(
    "losses, words",
    [
        ({"ce": 1.0, "kdd": 1.0}, "unknown part 'kdd'"),
        (["first", "ce", "second"], "unknown part 'first'"),
        ({"ce": -1.0}, "'ce', found -1.0"),
        ({"ce": math.nan}, "'ce', found nan"),
        ({"embedding": 1.0, "contrastive": 1.0}, "losses: embedding, contrastive leaves the classifier untrained"),
        ({"ce": 0.0}, "losses: nothing leaves the classifier untrained"),
    ],
)
def test_wrong_configurations_are_refused(losses, words):
    with pytest.raises(ConfigError, match=words):
        check_losses(losses, 3)


def test_what_a_configuration_needs():
    assert not needs_teacher({"ce": 1.0, "kd": 0.0})
    assert needs_teacher({"ce": 1.0, "similarity": 0.1})
    assert needs_projection({"ce": 1.0, "contrastive": 0.1})
    assert not needs_projection({"ce": 1.0, "similarity": 0.1, "embedding": 0.0})
    assert build_projection(7, 3)(torch.zeros(2, 7)).shape == (2, 3)


@pytest.mark.parametrize(
    "name, missing", [("kd", "teacher_logits"), ("similarity", "teacher_embedding"), ("embedding", "projection")]
)
def test_a_missing_tensor_is_named(name, missing):
    student, teacher = random_pair()
    with pytest.raises(TypeError, match=missing):
        whole(student, teacher, LABELS, {name: 1.0}, **{missing: None})


@pytest.mark.parametrize("name", LOSSES)
def test_parts_that_compare_embeddings_are_refused_where_there_are_none(name):
    losses = {"ce": 1.0, name: 0.5}
    if name in ("embedding", "similarity", "contrastive"):
        with pytest.raises(ConfigError, match=f"losses: '{name}' cannot be used with teacher.folds or teacher.outputs"):
            check_without_embedding(losses)
        check_without_embedding({"ce": 1.0, name: 0.0})
    else:
        check_without_embedding(losses)
