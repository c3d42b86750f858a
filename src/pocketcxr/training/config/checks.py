"""The check of a field: one message for all of them."""

from __future__ import annotations

from pocketcxr.errors import ConfigError


def expect(holds: bool, name: str, expected: str, found: object) -> None:
    """Refuse a value, naming the field, what is expected and what was found.

    Raises:
        ConfigError: where `holds` is false.
    """
    if not holds:
        raise ConfigError(f"{name}: expected {expected}, found {found!r}")
