"""What must be known of a network that is no bundle: its classes, how it takes an image, what its output means.

Beside an ONNX file, the description is a TOML file of the same name::

    labels = ["normal", "covid19"]
    positive = "covid19"
    image_size = 224
    channels = 3                       # default 1
    mean = [0.485, 0.456, 0.406]       # subtracted, then divided by std; or input_range = [-1024, 1024]
    std = [0.229, 0.224, 0.225]
    layout = "NCHW"                    # or NHWC
    output = "logits"                  # name of the output; default: the first one
    activation = "softmax"             # makes probabilities of the output: softmax, sigmoid, none or independent
    embedding = "features"             # name of an output that a student may learn from too; default: there is none
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pocketcxr.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CHOICES = {"channels": (1, 3), "layout": ("NCHW", "NHWC"), "activation": ("softmax", "sigmoid", "none", "independent")}
_TWO = 2
_LARGEST_IMAGE = 4096
_LARGEST_NUMBER = 1e30


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A network that was not made here.

    `labels` in the order of its output, two or more, `positive` one of them ("" is allowed for more than two).
    `image_size` in pixels (square).
    `channels` 1 or 3 (the grey image three times). The image in [0, 1] is mapped to `input_range`, then `mean` is
    subtracted and the result divided by `std` (one value each, or one per channel). `layout` of the input: ``NCHW`` or
    ``NHWC``. `output` names the output, "" takes the first. `activation` makes probabilities of it: ``softmax`` of one
    column per label; ``sigmoid`` of one column for the positive class of two, or of one column for each of more labels,
    which may then occur together; ``none`` for probabilities that sum to 1, or of the positive class of two;
    ``independent`` for probabilities of each label on its own. `column` takes one column of an output that has others,
    such as one finding of many; needs two labels. `embedding` names an output [n, d] of an ONNX file.

    Raises:
        ConfigError: naming the field that does not fit.
    """

    labels: tuple[str, ...]
    image_size: int
    positive: str = ""
    channels: int = 1
    input_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NCHW"
    output: str = ""
    activation: str = "softmax"
    column: int | None = None
    embedding: str = ""

    def __post_init__(self) -> None:
        """Refuse a description that contradicts itself."""
        names = _all(self.labels, str) and len(set(self.labels)) == len(self.labels) > 1
        _expect(names, "labels", "two or more different names", self)
        named = self.positive in self.labels or (not self.positive and len(self.labels) > _TWO)
        _expect(named, "positive", f"one of {', '.join(self.labels)}", self)
        whole = type(self.image_size) is int and 0 < self.image_size <= _LARGEST_IMAGE
        _expect(whole, "image_size", f"whole pixels, 1 to {_LARGEST_IMAGE}", self)
        for name, allowed in _CHOICES.items():
            chosen = getattr(self, name)
            _expect(
                type(chosen) is type(allowed[0]) and chosen in allowed,
                name,
                f"one of {', '.join(map(str, allowed))}",
                self,
            )
        for name in ("output", "embedding"):
            _expect(type(getattr(self, name)) is str, name, "the name of an output", self)
        ordered = (
            _numbers(self.input_range) and len(self.input_range) == _TWO and self.input_range[0] < self.input_range[1]
        )
        _expect(ordered, "input_range", "two numbers, the smaller one first", self)
        for name in ("mean", "std"):
            values = getattr(self, name)
            _expect(_numbers(values) and len(values) in {1, self.channels}, name, f"1 or {self.channels} numbers", self)
        _expect(all(self.std), "std", "numbers other than zero", self)
        binary = len(self.labels) == _TWO
        column = type(self.column) is int and binary and self.column >= 0
        _expect(self.column is None or column, "column", "a column, and two labels", self)
        softmax_of_one = self.activation == "softmax" and self.column is not None
        _expect(not softmax_of_one, "activation", "sigmoid or none where a column is named", self)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several of the labels: each has a probability by itself."""
        several = self.activation == "sigmoid" and len(self.labels) > _TWO
        return self.activation == "independent" or several

    def prepare(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn images [n, 1, size, size] in [0, 1] into what the network takes."""
        low, high = self.input_range
        scaled = images * np.float32(high - low) + np.float32(low)
        shape = (1, -1, 1, 1)
        scaled = np.repeat(scaled, self.channels, axis=1) - np.asarray(self.mean, np.float32).reshape(shape)
        scaled /= np.asarray(self.std, np.float32).reshape(shape)
        return np.ascontiguousarray(scaled if self.layout == "NCHW" else scaled.transpose(0, 2, 3, 1))

    def probabilities(self, output: NDArray[Any], name: str) -> NDArray[np.float32]:
        """Turn the network's output into probabilities [n, labels]; `name` stands in messages.

        Raises:
            DataError: an output of another shape, or values that are no probabilities.
        """
        values = np.asarray(output, dtype=np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if self.column is not None and values.ndim == _TWO and self.column < values.shape[1]:
            values = values[:, [self.column]]
        single = self.column is not None or (self.activation == "sigmoid" and len(self.labels) == _TWO)
        columns = {1} if single else {len(self.labels)}
        if self.activation == "none" and len(self.labels) == _TWO:
            columns.add(1)
        if values.ndim != _TWO or values.shape[1] not in columns:
            expected = " or ".join(map(str, sorted(columns)))
            raise DataError(f"{name}: expected an output [n, {expected}], found {list(np.shape(output))}")
        if self.activation == "softmax":
            values = np.exp(values - values.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        elif self.activation == "sigmoid":
            values = 1 / (1 + np.exp(-np.clip(values, -500, 500)))
        if len(values) and not (values.min() >= 0 and values.max() <= 1):  # also refuses NaN
            raise DataError(f"{name}: expected probabilities, found {values.min():g} to {values.max():g}: activation?")
        if values.shape[1] == 1:
            values = np.concatenate([1 - values, values], axis=1)
            values = values if self.labels[1] == self.positive else values[:, ::-1]
        return values.astype(np.float32)


def read_description(path: Path) -> ModelDescription:
    """Read a description from its TOML file.

    Raises:
        ConfigError: a missing file, no TOML, or a field that is missing, unknown or does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as the description of a model ({error})") from error
    known = {field.name: field.default is dataclasses.MISSING for field in dataclasses.fields(ModelDescription)}
    unknown, missing = set(table) - set(known), [name for name, needed in known.items() if needed and name not in table]
    if unknown or missing:
        wrong = f"unknown field {', '.join(sorted(unknown))}" if unknown else f"no field {', '.join(missing)}"
        raise ConfigError(f"{path}: {wrong}; expected {', '.join(known)}")
    values: dict[str, Any] = {
        name: tuple(cast("list[Any]", value)) if isinstance(value, list) else value for name, value in table.items()
    }
    try:
        return ModelDescription(**values)
    except (ConfigError, TypeError) as error:  # TypeError: a value of another type
        raise ConfigError(f"{path}: {error}") from error


def _all(values: object, kind: type) -> bool:
    return isinstance(values, tuple) and all(type(value) is kind for value in cast("tuple[object, ...]", values))


def _numbers(values: object) -> bool:
    """Whether these are finite numbers that float32 can hold."""
    if not isinstance(values, tuple):
        return False
    items = cast("tuple[Any, ...]", values)
    return all(type(value) in {int, float} and abs(value) <= _LARGEST_NUMBER for value in items)


def _expect(holds: bool, field: str, expected: str, found: ModelDescription) -> None:
    if not holds:
        raise ConfigError(f"{field}: expected {expected}, found {getattr(found, field)!r}")
