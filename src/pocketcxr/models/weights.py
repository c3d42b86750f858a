"""Where a backbone's first weights come from: a file, timm's hub, or nothing; always said plainly."""

from __future__ import annotations

import logging
import os
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
from pocketcxr.models.backbones import Backbone, build_backbone, build_trunk, check_name
from pocketcxr.models.bundle_weights import load_bundle_backbone
from pocketcxr.models.width_pruning import FAMILY, is_wider, prune_width

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS_FOLDER = "POCKETCXR_WEIGHTS"
"""Environment variable: a folder of weight files named ``<backbone>….safetensors`` or ``.pth``, looked at first."""

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
            hub, else scratch with one warning); ``bundled`` (the student that comes with pocketcxr); or the path of a
            .safetensors or .pth file, or of a bundle (.onnx).
        image_size: in pixels.

    Raises:
        ConfigError: no such network, or a weight file that was named and does not exist.
        BundleError: no student comes with this copy of pocketcxr, or a bundle is damaged.
        CheckpointError: a weight file that cannot be read or does not fit the network.
    """
    if weights == "scratch":
        return build_backbone(name, image_size=image_size), WeightsRecord(name, weights, "scratch")
    if weights != "pretrained":
        path = default_bundle_path() if weights == "bundled" else Path(weights)
        if not path.is_file():
            raise ConfigError(
                f"weights of {name}: expected 'scratch', 'pretrained', 'bundled' or a file, found {weights!r}"
            )
        load = load_bundle_backbone if path.suffix == ".onnx" else load_weight_file
        return load(name, path, image_size=image_size), WeightsRecord(name, weights, path.name)
    path = local_weight_file(name)
    if path is not None:
        return load_weight_file(name, path, image_size=image_size), WeightsRecord(name, weights, path.name)
    return _from_hub(name, image_size=image_size)


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


def _from_hub(name: str, *, image_size: int) -> tuple[Backbone, WeightsRecord]:
    check_name(name)
    reason = hub_obstacle(name)
    if reason is None:
        try:
            trunk = build_trunk(name, image_size=image_size, pretrained=True)
        except Exception as error:  # noqa: BLE001  # a download that breaks off raises the transport's own kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            tag = timm.get_pretrained_cfg_value(name, "hf_hub_id") or timm.get_pretrained_cfg_value(name, "url")
            return Backbone(name, trunk, image_size=image_size), WeightsRecord(name, "pretrained", "hub", str(tag))
    _log.warning("no pretrained weights for %s: %s; training from scratch", name, reason)
    return build_backbone(name, image_size=image_size), WeightsRecord(name, "pretrained", "scratch", reason)


def hub_obstacle(name: str, *, timeout_s: float = 4.0) -> str | None:
    """Why timm cannot fetch a network's weights just now, found out in seconds; None where it can.

    The hub's own client retries for half a minute when a name does not resolve. Files already in its cache need no
    network.
    """
    config = timm.get_pretrained_cfg(name)
    hub_id = config.hf_hub_id if config is not None else None
    url = config.url if config is not None else None
    if hub_id:
        from huggingface_hub import constants, try_to_load_from_cache

        if any(
            isinstance(try_to_load_from_cache(hub_id, file), str) for file in ("model.safetensors", "pytorch_model.bin")
        ):
            return None
        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set and the weights are not in the hub's cache"
        return _unreachable(constants.ENDPOINT, timeout_s)
    if isinstance(url, str) and url:
        return _unreachable(url, timeout_s)
    return "timm knows none"


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
