"""Two processes train what one trains with the same batches, whichever of them is killed; one of them writes."""

import contextlib
import dataclasses
import signal
import time

import numpy as np
import pytest
import tiny_runs
import torch
from torch import nn

from pocketcxr.models.checkpoints import load_network
from pocketcxr.training.distributed.layers import over_whole_batch
from pocketcxr.training.engine import Engine
from pocketcxr.training.run.record import Table

FIRST, SECOND, LATER, LOGITS = 2e-5, 1e-3, 0.05, 2e-3
"""How far two processes may be from one in float32: losses of a step (relative), logits of the student (absolute).

Rounding grows in training, that of one process too: with first weights off by 1e-7, its losses are off by 1.5e-3 at the
eighth step.
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def together(processes, teacher, folder):
    """The distilled student of two processes."""
    tiny_runs.run_together(processes, tiny_runs.run_distilled, (str(teacher), str(folder / "two")))
    return folder / "two" / "student"


def table(run, name="metrics.csv"):
    return Table(run / name, until=99, writes=False)


def assert_same_training(one, other, dataset):
    """Losses and their parts at every step, and what the students say of every image."""
    ours, theirs = table(one), table(other)
    for name in ours.rows[0]:
        if name.startswith("loss"):
            off = np.abs(np.array(ours.column(name)) / np.array(theirs.column(name)) - 1)
            assert (off < [FIRST, SECOND, *[LATER] * (len(off) - 2)]).all(), (name, off)
        elif name in {"step", "epoch", "learning_rate"}:
            assert ours.column(name) == theirs.column(name), name
    images = torch.from_numpy(dataset.images(np.arange(len(dataset.rows))))
    with torch.inference_mode():
        logits, others = (load_network(run / "best.safetensors")[0].eval()(images).logits for run in (one, other))
    assert torch.allclose(logits, others, rtol=0, atol=LOGITS)
    assert logits.std(dim=0).min() > 2 * LOGITS  # else they would agree whatever was learnt


def test_two_processes_have_the_gradient_of_one(processes, tmp_path):
    """In float64, where rounding hides nothing: batch norms, dropout, a loss that compares the images of the batch."""
    tiny_runs.run_together(processes, tiny_runs.run_step, (str(tmp_path / "two"),))
    tiny_runs.run_step(str(tmp_path / "one"))
    one, *two = (torch.load(tmp_path / name, weights_only=True) for name in ("one-0.pt", "two-0.pt", "two-1.pt"))
    assert max(float(tensor.abs().max()) for name, tensor in one.items() if name.endswith("weight")) > 1
    for other in two:
        assert list(other) == list(one)
        for name, tensor in one.items():
            off = (other[name] - tensor).abs().max() / (1 + tensor.abs().max())  # some gradients are 0, give or take
            assert off < 1e-9, name


def test_two_processes_distil_the_student_of_one(dataset, teacher, together, folder):
    tiny_runs.run_distilled(str(teacher), str(folder / "one"))
    assert_same_training(folder / "one" / "student", together, dataset)
    epochs = [table(run, "epochs.csv") for run in (folder / "one" / "student", together)]
    assert epochs[0].column("best") == epochs[1].column("best")
    assert epochs[0].column("cross_entropy") == pytest.approx(epochs[1].column("cross_entropy"), rel=1e-3)


@pytest.mark.slow
def test_two_processes_train_the_teacher_of_one(processes, dataset, teacher, tmp_path):
    tiny_runs.run_together(processes, tiny_runs.run_teacher, (str(tmp_path),))
    for stage in ("backbone-1-" + tiny_runs.BACKBONE, "fusion"):
        first, other = (table(run / stage).column("loss")[0] for run in (teacher.parent, tmp_path))
        assert first == pytest.approx(other, rel=FIRST if stage != "fusion" else LATER), stage
    images = torch.from_numpy(dataset.images(np.arange(len(dataset.rows))))
    with torch.inference_mode():
        logits, others = (load_network(path)[0].eval()(images).logits for path in (teacher, tmp_path / teacher.name))
    assert torch.corrcoef(torch.stack([logits.flatten(), others.flatten()]))[0, 1] > 0.98


def test_two_processes_cache_the_views_of_one(dataset, teacher, together, folder):
    (two,) = folder.glob("two/views/*")
    one = tiny_runs.cache_tiny_views(dataset, teacher, folder / "alone")
    assert one.store.folder.name == two.name
    for name, array in one.store.arrays.items():
        assert np.array_equal(array, np.load(two / f"{name}.npy")), name
    assert (two / "complete.json").is_file()


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_process_costs_nothing_but_time(processes, teacher, together, tmp_path, rank):
    """Kill one in the views and one in the training; the launcher, which is this test, ends the other."""

    def cached():
        for path in tmp_path.glob("views/*/done.npy"):
            with contextlib.suppress(FileNotFoundError):  # the folder gets its last name when all views are there
                return int(np.load(path).sum())
        return 0

    def steps():
        path = tmp_path / "student" / "metrics.csv"
        return path.read_bytes().count(b"\n") - 1 if path.exists() else 0

    for reached, enough in ((cached, 48), (steps, 5)):
        children = tiny_runs.start_together(processes, tiny_runs.run_distilled, (str(teacher), str(tmp_path)))
        deadline = time.monotonic() + 300
        while reached() < enough and all(child.is_alive() for child in children) and time.monotonic() < deadline:
            time.sleep(0.002)
        assert children[rank].is_alive()
        children[rank].kill()
        children[1 - rank].terminate()
        for child in children:
            child.join(60)
        assert children[rank].exitcode == -signal.SIGKILL
        assert children[1 - rank].exitcode not in {0, None}
        assert reached() >= enough
    tiny_runs.run_together(processes, tiny_runs.run_distilled, (str(teacher), str(tmp_path)))
    again, whole = (load_network(run / "best.safetensors")[0].state_dict() for run in (tmp_path / "student", together))
    assert [name for name, tensor in whole.items() if not torch.equal(again[name], tensor)] == []
    assert table(tmp_path / "student").column("loss") == table(together).column("loss")
    assert (tmp_path / "student" / "epochs.csv").read_text() == (together / "epochs.csv").read_text()


def test_fewer_images_than_a_batch_are_refused(processes, tmp_path, dataset):
    child, _ = tiny_runs.start_together(processes, tiny_runs.run_too_few, (str(tmp_path / "message"),))
    child.join(120)
    assert (tmp_path / "message").read_text().endswith("expected at least 128 training images, found 64")
    few = dataclasses.replace(tiny_runs.BASELINE, batch_size=128, epochs=1)
    tiny_runs.train_tiny_student(dataset, tmp_path / "alone", few)  # one process takes what there is


def test_one_process_trains_the_very_network_it_was_given():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout())
    assert Engine("fp32").distribute(network) is network
    assert [type(module) for module in network] == [nn.BatchNorm2d, nn.Dropout]


def test_on_a_gpu_batch_norms_become_those_of_pytorch():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    changed = over_whole_batch(network, torch.device("cuda"))
    assert isinstance(changed[1], nn.SyncBatchNorm)
    assert list(changed.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in changed.state_dict().items())
