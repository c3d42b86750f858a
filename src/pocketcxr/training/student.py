"""Train a student: on labels alone (the baseline), or distilled from a teacher, cached or computed in every step."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pocketcxr.errors import ConfigError
from pocketcxr.models.backbones import own_backbone_record
from pocketcxr.models.checkpoints import checkpoint_sha256, load_network, save_network
from pocketcxr.models.networks import NetworkOutputs, NetworkSpec, Student, assemble, embedding_width
from pocketcxr.run_folder import STUDENT_FILE
from pocketcxr.training.augmentation import AUGMENTATION_VERSION, AugmentedViews, augmentation_identity
from pocketcxr.training.auxiliary.heads import auxiliary_losses, with_heads, without_heads
from pocketcxr.training.auxiliary.targets import auxiliary_targets, load_views
from pocketcxr.training.calibration_metrics import evaluator
from pocketcxr.training.distributed.processes import whole_batch
from pocketcxr.training.engine import Engine
from pocketcxr.training.loop import Batch, Stage, fit, unwatched
from pocketcxr.training.losses.distillation import (
    build_projection,
    check_losses,
    check_without_embedding,
    distillation_losses,
    needs_projection,
    needs_teacher,
    own_losses,
)
from pocketcxr.training.losses.own import build_own, own_record
from pocketcxr.training.run.identity import recorded, sampled_sources
from pocketcxr.training.sampling import epoch_plan, training_positions
from pocketcxr.training.starting import check_training_images, starting_backbone
from pocketcxr.training.teacher.given import GivenTeacher
from pocketcxr.training.teacher.views import TeacherViews, check_views

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.data.dataset import Dataset
    from pocketcxr.training.config import StudentConfig, ViewsConfig
    from pocketcxr.training.loop import Watch


class Distilled(nn.Module):
    """A student with what is trained beside it and never exported: a projection, losses of one's own."""

    def __init__(self, student: Student, projection: nn.Module | None, own: nn.ModuleDict | None = None) -> None:
        super().__init__()
        self.student = student
        self.projection = projection
        self.own = own

    def forward(self, images: Tensor) -> NetworkOutputs:
        """Outputs of the student."""
        return self.student(images)


def train_student(
    dataset: Dataset,
    config: StudentConfig,
    *,
    out: Path,
    views_config: ViewsConfig,
    views: TeacherViews | None = None,
    teacher: Path | GivenTeacher | None = None,
    progress: bool = True,
    watch: Watch = unwatched,
) -> Path:
    """Train a student; resumable, and returned at once when done.

    Meeting an image for the k-th time, it sees view ``k mod count``: the same pixels with any teacher or none.

    Args:
        dataset: splits ``train`` (fitted) and ``calibration`` (chooses the epoch).
        config: network, losses and optimisation.
        out: the run's folder.
        views_config: which augmented views there are.
        views: the teacher's cached outputs for those views.
        teacher: instead of `views`, a teacher's checkpoint or a teacher of another make, run in every step on the same
            pixels.
        progress: show a bar.
        watch: see `loop.Stage`.

    Returns:
        The checkpoint ``out/best.safetensors``: averaged weights of the best epoch.

    Raises:
        ConfigError: losses that need a teacher without one or with both kinds, or that make no sense for the classes.
        CacheError: views of other data, or incomplete.
        CheckpointError, NonFiniteLossError: see `loop.fit`.
    """
    check_losses(config.losses, len(dataset.task.labels), multilabel=dataset.task.multilabel)
    distils = needs_teacher(config.losses)
    if distils and (views is None) == (teacher is None):
        raise ConfigError(
            f"losses {', '.join(config.losses)} need a teacher: give either cached views or a teacher's checkpoint"
        )
    engine = Engine(config.precision)
    targets = _teacher_outputs(dataset, views_config, engine, views=views, teacher=teacher) if distils else None
    if targets is not None and not targets.embedding_features:
        check_without_embedding(config.losses)
    auxiliary = auxiliary_targets(dataset, config.auxiliary)
    boxed = () if auxiliary is None else auxiliary.positions
    positions = training_positions(dataset, unlabelled=distils and config.unlabelled, also=boxed)
    shown = len(training_positions(dataset, unlabelled=config.unlabelled, also=boxed))
    check_training_images(dataset, positions)
    augmented = AugmentedViews(dataset, views_config.augmentation, seed=views_config.seed)
    spec = NetworkSpec(
        kind="student",
        backbones=(config.backbone,),
        labels=dataset.task.labels,
        image_size=dataset.pixels.shape[-1],
        dropout=config.dropout,
        multilabel=dataset.task.multilabel,
    )
    backbone, weights = starting_backbone(
        config.backbone,
        config.weights,
        views=augmented,
        positions=positions,
        seed=config.seed,
        frozen_blocks=config.frozen_blocks,
    )
    student = assemble(spec, [backbone])
    assert isinstance(student, Student)
    projection = None
    if targets is not None and needs_projection(config.losses):
        projection = build_projection(math.prod(student.classifier.weight.shape[1:]), targets.embedding_features)
    own = own_losses(config.losses)
    built = build_own(
        own,
        student_features=student.classifier.in_features,
        teacher_features=targets.embedding_features if targets else 0,
        classes=len(spec.labels),
    )
    network = Distilled(student, projection, built if own else None)
    network = with_heads(network, [student.backbone], auxiliary, seed=config.seed)
    identity = {
        "network": spec.table(),
        "data": dataset.fingerprint,
        "views": {"count": views_config.count, "seed": views_config.seed, "version": AUGMENTATION_VERSION},
        "augmentation": augmentation_identity(dataset, views_config.augmentation),
        "teacher": targets.identity if targets else None,
        "precision": engine.precision,
        **sampled_sources(config, dataset.rows),
        **({"auxiliary": auxiliary.identity} if auxiliary else {}),
        **({"images_an_epoch": shown} if shown != len(positions) else {}),
        **({"own": found} if (found := own_record(own) | own_backbone_record(config.backbone)) else {}),
    }

    def plan(epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order, turns = epoch_plan(dataset, positions, config, epoch=epoch, total=shown)
        return order, turns % views_config.count

    def load(batch: NDArray[np.int64], chosen: NDArray[np.int64]) -> Batch:
        cached = views.lookup(batch, chosen) if views is not None and distils else (None, None)
        labels = torch.from_numpy(dataset.targets[batch])
        images, known = load_views(augmented, batch, chosen, auxiliary)
        return Batch(images, labels, torch.from_numpy(batch), *cached, **known)

    def losses(distributed: nn.Module, batch: Batch) -> dict[str, Tensor]:
        outputs: NetworkOutputs = distributed(batch.inputs)
        logits, embedding = batch.teacher_logits, batch.teacher_embedding
        if targets is not None and targets.network is not None:
            with torch.no_grad():
                logits, embedding = map(whole_batch, targets.network(batch.inputs)[:2])
        parts = distillation_losses(
            config.losses,
            student_logits=outputs.logits,
            labels=batch.labels,
            student_embedding=outputs.embedding,
            teacher_logits=logits,
            teacher_embedding=embedding,
            projection=projection,
            image_ids=batch.image_ids,
            temperature=config.temperature,
            label_smoothing=config.label_smoothing,
            own=built.values(),  # pyright: ignore[reportArgumentType]
        )
        return {**parts, **auxiliary_losses(network, outputs, batch, auxiliary, maps=student.saliency)}

    def save(fitted: nn.Module, path: Path, record: dict[str, Any]) -> None:
        fitted = without_heads(fitted)
        assert isinstance(fitted, Distilled)
        about = {**identity, "configuration": recorded(config), "weights": weights, **record}
        save_network(path, fitted.student, spec, about)

    stage = Stage(
        title=f"student {config.backbone}",
        network=network,
        plan=plan,
        load=load,
        losses=losses,
        evaluate=evaluator(dataset, engine),
        save=save,
        identity=identity,
        watch=watch,
    )
    return fit(stage, config, engine=engine, out=out, best=out / STUDENT_FILE, progress=progress)


@dataclasses.dataclass(frozen=True)
class TeacherOutputs:
    """Where a teacher's outputs come from: a network to run in every step, or a cache (then `network` is None)."""

    identity: dict[str, Any]
    embedding_features: int
    network: nn.Module | None = None


def _teacher_outputs(
    dataset: Dataset,
    config: ViewsConfig,
    engine: Engine,
    *,
    views: TeacherViews | None,
    teacher: Path | GivenTeacher | None,
) -> TeacherOutputs:
    if views is not None:
        check_views(views, dataset, config)
        return TeacherOutputs({"sha256": views.teacher_sha256, "answers": "cached"}, views.embedding_features)
    assert teacher is not None
    if isinstance(teacher, GivenTeacher):
        network = teacher.network.to(engine.device).eval().requires_grad_(requires_grad=False)
        return TeacherOutputs({"sha256": teacher.sha256, "answers": "online"}, teacher.embedding_features, network)
    network, spec, _ = load_network(teacher)
    if (spec.labels, spec.multilabel) != (dataset.task.labels, dataset.task.multilabel):
        raise ConfigError(f"{teacher}: expected a teacher of {dataset.task.labels}, found one of {spec.labels}")
    network = network.to(engine.device, memory_format=torch.channels_last).eval().requires_grad_(requires_grad=False)  # pyright: ignore[reportCallIssue]
    return TeacherOutputs(
        {"sha256": checkpoint_sha256(teacher), "answers": "online"}, embedding_width(network), network
    )
