"""Settings of the worker: one TOML file, checked once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_type_hints

from pocketcxr.addresses import is_loopback
from pocketcxr.dicomweb.settings import ArchiveSettings  # noqa: TC001  # `get_type_hints` asks for it
from pocketcxr.errors import ConfigError, expect

if TYPE_CHECKING:
    from pathlib import Path

MODALITIES = ("CR", "DX", "DR", "RG")
_MOST_PROCESSES = 64


@dataclass(frozen=True)
class WorkSettings:
    """What is scored and how. `modalities`: of the series that are looked at, some of CR, DX, DR, RG.

    `days`: studies dated within so many days, or not dated, are scored by `run` and `once`; older ones by `backfill`.
    The feed of changes is asked every `poll_s`, all studies of those days every `sweep_s`. `processes` score at once;
    0 takes one per processor. `calibration_site` stands in every report. `left_out_file` holds IDs of patients whose
    images are not scored, one a line; ``forget`` adds to it.
    """

    modalities: tuple[str, ...] = ("CR", "DX")
    days: int = 30
    poll_s: float = 0.5
    sweep_s: float = 300.0
    processes: int = 0
    calibration_site: str = ""
    bundle: str = ""
    left_out_file: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        known = bool(self.modalities) and set(self.modalities) <= set(MODALITIES)
        expect(known, "work.modalities", f"some of {', '.join(MODALITIES)}", list(self.modalities))
        expect(1 <= self.days <= 36500, "work.days", "1 to 36500", self.days)  # noqa: PLR2004
        expect(0.05 <= self.poll_s <= 3600, "work.poll_s", "0.05 to 3600 seconds", self.poll_s)  # noqa: PLR2004
        expect(1 <= self.sweep_s <= 86400, "work.sweep_s", "1 to 86400 seconds", self.sweep_s)  # noqa: PLR2004
        expect(0 <= self.processes <= _MOST_PROCESSES, "work.processes", f"0 to {_MOST_PROCESSES}", self.processes)


@dataclass(frozen=True)
class StatusSettings:
    """The status page and metrics: `port` 0 serves none; `host` must be this computer."""

    host: str = "127.0.0.1"
    port: int = 0

    def __post_init__(self) -> None:
        """Refuse what would show the page to others: it has no accounts."""
        expect(is_loopback(self.host), "status.host", "this computer (127.0.0.1, ::1 or localhost)", self.host)
        expect(0 <= self.port <= 65535, "status.port", "0 to 65535", self.port)  # noqa: PLR2004


@dataclass(frozen=True)
class DriftSettings:
    """How often a running worker computes drift, in hours (0: never), and from the studies of how many days."""

    every_h: float = 24.0
    days: int = 84

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        expect(0 <= self.every_h <= 8760, "drift.every_h", "0 to 8760 hours", self.every_h)  # noqa: PLR2004
        expect(1 <= self.days <= 36500, "drift.days", "1 to 36500", self.days)  # noqa: PLR2004


@dataclass(frozen=True)
class PacsSettings:
    """All tables of the file."""

    archive: ArchiveSettings
    work: WorkSettings = field(default_factory=WorkSettings)
    status: StatusSettings = field(default_factory=StatusSettings)
    drift: DriftSettings = field(default_factory=DriftSettings)


def read_pacs_settings(path: Path) -> PacsSettings:
    """Read and check the file; paths in it are relative to its folder.

    Raises:
        ConfigError: a missing file, no TOML, or a table or field that is missing, unknown or does not fit.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read as the worker's settings ({reason})") from None
    kinds = get_type_hints(PacsSettings)
    unknown = sorted(set(tables) - set(kinds))
    if unknown:
        raise ConfigError(f"{path}: unknown table [{unknown[0]}]; expected [{'], ['.join(kinds)}]")
    try:
        made = {name: _made(kind, name, tables.get(name, {}), path.parent) for name, kind in kinds.items()}
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return PacsSettings(**made)


def _made(kind: type, name: str, table: Any, folder: Path) -> Any:
    expect(isinstance(table, dict), name, "a table", table)
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in table.items():
        expect(key in hints, f"{name}.{key}", f"one of {', '.join(hints)}", "an unknown field")
        values[key] = _converted(f"{name}.{key}", value, hints[key])
    for key in [key for key in values if key.endswith("_file") or key == "bundle"]:
        values[key] = str(folder / values[key]) if values[key] else ""
    return kind(**values)


def _converted(name: str, value: Any, hint: Any) -> Any:
    if hint is float and type(value) in {int, float}:
        return float(value)
    if hint in {int, str}:
        expect(type(value) is hint, name, "a whole number" if hint is int else "text", value)
        return value
    texts = isinstance(value, list) and all(type(one) is str for one in value)
    expect(texts and hint is not float, name, "a number" if hint is float else "a list of texts", value)
    return tuple(value)
