"""Fit the learned input filter: what is a frontal chest X-ray, and what must be refused, with which reason.

Minutes on one core: the network is tiny, and everything about it follows from one seed. Its limit is chosen on frontal
radiographs of the calibration split, so that few of them are refused; the refusals of other images are measured.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pocketcxr.errors import DataError
from pocketcxr.labels import INPUT_KINDS
from pocketcxr.models.input_filter import InputKindNetwork, InputKindSpec, seen_side
from pocketcxr.progress import Bar
from pocketcxr.training.environment import multiplies_bf16
from pocketcxr.training.input_filter.batches import MADE, Batches, KnownPictures, with_drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pocketcxr.training.config import InputFilterConfig

_LOGGER = logging.getLogger("pocketcxr")
_OOD_KINDS = ("lateral", "ct", "not_xray", "other_part")
_FEWEST_RADIOGRAPHS = 20
_THRESHOLDS = (0.01, 0.95)  # least and largest
_WARM_UP = 20
_GRADIENT_CLIP = 5.0
_ROUNDING = 1e-11  # of a sum of votes, which are fractions: far less than one vote


def kinds_of(pictures: KnownPictures) -> tuple[str, ...]:
    """Image types that a filter can learn from these pictures, in the order of `labels.INPUT_KINDS`; frontal is first.

    Empty where there is nothing to learn from: no out-of-distribution image but those that could be made.
    """
    known = set(pictures.kinds.tolist())
    if "frontal" not in known or not known & set(_OOD_KINDS):
        return ()
    return tuple(kind for kind in INPUT_KINDS if kind in known or kind in MADE or kind == "not_xray")


def fit_input_filter(
    train: KnownPictures,
    calibration: NDArray[np.uint8],
    *,
    image_size: int,
    config: InputFilterConfig,
    patients: Sequence[str] | None = None,
    progress: bool = True,
) -> tuple[InputKindNetwork, InputKindSpec]:
    """Fit the network to pictures of every kind, and its limit to frontal radiographs that took no part.

    Args:
        train: pictures of at least `image_size` pixels a side; rare kinds are sampled often.
        calibration: frontal chest X-rays of the calibration split, uint8 [n, s, s].
        image_size: of the student's input, in pixels.
        config: steps, batch size, seed, and the share of frontal radiographs that may be refused.
        patients: of each calibration image: a patient counts once for the limit, however many images there are; None
            counts images. One unusual patient with five images would otherwise move it for all.
        progress: show a bar on stderr.

    Returns:
        The network in evaluation mode, and its specification with the limit.

    Raises:
        DataError: nothing to learn from, or too few calibration images.
    """
    kinds = kinds_of(train)
    if not kinds:
        raise DataError("input filter: expected frontal chest X-rays and at least one other image type to train on")
    if len(calibration) < _FEWEST_RADIOGRAPHS:
        raise DataError(
            f"input filter: expected at least {_FEWEST_RADIOGRAPHS} frontal images to calibrate on, "
            f"found {len(calibration)}"
        )
    spec = InputKindSpec(kinds, image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = _fitted(spec, with_drawn(train, seed=config.seed), config, progress=progress)
    accepted = probabilities(network, calibration)[:, 0]
    names = np.arange(len(calibration)) if patients is None else np.array(patients)
    threshold = float(np.clip(limit_for(accepted, names, config.refused_frontal), *_THRESHOLDS))
    return network, InputKindSpec(kinds, image_size, threshold)


def limit_for(accepted: NDArray[np.float32], groups: NDArray[Any], share: float) -> float:
    """Largest limit below which at most this share of the groups lies; images of a group share its one vote."""
    _, which, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(accepted, kind="stable")
    votes = np.cumsum(1 / counts[which[order]]) / len(counts)
    return float(accepted[order][np.searchsorted(votes, share + _ROUNDING, side="right")])


def probabilities(network: InputKindNetwork, pictures: NDArray[np.uint8], *, batch: int = 128) -> NDArray[np.float32]:
    """Probabilities [n, kinds] of pictures uint8 [n, s, s], brought to the size that the network looks at."""
    parts = [np.zeros((0, network.classifier.out_features), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(pictures), batch):
            images = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch]))[:, None].float() / 255
            parts.append(torch.softmax(network.logits(_reduced(network, images)), dim=1).numpy())
    return np.concatenate(parts)


def refusals(found: NDArray[np.float32], spec: InputKindSpec) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
    """What is refused [n], and the kind that is given as the reason [n], of probabilities [n, kinds]."""
    others = np.array(spec.kinds[1:])[found[:, 1:].argmax(axis=1)]
    return ~(found[:, 0] >= spec.threshold), others


def _reduced(network: InputKindNetwork, images: torch.Tensor) -> torch.Tensor:
    """Pictures of the student's size as the graph sees them; others resized straight to what it looks at."""
    side = network.side
    if images.shape[-1] == side * network.cell:
        return network.seen(images)
    return nn.functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def _fitted(
    spec: InputKindSpec, train: KnownPictures, config: InputFilterConfig, *, progress: bool
) -> InputKindNetwork:
    network = InputKindNetwork(spec).train().to(memory_format=torch.channels_last)
    quick = multiplies_bf16(torch.device("cpu"))  # three times as fast where the processor has it
    batches = Batches(train, spec.kinds, side=seen_side(spec.image_size), seed=config.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config.steps))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay), use_buffers=True)
    bar = Bar(range(config.steps), desc="input filter", unit="step", disable=not progress, mininterval=1, leave=False)
    for _ in bar:
        pictures, kinds = batches.draw(config.batch_size)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=quick):
            logits = network.logits(pictures.to(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits.float(), kinds, label_smoothing=config.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_CLIP)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
    network.load_state_dict(average.module.state_dict())
    return network.to(memory_format=torch.contiguous_format).eval()


def _rate(step: int, steps: int) -> float:
    """One warm-up, then half a cosine, as a factor of the learning rate."""
    return min(1.0, (step + 1) / _WARM_UP) * (0.5 + 0.5 * float(np.cos(np.pi * step / max(1, steps))))


def refusal_table(network: InputKindNetwork, spec: InputKindSpec, pictures: KnownPictures) -> dict[str, dict[str, Any]]:
    """For each kind and source: images, how many are refused, and how many of those with their own kind as reason."""
    refused, reasons = refusals(probabilities(network, pictures.pixels), spec)
    table: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(pictures.kinds.tolist()):
        for source in sorted(set(pictures.sources[pictures.kinds == kind].tolist())):
            here = (pictures.kinds == kind) & (pictures.sources == source)
            right = refused & (reasons == kind)
            table[f"{kind} {source}"] = {
                "images": int(here.sum()),
                "refused": int(refused[here].sum()),
                "with_its_reason": int(right[here].sum()),
            }
    return table
