"""The state that an interrupted stage goes on from: written whole, read back exactly."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from pocketcxr.errors import CheckpointError
from pocketcxr.files import open_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

STATE = "last.pt"


@dataclass
class Progress:
    """How far a stage is: `step` steps are done; the best epoch so far (from 1) with its figures; early stop."""

    step: int = 0
    best_epoch: int = 0
    best_figures: dict[str, float] = field(default_factory=dict)
    epochs_since_best: int = 0
    stopped: bool = False

    def note(self, epoch: int, figures: dict[str, float], *, select_by: str, patience: int) -> bool:
        """Take in an epoch's figures; return whether it is the best so far.

        Without figures (no calibration split) the last epoch is the best. Equal AUROC: lower cross-entropy wins.
        """
        improved = (
            not figures or not self.best_figures or _merit(figures, select_by) > _merit(self.best_figures, select_by)
        )
        if improved:
            self.best_epoch, self.best_figures, self.epochs_since_best = epoch + 1, dict(figures), 0
        else:
            self.epochs_since_best += 1
        self.stopped = 0 < patience <= self.epochs_since_best
        return improved


def save_state(
    out: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    progress: Progress,
) -> None:
    """Write everything the next step depends on; the old state stays until the new one is on disk.

    Raises:
        CheckpointError: no space or no permission; the old state stays.
    """
    path = out / STATE
    state = {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scaler": scaler.state_dict(),
        "progress": dataclasses.asdict(progress),
    }
    try:
        with open_atomic(path, sync=True) as stream:
            torch.save(state, stream)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {error}; the checkpoint before it stays") from error


def load_state(
    out: Path,
    network: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> Progress | None:
    """Put the saved state back into the given objects; None where there is none.

    Raises:
        CheckpointError: the state is damaged.
    """
    path = out / STATE
    if not path.exists():
        return None
    device = next(network.parameters()).device
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        return Progress(**state["progress"])
    except Exception as error:  # pickle, zip and torch each raise their own kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is damaged ({reason}): delete it to train this stage from its start") from error


def remove_state(out: Path) -> None:
    """Delete the state of a finished stage, which is four times the size of its weights."""
    (out / STATE).unlink(missing_ok=True)


def _merit(figures: dict[str, float], select_by: str) -> tuple[float, float]:
    loss = -figures["cross_entropy"]
    auroc = figures.get("auroc", math.nan)
    return (loss, 0.0) if select_by == "cross-entropy" or math.isnan(auroc) else (auroc, loss)
