"""A tiny data set and tiny configurations, for every test of training."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch

import pocketcxr

_HERE, _SOURCES = str(Path(__file__).parent), str(Path(pocketcxr.__file__).parents[1])
sys.path.insert(0, _HERE)  # so that child processes can import `tiny_runs` by name

import tiny_runs  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def processes():
    """Child processes that start in a moment, for the server they fork from has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny_runs"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([_HERE, _SOURCES])
        )  # Python 3.11's server does not take over sys.path
        context.Process(target=int).start()
        yield context


@pytest.fixture(scope="session")
def dataset():
    """112 images of three classes that differ by where a bright stripe lies; 16 of them without a label."""
    return tiny_runs.make_dataset()


@pytest.fixture(scope="session")
def teacher(dataset, tmp_path_factory):
    """Checkpoint of a tiny staged teacher."""
    return tiny_runs.train_tiny_teacher(dataset, tmp_path_factory.mktemp("teacher"))
