"""Where a backbone's first weights come from: a file, timm's hub, or nothing; always said plainly."""

from __future__ import annotations

import logging
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import timm
import torch
from safetensors import SafetensorError, safe_open

from pocketcxr.bundle.format import default_bundle_path
from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.files import sha256_of_file
from pocketcxr.models.backbones import Backbone, build_backbone, build_trunk, check_name, is_own
from pocketcxr.models.bundle_weights import load_bundle_backbone
from pocketcxr.models.width_pruning import FAMILY, is_wider, prune_width

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FOLDER = "POCKETCXR_WEIGHTS"
"""Environment variable: a folder of weight files named ``<backbone>….safetensors`` or ``.pth``, looked at first."""

PINNED = re.compile(r"pretrained@([0-9a-f]{40}):([0-9a-f]{64})")
"""What ``weights`` says of a file of the hub that may be no other: its revision and its SHA-256."""

_HUB_FILE = "model.safetensors"  # never a pickle
_OWN = "backbone.trunk."  # where a checkpoint of ours keeps the backbone of a student, or of a teacher's stage
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsRecord:
    """What a backbone started from, for the run's record: `source` is ``scratch``, ``hub`` or a file's name."""

    backbone: str
    asked: str
    source: str
    detail: str = ""


def prepare_backbone(name: str, weights: str, *, image_size: int) -> tuple[Backbone, WeightsRecord]:
    """Build a backbone and give it its first weights.

    Args:
        name: of a timm network.
        weights: ``scratch``; ``pretrained`` (a file for this backbone in the folder ``$POCKETCXR_WEIGHTS``, else timm's
            hub, else scratch with one warning); ``pretrained@REVISION:SHA256`` (that file of timm's hub and no other);
            ``bundled`` (the student that comes with pocketcxr); or the path of a .safetensors or .pth file, or of a
            bundle (.onnx).
        image_size: in pixels.

    Raises:
        ConfigError: no such network, or weights that were named and cannot be had.
        BundleError: no student comes with this copy of pocketcxr, or a bundle is damaged.
        CheckpointError: a weight file that cannot be read, does not fit the network, or is not the one pinned.
    """
    if weights == "scratch":
        return build_backbone(name, image_size=image_size), WeightsRecord(name, weights, "scratch")
    if is_own(name) and weights == "pretrained":  # as its constructor made it, with whatever weights
        return build_backbone(name, image_size=image_size), WeightsRecord(name, weights, "its own constructor")
    if PINNED.fullmatch(weights):
        return _from_hub(name, weights, image_size=image_size)
    if weights != "pretrained":
        path = default_bundle_path() if weights == "bundled" else Path(weights)
        if not path.is_file():
            raise ConfigError(
                f"weights of {name}: expected 'scratch', 'pretrained', 'pretrained@REVISION:SHA256', 'bundled' or a "
                f"file, found {weights!r}"
            )
        load = load_bundle_backbone if path.suffix == ".onnx" else load_weight_file
        return load(name, path, image_size=image_size), WeightsRecord(name, weights, path.name)
    path = local_weight_file(name)
    if path is not None:
        return load_weight_file(name, path, image_size=image_size), WeightsRecord(name, weights, path.name)
    return _from_hub(name, weights, image_size=image_size)


def local_weight_file(name: str) -> Path | None:
    """First weight file for a backbone in the folder ``$POCKETCXR_WEIGHTS``, or None."""
    folder = os.environ.get(WEIGHTS_FOLDER)
    if not folder:
        return None
    found = (
        path
        for path in sorted(Path(folder).glob(f"{name}*"))
        if path.suffix in {".safetensors", ".pth"} and path.name[len(name)] == "."
    )
    return next(found, None)


def load_weight_file(name: str, path: Path, *, image_size: int) -> Backbone:
    """Load a timm state dict (RGB or grey) into a fresh backbone; the first convolution is summed over RGB.

    A checkpoint of this project that has one such backbone does too, and for a MobileNetV2 one of a wider MobileNetV2,
    whose strongest channels are taken. A classifier in the file is ignored. A safetensors
    file whose metadata say that it expects [-1, 1] sets the normalisation so; otherwise that which timm records for the
    network stays.

    Raises:
        CheckpointError: the file cannot be read, or lacks or misfits a tensor of the network.
    """
    backbone = build_backbone(name, image_size=image_size)
    state, metadata = _read_state(path)
    if any(key.startswith(_OWN) for key in state):
        backbone.normalise(float(state["backbone.mean"]), float(state["backbone.std"]))
        state = {key.removeprefix(_OWN): tensor for key, tensor in state.items()}
    wanted = backbone.trunk.state_dict()
    if name.startswith(FAMILY) and is_wider(state, wanted):
        state = prune_width(state, wanted)
        _log.info("%s starts from the strongest channels of the wider network in %s", name, path.name)
    adapted: dict[str, Tensor] = {}
    for key, expected in wanted.items():
        if key not in state and key.endswith(".num_batches_tracked"):
            state[key] = expected  # a counter that converted files lack; no layer here reads it
        if key not in state:
            raise CheckpointError(f"{path.name}: lacks {key}, which {name} needs; is it a timm state dict of {name}?")
        tensor = state[key].to(expected.dtype)
        if tensor.ndim == 4 and expected.ndim == 4 and expected.shape[1] == 1 and tensor.shape[1] == 3:  # noqa: PLR2004
            tensor = tensor.sum(dim=1, keepdim=True)  # a grey image repeated over RGB would be weighted so
        if tensor.shape != expected.shape:
            raise CheckpointError(
                f"{path.name}: {key} has shape {tuple(tensor.shape)}, but {name} at {image_size} px needs "
                f"{tuple(expected.shape)}"
            )
        adapted[key] = tensor
    backbone.trunk.load_state_dict(adapted)
    if "[-1, 1]" in metadata.get("input", ""):
        backbone.normalise(0.5, 0.5)
    return backbone


def _read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"cannot read weights {path}: {str(error).splitlines()[0]}") from error
    except Exception as error:  # pickle raises its own kinds
        raise CheckpointError(f"cannot read weights {path}: no plain state dict") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise CheckpointError(f"cannot read weights {path}: expected a state dict, found {type(state).__name__}")
    return state, {}


def _from_hub(name: str, weights: str, *, image_size: int) -> tuple[Backbone, WeightsRecord]:
    """Backbone with weights of the hub; without a pin, it goes on from scratch where they cannot be had."""
    check_name(name)
    pin = PINNED.fullmatch(weights)
    revision, expected = pin.groups() if pin else (None, "")
    path, reason = hub_file(name, revision=revision)
    if path is None and not reason:
        try:
            path = _fetched(name, revision)
        except Exception as error:  # noqa: BLE001  # a download that breaks off raises the transport's own kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if path is None:
        if pin:
            raise ConfigError(f"weights of {name}: expected {weights} from the hub, found no such file: {reason}")
        _log.warning("no pretrained weights for %s: %s; training from scratch", name, reason)
        return build_backbone(name, image_size=image_size), WeightsRecord(name, weights, "scratch", reason)
    found = sha256_of_file(path)
    if pin and found != expected:
        raise CheckpointError(
            f"{path.name} of {name} at the hub: expected SHA-256 {expected}, found {found}; the file was damaged or "
            "exchanged: delete it from the hub's cache and try again, or check the pin"
        )
    # the file instead of timm's own download, which follows the newest revision and reads pickles too
    overlay = {"file": str(path), "custom_load": False}
    try:
        trunk = build_trunk(name, image_size=image_size, pretrained=True, pretrained_cfg_overlay=overlay)
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{path.name} of {name} from the hub: cannot be read: {error}; delete it") from error
    exact = f"pretrained@{path.parent.name}:{found}"
    if not pin:
        _log.warning(
            "%s starts from the newest weights of the hub; for these and no others set weights to %s", name, exact
        )
    return Backbone(name, trunk, image_size=image_size), WeightsRecord(name, weights, "hub", exact)


def _hub_id(name: str) -> str | None:
    config = timm.get_pretrained_cfg(name)
    return None if config is None else config.hf_hub_id


def _fetched(name: str, revision: str | None) -> Path:
    """Path of the weights in the hub's cache: the folder's name is their revision; no account's token is sent."""
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(_hub_id(name) or "", _HUB_FILE, revision=revision, token=False))


def hub_file(name: str, *, revision: str | None = None, timeout_s: float = 4.0) -> tuple[Path | None, str]:
    """Weights of a network in the cache of timm's hub, which need no network; and else why they cannot be fetched.

    The hub's own client retries for half a minute when a name does not resolve; here that is found out in seconds.

    Returns:
        The file, or None where it is not in the cache; and why it cannot be fetched just now, "" where it can.
    """
    hub_id = _hub_id(name)
    if not hub_id:
        return None, "timm knows none"
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(hub_id, _HUB_FILE, revision=revision)
    if isinstance(cached, str):
        return Path(cached), ""
    if constants.HF_HUB_OFFLINE:
        return None, "HF_HUB_OFFLINE is set and the weights are not in the hub's cache"
    return None, _unreachable(constants.ENDPOINT, timeout_s) or ""


def _unreachable(url: str, timeout_s: float) -> str | None:
    """One line when no connection to the host of a URL (or to the proxy in front of it) opens in time."""
    target = urlsplit(url)
    host = target.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(target.scheme)
    if proxy:
        target = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        with socket.create_connection((target.hostname or host, port), timeout=timeout_s):
            return None
    except OSError as error:
        return f"{host} cannot be reached ({error.strerror or error})"
