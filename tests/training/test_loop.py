"""The loop stops when it must, keeps the best epoch, and says where a loss broke."""

import dataclasses
import math

import numpy as np
import pytest
import tiny_runs
import torch
from torch import nn

from pocketcxr.errors import ConfigError, DataError, NonFiniteLossError
from pocketcxr.models.checkpoints import load_network, read_record
from pocketcxr.training.config import OptimisationConfig
from pocketcxr.training.engine import Engine
from pocketcxr.training.loop import Batch, Stage, fit
from pocketcxr.training.run.record import Table

CONFIG = OptimisationConfig(epochs=4, batch_size=4, precision="fp32", checkpoint_every_steps=1, learning_rate=0.01)


def stage(*, losses=None, evaluate=lambda network: {}, images=16, saved=None):
    """A linear network on random numbers, for what needs no picture."""
    torch.manual_seed(0)
    inputs = torch.randn(images, 6)

    def load(positions, views):
        return Batch(inputs[positions], torch.zeros(len(positions), dtype=torch.int64), torch.from_numpy(positions))

    def save(network, path, record):
        path.write_text(str(record["epoch"]))
        if saved is not None:
            saved.append(record["epoch"])

    def mean_square(network, batch):
        return {"square": network(batch.inputs).square().mean()}

    return Stage(
        title="test",
        network=nn.Linear(6, 2),
        plan=lambda epoch: (np.random.default_rng(epoch).permutation(images), np.zeros(images, np.int64)),
        load=load,
        losses=losses or mean_square,
        evaluate=evaluate,
        save=save,
        identity={},
    )


def run(out, config=CONFIG, **options):
    return fit(stage(**options), config, engine=Engine(config.precision), out=out, best=out / "best", progress=False)


def steps_of(out):
    return len(Table(out / "metrics.csv", until=2**31, writes=False).rows)


def test_the_loss_falls(tmp_path):
    run(tmp_path)
    losses = Table(tmp_path / "metrics.csv", until=99, writes=False).column("loss")
    assert len(losses) == 16
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_with_step_and_part_named(tmp_path, value):
    count = 0

    def breaks_at_step_6(network, batch):
        nonlocal count
        count += 1
        good = network(batch.inputs).square().mean()
        return {"fine": good, "soft": good * (value if count == 6 else 1.0)}

    with pytest.raises(NonFiniteLossError, match=r"^step 6: loss_soft is (nan|inf) at learning rate") as caught:
        run(tmp_path, losses=breaks_at_step_6)
    assert str(tmp_path) in str(caught.value)
    state = torch.load(tmp_path / "last.pt", weights_only=True)  # the last good one stays
    assert state["progress"]["step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in state["network"].values())


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(tmp_path):
    def root_of_zero(network, batch):
        return {"root": (network(batch.inputs) * 0).abs().sum().sqrt()}  # 0, with an infinite slope

    with pytest.raises(NonFiniteLossError, match="step 1: gradient is nan"):
        run(tmp_path, losses=root_of_zero)


@pytest.mark.parametrize(("select_by", "expected_best", "expected_steps"), [("auroc", 2, 16), ("cross-entropy", 3, 20)])
def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path, select_by, expected_best, expected_steps):
    figures = iter([
        {"auroc": 0.7, "cross_entropy": 0.9, "accuracy": 0.0},
        {"auroc": 0.9, "cross_entropy": 0.8, "accuracy": 0.0},
        {"auroc": 0.8, "cross_entropy": 0.5, "accuracy": 0.0},
        *[{"auroc": 0.9, "cross_entropy": 0.85, "accuracy": 0.0}] * 7,
    ])  # fmt: skip
    saved = []
    config = dataclasses.replace(CONFIG, epochs=10, patience=2, select_by=select_by)
    best = run(tmp_path, config, evaluate=lambda network: next(figures), saved=saved)
    assert best.read_text() == str(expected_best)
    assert saved[-1] == expected_best
    assert steps_of(tmp_path) == expected_steps


def test_with_equal_auroc_the_lower_cross_entropy_wins(tmp_path):
    figures = iter({"auroc": 0.9, "cross_entropy": loss} for loss in (0.8, 0.7, 0.75, 0.9))
    assert run(tmp_path, evaluate=lambda network: next(figures)).read_text() == "2"


def test_where_auroc_is_undefined_cross_entropy_chooses(tmp_path):
    figures = iter({"auroc": math.nan, "cross_entropy": loss} for loss in (0.8, 0.6, 0.7, 0.9))
    assert run(tmp_path, evaluate=lambda network: next(figures)).read_text() == "2"


def test_without_a_calibration_split_the_last_epoch_is_kept(tmp_path):
    assert run(tmp_path).read_text() == "4"


def test_fewer_images_than_a_batch_make_one_step_per_epoch(tmp_path):
    run(tmp_path, images=3)
    assert steps_of(tmp_path) == 4


def test_one_image_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected at least 2 training images, found 1"):
        run(tmp_path, images=1)


def test_fp16_on_a_processor_is_refused(dataset, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there, and trains in fp16")
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        tiny_runs.train_tiny_student(dataset, tmp_path, dataclasses.replace(tiny_runs.BASELINE, precision="fp16"))


def test_bf16_trains(dataset, tmp_path):
    config = dataclasses.replace(tiny_runs.BASELINE, precision="bf16", epochs=1)
    best = tiny_runs.train_tiny_student(dataset, tmp_path, config)
    assert read_record(best)["precision"] == "bf16"
    network, _, _ = load_network(best)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains_on_a_gpu(dataset, tmp_path, precision):
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    best = tiny_runs.train_tiny_student(dataset, tmp_path, dataclasses.replace(tiny_runs.BASELINE, precision=precision))
    assert all(torch.isfinite(tensor).all() for tensor in load_network(best)[0].state_dict().values())
