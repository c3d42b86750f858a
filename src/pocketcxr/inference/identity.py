"""Which model answered, in words for records; read without the runtime, which whoever only passes answers on can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from pocketcxr.bundle.manifest import Manifest


def identity_of(manifest: Manifest, sha256: str) -> str:
    """Name, version and the start of the hash, as written beside every prediction."""
    return f"{manifest.name} {manifest.version} sha256:{sha256[:12]}"


def identify(path: Path | None) -> tuple[Path, Manifest, str]:
    """Verify a bundle file (None: the one that comes with the package); return its path, manifest and identity.

    Raises:
        BundleError: missing, damaged, changed or of another format version.
    """
    path = default_bundle_path() if path is None else path
    data = read_bundle(path)
    manifest = read_manifest(data, str(path))
    return path, manifest, identity_of(manifest, sha256_of(data, str(path)))
