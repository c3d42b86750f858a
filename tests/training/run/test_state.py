"""The state of an interrupted stage holds numbers only, and what else lies in its place is never run."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch

from pocketcxr.errors import CheckpointError
from pocketcxr.training.run.resume import STATE, Progress, load_state, save_state


@pytest.fixture
def stage():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    average = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    network(torch.randn(8, 4)).square().sum().backward()
    optimiser.step()
    return network, average, optimiser, scaler


PROGRESS = Progress(7, 2, {"auroc": 0.75, "cross_entropy": 0.5}, 1, stopped=True)


def test_the_state_on_disk_is_tensors_and_plain_values(stage, tmp_path):
    save_state(tmp_path, *stage, PROGRESS)
    state = torch.load(tmp_path / STATE, weights_only=True)  # refuses every object that is neither
    assert set(state) == {"network", "average", "optimiser", "scaler", "progress"}
    assert state["progress"] == vars(PROGRESS)
    with zipfile.ZipFile(tmp_path / STATE) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith("data.pkl")]
        text = archive.read(name).decode("latin-1")
    assert "pocketcxr" not in text  # no class of the package is needed to read it


def test_all_that_was_saved_comes_back(stage, tmp_path):
    network, average, optimiser, scaler = stage
    save_state(tmp_path, *stage, PROGRESS)
    before = [{name: value.clone() for name, value in one.state_dict().items()} for one in (network, average)]
    moments = {name: value.clone() for name, value in optimiser.state_dict()["state"][0].items()}
    for one in (network, average):
        for parameter in one.parameters():
            parameter.data.zero_()
    other = torch.optim.AdamW(network.parameters(), lr=0.5)
    assert load_state(tmp_path, network, average, other, scaler) == PROGRESS
    for one, kept in zip((network, average), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in one.state_dict().items())
    assert other.param_groups[0]["lr"] == 0.1
    assert all(torch.equal(value, moments[name]) for name, value in other.state_dict()["state"][0].items())


class Touch:
    """What a pickle may ask for: a call of any function with any argument."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("form", ["torch", "plain pickle"])
def test_a_pickle_in_its_place_is_refused_and_not_run(stage, tmp_path, form):
    save_state(tmp_path, *stage, PROGRESS)
    state, mark = torch.load(tmp_path / STATE, weights_only=True), tmp_path / "was run"
    state["progress"]["best_figures"] = Touch(mark)
    if form == "torch":
        torch.save(state, tmp_path / STATE)
    else:
        (tmp_path / STATE).write_bytes(pickle.dumps(state["progress"]))
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged .*: delete it"):
        load_state(tmp_path, *stage)
    assert not mark.exists()


def test_without_a_state_there_is_nothing_to_go_on_from(stage, tmp_path):
    assert load_state(tmp_path, *stage) is None


@pytest.mark.parametrize("part", ["network", "average", "optimiser", "progress"])
def test_a_state_that_lacks_a_part_is_refused(stage, tmp_path, part):
    save_state(tmp_path, *stage, PROGRESS)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state[part]
    torch.save(state, tmp_path / STATE)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path, *stage)
