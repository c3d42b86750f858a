"""The record of a run's folder, read once; checklists and model card quote nothing else."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
import shlex
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pocketcxr import roles
from pocketcxr.bundle.format import read_bundle, read_manifest, sha256_of
from pocketcxr.data.rows import read_rows
from pocketcxr.data.tables import read_table
from pocketcxr.errors import DataError
from pocketcxr.former_names import with_current_names
from pocketcxr.plain_text import cell_value
from pocketcxr.report.tables import present
from pocketcxr.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.data.rows import IndexRow

STAGES = ("teacher", "student-baseline", "student-distilled")
"""Folders of a run that hold a training."""


_CHECKPOINTS = ("teacher.safetensors", "best.safetensors")
_RECORD_KEY = "pocketcxr.record"
_LARGEST_HEADER = 100_000_000  # bytes; a safetensors header is some kilobytes
_ABSOLUTE = re.compile(r"""(?<![\w./\\~])(?:~|[A-Za-z]:)?[\\/](?:[^\\/"',=\]]+[\\/])*([^\\/"',=\]]+)[\\/]?""")
_LOG_TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ", re.MULTILINE)


@dataclass(frozen=True)
class BundleFile:
    """The exported file: its name, size in bytes, SHA-256 and manifest."""

    name: str
    bytes: int
    sha256: str
    manifest: Manifest


@dataclass(frozen=True)
class RunRecord:
    """All that a run left behind; what is not there is empty.

    `rows` come from `rows_file` (``splits.csv``, before the split ``index.csv``). `rejected` counts images that the
    index left out, by source and reason. `evaluation` is ``evaluation/evaluation.json``, `experiment`
    ``experiment.json``, `teacher_check` ``teacher-check.json``. `stages` maps each name of `STAGES` to what its
    checkpoint says of its training, `finished` to how it ended; `environment` is that of the last stage trained.
    `own_splits` tells that the split came from a table of the user. `folds` is the number of folds of a k-fold
    protocol, assigned by `fold_level`; then every image is a test image once. `hours` from the first to the last line
    of ``run.log``, pauses included. `audit_command` made the sections of the audit. `files` names what was read.
    """

    name: str = ""
    experiment: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[IndexRow, ...] = ()
    rows_file: str = ""
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    teacher_check: Mapping[str, Any] = field(default_factory=dict)
    bundle: BundleFile | None = None
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    finished: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    own_splits: bool = False
    folds: int = 0
    fold_level: str = ""
    notes: tuple[str, ...] = ()
    hours: float | None = None
    audit_command: str = ""
    files: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing at all was found."""
        return not self.files

    @property
    def manifest(self) -> Manifest | None:
        """The bundle's manifest, where there is a bundle."""
        return self.bundle.manifest if self.bundle else None

    @property
    def command(self) -> str:
        """The command line that made the evaluation, without the folders of the machine; empty where not known."""
        return shown_command(str(self.evaluation.get("command", "")))

    def command_of(self, where: str) -> str:
        """The command that made what stands in a file, where that is known; empty where not.

        What the evaluation's command made is known; other files are its work only if it did the whole run.
        """
        did_all = self.command.split()[1:2] in (["distill"], ["demo"], ["crossval"])
        return self.command if did_all or "evaluation/" in where else ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """The effective configuration: the run's own, else the one that the bundle carries."""
        if self.experiment or self.manifest is None:
            return self.experiment
        return with_current_names(self.manifest.run.get("experiment", {}))

    @property
    def trained(self) -> frozenset[str]:
        """Networks that the run finished, by their names in the evaluation; what is only planned is not among them."""
        names = {roles.TEACHER, roles.BASELINE, roles.DISTILLED} & set(self.evaluation.get("models", {}))
        names |= {roles.TEACHER} if "teacher" in self.stages else set()
        names |= {roles.BASELINE} if "student-baseline" in self.finished else set()
        names |= {roles.DISTILLED} if "student-distilled" in self.finished or self.bundle else set()
        return frozenset(names)

    @property
    def student(self) -> Mapping[str, Any]:
        """Configuration of the student, empty while no student is trained."""
        done = self.trained & {roles.BASELINE, roles.DISTILLED}
        return self.settings.get("student", {}) if done else {}

    @property
    def teacher(self) -> Mapping[str, Any]:
        """Configuration of the teacher, empty while none is trained, or where a given network or a table taught."""
        known = roles.TEACHER in self.trained or self.distilled
        config = self.settings.get("teacher", {})
        return config if known and not (config.get("checkpoint") or config.get("outputs")) else {}

    @property
    def distilled(self) -> bool:
        """Whether the trained student learned from a teacher, and not from labels only."""
        losses = self.settings.get("student", {}).get("losses", {})
        from_teacher = any(name != "ce" and weight > 0 for name, weight in losses.items())
        return roles.DISTILLED in self.trained and from_teacher

    @property
    def synthetic(self) -> bool:
        """Whether the images are the program's own synthetic chest X-rays, which show no patient."""
        sources = {row.source for row in self.rows}
        if self.manifest is not None:
            sources |= set(self.manifest.data.get("sources", ()))
        return any(source.startswith("drawn-") for source in sources) or any(
            word in note for word in ("DRAWING", "SYNTHETIC") for note in self.notes
        )


def read_run_record(folder: Path) -> RunRecord:
    """Gather what a run's folder holds; a stage that has not run yet leaves its part empty.

    Raises:
        DataError: no such folder, or a file in it that cannot be read.
        BundleError: a damaged bundle.
    """
    if not folder.is_dir():
        raise DataError(f"expected the folder of a run, found none at {folder}; name one that pocketcxr distill made")
    files: list[str] = []

    def table(path: str) -> dict[str, Any]:
        found = _read_json(folder / path)
        files.extend([path] if found else [])
        return found

    rows_file = next((name for name in ("splits.csv", "folds.csv", "index.csv") if (folder / name).is_file()), "")
    protocol = table("evaluation/crossval.json")
    baseline = RunFolder(folder).student_baseline.name
    places = {stage: baseline if stage == "student-baseline" else stage for stage in STAGES}
    stages = {stage: found for stage, place in places.items() if (found := _checkpoint_record(folder / place))}
    record = RunRecord(
        name=folder.resolve().name,
        experiment=with_current_names(table("experiment.json")),
        rows=_rows(folder / rows_file) if rows_file else (),
        rows_file=rows_file,
        rejected=_rejected(folder / "index.rejected.csv"),
        evaluation=present(table("evaluation/evaluation.json")),
        teacher_check=roles.canonical(table("teacher-check.json")),
        bundle=(bundle := _bundle(folder)),
        stages=stages,
        finished={
            stage: found for stage, place in places.items() if (found := _read_json(folder / place / "finished.json"))
        },
        environment=next(
            (found for place in reversed(places.values()) if (found := table(f"{place}/environment.json"))), {}
        ),
        folds=int(protocol.get("folds", 0)),
        fold_level=str(protocol.get("level", "")),
        own_splits=bool(_read_json(folder / "sources.json").get("splits")),
        notes=tuple(_read_text(folder / "notes.txt").splitlines()),
        hours=_hours(_read_text(folder / "run.log")),
    )
    files += [rows_file] if rows_file else []
    files += ["index.rejected.csv"] if (folder / "index.rejected.csv").is_file() else []
    files += [f"bundle/{bundle.name}"] if bundle else []
    files += [f"{places[stage]}/ checkpoint" for stage in stages]
    return dataclasses.replace(record, files=tuple(files))


def read_bundle_record(path: Path) -> RunRecord:
    """Gather what a bundle says of itself where the run's folder is not at hand.

    Raises:
        BundleError: no bundle, or a damaged one.
    """
    bundle = bundle_file(path)
    return RunRecord(name=path.stem, bundle=bundle, files=(bundle.name,))


def bundle_file(path: Path) -> BundleFile:
    """Read name, size, hash and manifest of a bundle file, checked against its hash.

    Raises:
        BundleError: no bundle, or a damaged one.
    """
    data = read_bundle(path)
    return BundleFile(path.name, len(data), sha256_of(data, path.name), read_manifest(data, path.name))


def shown_command(command: str) -> str:
    """A command line with each absolute path cut to its last part: a card is published, a machine's folders are not."""
    words = shlex.split(command) if "'" in command or '"' in command else command.split()
    shown = [_ABSOLUTE.sub(r"\1", word) for word in words]
    return " ".join(f'"{word}"' if " " in word else word for word in shown)


def without_paths(text: str) -> str:
    """A message without the files it names, which may hold names of patients."""
    return " ".join("…" if "/" in word or "\\" in word else word for word in text.split())


def _rows(path: Path) -> tuple[IndexRow, ...]:
    rows = read_rows(path)
    if path.name != "folds.csv":
        return tuple(rows)
    return tuple(dataclasses.replace(row, split="test" if row.fold else "") for row in rows)


def _bundle(folder: Path) -> BundleFile | None:
    found = sorted((folder / "bundle").glob("*.onnx"), key=lambda path: path.stat().st_mtime)
    return bundle_file(found[-1]) if found else None


def _rejected(path: Path) -> dict[tuple[str, str], int]:
    lines = read_table(path, "source", "reason").lines if path.is_file() else ()
    return dict(Counter((cell_value(line["source"]), without_paths(cell_value(line["reason"]))) for _, line in lines))


def _checkpoint_record(folder: Path) -> dict[str, Any]:
    """What a stage's weights say of their training: the JSON header of the safetensors file, read without the library.

    Source: safetensors format: 8 bytes little-endian length, then a JSON object with ``__metadata__``.
    """
    path = next((folder / name for name in _CHECKPOINTS if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                raise DataError(f"{path}: not a safetensors file; train this stage again")
            header = json.loads(stream.read(length))
        return json.loads(header.get("__metadata__", {}).get(_RECORD_KEY, "{}"))
    except (OSError, struct.error, ValueError, AttributeError) as error:
        raise DataError(f"cannot read the record of {path} ({error}); train this stage again") from error


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError as error:
        raise DataError(f"cannot read {path} ({error}); run the stage that wrote it again") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(found).__name__}; run its stage again")
    return found


def _read_text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def _hours(log: str) -> float | None:
    times = _LOG_TIME.findall(log)
    if not times:
        return None
    first, last = (dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC) for text in (times[0], times[-1]))
    return (last - first).total_seconds() / 3600
