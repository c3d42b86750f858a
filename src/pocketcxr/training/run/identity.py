"""What identifies a stage: its configuration as it is recorded, and the keys made of configurations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from pocketcxr.training.config import FOR_UNSEEN_SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pocketcxr.data.rows import IndexRow
    from pocketcxr.training.config import AugmentationConfig, OptimisationConfig

SAMPLED_SOURCES = "sampled_sources"
_LATER_FIELDS = {
    "frozen_blocks": 0,
    "folds": 0,
    "image_size": 0,
    "progressive_sizes": (),
    "auxiliary": {},
    "classes": {},
    **dict.fromkeys(FOR_UNSEEN_SOURCES, 0.0),
}
"""Fields that came after runs had been recorded, with the value that means what was done before."""


def recorded(config: OptimisationConfig | AugmentationConfig) -> dict[str, Any]:
    """Plain table of a stage's configuration for identities and records: later fields only where they are used.

    `track`, which says who else gets the figures, is not in it. So runs of earlier versions keep their identity, and
    their checkpoints, written again, their bytes.
    """
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name != "track" and (name not in _LATER_FIELDS or value != _LATER_FIELDS[name])
    }


def sources_digest(rows: Sequence[IndexRow]) -> str:
    """Hash over the source of each image, which is no part of a data set's fingerprint."""
    return hashlib.sha256("\n".join(f"{row.sha256} {row.source}" for row in rows).encode()).hexdigest()


def sampled_sources(config: OptimisationConfig, rows: Sequence[IndexRow]) -> dict[str, str]:
    """Entry of an identity for a sampling that reads the sources; nothing for one that does not."""
    return {SAMPLED_SOURCES: sources_digest(rows)} if "-source" in config.sampling else {}


def fingerprint(*parts: Any) -> str:
    """Hash configurations and plain values into 16 hexadecimal digits; equal inputs give equal keys on any machine."""
    plain = [
        dataclasses.asdict(part) if dataclasses.is_dataclass(part) and not isinstance(part, type) else part
        for part in parts
    ]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
