"""The teacher of a run, trained here or not: opened for training, evaluation and audit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.costs import Costs
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.costs import network_costs
from pocketcxr.models.predict import as_predict
from pocketcxr.run_folder import checkpoint
from pocketcxr.training.losses.distillation import needs_teacher
from pocketcxr.training.teacher.sources import PYTHON, fits_directly, open_teacher

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from pocketcxr.bundle.contract import Predict
    from pocketcxr.pipeline.run import Run
    from pocketcxr.training.config import Experiment
    from pocketcxr.training.teacher.given import GivenTeacher
    from pocketcxr.training.teacher.sources import Source

_LOGGER = logging.getLogger("pocketcxr")


def open_given(experiment: Experiment, network: Source | None = None) -> GivenTeacher | None:
    """Open the teacher that ``teacher.checkpoint`` names, or that was given in Python, where it must be adapted.

    None where the run trains its own, has a table, or has a checkpoint of this project that fits as it is.

    Raises:
        ConfigError, CheckpointError, BundleError: see `sources.open_teacher`.
    """
    source, task = network or experiment.teacher.checkpoint, load_task(experiment.data.task)
    if experiment.teacher.classes and not source:
        raise ConfigError(
            f"teacher.classes: expected none where no teacher is given, found {experiment.teacher.classes}; "
            "name the teacher in teacher.checkpoint"
        )
    if not source or not needs_teacher(experiment.student.losses):
        return None
    if isinstance(source, str) and fits_directly(source, task, image_size=experiment.data.image_size):
        return None
    return open_teacher(source, task, classes=experiment.teacher.classes)


def open_again(run: Run) -> GivenTeacher | None:
    """The given teacher of a run that was trained before; None, with a line, where it was given in Python."""
    if run.given is not None or not run.experiment.teacher.checkpoint.startswith(PYTHON):
        return run.given or open_given(run.experiment)
    _LOGGER.warning(
        "the teacher, %s, was given in Python and is in no file: it has no row among the figures",
        run.experiment.teacher.checkpoint.removeprefix(PYTHON),
    )
    return None


def teacher_predict(run: Run) -> Predict:
    """The teacher of a run as a model."""
    if run.given is not None:
        return as_predict(run.given.network, multilabel=load_task(run.experiment.data.task).multilabel)
    return predict_of(run.teacher)


def predict_of(folder: Path) -> Predict:
    """The network in the folder of a stage as a model."""
    network, spec, _ = load_network(checkpoint(folder))
    return as_predict(network, multilabel=spec.multilabel)


def given_costs(teacher: GivenTeacher, *, image_size: int) -> Costs:
    """Costs of a given teacher; arithmetic and parameters only where PyTorch runs it."""
    tensors = [tensor for tensor in teacher.network.state_dict().values() if isinstance(tensor, torch.Tensor)]
    if not tensors:
        return Costs(runtime="ONNX Runtime")
    counted = network_costs(teacher.network, image_size=image_size)
    return Costs(
        parameters=counted.parameters,
        macs=counted.macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        runtime=f"PyTorch {torch.__version__.partition('+')[0]}",
    )


def teacher_record(run: Run) -> dict[str, Any]:
    """What a bundle's manifest says of the teacher."""
    config = run.experiment.teacher
    if not needs_teacher(run.experiment.student.losses):
        return {}
    if config.outputs:
        return {"outputs": list(config.outputs)}
    if run.given is not None:
        return {"checkpoint": config.checkpoint, **run.given.about}
    if config.checkpoint:
        return {"checkpoint": config.checkpoint}
    return {"backbones": list(config.backbones)}
