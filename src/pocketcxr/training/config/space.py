"""The search space: a TOML file that gives fields of an experiment ranges or choices, as distributions of Optuna."""

from __future__ import annotations

import dataclasses
import json
import logging
import tomllib
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError
from pocketcxr.training.config.experiment import Experiment
from pocketcxr.training.config.tables import build, set_field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from optuna.distributions import BaseDistribution

_TABLES = ("student", "teacher", "views")
_FIXED = {
    "student.select_by": "it is the measure that is searched by",
    "student.track": "nothing depends on it",
    "student.checkpoint_every_steps": "nothing depends on it",
}
_RANGE = {"low", "high", "step", "log"}
_FORMS = "a list of choices or a range such as { low = 1e-4, high = 1e-2, log = true }"

_LOGGER = logging.getLogger("pocketcxr")


def read_space(path: Path, experiment: Experiment) -> dict[str, BaseDistribution]:
    """Read which fields are searched, and try each end and each choice in the experiment they are searched around.

    Keys are dotted (``"student.learning_rate"``, ``student.losses.kd``) or stand in tables. Fields of [data],
    [input_filter] and [evaluation] are refused: they say what is measured, not what is trained.

    Returns:
        Dotted field to its distribution. A choice that is a list or table stands in it as JSON, see `with_values`.

    Raises:
        ConfigError: the file cannot be read, or something in it does not fit; several mistakes are logged, a line each.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read search space {path}: {error}") from error
    space: dict[str, BaseDistribution] = {}
    mistakes: list[str] = []
    for name, entry in _entries(table):
        try:
            space[name] = _distribution(name, entry, experiment)
        except (ConfigError, ValueError) as error:
            mistakes.append(str(error) if isinstance(error, ConfigError) else f"{name}: {error}")
    if not space and not mistakes:
        mistakes = [f"expected a field with {_FORMS}, found none"]
    if len(mistakes) > 1:
        for mistake in mistakes:
            _LOGGER.error("%s: %s", path, mistake)
        mistakes = [f"{len(mistakes)} mistakes, named above"]
    if mistakes:
        raise ConfigError(f"{path}: {mistakes[0]}; no trial was begun")
    return space


def with_values(experiment: Experiment, values: Mapping[str, Any]) -> Experiment:
    """The experiment with the values of a trial.

    Raises:
        ConfigError: naming the field that does not fit, alone or beside the others.
    """
    table = json.loads(json.dumps(dataclasses.asdict(experiment)))
    for name, value in values.items():
        coded = isinstance(value, str) and value.startswith(("[", "{"))
        set_field(table, name.split("."), json.loads(value) if coded else value)
    return build(Experiment, table)


def _entries(table: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict) and value and not _RANGE & set(value):
            yield from _entries(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value


def _distribution(name: str, entry: Any, experiment: Experiment) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    if name.partition(".")[0] not in _TABLES:
        raise ConfigError(f"{name}: expected a field of {', '.join(f'[{one}]' for one in _TABLES)}")
    if name in _FIXED:
        raise ConfigError(f"{name} cannot be searched: {_FIXED[name]}")
    if isinstance(entry, list) and entry:
        for choice in entry:
            with_values(experiment, {name: choice})
        return CategoricalDistribution([json.dumps(one) if isinstance(one, (list, dict)) else one for one in entry])
    if not isinstance(entry, dict) or not {"low", "high"} <= set(entry) <= _RANGE:
        raise ConfigError(f"{name}: expected {_FORMS}, found {json.dumps(entry, default=str)}")
    return _range(name, entry, experiment)


def _range(name: str, entry: dict[str, Any], experiment: Experiment) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    for end in ("low", "high"):
        tried = with_values(experiment, {name: entry[end]})
    value = dataclasses.asdict(tried)
    for part in name.split("."):
        value = value[part]
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ConfigError(f"{name}: expected a list of choices, found the range {json.dumps(entry)}")
    return (IntDistribution if isinstance(value, int) else FloatDistribution)(**entry)
