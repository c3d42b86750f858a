"""Checks before the first step of a training: names, networks, files, losses, disk space; then a plan with times."""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pocketcxr.errors import ConfigError, require_extra
from pocketcxr.labels import load_task
from pocketcxr.models.backbones import build_backbone, check_blocks
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.networks import NetworkSpec, Student, assemble
from pocketcxr.models.predict import as_predict
from pocketcxr.models.weights import prepare_backbone
from pocketcxr.pipeline.teachers import open_given
from pocketcxr.run_folder import checkpoint
from pocketcxr.training.distributed.processes import accelerator
from pocketcxr.training.engine import Engine
from pocketcxr.training.losses.distillation import (
    check_losses,
    check_without_embedding,
    needs_teacher,
    own_losses,
    trains_classifier,
)
from pocketcxr.training.losses.own import check_own
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.views import check_fits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.labels import Task
    from pocketcxr.models.backbones import Backbone
    from pocketcxr.pipeline.run import Run
    from pocketcxr.training.config import Experiment, OptimisationConfig
    from pocketcxr.training.teacher.given import GivenTeacher
    from pocketcxr.training.teacher.sources import Source

_LOGGER = logging.getLogger("pocketcxr")
_NEEDS_NO_FILE = ("scratch", "pretrained", "bundled")
_TIMED_IMAGES = 4
_BYTES_A_PARAMETER = 20  # float32 weights, their average, two moments, and a copy while a checkpoint is replaced
_SPARE = 200e6  # bytes: report, bundle, logs


def check_experiment(
    experiment: Experiment, *, teacher: bool = True, online: bool = False, network: Source | None = None
) -> GivenTeacher | None:
    """Refuse, before anything is written or trained, a configuration that would fail in the middle of its work.

    Every network is built once with weights of files that are named, so that an unknown name, a size that a network
    cannot take or a file that does not fit shows at once.

    Args:
        experiment: all settings.
        teacher: False for a training without a teacher, whose settings are then not looked at; nor are they where no
            loss needs one.
        online: the teacher is to run in every step.
        network: a teacher given in Python.

    Returns:
        The teacher that was not trained here and must be adapted, opened and tried out; see `teachers.open_given`.

    Raises:
        ConfigError: a task, loss, network, weight file, folder or combination that cannot be used, naming the field.
        CheckpointError, BundleError: a file of weights that cannot be read or does not fit.
        MissingExtraError: a tracker that is not installed.
    """
    for tracker in {*experiment.teacher.track, *experiment.student.track}:
        require_extra(tracker)
    task = load_task(experiment.data.task)
    losses = experiment.student.losses if teacher else {"ce": 1.0}
    check_losses(losses, len(task.labels), multilabel=task.multilabel)
    _check_several(experiment, task)
    given = None
    if teacher and needs_teacher(losses):
        check_teaching(experiment, online=online)
        given = open_given(experiment, network)
        if given is None:
            _check_teacher(experiment, task)
        elif not given.embedding_features:
            check_without_embedding(losses)
    student = _check_student(experiment, task)
    own = own_losses(losses)
    if own:
        width = given.embedding_features if given else experiment.teacher.embedding_features
        check_own(
            own,
            student,
            image_size=experiment.data.image_size,
            teacher_features=width,
            classified=trains_classifier(losses),
            multilabel=task.multilabel,
        )
    for folder in experiment.input_filter.ood:
        if not Path(folder).is_dir():
            raise ConfigError(f"input_filter.ood: expected folders of images, found no folder {folder}")
    return given


def _check_several(experiment: Experiment, task: Task) -> None:
    """Refuse settings that are defined for one class per image where the task gives an image several findings."""
    for config in (experiment.teacher, experiment.student):
        if "-source" in config.sampling:
            task.refuse_several(f"sampling {config.sampling}")


def check_teaching(experiment: Experiment, *, online: bool) -> None:
    """Refuse what a cross-fitted teacher or a table of outputs cannot be used for.

    Raises:
        ConfigError: a loss that compares embeddings, or a teacher that is run in every step.
    """
    if experiment.teacher.folds or experiment.teacher.outputs:
        check_without_embedding(experiment.student.losses)
    if experiment.teacher.outputs and online:
        raise ConfigError("teacher.outputs: a table teaches, no teacher can run in every step; leave out --online")
    if experiment.teacher.folds and online:
        raise ConfigError(
            "teacher.folds: --online would show a student what a teacher says of patients it was trained on; "
            "leave out --online, so that every image's view is cached from the teacher that never saw its patient"
        )


def announce(run: Run, dataset: Dataset, *, teacher: bool = True, online: bool = False) -> None:
    """Log what is to be trained, on how many images, and about how long each stage takes on this machine.

    Nothing is said of a run whose student is trained already, and of several processes one says it. The time comes from
    one training step of a few images per network; epochs that stop early take less.

    Raises:
        ConfigError: less disk space than the run needs.
    """
    experiment = run.experiment
    trained = checkpoint(run.student_distilled if teacher else run.student_baseline).is_file()
    if trained or not accelerator().is_main_process:
        return
    labelled = dataset.targets[training_positions(dataset)]
    classes = ", ".join(
        f"{(labelled[:, i] == 1).sum() if dataset.task.multilabel else (labelled == i).sum()} {name}"
        for i, name in enumerate(dataset.task.labels)
    )
    _LOGGER.info(
        "training images: %d (%s); calibration: %d", len(labelled), classes, len(dataset.positions("calibration"))
    )
    distils = teacher and needs_teacher(experiment.student.losses)
    stages = list(_stages(experiment, dataset, run.given, distils=distils, online=online))
    _check_space(run, dataset, stages, distils=distils)
    for stage in stages:
        _LOGGER.info("  %s: about %s", stage.title, duration(stage.seconds))
    _LOGGER.info("in all about %s, without evaluation and report", duration(sum(stage.seconds for stage in stages)))


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words, with one digit that means something."""
    if seconds < 90:  # noqa: PLR2004
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class _Stage:
    title: str
    seconds: float
    parameters: int


def _check_teacher(experiment: Experiment, task: Task) -> None:
    config, size = experiment.teacher, experiment.data.image_size
    for table in config.outputs:
        if not Path(table).is_file():
            raise ConfigError(f"teacher.outputs: expected a table of a teacher's outputs, found no file {table}")
    if config.outputs:
        return
    if config.checkpoint:
        path = Path(config.checkpoint)
        check_fits(path, load_network(path)[1], labels=task.labels, image_size=size, multilabel=task.multilabel)
        return
    for name, weights in zip(config.backbones, config.weights, strict=True):
        _check_backbone(name, weights, size=config.image_size or size, frozen_blocks=config.frozen_blocks)


def _check_student(experiment: Experiment, task: Task) -> Student:
    config, size = experiment.student, experiment.data.image_size
    backbone = _check_backbone(config.backbone, config.weights, size=size, frozen_blocks=config.frozen_blocks)
    spec = NetworkSpec(kind="student", backbones=(config.backbone,), labels=task.labels, image_size=size)
    student = assemble(spec, [backbone])
    assert isinstance(student, Student)
    return student


def _check_backbone(name: str, weights: str, *, size: int, frozen_blocks: int) -> Backbone:
    if weights in _NEEDS_NO_FILE:
        backbone = build_backbone(name, image_size=size)
    else:
        backbone, _ = prepare_backbone(name, weights, image_size=size)
    check_blocks(name, backbone.trunk, frozen_blocks)
    return backbone


def _stages(
    experiment: Experiment, dataset: Dataset, given: GivenTeacher | None, *, distils: bool, online: bool
) -> Iterator[_Stage]:
    """The stages that train or run a network, with their times."""
    config, student, size = experiment.teacher, experiment.student, experiment.data.image_size
    images = len(training_positions(dataset))
    everything = len(training_positions(dataset, unlabelled=student.unlabelled))
    answering = 0.0  # seconds an image and view
    if distils and (config.checkpoint or given):
        network = given.network if given else load_network(Path(config.checkpoint))[0]
        answering = _seconds_to_answer(network, dataset.images(np.arange(min(_TIMED_IMAGES, len(dataset.rows)))))
    elif distils and not config.outputs:
        rounds, share = (config.folds, (config.folds - 1) / config.folds) if config.folds else (1, 1.0)
        for name in config.backbones:
            training, forward, parameters = _seconds_an_image(name, config, size=config.image_size or size)
            answering += forward
            seen = images * share * config.epochs * rounds
            folds = f", {rounds} folds" if config.folds else ""
            yield _Stage(f"teacher {name}, {config.epochs} epochs{folds}", seen * training, parameters * rounds)
    if distils and not online:
        count = experiment.views.count * len(training_positions(dataset, unlabelled=True))
        table = f" from {len(config.outputs)} tables" if config.outputs else ""
        yield _Stage(f"teacher's outputs for {count} views{table}", count * answering, 0)
    training, _, parameters = _seconds_an_image(student.backbone, student, size=size)
    what = "distilled student" if distils else "student"
    extra = answering if online else 0.0
    yield _Stage(
        f"{what} {student.backbone}, {student.epochs} epochs",
        everything * student.epochs * (training + extra),
        parameters,
    )


def _seconds_an_image(name: str, config: OptimisationConfig, *, size: int) -> tuple[float, float, int]:
    """Seconds of a training step and of a forward pass, per image, and the parameters of a network."""
    engine = Engine(config.precision)
    backbone = build_backbone(name, image_size=size)
    parameters = sum(one.numel() for one in backbone.parameters())
    if config.frozen_blocks:
        backbone.freeze(config.frozen_blocks)
    network = engine.ready(backbone).train()
    images = engine.place(torch.rand(_TIMED_IMAGES, 1, size, size))
    step, forward = 0.0, 0.0
    for _ in range(2):  # the first one warms caches up
        started = time.perf_counter()
        with engine.autocast():
            loss = network(images).float().square().mean()
        forward = time.perf_counter() - started
        loss.backward()
        step = time.perf_counter() - started
    return step / _TIMED_IMAGES, forward / _TIMED_IMAGES, parameters


def _seconds_to_answer(network: nn.Module, images: NDArray[np.float32]) -> float:
    """Seconds in which a given teacher answers for an image."""
    predict = as_predict(network)
    predict(images)  # warms caches up
    started = time.perf_counter()
    predict(images)
    return (time.perf_counter() - started) / len(images)


def _check_space(run: Run, dataset: Dataset, stages: list[_Stage], *, distils: bool) -> None:
    experiment = run.experiment
    numbers = len(dataset.task.labels) * 4 + experiment.teacher.embedding_features * 2
    views = experiment.views.count * len(training_positions(dataset, unlabelled=True)) * numbers if distils else 0
    needed = views + _BYTES_A_PARAMETER * sum(stage.parameters for stage in stages) + _SPARE
    free = shutil.disk_usage(run.folder).free
    if free < needed:
        raise ConfigError(
            f"{run.folder}: expected {needed / 1e9:.1f} GB of free disk space for checkpoints and teacher views, found "
            f"{free / 1e9:.1f} GB; free some, or choose another folder"
        )
