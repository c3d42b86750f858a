"""Paths inside a run's folder, in one place: where each stage puts its work, under its present or its former name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pocketcxr.files import sha256_of_file

if TYPE_CHECKING:
    from pathlib import Path

TEACHER_FILE, STUDENT_FILE = "teacher.safetensors", "best.safetensors"
"""Final weights of a teacher, and of a student or a part of a teacher (its best epoch)."""

TEST_SPLIT_LOG = "test_split_opened.log"

FORMER_FOLDERS = {
    "student-baseline": "student-alone",
    "input-filter/input-filter.safetensors": "gate/gate.safetensors",
    "leave-one-source-out/students.json": "without/without.json",
}
"""Places in a run's folder to their names in earlier versions; a run that has such a folder keeps using it."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run, finished or not."""

    folder: Path

    @property
    def experiment_file(self) -> Path:
        """The effective configuration."""
        return self.folder / "experiment.json"

    @property
    def index(self) -> Path:
        """One row per image."""
        return self.folder / "index.csv"

    @property
    def splits(self) -> Path:
        """The index with classes, splits and duplicate groups."""
        return self.folder / "splits.csv"

    @property
    def folds(self) -> Path:
        """The index with the folds of a cross-validation."""
        return self.folder / "folds.csv"

    @property
    def cache(self) -> Path:
        """Decoded pixels."""
        return self.folder / "cache"

    @property
    def teacher(self) -> Path:
        """The teacher's stages and checkpoint."""
        return self.folder / "teacher"

    @property
    def views(self) -> Path:
        """The teacher's outputs for augmented views."""
        return self.folder / "views"

    @property
    def student_baseline(self) -> Path:
        """The student trained without a teacher."""
        return self._found("student-baseline")

    @property
    def student_distilled(self) -> Path:
        """The student distilled from the teacher."""
        return self.folder / "student-distilled"

    @property
    def input_filter(self) -> Path:
        """Weights of the learned input filter."""
        return self._found("input-filter/input-filter.safetensors")

    @property
    def left_out_record(self) -> Path:
        """Which students were trained without a source; each has a folder beside this file."""
        return self._found("leave-one-source-out/students.json")

    @property
    def evaluation(self) -> Path:
        """Tables, predictions and report of the evaluation."""
        return self.folder / "evaluation"

    @property
    def test_split_log(self) -> Path:
        """A line for every time that something was scored on the test split."""
        return self.folder / TEST_SPLIT_LOG

    @property
    def audit_record(self) -> Path:
        """The record of the run's audit, unless another folder was asked for."""
        return self.folder / "audit" / "audit.json"

    def _found(self, name: str) -> Path:
        former = FORMER_FOLDERS[name]
        used, unused = (self.folder / one.partition("/")[0] for one in (former, name))
        return self.folder / (former if used.exists() and not unused.exists() else name)


def checkpoint(folder: Path) -> Path:
    """Final weights of a training: a teacher's under its own name, or the best epoch of a student."""
    teacher = folder / TEACHER_FILE
    return teacher if teacher.is_file() else folder / STUDENT_FILE


def student_sha256(run: RunFolder) -> str:
    """SHA-256 of the distilled student's weights, by which an audit is tied to it; empty where there is none."""
    path = run.student_distilled / STUDENT_FILE
    return sha256_of_file(path) if path.is_file() else ""
