"""Drift of stored results: found where it was planted, not where there is none."""

import dataclasses
import math
import random

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pocketcxr.bundle.verified import VerifiedFile
from pocketcxr.imaging.input_checks import Reason
from pocketcxr.inference.prediction import Prediction
from pocketcxr.pacs.drift import FEWEST, NOT_APPLICABLE, changes
from pocketcxr.pacs.results.identity import Instance, evidence_of
from pocketcxr.pacs.results.reading import Reported, read_report
from pocketcxr.pacs.results.report import report_of
from pocketcxr.pacs.scoring import _file

WEEKS = ("20260105", "20260112", "20260119")


def week(date, *, device="ray 1", count=60, share=0.1, probability=0.3, seed=0):
    rng = random.Random(seed)
    refused = ["refused" if number < share * count else "bright" for number in range(count)]
    return [
        Reported(device, date, Prediction("", decision, {}, rng.gauss(probability, 0.1), (), "tiny"), {})
        for decision in refused
    ]


def alarms(found):
    return [(one.device, one.week, one.name) for one in changes(found) if one.alarm]


def test_weeks_that_are_alike_raise_no_alarm():
    assert alarms([one for n, date in enumerate(WEEKS) for one in week(date, seed=n)]) == []


def test_a_device_that_changes_is_named_with_its_week_and_value():
    steady = [one for n, date in enumerate(WEEKS) for one in week(date, device="ray 2", seed=n)]
    changed = [*week(WEEKS[0]), *week(WEEKS[1], seed=1), *week(WEEKS[2], share=0.5, probability=0.6, seed=2)]
    assert alarms(steady + changed) == [("ray 1", "2026-W04", NOT_APPLICABLE), ("ray 1", "2026-W04", "novelty")]


def test_the_figures_are_those_of_the_textbook():
    found = changes(week(WEEKS[0], share=0.1) + week(WEEKS[1], share=0.5))
    (change,) = [one for one in found if one.name == NOT_APPLICABLE and one.before is not None]
    pooled = 0.3
    assert change.errors == pytest.approx(0.4 / math.sqrt(pooled * (1 - pooled) * 2 / 60))
    assert (change.value, change.before, change.images) == (0.5, 0.1, 60)


def test_few_images_are_not_compared():
    found = changes(week(WEEKS[0], count=FEWEST - 1) + week(WEEKS[1], count=FEWEST, share=1.0))
    assert [one.errors for one in found] == [None] * 4


def test_values_that_never_vary_are_alike_or_infinitely_different():
    def steady(date, value):
        return [
            Reported("ray 1", date, Prediction("", "bright", {"bright": value}, None, (), ""), {}) for _ in range(40)
        ]

    found = changes(steady(WEEKS[0], 0.1) + steady(WEEKS[1], 0.1) + steady(WEEKS[2], 0.2))
    assert [one.errors for one in found if one.name == "probability of bright"] == [None, 0.0, math.inf]


def test_what_a_report_says_is_read_back(tiny_manifest):
    instance = Instance("1.2.3", "1.2.3.1", "1.2.840.10008.5.1.4.1.1.1", "1.2.3.1.1", "P")
    evidence = evidence_of(Dataset(), instance)
    evidence.StudyDate = "20260105"
    scored = Prediction(
        "image", "bright", {"dark": 0.25, "bright": 0.75}, 0.5, (), "tiny", saliency=np.zeros((2, 4, 4), np.float32)
    )
    why = (Reason("view", "a side view, " + "x" * 100), Reason("body-part", "a knee"))
    refused = dataclasses.replace(scored, decision="refused", probabilities={}, novelty=None, reasons=why)
    bundle = VerifiedFile(None, tiny_manifest, "ab" * 32, b"")
    given = {"manifest": tiny_manifest, "sha256": bundle.sha256, "device": "ACME, Ray 1", "site": ""}
    found = read_report(_file(report_of(scored, evidence, instance, **given)), bundle)
    assert (found.device, found.study_date, found.above) == ("ACME, Ray 1", "20260105", {"screening": True})
    assert found.prediction.probabilities == pytest.approx(scored.probabilities)
    assert (found.prediction.decision, found.prediction.novelty, found.prediction.reasons) == ("bright", 0.5, ())
    assert found.prediction.path.startswith("1.2.3/2.25.")
    found = read_report(_file(report_of(refused, evidence, instance, **given)), bundle)
    assert (found.prediction.decision, found.prediction.reasons) == ("refused", why)
    assert (found.prediction.probabilities, found.prediction.novelty, found.above) == ({}, None, {})
    assert read_report(b"no report", bundle) is None
