"""Fixtures of `known_models`."""

from known_models import make_dataset, make_oracle

__all__ = ["make_dataset", "make_oracle"]
