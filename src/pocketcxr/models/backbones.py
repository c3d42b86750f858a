"""Backbones from timm behind one small interface: a grey-scale image in, pooled features (and a feature map) out."""

from __future__ import annotations

import difflib
import math
import re
from typing import Any, NamedTuple, Self

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from pocketcxr.errors import ConfigError
from pocketcxr.own_parts import STUDENTS, argument_names, installed, is_python, load_part, provenance

_HALF_RANGE = (0.5, 0.5)
"""Mean and standard deviation that take [0, 1] to [-1, 1]."""


class BackboneOutputs(NamedTuple):
    """Pooled features [n, c] of a backbone, and its map [n, d, h, w] that tells places apart best; None without one.

    Where the network ends in a max-pool (VGG) that is the map before it, of twice the side; else the last map.
    """

    pooled: Tensor
    places: Tensor | None


class Backbone(nn.Module):
    """A timm network without its classifier, that takes [0, 1] and normalises inside.

    `features` is the width of the pooled features; `has_map` tells whether the network ends in an NCHW feature map
    whose average over space are those features, which is what class activation maps need. The grey image is one
    channel; mean and standard deviation are those the weights were made with, averaged over RGB, and travel with the
    weights as buffers. With `inner_size` above 0 the image is resized to that side first, antialiased; in training mode
    to `training_size`, where that is above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, trunk: nn.Module, *, image_size: int) -> None:
        super().__init__()
        self.name = name
        self.trunk = trunk
        mean, std = normalisation_of(trunk)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))
        self.features, self.has_map = _probe(name, trunk, image_size)
        self.frozen_blocks = 0
        self.inner_size = 0
        self.training_size = 0

    def normalise(self, mean: float, std: float) -> None:
        """Set what the trunk's weights expect: ``(image - mean) / std``."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def freeze(self, blocks: int) -> None:
        """Keep the stem and the first `blocks` blocks as they are: no gradient, batch norms in evaluation mode.

        Nothing in front of them needs a gradient, so their forward pass keeps no activations either.

        Raises:
            ConfigError: the network has fewer blocks.
        """
        check_blocks(self.name, self.trunk, blocks)
        self.frozen_blocks = blocks
        for module in _early_modules(self.trunk, blocks):
            module.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen blocks stay in evaluation mode."""
        super().train(mode)
        for module in _early_modules(self.trunk, self.frozen_blocks):
            module.eval()
        return self

    def feature_map(self, images: Tensor) -> Tensor:
        """Last feature map [n, c, h, w] of images [n, 1, s, s] in [0, 1]; only where `has_map`."""
        return self.trunk.forward_features(self._prepared(images))  # pyright: ignore[reportCallIssue]

    def outputs(self, images: Tensor) -> BackboneOutputs:
        """Pooled features and the map of places, of images [n, 1, s, s] in [0, 1]."""
        if not self.has_map:
            maps = self.trunk.forward_features(self._prepared(images))  # pyright: ignore[reportCallIssue]
            return BackboneOutputs(self.trunk.forward_head(maps, pre_logits=True), None)  # pyright: ignore[reportCallIssue]
        layers = list(self.trunk.features) if self.name.startswith("vgg") else []  # pyright: ignore[reportArgumentType]
        if not layers or not isinstance(layers[-1], nn.MaxPool2d):
            last = self.feature_map(images)
            return BackboneOutputs(last.mean(dim=(2, 3)), last)
        places = self._prepared(images)
        for layer in layers[:-1]:
            places = layer(places)
        return BackboneOutputs(layers[-1](places).mean(dim=(2, 3)), places)

    def forward(self, images: Tensor) -> Tensor:
        """Pooled features [n, c] of images [n, 1, s, s] in [0, 1]."""
        return self.outputs(images).pooled

    def _prepared(self, images: Tensor) -> Tensor:
        """Images as the trunk takes them: of its size, normalised."""
        side = (self.training_size if self.training else 0) or self.inner_size
        if side not in {0, images.shape[-1]}:
            images = functional.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std


def build_backbone(name: str, *, image_size: int) -> Backbone:
    """Build a timm network with fresh weights, by name.

    Of VGG only the convolutions are kept (20 M parameters): what timm calls headless still carries two fully connected
    layers of 4096 (120 M), which the plan pools away.

    Raises:
        ConfigError: timm has no network of that name, or it does not give pooled features at this image size.
    """
    return Backbone(name, build_trunk(name, image_size=image_size), image_size=image_size)


def build_trunk(name: str, *, image_size: int, **timm_options: Any) -> nn.Module:
    """Build timm's network with one input channel and no classifier; extra options go to `timm.create_model`.

    Raises:
        ConfigError: timm has no network of that name (near names are suggested), or it cannot take one channel.
    """
    if is_own(name):
        return OwnTrunk(name, image_size=image_size)
    check_name(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": 1, **timm_options}
    if timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = image_size
    if name.startswith("vgg") and not timm_options.get("pretrained"):
        options["mlp_ratio"] = 0.001  # the layers dropped below, made tiny: drawing 120 M numbers takes seconds
    try:
        trunk = timm.create_model(name, **options)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"backbone {name!r} cannot be built for {image_size} px: {error}") from error
    if name.startswith("vgg"):
        trunk.pre_logits = nn.Identity()
    return trunk


class OwnTrunk(nn.Module):
    """A network of one's own as timm's: what it gives is the last feature map.

    It is made by a class or function of an entry point ``pocketcxr.students``, or by a class given in Python, called
    with `image_size` where it names that argument. It takes images [n, 1, s, s] in [0, 1] and gives a feature map
    [n, c, h, w]; pooling and the linear classifier, which make activation maps a matrix product, come after it.

    Raises:
        ConfigError: it cannot be made, or gives no such map.
    """

    def __init__(self, name: str, *, image_size: int) -> None:
        super().__init__()
        made = load_part(STUDENTS, name)
        if is_python(name) and not (isinstance(made, type) and issubclass(made, nn.Module)):
            raise ConfigError(f"student {name}: expected a class of torch.nn.Module, found {made!r}")
        try:
            options = {"image_size": image_size} if argument_names(made, ("image_size",), f"student {name}") else {}
            self.network: nn.Module = made(**options)
            self.pretrained_cfg = {"mean": (0.0,), "std": (1.0,)}  # it takes [0, 1]
            was_training = self.network.training
            with torch.no_grad():
                maps = self.network.eval()(torch.zeros(2, 1, image_size, image_size))
            self.network.train(was_training)
        except ConfigError:
            raise
        except Exception as error:  # a part of others may raise anything
            raise ConfigError(f"student {name} cannot be built for {image_size} px: {error}") from error
        if not isinstance(maps, Tensor) or maps.ndim != 4 or len(maps) != 2:  # noqa: PLR2004
            found = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ConfigError(
                f"student {name}: expected a feature map [2, c, h, w] of two images, found {found}; leave out pooling "
                "and classifier: they are added, and heatmaps, which every bundle has, are made of the map"
            )
        self.num_features = maps.shape[1]

    def forward_features(self, images: Tensor) -> Tensor:
        """Feature map [n, c, h, w] of images [n, 1, s, s] in [0, 1]."""
        return self.network(images)


def is_own(name: str) -> bool:
    """Whether a name is that of a network of one's own and of none of timm's."""
    return is_python(name) or (not timm.is_model(name) and name in installed(STUDENTS))


def own_backbone_record(name: str) -> dict[str, dict[str, str]]:
    """Where a network of one's own comes from, by its name; {} for one of timm's."""
    return {name: provenance(load_part(STUDENTS, name))} if is_own(name) else {}


def blocks_of(trunk: nn.Module) -> list[list[nn.Module]]:
    """Blocks of a timm network, from input to output; the first holds the stem too.

    Of VGG what ends in a max-pool (5), of ResNet its stages (4), of MobileNetV2 and EfficientNet what timm calls blocks
    (7); what comes after the last block is in none. Empty for a network of another make.
    """
    stem: list[nn.Module] = []
    blocks: list[list[nn.Module]] = []
    for name, child in trunk.named_children():
        if name == "features":  # of VGG
            block: list[nn.Module] = []
            for layer in child.children():
                block.append(layer)
                if isinstance(layer, nn.MaxPool2d):
                    blocks.append(block)
                    block = []
        elif name in {"stages", "blocks"}:
            blocks += [[stage] for stage in child.children()]
        elif re.fullmatch(r"layer\d", name):
            blocks.append([child])
        elif not blocks:
            stem.append(child)
    own = next(trunk.parameters(recurse=False), None)  # a transformer's tokens are in no module that could be frozen
    return [[*stem, *blocks[0]], *blocks[1:]] if blocks and own is None else []


def check_blocks(name: str, trunk: nn.Module, blocks: int) -> None:
    """Refuse to freeze more blocks than a network has.

    Raises:
        ConfigError: naming the number there is.
    """
    available = len(blocks_of(trunk))
    if blocks > available:
        raise ConfigError(f"frozen_blocks: expected at most {available}, the blocks of {name}, found {blocks}")


def _early_modules(trunk: nn.Module, blocks: int) -> list[nn.Module]:
    return [module for block in blocks_of(trunk)[:blocks] for module in block]


def check_name(name: str) -> None:
    """Refuse a network that timm does not have, suggesting near names.

    Raises:
        ConfigError: timm has no network of that name.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, [*installed(STUDENTS), *timm.list_models()], n=3)
        raise ConfigError(
            f"backbone {name!r} is unknown to timm {timm.__version__}; "
            + (f"nearest names: {', '.join(near)}" if near else "see timm.list_models()")
        )


def normalisation_of(trunk: nn.Module) -> tuple[float, float]:
    """Mean and standard deviation that timm records for the network, averaged over RGB; else [-1, 1] scaling."""
    config = getattr(trunk, "pretrained_cfg", None) or {}
    mean, std = config.get("mean"), config.get("std")
    if not mean or not std:
        return _HALF_RANGE
    return sum(mean) / len(mean), math.sqrt(sum(value**2 for value in std) / len(std))


def _probe(name: str, trunk: nn.Module, image_size: int) -> tuple[int, bool]:
    """Run one empty image to learn the width of the pooled features, and whether they come from an NCHW map."""
    was_training = trunk.training
    trunk.eval()
    try:
        with torch.no_grad():
            maps = trunk.forward_features(torch.zeros(1, 1, image_size, image_size))  # pyright: ignore[reportCallIssue]
            if isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[1] == trunk.num_features:  # noqa: PLR2004
                return maps.shape[1], True
            pooled = trunk.forward_head(maps, pre_logits=True)  # pyright: ignore[reportCallIssue]
    except (RuntimeError, ValueError, TypeError, AssertionError, AttributeError) as error:
        raise ConfigError(f"backbone {name!r} gives no features for {image_size} px: {error}") from error
    finally:
        trunk.train(was_training)
    if not isinstance(pooled, Tensor) or pooled.ndim != 2:  # noqa: PLR2004
        raise ConfigError(f"backbone {name!r} gives no pooled features [n, c]: choose another")
    return pooled.shape[1], False
