"""Plain distillation, same networks, images and batch: torchdistill, our online mode, our cached mode, in one run.

    make bench                                   (or: python benchmarks/against_torchdistill.py --images 384)

Prints seconds per epoch of the student and ratios, and writes JSON. Rivals run in turn, one epoch each, over several
rounds, so that a slow minute of the machine hits all alike; the median counts. What filling the cache costs, once,
stands below, and the number of epochs after which it has paid for itself.

torchdistill is run as its documentation shows: `DistillationBox`, `KDLoss`, a torchvision transform and a `DataLoader`
with two workers. It computes in float32, as ours does where the hardware has no bfloat16.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pocketcxr.data.pixels import open_dataset
from pocketcxr.data.rows import read_rows
from pocketcxr.data.splits.assign import assign_splits
from pocketcxr.data.synthetic.generate import TABLE, draw_synthetic_xrays
from pocketcxr.labels import load_task
from pocketcxr.models.checkpoints import load_network, save_network
from pocketcxr.models.networks import NetworkSpec, build_network
from pocketcxr.pipeline.prepare import index_sources
from pocketcxr.training.config import StudentConfig, ViewsConfig
from pocketcxr.training.environment import reexec_with_tuned_allocator
from pocketcxr.training.student import train_student
from pocketcxr.training.teacher.views import cache_views

if TYPE_CHECKING:
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow

TORCHDISTILL = "torchdistill==1.1.5"
TEACHER = ("vgg19_bn", "resnetv2_50")
STUDENT = "mobilenetv2_100"
TEMPERATURE = 4.0


def main() -> int:
    """Run the comparison and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=256, help="training images (drawn ones, so that anybody can repeat it)"
    )
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/against_torchdistill.json"))
    options = parser.parse_args()
    reexec_with_tuned_allocator()  # for all rivals alike
    logging.disable(logging.WARNING)
    overlay = options.output.parent / "torchdistill"
    if not overlay.is_dir():
        uv = Path(sys.executable).parent / "uv"
        subprocess.run(
            [str(uv), "pip", "install", "-q", "--no-deps", "--target", str(overlay), TORCHDISTILL], check=True
        )
    sys.path.append(str(overlay.resolve()))
    with tempfile.TemporaryDirectory() as folder:
        seconds, cache_s, views = _compare(options, Path(folder))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    cached, online = medians["pocketcxr, cached"], medians["pocketcxr, online"]
    print(
        f"\n{options.images} images of {options.size} px, batch {options.batch_size}, {os.cpu_count()} cores; "
        f"teacher {' ‖ '.join(TEACHER)}, student {STUDENT}\n"
    )
    print(f"{'':22}{'s per epoch':>12}{'against cached':>16}")
    for name, value in medians.items():
        print(f"{name:22}{value:12.2f}{value / cached:15.1f}x")
    print(
        f"\nfilling the cache, {views} views: {cache_s:.1f} s, once; "
        f"paid back after {cache_s / (online - cached):.1f} epochs"
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"seconds": seconds, "median": medians, "cache_s": cache_s, "views": views}
    record["options"] = {name: str(value) for name, value in vars(options).items()}
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _compare(options: argparse.Namespace, folder: Path) -> tuple[dict[str, list[float]], float, int]:
    dataset = _drawn(options, folder)
    teacher = _untrained_teacher(dataset, folder)
    views_config = ViewsConfig(count=2, batch_size=options.batch_size)
    started = time.perf_counter()
    views = cache_views(dataset, teacher, views_config, out=folder / "views", progress=False)
    cache_s = time.perf_counter() - started
    config = StudentConfig(
        backbone=STUDENT,
        weights="scratch",
        epochs=1,
        batch_size=options.batch_size,
        losses={"ce": 0.5, "kd": 0.5},
        temperature=TEMPERATURE,
        sampling="uniform",
        checkpoint_every_steps=10_000,
    )
    seconds: dict[str, list[float]] = {"pocketcxr, cached": [], "pocketcxr, online": [], "torchdistill": []}
    box = _torchdistill_box(dataset, teacher, options)
    for number in range(options.rounds):
        for name, answers in (("cached", {"views": views}), ("online", {"teacher": teacher})):
            out = folder / f"{name}-{number}"
            train_student(dataset, config, out=out, views_config=views_config, progress=False, **answers)
            seconds[f"pocketcxr, {name}"].append(_epoch_s(out, options.batch_size))
        seconds["torchdistill"].append(_torchdistill_epoch_s(box))
    return seconds, cache_s, views_config.count


def _drawn(options: argparse.Namespace, folder: Path) -> Dataset:
    """As many drawn films in the training split as asked for, and a few to calibrate."""
    draw_synthetic_xrays(folder / "films", patients=max(30, options.images), size=128, progress=False)
    index_sources([folder / "films" / TABLE], folder / "index.csv", progress=False)
    task = load_task("covid-3class")
    rows = assign_splits(read_rows(folder / "index.csv"), task, fractions=(0.9, 0.05, 0.05))
    train = [row for row in rows if row.split == "train" and row.label][: options.images]
    kept: list[IndexRow] = [*train, *(row for row in rows if row.split == "calibration" and row.label)]
    return open_dataset(kept, task, size=options.size, cache=folder / "cache", progress=False)


def _untrained_teacher(dataset: Dataset, folder: Path) -> Path:
    """A teacher's answers take as long whether it has learned anything or not."""
    spec = NetworkSpec("teacher", TEACHER, dataset.task.labels, dataset.pixels.shape[-1])
    save_network(folder / "teacher.safetensors", build_network(spec), spec, {})
    return folder / "teacher.safetensors"


def _epoch_s(out: Path, batch_size: int) -> float:
    with (out / "metrics.csv").open(encoding="utf-8") as stream:
        return sum(batch_size / float(row["images_per_s"]) for row in csv.DictReader(stream))


class _Films(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """The same decoded pixels, augmented as torchvision users do it."""

    def __init__(self, dataset: Dataset) -> None:
        from torchvision import transforms

        self.dataset, self.positions = dataset, dataset.positions("train")
        self.transform = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomResizedCrop(dataset.pixels.shape[-1], scale=(0.7, 1.0), antialias=True),
                transforms.RandomRotation(10),
                transforms.ColorJitter(brightness=0.1, contrast=0.2),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: int) -> tuple[Tensor, int]:
        position = self.positions[item]
        return self.transform(Image.fromarray(np.asarray(self.dataset.pixels[position]))), int(
            self.dataset.labels[position]
        )


class _Logits(nn.Module):
    """torchdistill expects networks that return logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


def _torchdistill_box(dataset: Dataset, teacher: Path, options: argparse.Namespace) -> Any:
    from torchdistill.core.distillation import DistillationBox  # installed above, not a dependency

    student = build_network(
        NetworkSpec("student", (STUDENT,), dataset.task.labels, dataset.pixels.shape[-1], dropout=0.2)
    )
    loss = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
    }
    config = {
        "num_epochs": options.rounds,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": options.batch_size, "num_workers": 2, "drop_last": True},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False, "sequential": []},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True, "sequential": []},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": 1e-3, "weight_decay": 0.02}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "kd": {
                        "criterion": {"key": "KDLoss", "kwargs": {**loss, "temperature": TEMPERATURE, "alpha": 0.5}},
                        "weight": 1.0,
                    }
                }
            },
        },
    }
    networks = (_Logits(load_network(teacher)[0]).eval(), _Logits(student))
    return DistillationBox(*networks, {"train": _Films(dataset)}, config, torch.device("cpu"), None, False, 1)


def _torchdistill_epoch_s(box: Any) -> float:
    started = time.perf_counter()
    box.pre_epoch_process(epoch=0)
    for images, targets, extra in box.train_data_loader:
        box.pre_forward_process()
        box.post_forward_process(loss=box.forward_process(images, targets, extra))
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
