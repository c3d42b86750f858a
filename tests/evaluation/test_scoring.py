import dataclasses

import numpy as np
import pytest

from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.errors import DataError
from pocketcxr.evaluation.calibration import softmax
from pocketcxr.evaluation.scoring import score


@pytest.mark.parametrize("batch_size", [1, 7, 500])
def test_answers_stay_with_their_images_whatever_the_batch_size(make_dataset, make_oracle, batch_size):
    dataset = make_dataset()
    oracle = make_oracle(dataset, 2, seed=0)
    positions = dataset.positions("test")[::-1]
    scored = score("m", oracle, dataset, positions, batch_size=batch_size)
    assert scored.logits == pytest.approx(oracle.logits[positions], abs=1e-5)
    assert (scored.labels == dataset.labels[positions]).all()
    assert oracle.calls == -(-len(positions) // batch_size)
    assert not scored.saliency


def test_temperature_of_a_model_that_brings_one_is_recognised(make_dataset, make_oracle):
    dataset = make_dataset()
    positions = dataset.positions("test")
    plain = score("m", make_oracle(dataset, 2, seed=0), dataset, positions)
    calibrated = score("m", make_oracle(dataset, 2, seed=0, temperature=1.7), dataset, positions)
    assert not plain.brings_temperature
    assert plain.implied_temperature == pytest.approx(1.0, abs=1e-4)
    assert calibrated.brings_temperature
    assert calibrated.implied_temperature == pytest.approx(1.7, rel=1e-4)


def test_kept_maps_are_of_the_most_confident_errors_and_of_right_answers_of_every_class(make_dataset, make_oracle):
    dataset = make_dataset("covid-3class", 240)
    positions = dataset.positions("test")
    scored = score("m", make_oracle(dataset, 1.5, seed=0), dataset, positions, keep_saliency=6)
    predicted, confidence = scored.probabilities.argmax(axis=1), scored.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != scored.labels)
    kept_wrong = [i for i in wrong if int(positions[i]) in scored.saliency]
    assert len(kept_wrong) == 6
    assert min(confidence[kept_wrong]) >= max(confidence[i] for i in wrong if i not in kept_wrong)
    kept_right = [i for i in range(len(positions)) if int(positions[i]) in scored.saliency and i not in kept_wrong]
    assert np.bincount(scored.labels[kept_right]).tolist() == [2, 2, 2]
    assert scored.saliency[int(positions[kept_right[0]])].shape == (3, 3, 3)


def test_a_model_without_maps_keeps_none(make_dataset, make_oracle):
    dataset = make_dataset()
    oracle = make_oracle(dataset, 2, seed=0, with_saliency=False)
    assert score("m", oracle, dataset, dataset.positions("test"), keep_saliency=4).saliency == {}


def test_no_images_are_scored_as_no_images(make_dataset, make_oracle):
    dataset = make_dataset()
    scored = score("m", make_oracle(dataset, 2, seed=0), dataset, np.array([], dtype=np.int64))
    assert scored.probabilities.shape == (0, 2)
    assert not scored.brings_temperature
    assert scored.implied_temperature == 1.0


def answer(logits):
    table = np.asarray(logits, dtype=np.float32)
    return lambda images: ModelOutputs(np.nan_to_num(table)[: len(images)], table[: len(images)], table)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (np.zeros((500, 3)), r"expected probabilities of shape \(32, 2\), found \(32, 3\).*another task"),
        (np.full((500, 2), np.nan), "model m: found NaN or infinity among its logits"),
    ],
)
def test_a_model_that_breaks_its_promise_is_refused(make_dataset, logits, words):
    dataset = make_dataset()
    with pytest.raises(DataError, match=words):
        score("m", answer(logits), dataset, dataset.positions("test"))


def test_unlabelled_images_are_refused(make_dataset, make_oracle):
    dataset = make_dataset()
    labels = dataset.labels.copy()
    labels[3] = -1
    with pytest.raises(DataError, match="1 of 5 images have no label"):
        score("m", make_oracle(dataset, 2, 0), dataclasses.replace(dataset, labels=labels), np.arange(5))


def test_novelty_is_kept_in_order(make_dataset):
    dataset = make_dataset()

    def predict(images):
        table = np.zeros((len(images), 2), np.float32)
        novelty = images[:, 0, 0, 1] * 255
        return ModelOutputs(softmax(table).astype(np.float32), table, table, novelty=novelty)

    scored = score("m", predict, dataset, np.arange(10, 20), batch_size=3)
    assert scored.novelty == pytest.approx(np.arange(10, 20), abs=1e-3)
