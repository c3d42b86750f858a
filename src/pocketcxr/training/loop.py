"""The one training loop, for every stage: read it from top to bottom and you know how all networks here are fitted.

A stage says what to load, which losses to take and how to evaluate (`Stage`); `fit` does the rest. Everything random is
derived from (seed, epoch) or (seed, step), so a run that is killed at any step and started again ends with the very
weights of a run that never was.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pocketcxr.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from pocketcxr.files import write_json
from pocketcxr.progress import Bar
from pocketcxr.training.distributed.processes import whole_batch
from pocketcxr.training.optimisation import learning_rate, make_optimiser, seed_step, update_average
from pocketcxr.training.run import record
from pocketcxr.training.run.identity import recorded
from pocketcxr.training.run.interruption import stop_requests
from pocketcxr.training.run.resume import Progress, load_state, remove_state, save_state
from pocketcxr.training.run.tracking import Tracked, Tracking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.training.config import OptimisationConfig
    from pocketcxr.training.engine import Engine

    Watch = Callable[[int, dict[str, float]], None]

_CODE_VERSION = 2
"""Raised when the same configuration would give other weights."""


@dataclass(frozen=True)
class Batch:
    """What one step sees: `inputs` images [n, 1, s, s] or features [n, c]; `labels` int64 [n], -1 where unknown.

    The last three are targets of auxiliary outputs, see `auxiliary.targets.load_views`.
    """

    inputs: Tensor
    labels: Tensor
    image_ids: Tensor
    teacher_logits: Tensor | None = None
    teacher_embedding: Tensor | None = None
    findings: Tensor | None = None
    opacity: Tensor | None = None
    box_masks: Tensor | None = None

    def on(self, engine: Engine) -> Batch:
        """Bring all tensors to the engine's device; of several processes each keeps its inputs and gets all targets."""
        tensors = {name: engine.place(tensor) for name, tensor in vars(self).items() if tensor is not None}
        return Batch(**{name: t if name == "inputs" else whole_batch(t) for name, t in tensors.items()})


def unwatched(_epoch: int, _figures: dict[str, float]) -> None:
    """Nobody is told of an epoch."""


@dataclass(frozen=True)
class Stage:
    """What one stage of training is about.

    `title` for the progress bar; `network` is fitted; `plan` gives positions and views of an epoch; `load` a batch of
    them; `losses` named parts, each a scalar, of a batch; `evaluate` figures on the calibration split (``auroc``,
    ``cross_entropy``), empty without such a split; `save` writes what is to be kept of a network to a path, with a
    record; `identity` is what else the weights depend on (data, specification, teacher): a resumed run must match it.
    `watch` gets the number and figures of each epoch (from 1), and may end the stage by an exception.
    """

    title: str
    network: nn.Module
    plan: Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
    load: Callable[[NDArray[np.int64], NDArray[np.int64]], Batch]
    losses: Callable[[nn.Module, Batch], dict[str, Tensor]]
    evaluate: Callable[[nn.Module], dict[str, float]]
    save: Callable[[nn.Module, Path, dict[str, Any]], None]
    identity: dict[str, Any]
    watch: Watch = unwatched


def run_identity(stage: str, config: OptimisationConfig, identity: dict[str, Any]) -> dict[str, Any]:
    """All that the final weights of a stage depend on, as ``config.json`` keeps it."""
    optimisation = recorded(config)
    del optimisation["checkpoint_every_steps"]  # of no influence on the weights
    return {"stage": stage, "code_version": _CODE_VERSION, "configuration": optimisation, **identity}


def fit(stage: Stage, config: OptimisationConfig, *, engine: Engine, out: Path, best: Path, progress: bool) -> Path:
    """Train a stage, or go on where it stopped, or return at once if it is done.

    Args:
        stage: what to train on what.
        config: how.
        engine: where.
        out: the stage's folder; see `record` for what it leaves there.
        best: file for the averaged weights of the best epoch.
        progress: show a bar with images per second and time left.

    Returns:
        `best`.

    Raises:
        CheckpointError: the folder holds another configuration, or a damaged state.
        NonFiniteLossError: naming the step and the part; the last good checkpoint stays.
        KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM, with the state saved.
    """
    identity = run_identity(stage.title, config, stage.identity)
    if engine.main:
        record.open_run(out, identity)
    engine.wait()
    if engine.from_main(record.finished(out) is not None and best.exists()):
        return best

    order, views = stage.plan(0)
    per_epoch = _steps_per_epoch(stage, len(order), config, engine)
    network = engine.ready(stage.network)
    run = _Run(
        network=network,
        distributed=engine.distribute(network),
        average=copy.deepcopy(network).eval(),
        optimiser=make_optimiser(network, config),
        engine=engine,
        out=out,
    )
    state = _restored(run)
    steps, epochs = (
        record.Table(out / name, until=state.step, writes=engine.main) for name in (record.STEPS, record.EPOCHS)
    )
    tracking = Tracking(config.track if engine.main else (), Tracked(out, identity), (steps, epochs))
    planned = 0

    total = config.epochs * per_epoch
    bar = Bar(total=total * config.batch_size, initial=state.step * config.batch_size, desc=stage.title, unit="image",
              disable=not progress or not engine.main)  # fmt: skip
    with bar, tracking, stop_requests() as stop:
        while state.step < total and not state.stopped:
            started = time.perf_counter()
            epoch, index = divmod(state.step, per_epoch)
            if epoch != planned:
                (order, views), planned = stage.plan(epoch), epoch
            chosen = slice(index * config.batch_size, (index + 1) * config.batch_size)
            batch = stage.load(engine.share(order[chosen]), engine.share(views[chosen])).on(engine)
            rate = learning_rate(state.step, config=config, steps_per_epoch=per_epoch)
            values = _step(run, stage, batch, config=config, step=state.step, rate=rate)
            state.step += 1

            if engine.main:
                speed = config.batch_size / (time.perf_counter() - started)
                steps.append(
                    {"step": state.step, "epoch": epoch + 1, "learning_rate": rate, "images_per_s": speed, **values}
                )
                bar.update(config.batch_size)
                bar.set_postfix(epoch=f"{epoch + 1}/{config.epochs}", loss=f"{values['loss']:.3f}", refresh=False)
            ends_epoch = index + 1 == per_epoch
            if ends_epoch:
                figures = engine.from_main(stage.evaluate(run.average) if engine.main else {})
                improved = state.note(epoch, figures, select_by=config.select_by, patience=config.patience)
                if engine.main and improved:
                    stage.save(run.average, best, {"epoch": epoch + 1, "calibration": figures})
                epochs.append({"step": state.step, "epoch": epoch + 1, "best": int(improved), **figures})
                stage.watch(epoch + 1, figures)
            if engine.main and (ends_epoch or stop.signal or state.step % config.checkpoint_every_steps == 0):
                save_state(out, network, run.average, run.optimiser, engine.scaler, state)
            stop.leave(f"step {state.step} of {total} is saved in {out}, the same command goes on from there")
            tracking.send()

    if engine.main:
        _finish(out, state)
    engine.wait()
    return best


@dataclass(frozen=True)
class _Run:
    """What a step works on: the network, its wrapping for several processes, its running average, the optimiser."""

    network: nn.Module
    distributed: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    engine: Engine
    out: Path


def _step(
    run: _Run, stage: Stage, batch: Batch, *, config: OptimisationConfig, step: int, rate: float
) -> dict[str, float]:
    """One step of gradient descent; returns the loss, its parts and the norm of the gradient."""
    engine, optimiser = run.engine, run.optimiser
    seed_step(config.seed, step)
    for group in optimiser.param_groups:
        group["lr"] = rate
    run.distributed.train()
    with engine.autocast():
        parts = stage.losses(run.distributed, batch)
    loss = torch.stack(list(parts.values())).sum()
    values = {"loss": float(loss.detach()), **{f"loss_{name}": float(part.detach()) for name, part in parts.items()}}
    _check_finite(values, step, rate, run.out)
    optimiser.zero_grad(set_to_none=True)
    engine.scaler.scale(loss).backward()
    engine.scaler.unscale_(optimiser)
    norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), config.gradient_clip or math.inf))
    if not engine.scaler.is_enabled():  # the scaler itself skips a step whose gradients overflow fp16
        _check_finite({"gradient": norm}, step, rate, run.out)
    engine.scaler.step(optimiser)
    engine.scaler.update()
    update_average(run.average, run.network, step=step, decay=config.ema_decay)
    return {**values, "gradient_norm": norm}


def _restored(run: _Run) -> Progress:
    """Go back to the saved state; every process reads it."""
    state = load_state(run.out, run.network, run.average, run.optimiser, run.engine.scaler) or Progress()
    if run.engine.from_main(state.step) != state.step:
        raise CheckpointError(
            f"{run.out}: process {run.engine.rank} found the state of step {state.step}, the main one another; all "
            "machines must have the run's folder, on a file system that they share"
        )
    return state


def _steps_per_epoch(stage: Stage, images: int, config: OptimisationConfig, engine: Engine) -> int:
    """Whole batches in an epoch (the incomplete one at its end is left out); one, where there are fewer images."""
    if config.batch_size % engine.processes:
        raise ConfigError(f"batch_size: expected a multiple of {engine.processes} processes, found {config.batch_size}")
    least = 2 if engine.processes == 1 else config.batch_size
    if images < least:
        raise DataError(f"{stage.title}: expected at least {least} training images, found {images}")
    return max(1, images // config.batch_size)


def _finish(out: Path, state: Progress) -> None:
    record.draw_curves(out)
    write_json(out / record.FINISHED, dataclasses.asdict(state))
    remove_state(out)


def _check_finite(values: dict[str, float], step: int, rate: float, out: Path) -> None:
    """Stop at the first number that is not finite, parts of the loss before their sum."""
    for name in sorted(values, key=lambda name: name == "loss"):
        if not math.isfinite(values[name]):
            raise NonFiniteLossError(
                f"step {step + 1}: {name} is {values[name]} at learning rate {rate:.2g}; the last good checkpoint "
                f"stays in {out}. Train again in another folder with a lower learning_rate, or with precision=fp32"
            )
