"""Input filter: refusal of images that are no frontal chest X-ray, by the whole decision of the predictor.

Unlike the other probes this one runs the predictor, not the network: an image may be refused by its header or colour
before any network sees it. Images that the learned input filter was trained on must not be among those given.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pocketcxr.audit.describing import NotMeasurable, interval_bars, measured, section
from pocketcxr.audit.model.probes.refusals_by_class import Decision, class_measures, refusal_rate
from pocketcxr.data.boxes import box_mask
from pocketcxr.data.dataset import evenly
from pocketcxr.data.image_types import image_type_of
from pocketcxr.errors import PocketCxrError
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph
from pocketcxr.imaging.reading import read_image
from pocketcxr.progress import Bar
from pocketcxr.report.formatting import percent
from pocketcxr.report.types import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.report.types import Measure, Section

    Decide = Callable[[Radiograph], tuple[Prediction, ModelOutputs | None]]

ALTERED = {
    "inverted": lambda pixels: 1 - pixels,
    "turned": np.rot90,
    "upside down": lambda pixels: np.rot90(pixels, 2),
    "left half": lambda pixels: pixels[:, : pixels.shape[1] // 2],
    "upper half": lambda pixels: pixels[: pixels.shape[0] // 2],
    "middle": lambda pixels: pixels[
        pixels.shape[0] // 4 : -(pixels.shape[0] // 4), pixels.shape[1] // 4 : -(pixels.shape[1] // 4)
    ],
}
"""Images that the audit makes of radiographs; one turned on its side, or half of one, should get no answer."""

_SURE = 0.9
_UNREADABLE = "unreadable"
_FEWEST = 10
_MASK_SIDE = 128  # pixels: boxes that overlap count once


@dataclass(frozen=True)
class Decisions:
    """All decisions, by kind of image; `note` says which images were left out, `positive` is the task's class."""

    by_kind: Mapping[str, Sequence[Decision]]
    note: str = ""
    positive: str = ""

    @property
    def foreign(self) -> list[str]:
        """Kinds given that are no frontal chest X-rays, without what was made of radiographs."""
        return [kind for kind in self.by_kind if kind != "frontal" and kind not in ALTERED]


def measure(
    decide: Decide | None,
    radiographs: Sequence[IndexRow],
    ood: Sequence[IndexRow],
    *,
    most: int = 400,
    note: str = "",
    progress: bool = False,
    positive: str = "",
    labels: Sequence[str] = (),
    boxes: Mapping[str, NDArray[np.float64]] | None = None,
) -> Decisions:
    """Run the predictor on test radiographs, on out-of-distribution images, and on altered radiographs.

    Args:
        decide: the predictor (`inference.predictor.Predictor.score_image`); None where the model is no bundle.
        radiographs: frontal chest X-rays that took no part in training.
        ood: rows whose modality and view say what they are; frontal ones and others are left out.
        most: images per kind and source, evenly spaced where there are more; twice as many radiographs.
        note: which images were left out.
        progress: show bars on stderr.
        positive: the positive class of the radiographs' labels; "" compares no classes.
        labels: classes of the network's probabilities, in their order.
        boxes: path of a radiograph to the boxes that somebody drew [k, 4], from `data.boxes`.

    Raises:
        NotMeasurable: the model is no bundle.
    """
    if decide is None:
        raise NotMeasurable("this model is no bundle, so nothing refuses an image")
    chosen = _evenly(radiographs, 2 * most)
    rows = [*(("frontal", row) for row in chosen), *_chosen(ood, most)]
    by_kind: dict[str, list[Decision]] = defaultdict(list)
    for kind, row in Bar(rows, desc="whole decision", unit="image", disable=not progress, leave=False):
        try:
            answer, outputs = decide(read_image(Path(row.path)))
            one = _decision(kind, row.source, answer)
            if outputs is not None and positive in labels:
                one = replace(one, probability=float(outputs.probabilities[0][labels.index(positive)]))
            by_kind[kind].append(one)
        except PocketCxrError:
            by_kind[kind].append(Decision(kind, row.source, refused=True, codes=(_UNREADABLE,)))
    frontal = zip(by_kind["frontal"], chosen, strict=True)
    by_kind["frontal"] = [_with_facts(one, row, boxes or {}) for one, row in frontal]
    some = _evenly(chosen, max(_FEWEST, most // 4))
    for row in Bar(some, desc="altered radiographs", unit="image", disable=not progress, leave=False):
        try:
            pixels = read_image(Path(row.path)).pixels
        except PocketCxrError:
            continue
        for kind, alter in ALTERED.items():
            altered = np.ascontiguousarray(alter(pixels))
            height, width = altered.shape
            metadata = ImageMetadata("PNG", width, height, 8)
            by_kind[kind].append(_decision(kind, row.source, decide(Radiograph(altered, metadata))[0]))
    return Decisions(dict(by_kind), note, positive)


def describe(found: Decisions) -> Section:
    """Shares refused, by kind and source, with Wilson intervals."""
    frontal = found.by_kind.get("frontal", [])
    own = _measures(found)
    rows = tuple(
        _row(kind, source, [one for one in group if one.source == source])
        for kind, group in found.by_kind.items()
        for source in sorted({one.source for one in group})
    )
    note = f"Files read and decided as `pocketcxr predict` does. Interval: Wilson. {found.note}".strip()
    columns = ("kind", "source", "images", "refused", "95 % interval", "reasons")
    summary = (
        f"Refused: {percent(own[0].value, 0)} of the frontal radiographs of the test split "
        f"({sum(one.refused for one in frontal)} of {len(frontal)}), "
        + ("no out-of-distribution images given." if own[1].value is None else "")
        + (f"{percent(own[1].value, 0)} of the out-of-distribution images." if own[1].value is not None else "")
    )
    pictures = interval_bars(
        "Refused by the whole decision",
        [(kind, refusal_rate(group)) for kind, group in found.by_kind.items()],
        x="share refused",
        level=0.99,
    )
    return section("gate", summary, own, (Table("Refused, by kind and source", columns, rows, note),), pictures)


def _with_facts(one: Decision, row: IndexRow, boxes: Mapping[str, NDArray[np.float64]]) -> Decision:
    own = boxes.get(row.path)
    area = None if own is None or not len(own) else float(box_mask(own, _MASK_SIDE).mean())
    return replace(one, label=row.label, box_area=area)


def _measures(found: Decisions) -> list[Measure]:
    by_kind, foreign = found.by_kind, found.foreign
    ood = [one for kind in foreign for one in by_kind[kind]]
    enough = [kind for kind in foreign if len(by_kind[kind]) >= _FEWEST]
    worst = min(enough, key=lambda kind: refusal_rate(by_kind[kind]).value or 0.0, default="")
    groups: dict[str, Sequence[Decision]] = {
        "films_refused": by_kind.get("frontal", []),
        "strangers_refused": ood,
        "least_refused": by_kind.get(worst, []),
        "made_refused": [one for kind in ALTERED for one in by_kind.get(kind, [])],
        "answered_confidently": [Decision(one.kind, one.source, refused=one.confident) for one in ood],
    }
    words = {"fewest": _FEWEST, "sure": _SURE}
    return [
        *(
            measured(
                f"gate.{name}",
                refusal_rate(group),
                images=len(group) or None,
                worst=worst if name == "least_refused" else "",
                **words,
            )
            for name, group in groups.items()
        ),
        *class_measures(by_kind.get("frontal", []), found.positive),
        *(
            measured(f"gate.refused.{kind.replace(' ', '_')}", refusal_rate(group), images=len(group), name=kind)
            for kind, group in by_kind.items()
            if kind != "frontal"
        ),
    ]


def _chosen(rows: Sequence[IndexRow], most: int) -> Iterable[tuple[str, IndexRow]]:
    groups: dict[tuple[str, str], list[IndexRow]] = defaultdict(list)
    for row in rows:
        if image_type_of(row) not in ("", "frontal"):
            groups[image_type_of(row), row.source].append(row)
    for (kind, _), group in sorted(groups.items()):
        group.sort(key=lambda row: (row.sha256, row.path))
        yield from ((kind, row) for row in _evenly(group, most))


def _evenly(rows: Sequence[IndexRow], most: int) -> list[IndexRow]:
    return [rows[i] for i in evenly(np.arange(len(rows)), most).tolist()]


def _decision(kind: str, source: str, answer: Prediction) -> Decision:
    refused = answer.decision == "refused"
    confident = not refused and max(answer.probabilities.values()) >= _SURE
    return Decision(kind, source, refused, tuple(one.code for one in answer.reasons) if refused else (), confident)


def _row(kind: str, source: str, group: Sequence[Decision]) -> tuple[str | float | int | None, ...]:
    rate = refusal_rate(group)
    codes = Counter(one.codes[0] for one in group if one.codes)
    reasons = ", ".join(f"{code} {count}" for code, count in codes.most_common(4))
    return kind, source, len(group), rate.value, f"{rate.low:.3f} to {rate.high:.3f}", reasons or None
