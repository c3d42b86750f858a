"""Checkpoints: weights together with the specification that rebuilds the network and the record of its making."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.files import sha256_of_file, write_bytes
from pocketcxr.models.networks import Network, NetworkSpec, build_network

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

_SPEC, _RECORD = "pocketcxr.spec", "pocketcxr.record"


def save_network(path: Path, network: nn.Module, spec: NetworkSpec, record: dict[str, Any]) -> None:
    """Write weights, specification and record as one safetensors file; it appears whole or not at all.

    Args:
        path: the file to write; its folder is made.
        network: what `build_network` made of `spec`, in whatever state it is now.
        spec: what rebuilds the network.
        record: how it came about (configuration, data fingerprint, metrics); plain JSON values.

    Raises:
        CheckpointError: the file cannot be written (no space, no permission).
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {_SPEC: json.dumps(spec.table()), _RECORD: json.dumps(record, default=str), "format": "pt"}
    try:
        write_bytes(path, _canonical(save(tensors, metadata)))
    except OSError as error:
        raise CheckpointError(f"cannot write checkpoint {path}: {error}") from error


def load_network(path: Path) -> tuple[Network, NetworkSpec, dict[str, Any]]:
    """Rebuild a network from its checkpoint, on the CPU, in evaluation mode.

    Returns:
        The network, its specification and its record.

    Raises:
        CheckpointError: the file is missing, truncated, no checkpoint of this project, or its weights do not fit the
            network it describes.
    """
    metadata, tensors = _read(path)
    try:
        spec = _spec(json.loads(metadata[_SPEC]))
        record: dict[str, Any] = json.loads(metadata[_RECORD])
        network = build_network(spec)
    except KeyError as error:
        raise CheckpointError(
            f"{path}: expected a checkpoint of pocketcxr, found no {error} in its metadata"
        ) from error
    except (ValueError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(f"{path}: its specification cannot be used: {error}") from error
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise CheckpointError(
            f"{path}: its weights do not fit {spec.kind} {'+'.join(spec.backbones)} that it describes: {first[:200]}"
        ) from error
    return network.eval(), spec, record


def read_record(path: Path) -> dict[str, Any]:
    """Record of a checkpoint, without loading its weights.

    Raises:
        CheckpointError: the file is missing or no checkpoint of this project.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})[_RECORD])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a checkpoint of pocketcxr ({error})") from error


def checkpoint_sha256(path: Path) -> str:
    """Hash of the file's bytes: names a teacher in the key of a cache.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror or error}") from error


def _canonical(data: bytes) -> bytes:
    """Sort the header, so that equal contents are equal bytes: safetensors writes metadata in a random order.

    The format: 8 bytes length of the header (little endian), header in JSON padded by spaces, tensors.
    """
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([len(header).to_bytes(8, "little"), header, data[8 + length :]])


def _spec(table: dict[str, Any]) -> NetworkSpec:
    lists = {name: tuple(value) for name, value in table.items() if isinstance(value, list)}
    return NetworkSpec(**{**table, **lists})


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: truncated or no safetensors file ({error}); train or copy it again") from error
