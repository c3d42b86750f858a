"""Teachers from anywhere: what a checkpoint, an ONNX file, a folder of Hugging Face, an entry point or a module is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from pocketcxr.bundle.description import ModelDescription
from pocketcxr.errors import CheckpointError, ConfigError
from pocketcxr.files import sha256_of_file
from pocketcxr.inference.foreign import ForeignModel, description_path, load_foreign_model
from pocketcxr.inference.session import Bundle, load_bundle
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network
from pocketcxr.own_parts import TEACHERS, installed, load_part, provenance
from pocketcxr.training.teacher.given import UNNAMED, adapt_teacher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pocketcxr.labels import Task
    from pocketcxr.training.teacher.given import GivenTeacher

Source: TypeAlias = "str | nn.Module | tuple[nn.Module, ModelDescription]"
"""A file, folder or entry point by name; a module of a kind that is known; any module with its description."""

PYTHON = "python:"
"""What a run's configuration names where a module was given in Python; it cannot be opened again from that."""


class _Described(NamedTuple):
    module: nn.Module
    description: ModelDescription
    about: dict[str, Any]
    sha256: str = ""


class _Outputs(NamedTuple):
    logits: Tensor
    embedding: Tensor | None


def open_teacher(source: Source, task: Task, *, classes: Mapping[str, str]) -> GivenTeacher:
    """Open a teacher that was not trained here, its classes mapped to the task's labels.

    Args:
        source: a checkpoint (.safetensors), a bundle or another ONNX file with its description beside it, the folder of
            an image classifier of Hugging Face, the name of an entry point ``pocketcxr.teachers`` (a function that
            returns one of the following), a network of torchxrayvision, or a module with its `ModelDescription`.
        task: whose labels it is to tell.
        classes: see `given.adapt_teacher`.

    Raises:
        ConfigError: none of these, or a teacher that does not fit the task.
        CheckpointError, BundleError: a file that is missing or damaged.
    """
    found = _described(source)
    return adapt_teacher(found.module, found.description, task, classes=classes, about=found.about, sha256=found.sha256)


def name_of(source: Source) -> str:
    """What a run's configuration calls a source."""
    if isinstance(source, str):
        return source
    return f"{PYTHON}{type(source[0] if isinstance(source, tuple) else source).__qualname__}"


def fits_directly(source: str, task: Task, *, image_size: int) -> bool:
    """Whether a source is a checkpoint of this project with the task's labels, for images of this size.

    Raises:
        CheckpointError: a checkpoint that is missing or damaged.
    """
    if Path(source).suffix != ".safetensors":
        return False
    _, spec, _ = load_network(Path(source))
    return (spec.labels, spec.multilabel, spec.image_size) == (task.labels, task.multilabel, image_size)


def _described(source: Source) -> _Described:
    if isinstance(source, tuple):
        module, description = source
        return _Described(module, description, _about(module, type(module).__name__))
    if isinstance(source, nn.Module):
        return _of_module(source)
    path = Path(source)
    if path.suffix == ".safetensors":
        return _of_checkpoint(path)
    if path.suffix == ".onnx":
        return _of_onnx(path)
    if (path / "config.json").is_file():
        return _of_hugging_face(path)
    parts = installed(TEACHERS)
    if source in parts:
        made = load_part(TEACHERS, source)()
        found = _described(made if isinstance(made, (tuple, nn.Module)) else str(made))
        return found._replace(about={**found.about, "entry_point": parts[source].value})
    if source.startswith(PYTHON):
        raise ConfigError(
            f"teacher.checkpoint: {source.removeprefix(PYTHON)} was given in Python and is in no file; give it again: "
            "pocketcxr.distill(..., teacher=network)"
        )
    raise ConfigError(
        f"teacher.checkpoint: expected a checkpoint (.safetensors), an ONNX file, a folder with config.json of Hugging "
        f"Face or an entry point {TEACHERS} (installed: {', '.join(parts) or 'none'}), found {source!r}"
    )


def _about(module: nn.Module, name: str) -> dict[str, Any]:
    return {"name": name, **provenance(module)}


def _of_module(module: nn.Module) -> _Described:
    """A network of torchxrayvision, told by its list of pathologies; others need a description."""
    names = getattr(module, "pathologies", None) or getattr(module, "targets", None)
    if names is None or not hasattr(module, "op_threshs"):
        raise ConfigError(
            f"teacher {type(module).__name__}: expected a network of torchxrayvision (with pathologies and "
            "op_threshs), or a pair of network and its pocketcxr.bundle.description.ModelDescription, which says "
            "classes, image size, range of the input and meaning of the output"
        )
    ready = module.op_threshs is not None or getattr(module, "apply_sigmoid", False)
    labels = tuple(name or f"{UNNAMED}{place}" for place, name in enumerate(names))
    description = ModelDescription(
        labels=labels,
        positive=labels[-1],
        image_size=int(getattr(module, "input_resolution", 224)),
        input_range=(-1024.0, 1024.0),
        activation="independent" if ready else "sigmoid",
    )
    return _Described(module, description, _about(module, type(module).__name__))


def _of_checkpoint(path: Path) -> _Described:
    network, spec, _ = load_network(path)
    description = ModelDescription(
        labels=spec.labels,
        positive=spec.labels[-1],
        image_size=spec.image_size,
        activation="sigmoid" if spec.multilabel else "softmax",
    )
    return _Described(network, description, {"name": path.name}, checkpoint_sha256(path))


def _of_onnx(path: Path) -> _Described:
    if description_path(path).is_file():
        model = load_foreign_model(path)
        digest = sha256_of_file(path)
        return _Described(_Foreign(model), model.description, {"name": path.name}, digest)
    bundle = load_bundle(path)
    shape = bundle.manifest.preprocessing
    labels = tuple(bundle.manifest.labels)
    description = ModelDescription(labels=labels, positive=bundle.manifest.positive, image_size=shape.size)
    about = {"name": path.name, "bundle": bundle.manifest.name}
    return _Described(_Bundled(bundle), description, about, bundle.sha256)


class _Foreign(nn.Module):
    """An ONNX classifier, run by ONNX Runtime on the processor."""

    def __init__(self, model: ForeignModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> _Outputs:
        embedding = self.model.description.embedding
        names = [self.model.output, *([embedding] if embedding else [])]
        found = [torch.from_numpy(one).to(images.device) for one in self.model.run(images.cpu().numpy(), *names)]
        return _Outputs(found[0], found[1].flatten(start_dim=1) if embedding else None)


class _Bundled(nn.Module):
    """A bundle, run by ONNX Runtime on the processor."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.bundle = bundle

    def forward(self, images: Tensor) -> _Outputs:
        found = self.bundle(images.clamp(0, 1).cpu().numpy())
        return _Outputs(*(torch.from_numpy(one).to(images.device) for one in (found.logits, found.embedding)))


def _of_hugging_face(folder: Path) -> _Described:
    description = hugging_face_description(folder)
    try:
        from transformers import AutoModelForImageClassification  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(f"{folder}: a model of Hugging Face needs transformers: pip install transformers") from error
    try:
        module = AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from error
    return _Described(module, description, _about(module, folder.name))


def hugging_face_description(folder: Path) -> ModelDescription:
    """Describe an image classifier of Hugging Face by ``config.json`` and ``preprocessor_config.json`` in its folder.

    The whole image is resized to the model's size, where its own preprocessing may crop the middle.

    Raises:
        ConfigError: a file that is missing, or says something else.
    """
    config, prepared = (_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    try:
        names = {int(place): str(label) for place, label in config["id2label"].items()}
        size: Any = prepared.get("crop_size") if prepared.get("do_center_crop") else prepared["size"]
        side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge"))
        scale = prepared.get("rescale_factor", 1 / 255)
        if not prepared.get("do_rescale", True) or abs(scale * 255 - 1) > 1e-3:  # noqa: PLR2004
            raise ConfigError(f"{folder}: expected pixels scaled to [0, 1] (rescale_factor 1/255), found {scale}")
        normalised = prepared.get("do_normalize", True)
        labels = tuple(names[place] for place in range(len(names)))
        return ModelDescription(
            labels=labels,
            positive=labels[-1],
            image_size=int(side),
            channels=int(config.get("num_channels", 3)),
            mean=tuple(map(float, prepared["image_mean"])) if normalised else (0.0,),
            std=tuple(map(float, prepared["image_std"])) if normalised else (1.0,),
            activation="sigmoid" if config.get("problem_type") == "multi_label_classification" else "softmax",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{folder}: expected config.json with id2label, and preprocessor_config.json with size, image_mean and "
            f"image_std ({type(error).__name__}: {error})"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a table, found {type(found).__name__}")
    return found
