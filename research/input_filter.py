"""Evaluate the learned input filter on images that took no part in its training: five folds, and kinds left out.

Folds by patient, else by group of near duplicates, else by file: SHA-256 of the group's name modulo 5. In each fold the
limit is chosen on frontal radiographs of the other folds (a tenth of them), then everything in the fold is evaluated:
radiographs by source, other images by kind and source, radiographs made inverted, turned and cropped, and new synthetic
images without a chest. Then kinds (or one set of a kind) are left out of training whole and evaluated.
Compared with: a linear head on the student's own embedding and on the means and deviations of its earlier maps.

    python research/input_filter.py splits.csv --ood $POCKETCXR_DATA/not_cxr \
        --student runs/mine/student-distilled/best.safetensors --out docs/results/input_gate.json

Splits: a table from `pocketcxr split`. Seven fits of about half a minute; results are written after each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import binomtest

from pocketcxr.data.image_types import image_type_of, input_filter_groups
from pocketcxr.data.ood_images import with_ood_images
from pocketcxr.data.rows import read_rows
from pocketcxr.data.synthetic.ood import draw_ood_images, screenshots
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.models.checkpoints import load_network
from pocketcxr.models.networks import Student
from pocketcxr.training.config import InputFilterConfig
from pocketcxr.training.input_filter.batches import MADE, KnownPictures, make
from pocketcxr.training.input_filter.fit import fit_input_filter, probabilities, refusals

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOGGER = logging.getLogger("input_gate")
FOLDS = 5
PIXELS = 160
TRAIN_FRONTAL, CALIBRATION_FRONTAL, TEST_FRONTAL, ALTERED, DRAWN = 3000, 800, 700, 120, 60
LEFT_OUT = {
    "knees": ("other_part", "not_cxr"),
    "CT of another set": ("ct", "not_cxr"),
    "laterals": ("lateral", "ieee8023"),
}


def main() -> None:
    """Read or decode the pictures, then fit and evaluate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("splits", type=Path)
    parser.add_argument("--ood", "--strangers", type=Path, nargs="+", required=True)
    parser.add_argument("--student", type=Path, help="checkpoint, for the linear heads on its features")
    parser.add_argument("--image-size", type=int, default=160, help="of the student")
    parser.add_argument("--steps", type=int, default=InputFilterConfig().steps)
    parser.add_argument("--pictures", type=Path, help="keep the decoded pictures here (.npz)")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    pictures, folds = load(options.splits, options.ood, options.pictures)
    result: dict[str, Any] = {
        "what": "share refused by the learned input filter, without rules and novelty",
        "image_size": options.image_size,
        "steps": options.steps,
        "images": {kind: int((pictures.kinds == kind).sum()) for kind in sorted(set(pictures.kinds.tolist()))},
    }
    if options.student:
        result["linear_heads_on_student"] = linear_heads(options.student, pictures, folds)
        _write(options.out, result)
    outcomes: list[dict[str, Any]] = []
    for fold in range(FOLDS):
        outcomes += one_fold(pictures, folds, fold, options.image_size, options.steps)
        result["folds"], result["out_of_fold"] = f"{fold + 1} of {FOLDS}", summarise(outcomes)
        _write(options.out, result)
        if options.pictures:  # positions in that file, to look at what went wrong
            wrong = [one for one in outcomes if one["picture"] >= 0 and one["refused"] == (one["kind"] == "frontal")]
            _write(options.pictures.with_suffix(".wrong.json"), {"wrong": wrong})
    draw(result, options.out.with_suffix(".png"))
    result["left_out_of_training"] = {}
    for name, (kind, source) in LEFT_OUT.items():
        away = (pictures.kinds == kind) & (pictures.sources == source)
        result["left_out_of_training"][name] = left_out(pictures, away, options.image_size, options.steps)
        _write(options.out, result)


def load(splits: Path, ood: list[Path], store: Path | None) -> tuple[KnownPictures, NDArray[np.int64]]:
    """Pictures of known kind, and the fold of each."""
    if store and store.is_file():
        held = np.load(store)
        return KnownPictures(held["pixels"], held["kinds"], held["sources"]), held["folds"]
    rows = [row for row in with_ood_images(read_rows(splits), ood) if image_type_of(row)]
    rows = [row for row in rows if row.split or image_type_of(row) != "frontal"]
    pixels = [np.round(resize(read_image(Path(r.path)).pixels, size=PIXELS) * 255).astype(np.uint8) for r in rows]
    folds = np.array(
        [int.from_bytes(hashlib.sha256(g.encode()).digest()[:4], "big") % FOLDS for g in input_filter_groups(rows)]
    )
    kinds, sources = np.array([image_type_of(row) for row in rows]), np.array([row.source for row in rows])
    if store:
        np.savez(store, pixels=np.stack(pixels), kinds=kinds, sources=sources, folds=folds)
    return KnownPictures(np.stack(pixels), kinds, sources), folds


def one_fold(
    pictures: KnownPictures, folds: NDArray[np.int64], fold: int, size: int, steps: int
) -> list[dict[str, Any]]:
    """Fit outside the fold and evaluate inside: one outcome per picture."""
    rng = np.random.default_rng(fold)
    outside, inside = folds != fold, folds == fold
    frontal = rng.permutation(np.flatnonzero(outside & (pictures.kinds == "frontal")))
    calibration, kept = (
        frontal[:CALIBRATION_FRONTAL],
        frontal[CALIBRATION_FRONTAL : CALIBRATION_FRONTAL + TRAIN_FRONTAL],
    )
    others = np.flatnonzero(outside & (pictures.kinds != "frontal"))
    started = time.process_time()
    network, spec = fit_input_filter(
        pictures.of(np.concatenate([kept, others])),
        pictures.pixels[calibration],
        image_size=size,
        config=InputFilterConfig(steps=steps, seed=fold),
        progress=False,
    )
    tested = np.concatenate(
        [
            rng.permutation(np.flatnonzero(inside & (pictures.kinds == "frontal")))[:TEST_FRONTAL],
            np.flatnonzero(inside & (pictures.kinds != "frontal")),
        ]
    )
    asked = with_altered_images(pictures.of(tested), seed=100 + fold)
    refused, reasons = refusals(probabilities(network, asked.pixels), spec)
    _LOGGER.info("fold %d: limit %.3f, %.0f s of one core", fold, spec.threshold, time.process_time() - started)
    places = [*tested.tolist(), *([-1] * (len(asked.kinds) - len(tested)))]
    return [
        {"kind": kind, "source": source, "refused": bool(no), "reason": reason, "picture": place}
        for kind, source, no, reason, place in zip(
            asked.kinds.tolist(), asked.sources.tolist(), refused, reasons.tolist(), places, strict=True
        )
    ]


def with_altered_images(pictures: KnownPictures, *, seed: int) -> KnownPictures:
    """Add altered radiographs, and synthetic images by a seed that no training had."""
    frontal = pictures.of(np.flatnonzero(pictures.kinds == "frontal")[:ALTERED])
    made = [make(frontal.pixels, kind, seed=seed) for kind in MADE]
    drawn = draw_ood_images(DRAWN, size=PIXELS, seed=seed)
    shown = screenshots(frontal.pixels[:DRAWN], seed=seed)
    kinds = [np.full(len(frontal.kinds), kind) for kind in MADE]
    return KnownPictures(
        np.concatenate([pictures.pixels, *made, drawn, shown]),
        np.concatenate([pictures.kinds, *kinds, np.full(len(drawn) + len(shown), "not_xray")]),
        np.concatenate(
            [
                pictures.sources,
                *([frontal.sources] * len(MADE)),
                np.repeat(["drawn", "screenshot"], [len(drawn), len(shown)]),
            ]
        ),
    )


def left_out(pictures: KnownPictures, away: NDArray[np.bool_], size: int, steps: int) -> dict[str, Any]:
    """Fit without the images marked in `away` [n], and evaluate these."""
    rng = np.random.default_rng(99)
    frontal = rng.permutation(np.flatnonzero(pictures.kinds == "frontal"))
    others = np.flatnonzero(~away & (pictures.kinds != "frontal"))
    kept = np.concatenate([frontal[CALIBRATION_FRONTAL : CALIBRATION_FRONTAL + TRAIN_FRONTAL], others])
    network, spec = fit_input_filter(
        pictures.of(kept),
        pictures.pixels[frontal[:CALIBRATION_FRONTAL]],
        image_size=size,
        config=InputFilterConfig(steps=steps),
        progress=False,
    )
    refused, _ = refusals(probabilities(network, pictures.pixels[away]), spec)
    return _share(int(refused.sum()), len(refused))


def summarise(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """By kind, and by kind and source: refused, and of these with their own kind as the reason."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in outcomes:
        drawn = one["source"] in ("drawn", "screenshot")
        groups[one["source"] if drawn else one["kind"]].append(one)
        groups[f"{one['kind']} {one['source']}"].append(one)
    return {
        name: _share(sum(one["refused"] for one in group), len(group))
        | {"with_its_reason": sum(one["refused"] and one["reason"] == one["kind"] for one in group)}
        for name, group in sorted(groups.items())
    }


def linear_heads(checkpoint: Path, pictures: KnownPictures, folds: NDArray[np.int64]) -> dict[str, Any]:
    """Ridge regression to the kinds on the student's features, by fold; the limit on radiographs outside it."""
    network, spec, _ = load_network(checkpoint)
    assert isinstance(network, Student)
    rng = np.random.default_rng(0)
    frontal = rng.permutation(np.flatnonzero(pictures.kinds == "frontal"))[:1500]
    chosen = pictures.of(np.concatenate([frontal, np.flatnonzero(pictures.kinds != "frontal")]))
    fold = folds[np.concatenate([frontal, np.flatnonzero(pictures.kinds != "frontal")])]
    features = student_features(network, chosen.pixels, spec.image_size)
    kinds = sorted(set(chosen.kinds.tolist()))
    truth = (chosen.kinds[:, None] == np.array(kinds)).astype(np.float64)
    found: dict[str, Any] = {}
    for name, block in features.items():
        score = np.zeros(len(block))
        for held in range(FOLDS):
            score[fold == held] = _ridge(block, truth, fold != held, fold == held)[:, kinds.index("frontal")]
        limit = np.quantile(score[chosen.kinds == "frontal"], 0.005, method="lower")  # in favour of these heads
        found[name] = {
            kind: _share(int((score[chosen.kinds == kind] < limit).sum()), int((chosen.kinds == kind).sum()))
            for kind in kinds
        } | {"features": block.shape[1]}
    return found


@torch.inference_mode()
def student_features(network: Student, pixels: NDArray[np.uint8], size: int) -> dict[str, NDArray[np.float64]]:
    """The pooled embedding, and with it means and deviations of the earlier maps."""
    trunk: Any = network.backbone.trunk
    embedding, earlier = [], []
    for start in range(0, len(pixels), 64):
        images = torch.from_numpy(pixels[start : start + 64])[:, None].float() / 255
        if size != images.shape[-1]:
            images = torch.nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        last, maps = trunk.forward_intermediates((images - network.backbone.mean) / network.backbone.std)
        embedding.append(last.mean((2, 3)))
        earlier.append(torch.cat([part for one in maps for part in (one.mean((2, 3)), one.std((2, 3)))], dim=1))
    pooled, before = (torch.cat(parts).double().numpy() for parts in (embedding, earlier))
    return {"embedding": pooled, "embedding and earlier maps": np.concatenate([pooled, before], axis=1)}


def _ridge(
    block: NDArray[np.float64], truth: NDArray[np.float64], train: NDArray[np.bool_], test: NDArray[np.bool_]
) -> NDArray[np.float64]:
    mean, spread = block[train].mean(axis=0), block[train].std(axis=0) + 1e-6
    x, z = ((np.clip((block[part] - mean) / spread, -6, 6)) for part in (train, test))
    weight = 1 / truth[train].sum(axis=0)[truth[train].argmax(axis=1)]  # every kind counts the same
    gram = (x * weight[:, None]).T @ x + 0.05 * np.eye(x.shape[1])
    return z @ np.linalg.solve(gram, (x * weight[:, None]).T @ (truth[train] - truth[train].mean(axis=0)))


def draw(result: dict[str, Any], path: Path) -> None:
    """Refused out of fold by kind and source, with Wilson intervals, against the bars of 99 % and 1 %."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [(name, row) for name, row in result["out_of_fold"].items() if " " in name and row["images"] >= 10]  # noqa: PLR2004
    rows.sort(key=lambda item: (item[0].split()[0] != "frontal", item[0]))
    figure = Figure(figsize=(7.5, 0.27 * len(rows) + 1.1), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (name, row) in enumerate(rows):
        colour = "#2a6f97" if name.startswith("frontal") else "#9b2226"
        axes.plot(row["wilson"], [place, place], color=colour, linewidth=2.2, alpha=0.5, solid_capstyle="butt")
        axes.plot([row["share"]], [place], "o", color=colour, markersize=5)
        axes.annotate(
            f"{row['refused']} of {row['images']}",
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    for bar in (0.01, 0.99):
        axes.axvline(bar, color="#777777", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-0.01, 1.01)
    axes.set_xlabel(
        "share refused by the learned input filter, out of fold; dotted: the bars of 1 % and 99 %", fontsize=8
    )
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=140)


def _share(count: int, total: int) -> dict[str, Any]:
    bounds = binomtest(count, total).proportion_ci(method="wilson")
    return {
        "images": total,
        "refused": count,
        "share": round(count / total, 4),
        "wilson": [round(float(bounds.low), 4), round(float(bounds.high), 4)],
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
