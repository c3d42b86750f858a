"""A bundle's file, verified without the runtime; and a bundle that loads while the first image is read.

Importing ONNX Runtime and preparing a session take longer than reading an image, and neither needs the other.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pocketcxr.bundle.contract import ModelOutputs
    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.session import Bundle


@dataclass(frozen=True, eq=False)
class VerifiedFile:
    """A bundle's file, read and verified: its path, manifest, the hash it carries, and all its bytes."""

    path: Path
    manifest: Manifest
    sha256: str
    data: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """Name, version and the start of the hash, as written beside every prediction."""
        return identity_of(self.manifest, self.sha256)


def identity_of(manifest: Manifest, sha256: str) -> str:
    """Name, version and the start of the hash, as written beside every prediction."""
    return f"{manifest.name} {manifest.version} sha256:{sha256[:12]}"


def read_verified(path: Path | None) -> VerifiedFile:
    """Read and verify a bundle file (None: the one that comes with the package).

    Raises:
        BundleError: missing, damaged, changed or of another format version.
    """
    path = default_bundle_path() if path is None else path
    data = read_bundle(path)
    sha256 = sha256_of(data, str(path))
    return VerifiedFile(path, read_manifest(data, str(path)), sha256, data)


class LoadingBundle:
    """What a `Predictor` needs of a bundle: manifest and identity at once, outputs when a thread has loaded it."""

    def __init__(self, file: VerifiedFile, *, threads: int | None) -> None:
        self.path: Path = file.path
        self.manifest: Manifest = file.manifest
        self.sha256 = file.sha256
        self.identity = file.identity
        self._bundle: Bundle | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._load, args=(file, threads), daemon=True)
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

    def _load(self, file: VerifiedFile, threads: int | None) -> None:
        try:
            from pocketcxr.inference.session import load_verified

            self._bundle = load_verified(file, threads=threads)
        except Exception as error:  # noqa: BLE001  # raised again where the bundle is asked for
            self._error = error
