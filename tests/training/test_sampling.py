"""What an epoch shows: everything once, or the rare as often as the common, and the same each time it is asked."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from pocketcxr.errors import DataError
from pocketcxr.training.config import OptimisationConfig
from pocketcxr.training.sampling import epoch_plan, training_positions


@pytest.fixture
def positions(dataset):
    return training_positions(dataset)


def plan(dataset, positions, sampling, epoch=0, seed=0):
    return epoch_plan(dataset, positions, OptimisationConfig(sampling=sampling, seed=seed), epoch=epoch)


def test_uniform_shows_each_image_once_in_another_order_each_epoch(dataset, positions):
    orders = [plan(dataset, positions, "uniform", epoch)[0] for epoch in (0, 1)]
    assert all(sorted(order) == positions.tolist() for order in orders)
    assert orders[0].tolist() != orders[1].tolist()


@pytest.mark.parametrize("sampling", ["uniform", "class", "class-source", "class-source-sqrt", "class-within-source"])
def test_an_epoch_is_a_pure_function_of_seed_and_number(dataset, positions, sampling):
    first, again, other = (plan(dataset, positions, sampling, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
    assert len(first[0]) == len(first[1]) == len(positions)


def test_class_shows_classes_equally_often(dataset, positions):
    natural = Counter(dataset.labels[positions].tolist())
    assert max(natural.values()) > 2 * min(natural.values())  # else this test could not fail
    order, _ = plan(dataset, positions, "class")
    counts = Counter(dataset.labels[order].tolist())
    assert max(counts.values()) - min(counts.values()) <= 1
    for label, count in counts.items():  # and within a class every image equally often
        shown = Counter(order[dataset.labels[order] == label].tolist())
        assert max(shown.values()) - min(shown.get(p, 0) for p in positions[dataset.labels[positions] == label]) <= 1
        assert sum(shown.values()) == count


def test_class_source_shows_the_sources_of_a_class_equally_often(dataset, positions):
    order, _ = plan(dataset, positions, "class-source")
    counts = Counter((int(dataset.labels[p]), dataset.rows[p].source) for p in order)
    for label in range(3):
        a, b = counts[label, "a"], counts[label, "b"]
        assert abs(a - b) <= 1


def test_class_source_sqrt_lies_between_natural_and_equal_shares(dataset, positions):
    natural = Counter((int(dataset.labels[p]), dataset.rows[p].source) for p in positions)
    order, _ = plan(dataset, positions, "class-source-sqrt")
    counts = Counter((int(dataset.labels[p]), dataset.rows[p].source) for p in order)
    for label in range(3):
        of_class = sum(counts[label, source] for source in "ab")
        roots = {source: natural[label, source] ** 0.5 for source in "ab"}
        for source in "ab":
            assert abs(counts[label, source] - of_class * roots[source] / sum(roots.values())) <= 1


def test_a_weight_multiplies_the_share_of_a_source(dataset, positions):
    order, _ = epoch_plan(
        dataset, positions, OptimisationConfig(sampling="class-source", source_weights={"b": 3.0}), epoch=0
    )
    counts = Counter((int(dataset.labels[p]), dataset.rows[p].source) for p in order)
    for label in range(3):
        assert abs(counts[label, "b"] - 3 * counts[label, "a"]) <= 3


def test_images_without_a_label_keep_their_share(dataset):
    everything = training_positions(dataset, unlabelled=True)
    order, _ = plan(dataset, everything, "class")
    without = [p for p in order if dataset.labels[p] < 0]
    assert sorted(without) == np.flatnonzero(dataset.labels < 0).tolist()


@pytest.mark.parametrize("sampling", ["uniform", "class"])
def test_an_image_runs_through_its_views_without_a_repeat(dataset, positions, sampling):
    seen = Counter()
    for epoch in range(4):
        seen.update(zip(*(part.tolist() for part in plan(dataset, positions, sampling, epoch)), strict=True))
    assert max(seen.values()) == 1
    if sampling == "uniform":
        assert {view for _, view in seen} == {0, 1, 2, 3}


@pytest.mark.parametrize("sampling", ["uniform", "class"])
def test_an_epoch_may_show_more_images_than_there_are_and_still_no_view_twice(dataset, positions, sampling):
    config, total, seen = OptimisationConfig(sampling=sampling), len(positions) + 20, Counter()
    for epoch in range(3):
        order, views = epoch_plan(dataset, positions, config, epoch=epoch, total=total)
        assert len(order) == total
        assert set(order.tolist()) <= set(positions.tolist())
        seen.update(zip(order.tolist(), views.tolist(), strict=True))
    assert max(seen.values()) == 1


def test_training_positions_are_those_of_the_split(dataset):
    labelled = training_positions(dataset)
    assert labelled.tolist() == [
        i for i, row in enumerate(dataset.rows) if row.split == "train" and dataset.labels[i] >= 0
    ]
    assert len(training_positions(dataset, unlabelled=True)) == len(labelled) + 16


def with_sources(dataset, sources):
    """The same images; `sources` gives the name from the present one and the label."""
    rows = tuple(
        dataclasses.replace(row, source=sources(row.source, int(label)))
        for row, label in zip(dataset.rows, dataset.labels, strict=True)
    )
    return dataclasses.replace(dataset, rows=rows)


def counted(dataset, order):
    return Counter((dataset.rows[p].source, int(dataset.labels[p])) for p in order)


def test_class_within_source_shows_the_classes_of_each_source_equally_often(dataset, positions):
    natural, epoch = (
        counted(dataset, order) for order in (positions, plan(dataset, positions, "class-within-source")[0])
    )
    for source in "ab":
        shown = [epoch[source, label] for label in range(3)]
        assert max(shown) - min(shown) <= 1
        assert abs(sum(shown) - sum(natural[source, label] for label in range(3))) <= 1
        assert max(natural[source, label] for label in range(3)) > 2 * min(natural[source, label] for label in range(3))


def test_class_within_source_draws_sources_of_one_class_together_or_not_at_all(dataset, positions):
    together = with_sources(dataset, lambda source, label: {"a": "a", "b": f"only {label}"}[source])
    shown = counted(together, plan(together, positions, "class-within-source")[0])
    of_one_class = [shown[f"only {label}", label] for label in range(3)]
    assert min(of_one_class) > 0
    assert max(of_one_class) - min(of_one_class) <= 1
    alone = with_sources(dataset, lambda source, label: "only 1" if (source, label) == ("b", 1) else "a")
    order, _ = plan(alone, positions, "class-within-source")
    assert len(order) == len(positions)  # as many steps
    assert {source for source, _ in counted(alone, positions)} == {"a", "only 1"}
    assert {source for source, _ in counted(alone, order)} == {"a"}


def test_class_within_source_multiplies_the_share_of_a_source(dataset, positions):
    config = OptimisationConfig(sampling="class-within-source", source_weights={"b": 3.0})
    natural, epoch = (
        counted(dataset, order) for order in (positions, epoch_plan(dataset, positions, config, epoch=0)[0])
    )
    a, b = (sum(natural[source, label] for label in range(3)) for source in "ab")
    expected = 3 * b / (a + 3 * b) * len(positions)
    assert abs(sum(epoch["b", label] for label in range(3)) - expected) <= 1


def test_class_within_source_refuses_sets_that_it_cannot_balance(dataset, positions):
    confounded = with_sources(dataset, lambda _, label: f"only {label}")
    with pytest.raises(DataError, match="found none, so that the source tells the class"):
        plan(confounded, positions, "class-within-source")
    lost = with_sources(dataset, lambda _, label: "only 2" if label == 2 else "a")
    with pytest.raises(DataError, match=r"class 2 .* stands only in sources that have no other class"):
        plan(lost, positions, "class-within-source")
