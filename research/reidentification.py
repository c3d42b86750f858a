"""Make the small re-identification network of the audit: which chest X-rays are of one person.

MobileNetV2 (Sandler et al. 2018) as ImageNet left it, up to its fourth group of blocks. Their map is not averaged over
space but read by one matrix, since the lungs' surroundings always lie at the same place
(`pocketcxr.audit.data.reidentification.cut_out`). The matrix starts from principal axes in which the variance within a
patient is whitened (Fisher's discriminants), and is fitted by a contrastive loss (Khosla et al. 2020) against all
training images. Positives are two images of one patient from two studies: the images of one study may be one exposure,
processed twice. A patient mirrored, both images alike, is another patient; the embedding of an image is its own and
that of its mirror image, one after the other, each the mean of two crops. The network also gives mean and deviation of
an image's products with those of a cohort that are nearest to it, for `pocketcxr.audit.data.persons`.

SIIM's patients, unlabelled ones too, are parted once by a hash (`part_of`): 70 % train, 10 % choose, 20 % measure
(`reidentification_figures.py`).

    POCKETCXR_WEIGHTS=WEIGHTS python research/reidentification.py X-RAYS --work PATH \
        --out src/pocketcxr/audit/model/weights/reidentification.onnx

The folder --work keeps cut-outs and maps. Expected: about ten minutes on one core. The maps of the network that
ships were computed by ONNX Runtime, with other random numbers for the augmentation; all else was this script.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import logging
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from audit_networks import export
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fuse_conv_bn_eval

from pocketcxr.audit.data.reidentification import DIMENSIONS, READ_SIZE, SIZE, cut_out
from pocketcxr.audit.model.lungs import load_segmenter
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.models.weights import prepare_backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LOGGER = logging.getLogger("reidentification")
TRAINED_SHARE, CHOOSING_SHARE = 0.7, 0.1
ROOM = 0.196
"""Around the cut-outs that are kept, as a share: what augmentation turns and shifts within."""
KEPT_SIZE = 240
SEEN = 128
SEEN_SHARE = SEEN / SIZE / (1 + 2 * ROOM)
"""Side of the crops of a cut-out that the network sees; training sees the one in the middle."""
BLOCKS, CHANNELS = 4, 64
"""Groups of MobileNetV2's blocks that are used, and channels of the map that they end in, `SEEN` / 16 squared."""
AXES, WITHIN_ADDED = 1200, 0.3
"""Principal axes of a map that are used, and what is added to the variance within a patient."""
PATIENTS, STEPS = 160, 150
LEARNING_RATE, WEIGHT_DECAY, DROPOUT, TEMPERATURE = 2e-3, 0.01, 0.25, 0.06
WARM_UP, RENEWED_EVERY = 30, 15
COHORT, NEAREST = 1000, 50
"""Training patients, one image each, that every image is compared with, and how many of them are the nearest."""


@dataclass(frozen=True)
class Images:
    """Cut-outs with room uint8 [n, s, s], with name, patient, study, and the part that the patient is in."""

    pixels: NDArray[np.uint8]
    names: NDArray[np.str_]
    patients: NDArray[np.str_]
    studies: NDArray[np.str_]
    parts: NDArray[np.str_]


class Reidentifier(nn.Module):
    """Embeddings [n, DIMENSIONS] of length 1 of cut-outs [n, 1, SIZE, SIZE]; exposure and contrast are taken out."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(trunk.conv_stem, trunk.bn1)
        self.blocks = nn.Sequential(*list(trunk.blocks)[:BLOCKS])
        _fold(self.eval())
        self.last = nn.Linear(CHANNELS * (SEEN // 16) ** 2, DIMENSIONS // 2)
        self.cohort = nn.Parameter(torch.zeros(2 * NEAREST, DIMENSIONS))

    def maps(self, images: Tensor) -> Tensor:
        """The last map, [n, CHANNELS x (SEEN / 16)²], of images [n, 1, SEEN, SEEN] in [0, 1]."""
        mean = images.mean(dim=(2, 3), keepdim=True)
        spread = ((images - mean) ** 2).mean(dim=(2, 3), keepdim=True).sqrt()
        return self.blocks(self.stem(0.5 * (images - mean) / (spread + 0.02))).flatten(1)

    def embedding(self, images: Tensor) -> Tensor:
        """Of length 1, of cut-outs [n, 1, SIZE, SIZE] in [0, 1]: two crops, and their mirror images."""
        room = SIZE - SEEN
        crops = [images[:, :, at : at + SEEN, room // 2 : room // 2 + SEEN] for at in (0, room)]
        halves: list[Tensor] = []
        for seen in (crops, [crop.flip(3) for crop in crops]):
            one, other = (functional.normalize(self.last(self.maps(crop)), dim=1) for crop in seen)
            halves.append(functional.normalize(one + other, dim=1))
        return torch.cat(halves, dim=1) / math.sqrt(2)

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings; mean and deviation of their products with the `NEAREST` of the cohort: [n, DIMENSIONS + 2]."""
        found = self.embedding(images)
        near = (found @ self.cohort.T).topk(NEAREST, dim=1).values
        mean = near.mean(dim=1, keepdim=True)
        return torch.cat([found, mean, ((near - mean) ** 2).mean(dim=1, keepdim=True).sqrt()], dim=1)


def _fold(module: nn.Module) -> None:
    """Fold batch norms into the convolutions before them; their activations stay."""
    children = dict(module.named_children())
    for name, following in itertools.pairwise(children):
        one, norm = children[name], children[following]
        if isinstance(one, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(one, norm))
            setattr(module, following, getattr(norm, "act", nn.Identity()))
    for child in module.children():
        _fold(child)


def part_of(patient: str) -> str:
    """Which part a patient of SIIM is in: train, choose or measure."""
    share = hashlib.sha256(("reid" + patient).encode()).digest()[0] / 256
    return "train" if share < TRAINED_SHARE else "choose" if share < TRAINED_SHARE + CHOOSING_SHARE else "measure"


def read_siim(data: Path, work: Path) -> Images:
    """Cut-outs of all of SIIM's images here, made once."""
    files = {path.stem: path for part in ("train", "test") for path in (data / "siim" / part).rglob("*.jpg")}
    with (data / "siim" / "patients.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["image"] in files]
    kept = work / "cut_outs.npy"
    if not kept.is_file():
        segment, cut = load_segmenter(), []
        for row in rows:
            whole = resize(read_image(files[row["image"]]).pixels, size=READ_SIZE)
            cut.append(np.round(255 * cut_out(whole[None], segment, room=ROOM, size=KEPT_SIZE)[0]).astype(np.uint8))
        work.mkdir(parents=True, exist_ok=True)
        np.save(kept, np.stack(cut))
    names, patients, studies = (np.array([row[key] for row in rows]) for key in ("image", "patient", "study"))
    parts = np.array([part_of(patient) for patient in patients])
    return Images(np.load(kept, mmap_mode="r"), names, patients, studies, parts)


def augment(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Other poses, breath, exposures, opacities, sharpness and overlaid objects.

    Images [n, 1, KEPT_SIZE, KEPT_SIZE] become [n, 1, SEEN, SEEN].
    """
    n = len(images)
    angle = torch.from_numpy(rng.normal(0, 0.06, n)).float()
    scale = torch.from_numpy(np.exp(rng.normal(0, 0.07, (n, 2)))).float() * SEEN_SHARE
    shift = torch.from_numpy(rng.normal(0, 0.04, (n, 2))).float()
    rows = torch.stack([torch.cos(angle) * scale[:, 0], -torch.sin(angle) * scale[:, 1], shift[:, 0]], dim=1)
    more = torch.stack([torch.sin(angle) * scale[:, 0], torch.cos(angle) * scale[:, 1], shift[:, 1]], dim=1)
    grid = functional.affine_grid(torch.stack([rows, more], dim=1), [n, 1, SEEN, SEEN], align_corners=False)
    grid = grid + _smooth(rng, (n, 2), 0.02).permute(0, 2, 3, 1)
    images = functional.grid_sample(images, grid, align_corners=False, padding_mode="border")
    images = images.clamp(1e-4, 1) ** torch.from_numpy(np.exp(rng.normal(0, 0.3, n))).float().view(-1, 1, 1, 1)
    images = images + _smooth(rng, (n, 1), 0.12) * torch.from_numpy(rng.random((n, 1, 1, 1)) < 0.5)  # noqa: PLR2004
    soft = torch.from_numpy(np.flatnonzero(rng.random(n) < 0.3))  # noqa: PLR2004
    images[soft] = functional.avg_pool2d(functional.pad(images[soft], (1, 1, 1, 1), mode="replicate"), 3, 1)
    images = images + torch.from_numpy(rng.uniform(0, 0.04, (n, 1, 1, 1))).float() * torch.randn(images.shape)
    for image in images:
        for _ in range(int(rng.integers(0, 3))):
            height, width = rng.integers(SEEN // 16, SEEN // 3, 2)
            y, x = rng.integers(0, SEEN - height), rng.integers(0, SEEN - width)
            image[:, y : y + height, x : x + width] = float(rng.uniform(0, 1))
    return images.clamp(0, 1)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], deviation: float) -> Tensor:
    """Random fields that vary over a fifth of the image: [*shape, SEEN, SEEN]."""
    coarse = torch.from_numpy(rng.normal(0, deviation, (*shape, 5, 5))).float()
    return functional.interpolate(coarse, size=(SEEN, SEEN), mode="bicubic", align_corners=True)


@dataclass(frozen=True)
class Views:
    """Views of training images: which image, mirrored or not, augmented or as it is; numbers of patient and study.

    A mirrored patient has a number of its own.
    """

    places: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    augmented: NDArray[np.bool_]
    patients: NDArray[np.int64]
    studies: NDArray[np.int64]

    @classmethod
    def of(cls, images: Images) -> Views:
        """All training images as they are and mirrored; then those of patients with several five times augmented."""
        patients, studies = (np.unique(one, return_inverse=True)[1] for one in (images.patients, images.studies))
        trained = images.parts == "train"
        several = trained & (np.bincount(patients)[patients] > 1)
        kinds = [(trained, False, False), (trained, True, False), (trained & ~several, False, True)]
        kinds += [(several, mirrored, True) for mirrored in (False, False, False, True, True)]
        places = np.concatenate([np.flatnonzero(which) for which, _, _ in kinds])
        mirrored, augmented = (np.concatenate([np.full(kind[0].sum(), kind[at]) for kind in kinds]) for at in (1, 2))
        return cls(places, mirrored, augmented, patients[places] + len(patients) * mirrored, studies[places])


def read_maps(network: Reidentifier, images: Images, views: Views, rng: np.random.Generator) -> Tensor:
    """Maps of the views, float16 [n, CHANNELS x (SEEN / 16)²]."""
    border, found = round(KEPT_SIZE * (1 - SEEN_SHARE) / 2), list[Tensor]()
    with torch.inference_mode():
        for start in range(0, len(views.places), 64):
            batch = slice(start, start + 64)
            shown = torch.from_numpy(images.pixels[views.places[batch]].astype(np.float32) / np.float32(255))[:, None]
            mirrored, augmented = (torch.from_numpy(one[batch]) for one in (views.mirrored, views.augmented))
            shown[mirrored] = shown[mirrored].flip(3)
            seen = functional.interpolate(shown[:, :, border:-border, border:-border], size=(SEEN, SEEN), mode="area")
            if augmented.any():
                seen[augmented] = augment(shown[augmented], rng)
            found.append(network.maps(seen.contiguous(memory_format=torch.channels_last)).half())
            if start % 3200 == 0:
                _LOGGER.info("maps: %d of %d", start, len(views.places))
    return torch.cat(found)


def whitened(known: Tensor, patients: NDArray[np.int64]) -> Tensor:
    """Axes [d, d] of Fisher's discriminants, in which the variance within a patient is 1; the strongest first.

    Args:
        known: float32 [n, d].
        patients: number of each one's patient.
    """
    _, inverse, counts = np.unique(patients, return_inverse=True, return_counts=True)
    place, count, exact = torch.from_numpy(inverse), torch.from_numpy(counts).double(), known.double()
    means = torch.zeros(len(counts), known.shape[1], dtype=torch.float64).index_add_(0, place, exact) / count[:, None]
    some = count[place] > 2  # noqa: PLR2004  # views of one image say nothing about two studies
    within = (exact - means[place])[some] / (count[place][some, None] - 1).sqrt()
    within = within.T @ within / len(within)
    within += WITHIN_ADDED * within.diagonal().mean() * torch.eye(len(within), dtype=torch.float64)
    white = torch.linalg.cholesky(torch.linalg.inv(within))
    return (white @ torch.linalg.eigh(torch.cov((means @ white).T))[1]).flip(1).float()


def fit(maps: Tensor, views: Views) -> tuple[Tensor, Tensor]:
    """Weight [DIMENSIONS / 2, d] and bias of the last layer."""
    plain = torch.from_numpy(~views.augmented)
    sample = maps[plain].float()
    mean, spread = sample.mean(0), sample.std(0) + 0.05 * sample.std()
    axes = torch.svd_lowrank((sample - mean) / spread, q=AXES + 50, niter=1)[2][:, :AXES]
    known = torch.cat([((some.float() - mean) / spread) @ axes for some in maps.split(2048)])
    white = whitened(known, views.patients)
    known = known @ white
    matrix = fit_contrastive(known / known.norm(dim=1).mean(), plain, views)
    weight = (axes @ white @ matrix).T / spread
    return weight, -weight @ mean


def fit_contrastive(known: Tensor, plain: Tensor, views: Views) -> Tensor:
    """Matrix [AXES, DIMENSIONS / 2] after which two studies of one patient are alike and all else is not."""
    patients, members = torch.from_numpy(views.patients), defaultdict[int, list[int]](list)
    for row, patient in enumerate(views.patients.tolist()):
        members[patient].append(row)
    several = [np.array(of) for of in members.values() if len(set(views.studies[of].tolist())) > 1]
    matrix = nn.Parameter(torch.eye(known.shape[1], DIMENSIONS // 2))
    optimiser = torch.optim.AdamW([matrix], lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.99))
    rng, memory, generator = np.random.default_rng(0), torch.empty(0), torch.Generator().manual_seed(0)
    for step in range(STEPS):
        rate = min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * rate
        if step % RENEWED_EVERY == 0:
            memory = functional.normalize(known[plain] @ matrix.detach(), dim=1)
        rows = torch.from_numpy(_pairs(several, views.studies, rng))
        shown = known[rows] * (torch.rand(len(rows), known.shape[1], generator=generator) > DROPOUT) / (1 - DROPOUT)
        found = functional.normalize(shown @ matrix, dim=1)
        logits = found @ torch.cat([found, memory]).T / TEMPERATURE
        among = torch.cat([patients[rows], patients[plain]])
        others = logits.masked_fill(among == patients[rows][:, None], -torch.inf).logsumexp(dim=1)
        loss = functional.softplus(others - logits[torch.arange(len(rows)), torch.arange(len(rows)) ^ 1]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % 25 == 0:
            _LOGGER.info("step %d of %d: loss %.3f", step + 1, STEPS, loss.item())
    return matrix.detach()


def _pairs(
    several: Sequence[NDArray[np.int64]], studies: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of `PATIENTS` patients, two of each from two studies, one after the other."""
    pairs: list[int] = []
    for number in rng.choice(len(several), PATIENTS, replace=False):
        of = several[number]
        first = int(rng.choice(of))
        pairs += [first, int(rng.choice(of[studies[of] != studies[first]]))]
    return np.array(pairs)


def choose_cohort(network: Reidentifier, images: Images) -> None:
    """Embeddings of one image each of `COHORT` training patients, evenly taken."""
    trained = np.flatnonzero(images.parts == "train")
    first = trained[np.unique(images.patients[trained], return_index=True)[1]]
    places = first[np.linspace(0, len(first) - 1, COHORT).round().astype(int)]
    border, found = round(KEPT_SIZE * ROOM / (1 + 2 * ROOM)), list[Tensor]()
    with torch.inference_mode():
        for start in range(0, len(places), 64):
            shown = torch.from_numpy(images.pixels[places[start : start + 64]].astype(np.float32) / np.float32(255))
            shown = shown[:, None, border:-border, border:-border]
            found.append(network.embedding(functional.interpolate(shown, size=(SIZE, SIZE), mode="area")))
    network.cohort = nn.Parameter(torch.cat(found).clone())


def main() -> None:
    """Cut-outs, maps, last layer, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    images = read_siim(options.data, options.work)
    backbone, _ = prepare_backbone("mobilenetv2_100", "pretrained", image_size=SIZE)
    network, views = Reidentifier(backbone.trunk), Views.of(images)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    kept = options.work / "maps.pt"
    if not kept.is_file():
        torch.save(read_maps(network, images, views, np.random.default_rng(0)), kept)
    weight, bias = fit(torch.load(kept, weights_only=True), views)
    network.last.load_state_dict({"weight": weight, "bias": bias})
    choose_cohort(network, images)
    export(network, options.out, size=SIZE, output="embedding")
    _LOGGER.info("%s: %d bytes", options.out, options.out.stat().st_size)


if __name__ == "__main__":
    main()
