"""Takes numbers out of a DICOM header; what stands there in another form is named and refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from pocketcxr.errors import UnusableImageError
from pocketcxr.imaging.header_terms import quoted_term

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

_SHOWN = 16  # characters of what was found
_NUMBER_LIKE = re.compile(r"[0-9.,/\\eE+ -]*|nan|-?inf(inity)?", re.IGNORECASE)
_SIXTEEN_BITS = 1 << 16


def text(dataset: Dataset, keyword: str) -> str:
    """The text of an element without the blanks around it, which mean nothing (PS3.5 6.2); empty where it is absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, list | tuple | MultiValue):
        return "\\".join(str(part).strip() for part in cast("Iterable[object]", value))
    return str(value).strip()


def numbers(dataset: Dataset, keyword: str, name: str) -> list[float]:
    """The numbers of an element; none where it is absent or empty.

    Raises:
        UnusableImageError: a value is no finite number.
    """
    try:
        value: Any = dataset.get(keyword)
        if value is None or value == "":
            return []
        parts: list[Any] = list(value) if isinstance(value, list | tuple | MultiValue) else [value]  # pyright: ignore[reportUnknownArgumentType]
        found = [float(part) for part in parts]
        # Python reads 1_000 as a thousand, which is no decimal string (PS3.5 6.2)
        is_python_only = any("_" in str(getattr(part, "original_string", "")) for part in parts)
        if not is_python_only and all(abs(number) < float("inf") for number in found):
            return found
    except Exception:  # noqa: BLE001  # pydicom's converters raise nearly everything on text that is no number
        found = []
    raise UnusableImageError(
        f"{name}: expected a number as {keyword}, found {shown(dataset, keyword)}; export it again"
    )


def number(dataset: Dataset, keyword: str, name: str) -> float | None:
    """The one number of an element; None where it is absent or empty.

    Raises:
        UnusableImageError: several numbers, or none at all.
    """
    found = numbers(dataset, keyword, name)
    if len(found) > 1:
        raise UnusableImageError(f"{name}: expected one number as {keyword}, found {len(found)}; export it again")
    return found[0] if found else None


def shown(dataset: Dataset, keyword: str) -> str:
    """What stands in an element that should hold a number, where it can name nobody."""
    element = dataset.get_item(Tag(keyword))
    value = element.value if isinstance(element, RawDataElement) else dataset.get(keyword)
    found = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    found = found.strip("\0 ")[:_SHOWN]
    return repr(found) if _NUMBER_LIKE.fullmatch(found) else quoted_term(found)


def with_sign_of(value: int, low: float, high: float) -> int:
    """A 16-bit value as it was meant: writers put signed values under an unsigned representation, and the reverse.

    Args:
        value: as the representation says.
        low: smallest value that makes sense.
        high: largest such value.
    """
    for other in (value - _SIXTEEN_BITS, value + _SIXTEEN_BITS):
        if not low <= value <= high and low <= other <= high:
            return other
    return value
