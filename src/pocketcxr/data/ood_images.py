"""Out-of-distribution (OOD) images: folders of images that must be refused, a folder per type, as index rows."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pocketcxr.data.image_types import image_type_of
from pocketcxr.data.index import build_index
from pocketcxr.data.summary import left_out_of
from pocketcxr.errors import DataError

_LOGGER = logging.getLogger(__name__)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pocketcxr.data.rows import IndexRow


def with_ood_images(
    rows: Sequence[IndexRow], folders: Sequence[Path], *, memory: Path | None = None, key: Path | None = None
) -> list[IndexRow]:
    """Add the images of folders to the rows of an index, without those that it holds already.

    Args:
        rows: of an index.
        folders: each holds a folder per kind, whose name tells it (``knee_xray``, ``photograph``), or is one.
        memory: file that keeps what was read, for the next time.
        key: of the pseudonyms; see `build_index`.

    Raises:
        DataError: a folder that does not exist, or none of whose names tells a kind.
    """
    found = list(rows)
    known = {row.sha256 for row in rows if row.sha256}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"OOD images: expected a folder with a folder per kind, found no {folder}")
        index = build_index([folder], memory=memory, key=key, progress=False)
        left_out = left_out_of(index)
        if left_out:
            _LOGGER.warning("OOD images in %s: %s", folder, left_out)
        telling = [row for row in index.rows if image_type_of(row) not in ("", "frontal")]
        if not telling:
            raise DataError(
                f"OOD images: {folder} has no folder whose name tells what must be refused; expected names such as "
                "knee_xray, chest_ct_slice, lateral, photograph"
            )
        found += [row for row in telling if row.sha256 not in known]
        known.update(row.sha256 for row in telling)
    return found
