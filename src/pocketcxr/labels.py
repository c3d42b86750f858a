"""Findings, tasks and class names with their order: the only copy, from the index to the bundle.

A *finding* is what a data set says of an image, in one vocabulary (`FINDINGS`). A *task* maps findings to the classes
of a classifier; findings it does not name are left out of that task. Write your own task as a TOML file::

    name = "pneumonia-any"
    labels = ["normal", "pneumonia"]
    positive = "pneumonia"

    [findings]
    no_finding = "normal"
    no_pneumonia = "normal"
    covid19 = "pneumonia"
    bacterial_pneumonia = "pneumonia"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

FINDINGS: Mapping[str, str] = MappingProxyType(
    {
        "no_finding": "read as normal",
        "no_pneumonia": "negative for pneumonia; other findings possible (SIIM)",
        "covid19": "COVID-19 by the data set's own label (PCR or clinical)",
        "typical_appearance": "appearance typical of COVID-19 (SIIM, RSNA consensus wording)",
        "indeterminate_appearance": "appearance indeterminate for COVID-19 (SIIM)",
        "atypical_appearance": "appearance atypical for COVID-19 (SIIM)",
        "bacterial_pneumonia": "bacterial pneumonia",
        "viral_pneumonia": "viral pneumonia other than COVID-19 (SARS and MERS included)",
        "fungal_pneumonia": "fungal pneumonia (Pneumocystis included)",
        "pneumonia": "pneumonia of unnamed or other cause",
        "tuberculosis": "tuberculosis",
        "lung_opacity": "lung opacity of unnamed cause (COVID-19 Radiography Database)",
        "other": "another finding",
    }
)
"""The vocabulary of findings with what each means."""

INPUT_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "frontal": "a frontal chest X-ray, upright and whole: what is scored",
        "lateral": "the image looks like a side view of the chest; only frontal views (PA or AP) are scored",
        "ct": "the image looks like a CT slice; only plain chest X-rays are scored",
        "not_xray": (
            "the image does not look like an X-ray; send the X-ray by itself, no photograph, screenshot or drawing"
        ),
        "other_part": "the image looks like an X-ray of another part of the body; only chest X-rays are scored",
        "inverted": "the grey scale looks inverted (air white, bone black); invert it, or send the DICOM file",
        "turned": "the image looks turned or upside down; turn it upright",
        "cropped": "the image seems to show only a part of the chest; send the whole X-ray",
    }
)
"""Image types of the learned input filter, in the order of its output, with the text of each refusal."""


@dataclass(frozen=True)
class Task:
    """What a classifier tells apart, and from which findings its classes are made.

    `labels` gives the order of the classes in every array of the project. `positive` is the class that sensitivity,
    specificity and operating points speak of.
    """

    name: str
    labels: tuple[str, ...]
    positive: str
    findings: Mapping[str, str]

    def __post_init__(self) -> None:
        """Check the mapping once, here, so that the rest may trust it."""
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):  # noqa: PLR2004
            raise ConfigError(f"task {self.name}: expected at least two different labels, found {list(self.labels)}")
        if self.positive not in self.labels:
            raise ConfigError(f"task {self.name}: positive is {self.positive!r}, expected one of {list(self.labels)}")
        for finding, label in self.findings.items():
            if label not in self.labels:
                raise ConfigError(
                    f"task {self.name}: finding {finding!r} maps to {label!r}, expected one of {list(self.labels)}"
                )
        unused = [label for label in self.labels if label not in self.findings.values()]
        if unused:
            raise ConfigError(f"task {self.name}: no finding maps to {unused}; add one under [findings]")

    @property
    def positive_index(self) -> int:
        """Position of the positive class in `labels`."""
        return self.labels.index(self.positive)

    def label_of(self, finding: str) -> str | None:
        """Class of a finding, or None where the task leaves it out."""
        return self.findings.get(finding)


_PNEUMONIAS = ("bacterial_pneumonia", "viral_pneumonia", "fungal_pneumonia", "pneumonia")

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        # SIIM's indeterminate and atypical appearances, tuberculosis and opacities of unnamed cause belong to no class
        # of these tasks: their truth is not known, and a wrong label costs more than a lost image.
        "covid-3class": Task(
            name="covid-3class",
            labels=("normal", "pneumonia", "covid19"),
            positive="covid19",
            findings=MappingProxyType(
                {
                    "no_finding": "normal",
                    "no_pneumonia": "normal",
                    **dict.fromkeys(_PNEUMONIAS, "pneumonia"),
                    "covid19": "covid19",
                    "typical_appearance": "covid19",
                }
            ),
        ),
        "covid-binary": Task(
            name="covid-binary",
            labels=("other", "covid19"),
            positive="covid19",
            findings=MappingProxyType(
                {
                    "no_finding": "other",
                    "no_pneumonia": "other",
                    **dict.fromkeys(_PNEUMONIAS, "other"),
                    "covid19": "covid19",
                    "typical_appearance": "covid19",
                }
            ),
        ),
        # The one task here whose classes come from the same hospitals (see the data README): no source to read.
        "siim-appearance": Task(
            name="siim-appearance",
            labels=("negative", "typical"),
            positive="typical",
            findings=MappingProxyType({"no_pneumonia": "negative", "typical_appearance": "typical"}),
        ),
    }
)
"""Tasks that come with the project, by name."""


def load_task(name_or_file: str | Path) -> Task:
    """Return a task by name, or read one from a TOML file of your own.

    Raises:
        ConfigError: unknown name, unreadable file, or a mapping that contradicts itself.
    """
    if str(name_or_file) in TASKS:
        return TASKS[str(name_or_file)]
    path = Path(name_or_file)
    if path.parts[:1] == ("experiments",) and not path.exists():  # as runs of before 0.2 name the project's own tasks
        path = Path("research", *path.parts[1:])
    if path.suffix != ".toml":
        raise ConfigError(f"unknown task {str(name_or_file)!r}: expected one of {sorted(TASKS)} or a .toml file")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        labels, findings = tuple(table["labels"]), dict(table["findings"])
        return Task(
            name=str(table.get("name", path.stem)),
            labels=labels,
            positive=str(table.get("positive", labels[-1])),
            findings=MappingProxyType(findings),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read task file {path}: {error}") from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(f"task file {path}: expected labels = [...] and a [findings] table ({error})") from error
