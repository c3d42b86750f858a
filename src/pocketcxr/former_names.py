"""Former names of settings and losses: what earlier versions wrote is still read, in one place."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from pocketcxr.errors import ConfigError

FORMER_NAMES = MappingProxyType(
    {
        "gate": "input_filter",
        "strangers": "ood",
        "refused_films": "refused_frontal",
        "hard": "ce",
        "soft": "kd",
        "loss_hard": "loss_ce",
        "loss_soft": "loss_kd",
    }
)
"""Tables, fields and losses of an experiment, and columns of its metrics, to their present names."""

_FREE_NAMES = frozenset({"source_weights", "classes"})  # fields whose keys are chosen by the user


def current_name(name: str) -> str:
    """The present name of a setting, loss or column."""
    return FORMER_NAMES.get(name, name)


def with_current_names(value: Any) -> Any:
    """The same plain value with every former name among its keys replaced.

    Raises:
        ConfigError: a table that has a setting under both names.
    """
    if not isinstance(value, dict):
        return value
    table: dict[str, Any] = {}
    for name, inner in value.items():
        if current_name(name) in table:
            raise ConfigError(f"{name} and {current_name(name)} are the same setting: keep one")
        table[current_name(name)] = inner if name in _FREE_NAMES else with_current_names(inner)
    return table


def with_former_names(table: dict[str, Any]) -> dict[str, Any]:
    """The same flat table under the names that keys of earlier versions were computed with."""
    former = {now: before for before, now in FORMER_NAMES.items()}
    return {former.get(name, name): value for name, value in table.items()}
