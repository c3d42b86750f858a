"""Does it answer only what it was made for? The whole decision, as a user meets it: reading, rules, gate, novelty.

Unlike the other questions this one asks the predictor, not the network: a picture may be refused by its header or
colour before any network sees it. Strangers that the learned gate was trained on must not be among those asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from pocketcxr.data.dataset import evenly
from pocketcxr.data.image_types import image_type_of
from pocketcxr.errors import PocketCxrError
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph
from pocketcxr.imaging.reading import read_image
from pocketcxr.report.formatting import percent
from pocketcxr.report.panels import bars
from pocketcxr.report.types import Measure, Section, Table, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.inference.prediction import Prediction

    Decide = Callable[[Radiograph], Prediction]

MADE = {
    "inverted": lambda film: 1 - film,
    "turned": np.rot90,
    "upside down": lambda film: np.rot90(film, 2),
    "left half": lambda film: film[:, : film.shape[1] // 2],
    "upper half": lambda film: film[: film.shape[0] // 2],
    "middle": lambda film: film[film.shape[0] // 4 : -(film.shape[0] // 4), film.shape[1] // 4 : -(film.shape[1] // 4)],
}
"""Strangers that the audit makes of films; a film turned on its side, or half of it, is no film to answer."""

_TITLE = "Does it answer only frontal chest X-rays?"
_KEYS = {
    "gate.films_refused": "Frontal chest X-rays refused",
    "gate.strangers_refused": "Strangers refused",
    "gate.least_refused": "Strangers refused, worst kind",
    "gate.made_refused": "Inverted, turned and cropped films refused",
    "gate.answered_confidently": "Strangers that get a class with 0.9 or more",
}
_SURE = 0.9
_UNREADABLE = "unreadable"
_FEWEST = 10


@dataclass(frozen=True)
class _Asked:
    """One answer: what the picture was, where from, whether it was refused and with which codes, and how sure else."""

    kind: str
    source: str
    refused: bool
    codes: tuple[str, ...] = ()
    sure: bool = False


def gate(
    decide: Decide | None,
    films: Sequence[IndexRow],
    strangers: Sequence[IndexRow],
    *,
    most: int = 400,
    note: str = "",
    progress: bool = False,
) -> Section:
    """Ask the predictor about test films, about strangers, and about what is made of films.

    Args:
        decide: the predictor (`inference.predictor.Predictor.predict_image`); None where the model is no bundle.
        films: frontal chest X-rays that took no part in training.
        strangers: rows whose modality and view say what they are; frontal ones and others are left out.
        most: pictures per kind and source, evenly spaced where there are more; twice as many films.
        note: which strangers were left out, in words.
        progress: show bars on stderr.
    """
    if decide is None:
        why = "this model is no bundle, so nothing refuses a picture"
        return Section("gate", _TITLE, f"Not measurable: {why}.", tuple(missing(k, t, why) for k, t in _KEYS.items()))
    chosen = _evenly(films, 2 * most)
    questions = [*(("frontal", row) for row in chosen), *_chosen(strangers, most)]
    asked = list(_answers(decide, questions, progress))
    asked += list(_made(decide, _evenly(chosen, max(_FEWEST, most // 4)), progress))
    by_kind: dict[str, list[_Asked]] = defaultdict(list)
    for one in asked:
        by_kind[one.kind].append(one)
    foreign = [kind for kind in by_kind if kind != "frontal" and kind not in MADE]
    measures = _measures(by_kind, foreign)
    rows = [_row(kind, source, group) for kind, source, group in _groups(by_kind)]
    drawn = [(kind, *_rate(group)) for kind, group in by_kind.items()]
    films_refused, refused = measures[0], measures[1]
    summary = (
        f"{percent(refused.value, 0)} of the strangers are refused"
        if refused.value is not None
        else "No strangers were given"
    )
    summary += (
        f", and {percent(films_refused.value, 0)} of the frontal films of the test split "
        f"({sum(one.refused for one in by_kind['frontal'])} of {len(by_kind['frontal'])})."
    )
    tables = (
        Table(
            "Refused, by kind and source",
            ("kind", "source", "pictures", "refused", "95 % interval", "reasons"),
            tuple(rows),
            note=f"Files read and decided as `pocketcxr predict` does. Interval: Wilson. {note}".strip(),
        ),
    )
    alt = "; ".join(f"{kind} {percent(value, 0)}" for kind, value, *_ in drawn)
    picture = bars("Refused by the whole decision", drawn, x="share refused", level=0.99, alt=alt)
    return Section("gate", _TITLE, summary, tuple(measures), tables, (picture,))


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


def _answers(decide: Decide, rows: Sequence[tuple[str, IndexRow]], progress: bool) -> Iterable[_Asked]:
    for kind, row in tqdm(rows, desc="whole decision", unit="picture", disable=not progress, leave=False):
        try:
            yield _asked(kind, row.source, decide(read_image(Path(row.path))))
        except PocketCxrError:
            yield _Asked(kind, row.source, refused=True, codes=(_UNREADABLE,))


def _made(decide: Decide, rows: Sequence[IndexRow], progress: bool) -> Iterable[_Asked]:
    for row in tqdm(rows, desc="films made strange", unit="film", disable=not progress, leave=False):
        try:
            film = read_image(Path(row.path)).pixels
        except PocketCxrError:
            continue
        for kind, change in MADE.items():
            yield _asked(kind, row.source, decide(_picture(change(film))))


def _picture(pixels: NDArray[np.float32]) -> Radiograph:
    height, width = pixels.shape
    return Radiograph(np.ascontiguousarray(pixels), ImageMetadata("PNG", width, height, 8))


def _asked(kind: str, source: str, answer: Prediction) -> _Asked:
    refused = answer.decision == "refused"
    sure = not refused and max(answer.probabilities.values()) >= _SURE
    return _Asked(kind, source, refused, tuple(reason.code for reason in answer.reasons) if refused else (), sure)


def _groups(by_kind: dict[str, list[_Asked]]) -> Iterable[tuple[str, str, list[_Asked]]]:
    for kind, group in by_kind.items():
        for source in sorted({one.source for one in group}):
            yield kind, source, [one for one in group if one.source == source]


def _rate(group: Sequence[_Asked]) -> tuple[float, float, float]:
    """Share refused with its 95 % interval (Wilson 1927)."""
    refused = sum(one.refused for one in group)
    bounds = binomtest(refused, len(group)).proportion_ci(method="wilson")
    return refused / len(group), float(bounds.low), float(bounds.high)


def _row(kind: str, source: str, group: Sequence[_Asked]) -> tuple[str | float | int | None, ...]:
    value, low, high = _rate(group)
    codes = Counter(one.codes[0] for one in group if one.codes)
    reasons = ", ".join(f"{code} {count}" for code, count in codes.most_common(4))
    return kind, source, len(group), value, f"{low:.3f} to {high:.3f}", reasons or None


def _measures(by_kind: dict[str, list[_Asked]], foreign: Sequence[str]) -> list[Measure]:
    def rate(key: str, group: Sequence[_Asked], meaning: str, advice: str, title: str = "") -> Measure:
        if not group:
            return missing(key, title or _KEYS[key], "no such pictures were given", meaning, advice=advice)
        value, low, high = _rate(group)
        return Measure(key, title or _KEYS[key], value, meaning, advice=advice, low=low, high=high, images=len(group))

    strangers = [one for kind in foreign for one in by_kind[kind]]
    made = [one for kind in MADE for one in by_kind.get(kind, [])]
    enough = [kind for kind in foreign if len(by_kind[kind]) >= _FEWEST]
    worst = min(enough, key=lambda kind: _rate(by_kind[kind])[0], default="")
    sure = [_Asked(one.kind, one.source, refused=one.sure) for one in strangers]
    found = [
        rate(
            "gate.films_refused",
            by_kind["frontal"],
            "Share of frontal films of the test split that get no answer.",
            "Above 0.01: see which source; the learned gate's limit was chosen on the calibration split.",
        ),
        rate(
            "gate.strangers_refused",
            strangers,
            "Share of pictures that are no frontal chest X-ray and get no answer.",
            "Below 0.99: fit the gate on more such pictures (pocketcxr train-input-filter --ood).",
        ),
        rate(
            "gate.least_refused",
            by_kind.get(worst, []),
            f"The kind of stranger that is refused least, of those with at least {_FEWEST} pictures.",
            "Below 0.99: this kind of picture is answered as if it were a chest X-ray.",
            f"{_KEYS['gate.least_refused']}: {worst}" if worst else "",
        ),
        rate(
            "gate.made_refused",
            made,
            "Test films inverted, turned or cut to less than half: refused, or they get a wrong answer.",
            "Below 0.9: the polarity or position of a film is not checked.",
        ),
        rate(
            "gate.answered_confidently",
            sure,
            f"Share of strangers that get a class with a probability of {_SURE} or more.",
            "These are the dangerous ones: a confident diagnosis of something that is no chest X-ray.",
        ),
    ]
    found += [
        rate(f"gate.refused.{kind.replace(' ', '_')}", group, "Share refused.", "", f"Refused: {kind}")
        for kind, group in by_kind.items()
        if kind != "frontal"
    ]
    return found
