"""A whole experiment: one dataclass per stage, read from a TOML file with overrides."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr.errors import ConfigError
from pocketcxr.evaluation.config import EvaluationConfig
from pocketcxr.former_names import with_current_names
from pocketcxr.training.config.data import DataConfig
from pocketcxr.training.config.input_filter import InputFilterConfig
from pocketcxr.training.config.student import StudentConfig
from pocketcxr.training.config.tables import apply_override, build
from pocketcxr.training.config.teacher import TeacherConfig
from pocketcxr.training.config.views import ViewsConfig

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True)
class Experiment:
    """All stages of one run."""

    data: DataConfig = field(default_factory=DataConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    input_filter: InputFilterConfig = field(default_factory=InputFilterConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


def load_experiment(path: Path | None = None, overrides: Iterable[str] = ()) -> Experiment:
    """Read an experiment file (TOML, or the JSON of an earlier run) and apply ``table.field=value`` overrides.

    Values of overrides are TOML: ``student.epochs=40``, ``student.losses={ce=1.0}``, ``data.task=siim-appearance``.
    Names of earlier versions are read too (`pocketcxr.former_names`).

    Raises:
        ConfigError: naming the file, table and field that is unknown or does not fit.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8-sig")
            table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise ConfigError(f"cannot read experiment file {path}: {error}") from error
    table = with_current_names(table)
    for override in overrides:
        apply_override(table, override)
    return build(Experiment, table)
