"""The learned input filter tells chests from other images by what they show, not by how they were changed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import recomputed

torch = pytest.importorskip("torch", reason="needs the extra train")

from pocketcxr.errors import CheckpointError, ConfigError, DataError  # noqa: E402
from pocketcxr.models.input_filter import InputKindSpec, load_input_filter, save_input_filter  # noqa: E402
from pocketcxr.training.config import InputFilterConfig  # noqa: E402
from pocketcxr.training.input_filter import fit as fit_module  # noqa: E402
from pocketcxr.training.input_filter.batches import Batches, KnownPictures, make, with_drawn  # noqa: E402
from pocketcxr.training.input_filter.fit import (  # noqa: E402
    fit_input_filter,
    kinds_of,
    limit_for,
    probabilities,
    refusal_table,
    refusals,
)

SIZE = 48
QUICK = InputFilterConfig(steps=90, batch_size=48, pixels=SIZE, ema_decay=0.9)


def _chests(count: int, seed: int) -> np.ndarray:
    """Two dark lungs in a grey body, a bright spine and, below, a bright belly; never twice the same."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]
    radiographs = []
    for _ in range(count):
        radiograph = np.full((SIZE, SIZE), rng.uniform(0.5, 0.65))
        for centre in (0.3, 0.7):
            place = centre + rng.uniform(-0.03, 0.03), 0.4 + rng.uniform(-0.04, 0.04)
            radiograph[((x - place[0]) / 0.16) ** 2 + ((y - place[1]) / 0.3) ** 2 < 1] = rng.uniform(0.1, 0.3)
        radiograph[:, int(0.47 * SIZE) : int(0.53 * SIZE)] += 0.2
        radiograph[int(0.78 * SIZE) :] += 0.2
        radiographs.append(radiograph + rng.normal(0, 0.03, radiograph.shape))
    return (np.clip(radiographs, 0, 1) * 255).astype(np.uint8)


def _slices(count: int, seed: int) -> np.ndarray:
    """A bright ring with two dark holes on black: a CT slice as a child would draw it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : SIZE * 1j, 0 : 1 : SIZE * 1j]
    slices = []
    for _ in range(count):
        radius = np.hypot((x - 0.5) / rng.uniform(0.38, 0.48), (y - 0.5) / rng.uniform(0.28, 0.36))
        radiograph = np.where(radius < 1, 0.6, 0.02)
        radiograph[(radius > 0.85) & (radius < 1)] = 0.95
        for centre in (0.33, 0.67):
            radiograph[np.hypot((x - centre) / 0.12, (y - 0.5) / 0.17) < 1] = 0.1
        slices.append(radiograph + rng.normal(0, 0.03, radiograph.shape))
    return (np.clip(slices, 0, 1) * 255).astype(np.uint8)


def _known(radiographs: int, slices: int, seed: int) -> KnownPictures:
    return KnownPictures(
        np.concatenate([_chests(radiographs, seed), _slices(slices, seed)]),
        np.repeat(["frontal", "ct"], [radiographs, slices]),
        np.repeat(["drawn chest", "drawn ct"], [radiographs, slices]),
    )


@pytest.fixture(scope="module")
def fitted():
    return fit_input_filter(_known(120, 30, 0), _chests(80, 1), image_size=SIZE, config=QUICK, progress=False)


def test_frontal_images_pass_and_others_are_refused_with_their_reason(fitted):
    network, spec = fitted
    assert spec.kinds == ("frontal", "ct", "not_xray", "inverted", "turned", "cropped")
    assert spec.image_size == SIZE
    unseen = _known(60, 30, 2)
    refused, reasons = refusals(probabilities(network, unseen.pixels), spec)
    radiographs = unseen.kinds == "frontal"
    assert refused[radiographs].mean() <= 0.1
    assert refused[~radiographs].mean() >= 0.9
    assert (reasons[~radiographs] == "ct").mean() >= 0.8
    inverted, _ = refusals(probabilities(network, 255 - unseen.pixels[radiographs]), spec)
    assert inverted.mean() >= 0.9


def test_the_limit_refuses_the_share_of_frontal_images_that_was_asked_for(fitted):
    network, spec = fitted
    accepted = probabilities(network, _chests(80, 1))[:, 0]
    assert (accepted < spec.threshold).sum() <= 1  # half a per cent of 80
    assert 0.01 <= spec.threshold <= 0.95


def test_a_patient_counts_once_for_the_limit():
    accepted = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7, 0.6], np.float32)
    assert limit_for(accepted, np.arange(8), 0.25) == pytest.approx(0.3)  # two of eight radiographs lie below
    one_odd = np.array(["a", "a", "a", "b", "c", "d", "e", "f"])  # three radiographs of one of six patients
    assert limit_for(accepted, one_odd, 0.2) == pytest.approx(0.4)
    assert limit_for(accepted, one_odd, 0.0) == pytest.approx(0.1)
    assert limit_for(accepted, one_odd, 0.1) == pytest.approx(0.2)  # one of a's three radiographs is half of that share


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5)), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.005, 0.05, 0.1, 0.25, 0.5]),
)
@example(
    [(1, group) for group in (1, 2, 4, 5, 1, 4, 4)] + [(2, group) for group in (0, 1, 2, 2, 3)], 0.5
)  # 0.5 + 1e-16
def test_the_limit_is_that_of_trying_every_score_and_counting_votes(images, share):
    accepted = np.array([score / 16 for score, _ in images], np.float32)
    groups = np.array([group for _, group in images])
    assert limit_for(accepted, groups, share) == recomputed.weighted_limit(accepted, groups, share)


def test_the_limit_of_a_fitted_filter_is_that_of_its_own_answers_to_the_calibration_images(fitted):
    network, spec = fitted
    radiographs = _chests(80, 1)
    reduced = torch.from_numpy(radiographs)[:, None].float() / 255
    with torch.no_grad():
        accepted = torch.softmax(network.logits(network.seen(reduced)), dim=1)[:, 0].numpy()
    expected = recomputed.weighted_limit(accepted, range(80), QUICK.refused_frontal)
    assert spec.threshold == pytest.approx(min(max(expected, 0.01), 0.95), abs=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.06])
def test_the_share_and_the_patients_that_are_given_make_the_limit(monkeypatch, share):
    """40 images of 25 patients, their scores known beforehand."""
    scores = np.random.default_rng(4).permutation(np.linspace(0.1, 0.9, 40)).astype(np.float32)
    patients = [f"p{i // 4 if i < 20 else i}" for i in range(40)]
    monkeypatch.setattr(fit_module, "probabilities", lambda *_: np.stack([scores, 1 - scores], axis=1))
    config = InputFilterConfig(steps=1, batch_size=8, pixels=SIZE, refused_frontal=share)
    given = {"image_size": SIZE, "config": config, "progress": False}
    by_patient = fit_input_filter(_known(20, 5, 0), _chests(40, 1), patients=patients, **given)[1].threshold
    by_image = fit_input_filter(_known(20, 5, 0), _chests(40, 1), **given)[1].threshold
    assert by_patient == pytest.approx(recomputed.weighted_limit(scores, patients, share))
    assert by_image == pytest.approx(recomputed.weighted_limit(scores, range(40), share))
    assert by_patient != by_image


@pytest.mark.parametrize("score, limit", [(0.002, 0.01), (0.011, 0.011), (0.949, 0.949), (0.99, 0.95)])
def test_the_limit_stays_between_one_and_ninety_five_per_cent(monkeypatch, score, limit):
    answers = np.full((20, 2), score, np.float32)
    monkeypatch.setattr(fit_module, "probabilities", lambda *_: answers)
    config = InputFilterConfig(steps=1, batch_size=8, pixels=SIZE)
    _, spec = fit_input_filter(_known(20, 5, 0), _chests(20, 1), image_size=SIZE, config=config, progress=False)
    assert spec.threshold == pytest.approx(limit)


def test_an_image_at_the_limit_is_taken_and_one_below_it_refused():
    spec = InputKindSpec(("frontal", "ct", "lateral"), SIZE, 0.3)
    found = np.array([[0.3, 0.5, 0.2], [np.nextafter(np.float32(0.3), 0), 0.2, 0.5], [0.29, 0.4, 0.31]], np.float32)
    refused, reasons = refusals(found.astype(np.float64), dataclasses.replace(spec, threshold=float(np.float32(0.3))))
    assert refused.tolist() == [False, True, True]
    assert reasons.tolist() == ["ct", "lateral", "ct"]


def test_the_same_seed_gives_the_same_filter():
    config = InputFilterConfig(steps=3, batch_size=16, pixels=SIZE)
    known, radiographs = _known(30, 10, 0), _chests(20, 1)
    (one, spec), (other, same) = (
        fit_input_filter(known, radiographs, image_size=SIZE, config=config, progress=False) for _ in range(2)
    )
    assert spec == same
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_fitting_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit_input_filter(
        _known(20, 5, 0),
        _chests(20, 1),
        image_size=SIZE,
        config=InputFilterConfig(steps=1, batch_size=8, pixels=SIZE),
        progress=False,
    )
    assert torch.equal(torch.get_rng_state(), before)


def test_one_kind_or_too_few_images_are_refused():
    radiographs = KnownPictures(_chests(30, 0), np.full(30, "frontal"), np.full(30, "s"))
    assert kinds_of(radiographs) == ()
    with pytest.raises(DataError, match="at least one other image type"):
        fit_input_filter(radiographs, _chests(30, 1), image_size=SIZE, config=QUICK, progress=False)
    with pytest.raises(DataError, match="at least 20 frontal images to calibrate on, found 19"):
        fit_input_filter(_known(30, 5, 0), _chests(19, 1), image_size=SIZE, config=QUICK, progress=False)


def test_checkpoint_gives_the_same_answers_and_damage_is_one_line(fitted, tmp_path):
    network, spec = fitted
    path = tmp_path / "filter.safetensors"
    save_input_filter(path, network, spec, {"note": 1})
    again, same, record = load_input_filter(path)
    assert (same, record) == (spec, {"note": 1})
    pictures = _chests(4, 9)
    np.testing.assert_array_equal(probabilities(again, pictures), probabilities(network, pictures))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"expected an input filter.*train-input-filter") as caught:
        load_input_filter(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="expected an input filter"):
        load_input_filter(tmp_path / "absent.safetensors")


def test_probabilities_that_are_no_numbers_are_refused():
    spec = InputKindSpec(("frontal", "ct"), SIZE, 0.5)
    refused, _ = refusals(np.array([[np.nan, np.nan], [0.6, 0.4]], np.float32), spec)
    assert refused.tolist() == [True, False]


def test_radiographs_made_unusual_are_what_their_name_says():
    radiographs = _chests(6, 3)
    np.testing.assert_array_equal(make(radiographs, "inverted", seed=0), 255 - radiographs)
    turned = make(radiographs, "turned", seed=0)
    np.testing.assert_array_equal(turned[1], radiographs[1, ::-1, ::-1])
    cropped = make(radiographs, "cropped", seed=0)
    assert cropped.shape == radiographs.shape
    assert not np.array_equal(cropped, radiographs)
    ramp = np.tile(np.linspace(0, 255, SIZE, dtype=np.uint8), (40, SIZE, 1))
    spans = np.ptp(make(ramp, "cropped", seed=1).reshape(40, -1).astype(int), axis=1)
    assert (spans < 255).any()
    assert spans.min() > 0.25 * 255  # a window of at least 30 % of the width


def test_batches_hold_every_kind_in_range_and_repeat_by_seed():
    known = with_drawn(_known(40, 8, 0), seed=1)
    assert set(known.sources) == {"drawn chest", "drawn ct", "drawn"}
    kinds = kinds_of(known)
    pictures, which = Batches(known, kinds, side=SIZE, seed=1).draw(200)
    again, same = Batches(known, kinds, side=SIZE, seed=1).draw(200)
    assert torch.equal(pictures, again)
    assert torch.equal(which, same)
    assert pictures.shape == (200, 1, SIZE, SIZE)
    assert float(pictures.min()) >= 0
    assert float(pictures.max()) <= 1
    assert set(which.tolist()) == set(range(len(kinds)))
    assert 0.35 < (which == 0).float().mean() < 0.75


def test_table_counts_refusals_by_kind_and_source(fitted):
    network, spec = fitted
    table = refusal_table(network, spec, _known(10, 6, 4))
    assert {name: row["images"] for name, row in table.items()} == {"frontal drawn chest": 10, "ct drawn ct": 6}
    assert all(row["with_its_reason"] <= row["refused"] <= row["images"] for row in table.values())


@pytest.mark.parametrize("field, value", [("steps", 0), ("refused_frontal", 0.5), ("ema_decay", 1.0), ("pixels", 8)])
def test_settings_out_of_range_name_their_field(field, value):
    with pytest.raises(ConfigError, match=field):
        InputFilterConfig(**{field: value})
