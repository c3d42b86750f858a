"""Which form of a file a client takes: its `Accept-Encoding` (RFC 9110, section 12.5.3) against the forms at hand."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

IDENTITY = "identity"
SUFFIXES: Mapping[str, str] = MappingProxyType({"br": ".br", "gzip": ".gz"})
"""Encodings, the smallest first, and what the name of a file in it ends in: the names that web hosts look for, too."""

_ALIASES = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3


def chosen_encoding(accept: str | None, at_hand: Collection[str]) -> str:
    """Return the encoding to answer in: the client's most wanted of those at hand, of equals the smallest.

    Args:
        accept: the header's value; None where the client sent none and therefore may not know any encoding.
        at_hand: encodings of `SUFFIXES` in which the file exists; `IDENTITY` always is, and is what remains.
    """
    weights = _weights(accept or "")
    others = weights.get("*", 0.0)
    offers = [(weights.get(name, others), name) for name in SUFFIXES if name in at_hand]
    best, name = max(offers, key=lambda offer: offer[0], default=(0.0, IDENTITY))  # of equals, max takes the first
    # identity is wanted less than any encoding that is named, unless it is named itself
    return name if best > 0 and best >= weights.get(IDENTITY, 0.0) else IDENTITY


def _weights(accept: str) -> dict[str, float]:
    """Weight of each named encoding, 0 to 1; one that cannot be read counts as a refusal."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                weight = _number(value)
        found[_ALIASES.get(name, name)] = weight
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
