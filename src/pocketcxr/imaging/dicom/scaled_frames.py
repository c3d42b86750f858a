"""JPEG and JPEG 2000 frames of DICOM decoded at a fraction of their size, which spares most of the work.

pydicom's decoders give all pixels or none. libjpeg-turbo and Pillow's OpenJPEG leave out what is not needed: the cosine
transform's high frequencies, the wavelet transform's finest levels.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.imaging.jpeg import decode_jpeg
from pocketcxr.imaging.scaled_decoding import power_of_two

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pocketcxr.imaging.dicom.codestream import Codestream
    from pocketcxr.imaging.radiograph import Region

REDUCIBLE = frozenset({"dct", "jpeg-2000"})  # see `Codestream.process`
_MOST_HALVINGS = 3  # JPEG's transform has 8 x 8 coefficients; JPEG 2000 files have five levels as a rule
_SIXTEEN_BITS = 16


def decode_reduced(
    found: Codestream, factor: int, name: str
) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], Region] | None:
    """Decode a grey frame at 1/2, 1/4 or 1/8 of its size, the smallest that `factor` allows.

    Returns:
        Stored values [h, w] and the region in which the picture stands; None where the decoder cannot do it. Damage of
        JPEG 2000 is not told here: the caller decodes the whole frame then, and finds the words.

    Raises:
        UnreadableImageError: a damaged JPEG.
    """
    halvings = min(_MOST_HALVINGS, power_of_two(factor))
    if found.process == "dct":
        size = 1 << halvings
        return decode_jpeg(found.plain, name, factor=size), (0.0, 0.0, found.width / size, found.height / size)
    try:
        return _wavelet(found.plain, halvings, found.bits)
    except (OSError, SyntaxError):
        return None


def _wavelet(frame: bytes, halvings: int, bits: int) -> tuple[NDArray[Any], Region] | None:
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

    class Reduced(Jpeg2KImageFile):
        """Rounds sizes up, as ISO 15444-1 B.5 does; Pillow rounds them to the nearest, and then fails."""

        def halve(self, times: int) -> None:
            self.reduce = times
            self._size = (-(-self.width >> times) << times, -(-self.height >> times) << times)

    image = Reduced(BytesIO(frame))
    if image.mode not in {"L", "I;16"}:
        return None
    width, height, factor = image.width, image.height, 1 << halvings
    image.halve(halvings)
    samples = np.asarray(image)
    shift = (_SIXTEEN_BITS if image.mode == "I;16" else 8) - bits
    if shift < 0:
        return None
    # The low-pass samples stand on every factor-th pixel, not between them as means of cells do: sample 0 is pixel 0.
    # One more column and row let the region reach the picture's far edges.
    samples = np.pad(samples >> shift, ((0, 1), (0, 1)), mode="edge")
    first = 0.5 - 0.5 / factor
    return samples, (first, first, first + width / factor, first + height / factor)
