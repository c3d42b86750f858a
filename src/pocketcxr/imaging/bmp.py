"""Refuses BMP files whose palette Pillow leaves out although the pixels are no grey values.

Pillow takes a palette of black and white for pixels of one bit, and one of the greys 0, 1, 2, ... for pixels of eight,
whatever the file says: such a picture of other bits is read as another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pocketcxr.errors import UnusableImageError

if TYPE_CHECKING:
    from PIL.Image import Image

_BITS_OF_MODE = {"1": 1, "L": 8}
_CORE_HEADER = 12


def check_bmp(data: bytes, image: Image, name: str) -> None:
    """Compare what Pillow made of the header with the bits that it gives.

    Raises:
        UnusableImageError: Pillow would read other bits.
    """
    at = 24 if int.from_bytes(data[14:18], "little") == _CORE_HEADER else 28  # biBitCount
    bits = int.from_bytes(data[at : at + 2], "little")
    if bits != _BITS_OF_MODE.get(image.mode, bits):
        raise UnusableImageError(
            f"{name}: BMP of {bits} bits with a palette of {2 if image.mode == '1' else 'few'} greys is not read; "
            "export it as 8- or 16-bit grey PNG",
            "unsupported-header",
        )
