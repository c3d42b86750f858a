"""How thorough a model audit is: one frozen dataclass, and a quick variant of it."""

from __future__ import annotations

from dataclasses import dataclass

from pocketcxr.errors import ConfigError

STRENGTHS: dict[str, tuple[float, ...]] = {
    "noise": (0.02, 0.05, 0.1, 0.2),
    "blur": (0.5, 1.0, 2.0, 4.0),
    "jpeg": (80, 50, 20, 10),
    "gamma": (0.7, 0.5, 1.5, 2.0),
    "rotation": (3, 7, 15, 30),
    "crop": (0.95, 0.9, 0.8, 0.7),
    "resolution": (0.75, 0.5, 0.35, 0.2),
    "inversion": (1,),
}
"""Strengths of each distortion; units are `distortions.UNITS`. The second is the everyday one."""

EVERYDAY: dict[str, float] = {
    "noise": 0.05,
    "blur": 1.0,
    "jpeg": 50,
    "gamma": 1.5,
    "rotation": 7,
    "crop": 0.9,
    "resolution": 0.5,
}
"""Distortions of everyday handling that nobody notices: the drop there counts for the criteria.

A portable radiograph lies 5 to 10 degrees askew, archives and messengers recompress at quality 50, screens differ by a
gamma of 1.5; inversion is not everyday, for the reading of files sets the polarity.
"""


@dataclass(frozen=True)
class AuditConfig:
    """Sizes of a model audit.

    `bootstrap` resamples of patients behind every interval; `probe_images` test images of the shortcut probes and the
    saliency checks, `robust_images` those that every distortion is applied to, `embedding_images` images of train and
    test each whose embeddings are read, all drawn evenly over classes and sources; `ood_images` per kind. `strengths`
    per distortion. `coverage` is what prediction sets are calibrated for. `prevalences` are the shares of disease that
    predictive values are shown for. `folds` of the probes on embeddings; `width` the number of principal components
    that embeddings of all models are brought to. `batch_size` images per call of a model.
    """

    bootstrap: int = 1000
    probe_images: int = 400
    robust_images: int = 240
    embedding_images: int = 1000
    ood_images: int = 120
    strengths: int = 4
    coverage: float = 0.9
    prevalences: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.5)
    folds: int = 5
    width: int = 32
    batch_size: int = 32

    def __post_init__(self) -> None:
        """Refuse sizes that give no figure, naming the field."""
        for name in ("bootstrap", "probe_images", "robust_images", "embedding_images", "ood_images", "width"):
            if getattr(self, name) < 10:  # noqa: PLR2004
                raise ConfigError(f"audit {name}: expected at least 10, found {getattr(self, name)}")
        if not 0 < self.coverage < 1:
            raise ConfigError(f"audit coverage: expected a number between 0 and 1, found {self.coverage}")
        if self.folds < 2 or self.batch_size < 1 or not 1 <= self.strengths <= 4:  # noqa: PLR2004
            raise ConfigError(
                "audit: expected at least 2 folds, 1 image a batch and 1 to 4 strengths, "
                f"found {self.folds}, {self.batch_size} and {self.strengths}"
            )

    @classmethod
    def quick(cls) -> AuditConfig:
        """Under a minute where the whole takes a few: wider intervals, fewer images, the same probes."""
        return cls(bootstrap=200, probe_images=100, robust_images=60, embedding_images=300, ood_images=40, strengths=2)
