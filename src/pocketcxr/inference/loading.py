"""A bundle that loads while the first image is read.

Importing ONNX Runtime and preparing a session take longer than reading an image, and neither needs the other.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.bundle.verified import VerifiedFile
    from pocketcxr.inference.session import Bundle


class LoadingBundle:
    """What a `Predictor` needs of a bundle: manifest and identity at once, outputs when a thread has loaded it."""

    def __init__(self, file: VerifiedFile, *, threads: int | None, runtime: str) -> None:
        self.path: Path = file.path
        self.manifest: Manifest = file.manifest
        self.sha256 = file.sha256
        self.identity = file.identity
        self._bundle: Bundle | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._load, args=(file, threads, runtime), daemon=True)
        self._thread.start()

    def loaded(self) -> Bundle:
        """Wait for the bundle.

        Raises:
            BundleError: it cannot be loaded.
        """
        self._thread.join()
        if self._bundle is None:
            assert self._error is not None
            raise self._error
        return self._bundle

    def __call__(self, images: NDArray[np.float32], /) -> ModelOutputs:
        """Score images as `pocketcxr.inference.session.Bundle` does."""
        return self.loaded()(images)

    def _load(self, file: VerifiedFile, threads: int | None, runtime: str) -> None:
        try:
            from pocketcxr.inference.session import load_verified

            self._bundle = load_verified(file, threads=threads, runtime=runtime)
        except Exception as error:  # noqa: BLE001  # raised again where the bundle is asked for
            self._error = error
