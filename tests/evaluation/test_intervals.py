import time

import numpy as np
import pytest

from pocketcxr.data.rows import IndexRow
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.intervals import Estimate, bootstrap, clusters, interval, resamples
from pocketcxr.evaluation.metrics import figures


def row(number, **said):
    return IndexRow(path=f"{number}.png", source="drawn", finding="covid19", **said)


def test_images_of_one_patient_form_one_cluster_and_unknown_patients_their_own():
    rows = [
        row(0, patient_id="a:1"),
        row(1),
        row(2, patient_id="b:1"),
        row(3, patient_id="a:1"),
        row(4),
        row(5, study_id="s"),
        row(6, study_id="s"),
        row(7, duplicate_group="d"),
        row(8, duplicate_group="d"),
    ]
    assert clusters(rows).tolist() == [0, 1, 2, 0, 3, 4, 4, 5, 5]


def test_a_patient_is_drawn_with_all_images_or_none():
    members = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(resamples(members, count=500, seed=0)))
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()  # three patients are drawn each time
    assert weights[:, [0, 2, 3]].mean() == pytest.approx(1, abs=0.01)


def test_equal_seeds_give_equal_resamples_whatever_the_block_size(monkeypatch):
    members = np.arange(40)
    whole = np.concatenate(list(resamples(members, count=30, seed=3)))
    monkeypatch.setattr("pocketcxr.evaluation.intervals._CELLS", 70)
    blocks = list(resamples(members, count=30, seed=3))
    assert len(blocks) == 30
    assert (np.concatenate(blocks) == whole).all()


def accuracy(right):
    return lambda weights: {"accuracy": (weights @ right) / weights.sum(axis=1)}


def test_interval_of_a_proportion_agrees_with_its_standard_error():
    right = np.arange(400) < 300
    members = np.arange(400)
    replicates = bootstrap({"m": accuracy(right)}, members, count=4000, seed=0)["m"]["accuracy"]
    found = interval("accuracy", 0.75, replicates, patients=400)
    error = np.sqrt(0.75 * 0.25 / 400)
    assert found.low == pytest.approx(0.75 - 1.96 * error, abs=0.004)
    assert found.high == pytest.approx(0.75 + 1.96 * error, abs=0.004)


def test_clustered_images_widen_the_interval():
    patient_right = np.arange(100) < 75
    right = np.repeat(patient_right, 4)  # four films, all right or all wrong: 100 observations and not 400
    wide, narrow = (
        interval(
            "accuracy", 0.75, bootstrap({"m": accuracy(right)}, m, count=2000, seed=1)["m"]["accuracy"], patients=9
        )
        for m in (np.repeat(np.arange(100), 4), np.arange(400))
    )
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(2, rel=0.1)


def test_skipped_resamples_are_counted():
    replicates = np.array([0.5, np.nan, *np.linspace(0.6, 0.7, 38)])
    found = interval("auroc", 0.6, replicates, patients=5)
    assert found.skipped == 1
    assert 0.5 <= found.low <= found.high <= 0.7


@pytest.mark.parametrize("skipped, given", [(5, True), (6, False)])
def test_no_interval_is_given_where_more_than_one_resample_in_twenty_lacks_a_class(skipped, given):
    replicates = np.array([np.nan] * skipped + [0.6, 0.7] * 50)[:100]
    found = interval("auroc", 0.6, replicates, patients=50)
    assert (found.value, found.low is not None) == (0.6, given)
    assert (f"missing from {skipped} of 100" in found.why) is not given


@pytest.mark.parametrize("patients, given", [(2, False), (4, False), (5, True)])
def test_few_patients_have_no_interval(patients, given):
    found = interval("accuracy", 0.0, np.zeros(100), patients=patients)
    assert (found.low is not None) is given
    assert found.why == (
        "" if given else f"no interval: {patients} are too few patients, or images without a known one"
    )


def test_auroc_of_two_images_has_no_interval():
    """The one resample with both images always gives the figure itself: 0.000 to 0.000."""
    weights = np.concatenate(list(resamples(np.arange(2), count=200, seed=0)))
    replicates = np.where((weights > 0).all(axis=1), 0.0, np.nan)
    assert "too few" in interval("auroc", 0.0, replicates, patients=2).why


def test_one_patient_has_no_interval_and_nan_is_not_measurable():
    assert "1 is too few patients" in interval("accuracy", 0.5, np.full(10, 0.5), patients=1).why
    found = interval("auroc", float("nan"), np.full(10, np.nan), patients=5)
    assert found.value is None
    assert found.why
    assert found.as_json() == {"value": None, "low": None, "high": None, "why": found.why}


def draw(n, seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    return softmax(np.eye(2)[truth] * 2 + rng.normal(size=(n, 2))), truth


def measure(table, truth):
    return lambda weights: figures(
        table, truth, labels=("negative", "typical"), positive="typical", thresholds={}, weights=weights
    )


def test_calibration_interval_holds_its_figure():
    table, truth = draw(300, seed=0)
    value = measure(table, truth)(np.ones((1, 300)))["ece"][0]
    replicates = bootstrap({"m": measure(table, truth)}, np.arange(300), count=500, seed=0)["m"]["ece"]
    assert np.mean(replicates) > value  # the excess that the correction takes back
    found = interval("ece", value, replicates, patients=300)
    assert found.low < value < found.high


def test_auroc_interval_covers_the_truth_about_as_often_as_promised():
    # Scores of two normal classes one standard deviation apart: AUROC = Phi(1 / sqrt 2) = 0.7602.
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = np.arange(80) % 2
        scores = rng.normal(truth)
        table = np.stack([-scores, scores], axis=1)
        values = bootstrap({"m": measure(softmax(table), truth)}, np.arange(80), count=200, seed=seed)["m"]["auroc"]
        found = interval("auroc", 0.7, values, patients=80)
        hits += found.low <= 0.7602 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_bound_of_zero_is_kept_in_json_and_told_from_none():
    assert Estimate(0.03, 0.0, 0.08).as_json() == {"value": 0.03, "low": 0.0, "high": 0.08}
    assert Estimate(0.0, 0.0, 0.0).as_json() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert Estimate(0.5, why="one patient only").as_json() == {
        "value": 0.5,
        "low": None,
        "high": None,
        "why": "one patient only",
    }


def test_a_thousand_resamples_of_four_models_take_seconds():
    table, truth = draw(2000, seed=0)
    start = time.perf_counter()
    bootstrap({str(i): measure(table, truth) for i in range(4)}, np.arange(2000), count=1000, seed=0)
    assert time.perf_counter() - start < 20


def test_intervals_that_hold_together_are_wider():
    replicates = np.arange(10_001) / 10_000
    found = interval("auroc", 0.5, replicates, patients=50, together=4)
    assert (found.low, found.high) == pytest.approx((0.05 / 4 / 2, 1 - 0.05 / 4 / 2))
