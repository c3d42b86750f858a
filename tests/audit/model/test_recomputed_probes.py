"""Calibration and prediction sets as the audit reports them, worked out again from scores, truth and sources."""

from __future__ import annotations

import numpy as np
import pytest

import recomputed
from pocketcxr.audit.model.audited_model import make_audited_model
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.probes import calibration, conformal
from pocketcxr.audit.model.probes.calibration import at_prevalence
from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.evaluation.operating_points import predictive_values
from pocketcxr.labels import TASKS
from pocketcxr.report import evaluation_page

TASK = TASKS["siim-appearance"]  # two classes: negative, typical
CONFIG = AuditConfig(bootstrap=20, coverage=0.8)
CALIBRATION, TEST = 160, 300


@pytest.fixture(scope="module")
def scored():
    """Over-confident logits, truth and sources of calibration and test images; the classes are not equally frequent."""
    rng = np.random.default_rng(11)
    n = CALIBRATION + TEST
    plain = np.stack([rng.normal(0.4, 1, n), rng.normal(-0.4, 1, n)], axis=1)
    labels = (rng.random(n) < recomputed.probabilities(plain, 1)[:, 1]).astype(int)
    return 2.5 * plain, labels, np.where(rng.random(n) < 0.6, "east", "west")


@pytest.fixture(scope="module")
def model(scored):
    logits, labels, sources = scored
    rows = tuple(
        IndexRow(f"{i}.png", source, "x", patient_id=f"p{i}", label=TASK.labels[label],
                 split="calibration" if i < CALIBRATION else "test")
        for i, (source, label) in enumerate(zip(sources.tolist(), labels.tolist(), strict=True))
    )  # fmt: skip
    pixels = np.zeros((len(rows), 2, 2), np.uint8)  # the first two pixels are the number of the image
    pixels[:, 0, 0], pixels[:, 0, 1] = np.arange(len(rows)) // 256, np.arange(len(rows)) % 256

    def predict(images, /):
        numbers = np.round(images[:, 0, 0, 0] * 255) * 256 + np.round(images[:, 0, 0, 1] * 255)
        chosen = logits[numbers.astype(int)].astype(np.float32)
        return ModelOutputs(recomputed.probabilities(chosen, 1).astype(np.float32), chosen, chosen)

    return make_audited_model("model", predict, Dataset(TASK, rows, pixels, labels, "x"), config=CONFIG, seed=0)


@pytest.fixture(scope="module")
def tables(scored):
    """Calibrated probabilities and truth of both splits, by another minimiser."""
    logits, labels, _ = scored
    temperature = recomputed.temperature(logits[:CALIBRATION], labels[:CALIBRATION])
    table = recomputed.probabilities(logits, temperature)
    return (table[:CALIBRATION], labels[:CALIBRATION]), (table[CALIBRATION:], labels[CALIBRATION:])


def covered(table, truth, q):
    """Share of images whose truth is in their set, and of sets of one class, by counting."""
    sets = [[chance >= 1 - q for chance in row] for row in table]
    return np.mean([one[t] for one, t in zip(sets, truth, strict=True)]), np.mean([sum(one) == 1 for one in sets])


def test_coverage_is_that_of_the_quantile_of_the_calibration_split(model, tables):
    (seen, known), (table, truth) = tables
    q = recomputed.quantile(seen, known, 0.8)
    found = conformal.measure(model)
    expected = covered(table, truth, q)
    assert (found.estimates["coverage"].value, found.estimates["single"].value) == pytest.approx(expected, abs=0.004)
    for i, label in enumerate(TASK.labels):
        share, _ = covered(table[truth == i], truth[truth == i], q)
        assert found.estimates[f"class {label}"].value == pytest.approx(share, abs=0.008)


@pytest.mark.parametrize("source", ["east", "west"])
def test_coverage_of_a_source_left_out_is_that_of_the_others_quantile(model, tables, scored, source):
    (seen, known), (table, truth) = tables
    origin, here = scored[2][:CALIBRATION], scored[2][CALIBRATION:] == source
    found = conformal.measure(model).estimates
    own = covered(table[here], truth[here], recomputed.quantile(seen, known, 0.8))
    left_out = covered(
        table[here], truth[here], recomputed.quantile(seen[origin != source], known[origin != source], 0.8)
    )
    assert found[f"seen {source}"].value == pytest.approx(own[0], abs=0.01)
    assert found[f"unseen {source}"].value == pytest.approx(left_out[0], abs=0.01)
    assert found[f"single {source}"].value == pytest.approx(left_out[1], abs=0.01)


def test_calibration_errors_are_those_of_counting(model, tables, scored):
    _, (table, truth) = tables
    found = calibration.measure(model).estimates
    groups = {"all": np.full(TEST, True), **{s: scored[2][CALIBRATION:] == s for s in ("east", "west")}}
    for name, keep in groups.items():
        part, t = table[keep], truth[keep]
        top = recomputed.calibration_error(part.max(axis=1), part.argmax(axis=1) == t)
        positive = recomputed.calibration_error(part[:, 1], t == 1)
        assert found[f"{name} ece"].value == pytest.approx(top, abs=0.004)
        assert found[f"{name} ece_positive"].value == pytest.approx(positive, abs=0.004)


def weighted_error(confidence, happened, weights, bins=15):
    held = {}
    for chance, truth, weight in zip(confidence, happened, weights, strict=True):
        held.setdefault(max(1, int(np.ceil(chance * bins))), []).append((chance, truth, weight))
    return sum(abs(sum(w * (c - t) for c, t, w in one)) for one in held.values()) / weights.sum()


def test_the_error_at_a_prevalence_of_five_per_cent_is_that_of_weighted_images(model, tables):
    """Before correction, and after it from the share of the calibration split, not that of the test split."""
    (_, known), (table, truth) = tables
    positive = truth == 1
    weights = np.where(positive, 0.05 / positive.mean(), 0.95 / (1 - positive.mean()))
    found = calibration.measure(model).estimates
    assert found["shifted ece_positive"].value == pytest.approx(
        weighted_error(table[:, 1], positive, weights), abs=0.004
    )

    def corrected(here):
        odds = table[:, 1] / table[:, 0] * (0.05 / 0.95) / (here / (1 - here))
        return weighted_error(odds / (1 + odds), positive, weights)

    here = (known == 1).mean()
    assert abs(here - positive.mean()) > 0.01
    assert found["adjusted ece_positive"].value == pytest.approx(corrected(here), abs=0.002)


@pytest.mark.parametrize("there", [0.01, 0.3, 0.9])
def test_probabilities_at_another_prevalence_are_those_of_odds(there):
    table = recomputed.probabilities(np.random.default_rng(1).normal(size=(20, 3)), 1)
    found = at_prevalence(table, 1, here=0.3, there=there)
    odds = table[:, 1] / (1 - table[:, 1]) * there / (1 - there) / (0.3 / 0.7)
    np.testing.assert_allclose(found[:, 1], odds / (1 + odds))
    np.testing.assert_allclose(found[:, 0] / found[:, 2], table[:, 0] / table[:, 2])
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("function", [predictive_values, evaluation_page.predictive_values])
@pytest.mark.parametrize("ill, found, alarms", [(100, 95, 30), (10, 9, 400), (500, 250, 5), (1, 1, 0), (999, 0, 1)])
def test_predictive_values_are_those_of_a_thousand_people(function, ill, found, alarms):
    well = 1000 - ill
    positive, negative = function(found / ill, 1 - alarms / well, ill / 1000)
    assert positive == pytest.approx(found / (found + alarms))
    spared, missed = well - alarms, ill - found
    assert negative == (None if spared + missed == 0 else pytest.approx(spared / (spared + missed), abs=1e-9))


def test_every_operating_point_has_predictive_values_at_every_prevalence(model, tables):
    (seen, known), (table, truth) = tables
    points = recomputed.points(seen[:, 1], known == 1, sensitivity=0.95, specificity=0.95)
    rows = calibration.measure(model).predictive_values
    assert [(name, share) for name, share, *_ in rows] == [
        (name, share) for name in ("screening", "confirming") for share in CONFIG.prevalences
    ]
    for number, (_, share, positive, negative) in enumerate(rows):
        threshold = points[number // len(CONFIG.prevalences)][0]
        sensitivity, specificity = recomputed.rates(table[:, 1], truth == 1, threshold)
        hits, alarms = sensitivity * share, (1 - specificity) * (1 - share)
        spared, missed = specificity * (1 - share), (1 - sensitivity) * share
        assert positive == pytest.approx(hits / (hits + alarms), abs=0.02)
        assert negative == pytest.approx(spared / (spared + missed), abs=0.02)
