"""The other ways to score a folder, each as a plain program, for `predict_speed.py`; one thread per process.

    python benchmarks/predict_rivals.py NAME SIZE LIST [MODEL]

Loads what it needs, says ``ready``, waits for a line, works through the files that LIST names, and says ``done`` with
the seconds of processor time that took. Scripts as their projects' documentation shows them, nothing slowed down.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[str], object]


def decode_fully(_size: int, _model: str) -> Work:
    """Decode every pixel and do nothing with it."""
    from PIL import Image

    def work(path: str) -> None:
        with Image.open(path) as image:
            image.load()

    return work


def decode_scaled(size: int, _model: str) -> Work:
    """Decode with the cosine transform's scaling, as far as `pocketcxr predict` does, and do nothing with it."""
    from PIL import Image

    from pocketcxr.imaging.scaled_decoding import side_for

    side = side_for(size)

    def work(path: str) -> None:
        with Image.open(path) as image:
            image.draft(None, (side, side))
            image.load()

    return work


def pytorch(size: int, _model: str) -> Work:
    """Pillow and PyTorch, the usual way: torchvision's MobileNetV2 for one channel and three classes, eager."""
    import torchvision
    from torch import nn

    network = torchvision.models.mobilenet_v2(num_classes=3)
    network.features[0][0] = nn.Conv2d(1, 32, 3, stride=2, padding=1, bias=False)
    return _with_pytorch(size, network.eval())


def pytorch_traced(size: int, model: str) -> Work:
    """The same with a traced network, which needs no model library: the fastest start that PyTorch has."""
    import torch

    warnings.simplefilter("ignore", FutureWarning)
    return _with_pytorch(size, torch.jit.load(model).eval())


def _with_pytorch(size: int, network: Any) -> Work:
    import numpy as np
    import torch
    from PIL import Image

    torch.set_num_threads(1)

    def work(path: str) -> float:
        with Image.open(path) as image:
            small = image.convert("L").resize((size, size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255)[None, None]
        with torch.inference_mode():
            return float(torch.softmax(network(pixels), dim=1)[0, 0])

    return work


def torchxrayvision(_size: int, _model: str) -> Work:
    """Its own `process_image.py`: DenseNet121 at 224 pixels, here with random weights."""
    import skimage.io
    import torch
    import torchvision
    import torchxrayvision as xrv

    torch.set_num_threads(1)
    network = xrv.models.DenseNet(num_classes=18, in_channels=1, **xrv.models.get_densenet_params("densenet121")).eval()
    transform = torchvision.transforms.Compose(
        [xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224, engine="cv2" if _has_cv2() else "skimage")]
    )

    def work(path: str) -> float:
        image = xrv.datasets.normalize(skimage.io.imread(path), 255)
        if image.ndim > 2:
            image = image[:, :, 0]
        pixels = torch.from_numpy(transform(image[None]))[None]
        with torch.inference_mode():
            return float(network(pixels)[0, 0])

    return work


def _has_cv2() -> bool:
    import importlib.util

    return importlib.util.find_spec("cv2") is not None


RIVALS = {
    "decode-fully": decode_fully,
    "decode-scaled": decode_scaled,
    "pytorch": pytorch,
    "pytorch-traced": pytorch_traced,
    "torchxrayvision": torchxrayvision,
}


def main() -> int:
    """Serve `predict_speed.py`."""
    name, size, listing, *model = sys.argv[1:]
    work = RIVALS[name](int(size), model[0] if model else "")
    paths = Path(listing).read_text(encoding="utf-8").splitlines()
    print("ready", flush=True)
    if not sys.stdin.readline():
        return 1
    started = time.process_time()
    answers = [work(path) for path in paths]
    print("done", time.process_time() - started, answers[-1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
