"""Tasks and class names with their order: the only copy, from the index to the bundle.

A *finding* is what a data set says of an image (`vocabulary`). A *task* maps findings to the classes of a classifier;
findings it does not name are left out of that task. A task has a name of `TASKS`, stands on the command line as
``normal,pneumothorax`` (one class per image) or ``atelectasis+edema`` (several findings per image), or in a TOML file
whose fields are in `docs/reference/task-file.md`.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from pocketcxr.errors import ConfigError, DataError
from pocketcxr.vocabulary import SEPARATOR, finding_named, no_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_LABELS = frozenset({"uncertain", "refused", "error", "__proto__"})
"""What a prediction says instead of a label, and a name that JavaScript objects cannot hold."""

UNCERTAIN_POLICIES = ("ignore", "ones", "zeros")
"""What training makes of a finding that a data set calls uncertain: nothing, present, absent (Irvin et al. 2019)."""

UNMENTIONED = ("unknown", "absent")
"""What a finding is of which a data set says nothing."""

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
    specificity and operating points speak of. `findings` maps findings to classes.

    With `multilabel` an image has any number of the labels, each with a probability of its own. `positive` is then "",
    and `findings` may map a finding to several labels; `uncertain` maps labels to one of `UNCERTAIN_POLICIES`
    (``ignore`` where one is not named), `unmentioned` is one of `UNMENTIONED`.
    """

    name: str
    labels: tuple[str, ...]
    positive: str
    findings: Mapping[str, str | tuple[str, ...]]
    multilabel: bool = False
    uncertain: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unmentioned: str = "unknown"

    def __post_init__(self) -> None:
        """Check the mapping once, here, so that the rest may trust it."""
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):  # noqa: PLR2004
            raise ConfigError(f"task {self.name}: expected at least two different labels, found {list(self.labels)}")
        taken: frozenset[str] = NO_LABELS | {"none"} if self.multilabel else NO_LABELS
        for label in self.labels:
            refused = f"it is one of {sorted(taken)}" if label in taken else no_name(label)
            if refused:
                raise ConfigError(f"task {self.name}: label {label!r} cannot be used: {refused}")
        if self.multilabel:
            self._check_several()
        elif self.positive not in self.labels:
            raise ConfigError(f"task {self.name}: positive is {self.positive!r}, expected one of {list(self.labels)}")
        elif self.uncertain or self.unmentioned != UNMENTIONED[0]:
            raise ConfigError(
                f"task {self.name}: uncertain and unmentioned are for multilabel = true; with one class per image, an "
                "image without a certain finding of the task is left out"
            )
        self._check_findings()

    def _check_findings(self) -> None:
        used: set[str] = set()
        for finding in self.findings:
            labels = self.labels_of(finding)
            unknown = [label for label in labels if label not in self.labels]
            if unknown:
                raise ConfigError(
                    f"task {self.name}: finding {finding!r} maps to {unknown[0]!r}, expected one of {list(self.labels)}"
                )
            if len(labels) > 1 and not self.multilabel:
                raise ConfigError(f"task {self.name}: finding {finding!r} maps to {list(labels)}, expected one class")
            used.update(labels)
        unused = [label for label in self.labels if label not in used]
        if unused:
            raise ConfigError(f"task {self.name}: no finding maps to {unused}; add one under [findings]")

    def _check_several(self) -> None:
        if self.positive:
            raise ConfigError(f"task {self.name}: several findings per image have no positive class; leave it out")
        for label, policy in self.uncertain.items():
            if label not in self.labels or policy not in UNCERTAIN_POLICIES:
                raise ConfigError(
                    f"task {self.name}: uncertain {label} = {policy!r}: expected a label of the task and one of "
                    f"{', '.join(UNCERTAIN_POLICIES)}"
                )
        if self.unmentioned not in UNMENTIONED:
            raise ConfigError(
                f"task {self.name}: unmentioned is {self.unmentioned!r}, expected one of {', '.join(UNMENTIONED)}"
            )

    @property
    def positive_index(self) -> int:
        """Position of the positive class in `labels`."""
        return self.labels.index(self.positive)

    def label_of(self, finding: str) -> str | None:
        """Class of an image's findings, None where the task leaves them out or they belong to several classes."""
        found = {label for one in finding.split(SEPARATOR) for label in self.labels_of(one)}
        return found.pop() if len(found) == 1 else None

    def labels_of(self, finding: str) -> tuple[str, ...]:
        """Labels of one finding."""
        labels = self.findings.get(finding, ())
        return (labels,) if isinstance(labels, str) else tuple(labels)

    def refuse_several(self, what: str) -> None:
        """Refuse a task with several findings per image where something is defined for one class per image only.

        Raises:
            ConfigError: naming what cannot be done.
        """
        if self.multilabel:
            raise ConfigError(
                f"{what} is defined for one class per image; task {self.name} gives an image any number of findings"
            )


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
    """Return a task by name, from its classes in one line, or from a TOML file of your own.

    Raises:
        ConfigError: unknown name, unreadable file, or a mapping that contradicts itself.
    """
    text = str(name_or_file)
    if text in TASKS:
        return TASKS[text]
    path = Path(name_or_file)
    if path.parts[:1] == ("experiments",) and not path.exists():  # as runs of before 0.2 name the project's own tasks
        path = Path("research", *path.parts[1:])
    if path.suffix != ".toml":
        for sign in (",", "+"):
            if sign in text:
                return task_of_labels(text.split(sign), multilabel=sign == "+")
        near = difflib.get_close_matches(text, TASKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"unknown task {text!r}{hint}: expected one of {sorted(TASKS)}, a .toml file, or classes such as "
            "normal,pneumothorax"
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read task file {path}: {error}") from error
    try:
        return _task_of_table(table, path)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(f"task file {path}: expected labels = [...] and a [findings] table ({error})") from error
    except DataError as error:
        raise ConfigError(f"task file {path}: {error}") from error


def task_of_labels(labels: Sequence[str], *, multilabel: bool = False) -> Task:
    """A task whose labels are the findings of their own names; the last class is the positive one.

    Args:
        labels: as they stand in the data, in any case; ``normal`` is the finding `no_finding`, as everywhere.
        multilabel: an image may have several of them.

    Raises:
        ConfigError: fewer than two labels, two for one finding, or a label that cannot be used.
    """
    names = tuple(label.strip() for label in labels)
    text = ("+" if multilabel else ",").join(names)
    findings = _findings_of_their_names(text, names)
    return Task(text, names, "" if multilabel else names[-1], findings, multilabel=multilabel)


def _findings_of_their_names(task: str, labels: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for label in labels:
        try:
            finding = finding_named(label)
        except DataError as error:
            raise ConfigError(f"task {task}: {error}") from error
        if not finding:
            raise ConfigError(f"task {task}: {label!r} means unlabelled in tables; name a class otherwise")
        if finding in found:
            raise ConfigError(
                f"task {task}: {found[finding]!r} and {label!r} are one finding, {finding}; leave one out"
            )
        found[finding] = label
    return MappingProxyType(found)


_FIELDS = ("name", "labels", "positive", "multilabel", "uncertain", "unmentioned", "findings")


def _task_of_table(table: dict[str, Any], path: Path) -> Task:
    for key in table:
        if key not in _FIELDS:
            near = difflib.get_close_matches(key, _FIELDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"task file {path}: unknown field {key!r}{hint}: expected some of {', '.join(_FIELDS)}")
    labels, name = _texts(table["labels"]), str(table.get("name", path.stem))
    several: bool = table.get("multilabel", False)
    if type(several) is not bool:
        raise ConfigError(f"task file {path}: multilabel is {several!r}, expected true or false")
    findings: Mapping[str, str | tuple[str, ...]]
    if "findings" in table:
        findings = {
            finding_named(finding): found if isinstance(found, str) else _texts(found)
            for finding, found in table["findings"].items()
        }
    else:
        findings = _findings_of_their_names(name, labels)
    policy: Any = table.get("uncertain", {})
    uncertain = dict.fromkeys(labels, policy) if isinstance(policy, str) else dict(policy)
    return Task(
        name=name,
        labels=labels,
        positive="" if several and "positive" not in table else str(table.get("positive", labels[-1])),
        findings=MappingProxyType(findings),
        multilabel=several,
        uncertain=MappingProxyType(uncertain),
        unmentioned=table.get("unmentioned", UNMENTIONED[0]),
    )


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in cast("list[object]", value)):
        raise TypeError(f"{value!r} is no list of texts")
    return tuple(cast("list[str]", value))
