"""Teacher views: the teacher's outputs for every augmented view, computed once and reused by every student.

What users of distillation frameworks ask for (torchdistill #165): cached teachers under random augmentation. It works
because view k of image i is replayed from a seed, see `augmentation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pocketcxr.errors import CacheError, ConfigError, DataError
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network
from pocketcxr.models.networks import embedding_width
from pocketcxr.training.augmentation import AUGMENTATION_VERSION, AugmentedViews, augmentation_identity
from pocketcxr.training.engine import Engine
from pocketcxr.training.run.identity import fingerprint
from pocketcxr.training.run.interruption import stop_requests
from pocketcxr.training.sampling import training_positions
from pocketcxr.training.teacher.crossfit import CrossFitted
from pocketcxr.training.teacher.given import GivenTeacher
from pocketcxr.training.teacher.view_store import ViewStore, fill_store, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.models.networks import NetworkSpec
    from pocketcxr.training.config import ViewsConfig


@dataclass(frozen=True)
class TeacherViews:
    """Cached outputs of one teacher: `logits` float32 and `embedding` float16 for every view of every training image.

    Images of the training split without a label are in it too. A cross-fitted teacher has no `embedding`, and
    `teacher_sha256` is then a hash over all its teachers and folds; a teacher of another make may have none either.
    """

    store: ViewStore
    config: ViewsConfig
    teacher_sha256: str
    dataset_fingerprint: str

    @property
    def missing(self) -> int:
        """How many (view, image) pairs are still to be computed; 0 when complete."""
        return self.store.missing

    @property
    def embedding_features(self) -> int:
        """Width of the teacher's embedding; 0 where there is none."""
        return self.store.arrays["embedding"].shape[-1] if "embedding" in self.store.arrays else 0

    def lookup(self, positions: NDArray[np.int64], views: NDArray[np.int64]) -> tuple[Tensor, Tensor | None]:
        """Logits [n, classes] and embedding [n, d], float32, of views (from 0, below `config.count`) of images.

        The embedding is None where the teacher has none.

        Raises:
            CacheError: an image that is not in the cache.
        """
        rows = self.store.rows_of(positions)
        logits = torch.from_numpy(self.store.arrays["logits"][views, rows])
        if not self.embedding_features:
            return logits, None
        return logits, torch.from_numpy(self.store.arrays["embedding"][views, rows].astype(np.float32))


def cache_views(
    dataset: Dataset,
    teacher: Path | CrossFitted | GivenTeacher,
    config: ViewsConfig,
    *,
    out: Path,
    progress: bool = True,
) -> TeacherViews:
    """Compute the teacher's outputs for `config.count` views of every training image, or what is missing of them.

    Kept in ``out/<key>``, where the key holds the hash of the teacher's file, the data set's fingerprint, the
    augmentation, its seed and version: another input is another folder. Stopped at any time, the next call goes on.
    Several processes share the work, see `fill_store`.

    Args:
        dataset: its split ``train`` is covered, with images that have no label.
        teacher: checkpoint of any trained network: a teacher, or a student that teaches a larger one; a teacher of
            another make; or a cross-fitted teacher, whose networks each give the logits of the images in their own
            fold, and the mean of their logits those of images in no fold.
        config: number of views, seed, augmentation, batch size (which is no part of the key).
        out: folder of all caches of a run.
        progress: show a bar.

    Raises:
        CheckpointError: the teacher cannot be read.
        ConfigError: the teacher tells other classes or another image size apart.
        CacheError: no space.
    """
    crossed = teacher if isinstance(teacher, CrossFitted) else None
    networks, width, digest = _opened(teacher, dataset)
    positions = training_positions(dataset, unlabelled=True)
    if not len(positions):
        raise DataError("no image in split 'train': nothing to cache")
    engine = Engine(config.precision)
    key = views_key(digest, dataset, config, precision=engine.precision)
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {"logits": (np.float32, (len(dataset.task.labels),))}
    if width:
        shapes["embedding"] = (np.float16, (width,))
    store = open_store(
        out,
        key,
        positions=positions,
        views=config.count,
        shapes=shapes,
    )
    if engine.from_main(store.missing):
        augmented = AugmentedViews(dataset, config.augmentation, seed=config.seed)
        for network in networks:
            network.to(engine.device)

        def compute(batch: NDArray[np.int64], view: int) -> dict[str, NDArray[Any]]:
            images = augmented(batch, np.full(len(batch), view))
            if crossed is not None:
                return {"logits": _cross_fitted_logits(engine, networks, images, crossed.fold_of[batch])}
            outputs = engine.infer(networks[0], images)
            found = {"logits": outputs.logits.numpy(), "embedding": outputs.embedding.numpy()}
            return {name: found[name] for name in shapes}

        with stop_requests() as stop:
            store = fill_store(
                store,
                stop.before(compute, f"teacher views kept in {store.folder}"),
                batch_size=config.batch_size,
                progress=progress,
                title="teacher views",
            )
    return TeacherViews(store, config, digest, dataset.fingerprint)


def _opened(teacher: Path | CrossFitted | GivenTeacher, dataset: Dataset) -> tuple[list[nn.Module], int, str]:
    """Networks of a teacher, the width of its embedding (0 without one), and the hash that names it."""
    if isinstance(teacher, GivenTeacher):
        return [teacher.network], teacher.embedding_features, teacher.sha256
    networks: list[nn.Module] = []
    width = 0
    for path in teacher.teachers if isinstance(teacher, CrossFitted) else [teacher]:
        network, spec, _ = load_network(path)
        networks.append(network)
        width = embedding_width(network)
        check_fits(
            path,
            spec,
            labels=dataset.task.labels,
            image_size=dataset.pixels.shape[-1],
            multilabel=dataset.task.multilabel,
        )
    if isinstance(teacher, CrossFitted):
        return networks, 0, teacher.sha256
    return networks, width, checkpoint_sha256(teacher)


def _cross_fitted_logits(
    engine: Engine, networks: list[nn.Module], images: Tensor, folds: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Logits [n, classes]: of the network whose fold an image is in, else (-1) the mean over the networks."""
    logits = None
    for number, network in enumerate(networks):
        asked = np.flatnonzero((folds == number) | (folds < 0))
        if not len(asked):
            continue
        found = engine.infer(network, images[torch.from_numpy(asked)]).logits.numpy()
        if logits is None:
            logits = np.zeros((len(images), found.shape[1]), np.float32)
        logits[asked] += found / np.where(folds[asked] < 0, len(networks), 1)[:, None].astype(np.float32)
    assert logits is not None
    return logits


def check_fits(
    path: Path, spec: NetworkSpec, *, labels: tuple[str, ...], image_size: int, multilabel: bool = False
) -> None:
    """Refuse a trained network that cannot answer for the data.

    Raises:
        ConfigError: it tells other classes or another image size apart.
    """
    if spec.labels != labels or spec.image_size != image_size:
        raise ConfigError(
            f"{path} was trained for {spec.labels} at {spec.image_size} px, but the data are "
            f"{labels} at {image_size} px"
        )
    if spec.multilabel != multilabel:
        kinds = {True: "several findings per image", False: "one class per image"}
        raise ConfigError(f"{path} was trained for {kinds[spec.multilabel]}, but the task has {kinds[multilabel]}")


def views_key(teacher_sha256: str, dataset: Dataset, config: ViewsConfig, *, precision: str) -> str:
    """Fingerprint of all that the cached outputs depend on."""
    return fingerprint(
        AUGMENTATION_VERSION,
        teacher_sha256,
        dataset.fingerprint,
        augmentation_identity(dataset, config.augmentation),
        config.seed,
        config.count,
        int(dataset.pixels.shape[-1]),
        precision,
    )


def check_views(views: TeacherViews, dataset: Dataset, config: ViewsConfig) -> None:
    """Refuse a cache of other data or other views than a student is to be trained on, or an incomplete one.

    Raises:
        CacheError: saying what differs.
    """
    if views.dataset_fingerprint != dataset.fingerprint:
        raise CacheError(f"{views.store.folder} was computed for other data: compute the teacher views again")
    same = (config.count, config.seed, config.augmentation)
    if (views.config.count, views.config.seed, views.config.augmentation) != same:
        raise CacheError(f"{views.store.folder} holds other views than the configuration asks for: compute them again")
    if views.missing:
        raise CacheError(
            f"{views.store.folder}: {views.missing} of {views.store.done.size} teacher views are still missing: "
            "let `pocketcxr cache-views` finish first"
        )
