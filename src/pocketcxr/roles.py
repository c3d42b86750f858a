"""Names of the roles that models play in a run: the same in files, tables and sentences."""

from __future__ import annotations

TEACHER = "teacher"
BASELINE = "student alone"
DISTILLED = "distilled student"
EXPORTED = "exported file"
