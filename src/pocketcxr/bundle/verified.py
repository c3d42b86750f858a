"""A bundle's file, read and verified without the runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.bundle.manifest import Manifest


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
