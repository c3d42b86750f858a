"""Networks shaped like those of other libraries, built from PyTorch alone."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional


class XrvDenseNet(nn.Module):
    """As a DenseNet of torchxrayvision: [-1024, 1024] in, one channel, a size of its own, `pathologies`, `op_norm` out.

    The class without a name and that with a threshold of NaN are as in its weights for a single data set.
    """

    def __init__(self, *, thresholds: bool = True, resolution: int = 40, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.pathologies = self.targets = ["Atelectasis", "Pneumonia", "", "Lung Opacity", "Fracture"]
        self.input_resolution = resolution
        self.apply_sigmoid = False
        self.features = nn.Sequential(nn.Conv2d(1, 6, 5, stride=4), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3))
        self.classifier = nn.Linear(8, 5)
        limits = torch.tensor([0.2, 0.5, float("nan"), 0.7, float("nan")]) if thresholds else None
        self.register_buffer("op_threshs", limits)
        self.seen: list[tuple[float, float, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((float(x.min()), float(x.max()), x.shape[-1]))
        found = functional.relu(self.features(x / 1024))
        out = self.classifier(functional.adaptive_avg_pool2d(found, (1, 1)).view(len(found), -1))
        return out if self.op_threshs is None else _op_norm(torch.sigmoid(out), self.op_threshs)


def _op_norm(outputs: Tensor, thresholds: Tensor) -> Tensor:
    """0.5 at the threshold of each class, linear on both sides; 0.5 throughout where there is none."""
    limits = thresholds.expand(len(outputs), -1)
    found = torch.zeros_like(outputs) + 0.5
    low, high = (outputs < limits) & ~limits.isnan(), ~(outputs < limits) & ~limits.isnan()
    found[low] = outputs[low] / (limits[low] * 2)
    found[high] = 1 - (1 - outputs[high]) / ((1 - limits[high]) * 2)
    return found


class HuggingFaceClassifier(nn.Module):
    """As an image classifier of Hugging Face: three channels in, an object with `logits` out, names in its config."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.config = SimpleNamespace(id2label=dict(enumerate(labels)))
        self.body = nn.Conv2d(3, 7, 4, stride=4)
        self.classifier = nn.Linear(7, len(labels))

    def forward(self, pixel_values: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.classifier(self.body(pixel_values).mean(dim=(2, 3))))
