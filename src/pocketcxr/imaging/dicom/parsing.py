"""Parses a DICOM file up to its pixels: what it costs is bounded, and a file that ends early is called so.

pydicom's `dcmread` drops every element of a file that is cut short, inflates a deflated one without a limit, and makes
an object of each of the millions of empty items that a file may hold. So its reader of elements works here on a stream
that counts, and the pixel data stay where they are until the header has been checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32
from pydicom.values import convert_string

from pocketcxr.errors import UnreadableImageError
from pocketcxr.imaging.dicom.fragments import Fragments, find_fragments
from pocketcxr.imaging.dicom.inflation import InflatedBytes
from pocketcxr.imaging.file_type import VALUE_REPRESENTATIONS

UNDEFINED_LENGTH = 0xFFFFFFFF
_HEADER_BYTES = 32 << 20  # more than any header with its icons and overlays, and more than follows the pixels
_LOOKED_AT_BEHIND = 1 << 20  # bytes behind the pixels of a deflated file
_MOST_READS = 200_000  # an element or item takes one to three; headers of pictures have some hundreds of them
_SEQUENCES = ("ModalityLUTSequence", "VOILUTSequence", "ViewCodeSequence", "AnatomicRegionSequence")  # that are read
_PIXEL_DATA = 0x7FE00010
_CHARACTER_SET = 0x00080005
_FIRST_TAG = 0x00080000  # of a data set
_GROUP_OF_BIG_ENDIAN = 1024  # as which group 0004 and later ones read in the wrong order

_Elements = dict[BaseTag, RawDataElement | DataElement]
_Stop = Callable[[BaseTag, str | None, int], bool]


@dataclass(frozen=True)
class PixelElement:
    """The pixel data: `length` as stated, and `start` in the file, or in what a deflated file holds."""

    vr: str
    length: int
    start: int
    little: bool
    source: bytes | InflatedBytes

    @property
    def is_undefined_length(self) -> bool:
        """Whether the value is a sequence of fragments."""
        return self.length == UNDEFINED_LENGTH

    def value(self, size: int) -> bytes:
        """The first `size` bytes of the value, fewer where it is shorter or the file ends before."""
        size = min(size, self.length)
        if isinstance(self.source, bytes):
            return self.source[self.start : self.start + size]
        return self.source.read(self.start, size)

    def reaches(self, size: int) -> bool:
        """Whether the value has `size` bytes by what is stated, and the file holds as many."""
        if isinstance(self.source, bytes):
            return size <= min(self.length, len(self.source) - self.start)
        return size <= self.length and self.source.is_longer_than(self.start + size - 1)

    def fragments(self, name: str) -> Fragments:
        """The items of compressed pixel data; see `find_fragments`."""
        if not isinstance(self.source, bytes):
            return Fragments((), 0)  # the deflated data set is that of a picture without compression
        data = self.source if self.is_undefined_length else self.source[: self.start + self.length]
        return find_fragments(data, self.start, little=self.little, name=name)

    def check_inflated(self, size: int, name: str) -> None:
        """Refuse a deflated file that goes on behind `size` bytes of pixel data in a way that no sound one does.

        A deflated data set has no checksum. Damage within it makes other pixels, and nearly always more or fewer of
        them, so that what follows the pixel data is neither padding nor an element.

        Raises:
            UnreadableImageError: too long, without its end, or followed by something else.
        """
        if not isinstance(self.source, InflatedBytes):
            return
        limit = self.start + size + _HEADER_BYTES
        if self.source.is_longer_than(limit):
            raise _too_many_bytes(limit, name)
        is_whole = self.source.is_whole
        behind = self.source.read(self.start + self.length, _LOOKED_AT_BEHIND)
        if not is_whole or (behind.strip(b"\0") and behind[4:6] not in VALUE_REPRESENTATIONS):
            raise UnreadableImageError(f"{name}: the deflated data set is damaged or ends early; send it again")


@dataclass(frozen=True)
class ParsedFile:
    """The header with the file's meta information, and the pixel data, None where there are none."""

    dataset: Dataset
    pixels: PixelElement | None


@dataclass(frozen=True)
class _Encoding:
    implicit: bool
    little: bool


class _TooManyElementsError(Exception):
    pass


class _EndsEarlyError(Exception):
    pass


class _CountedStream(BytesIO):
    """Bytes that may be read in so many portions only; `reads` counts for several streams, `last` is the last one."""

    def __init__(self, data: bytes, reads: list[int]) -> None:
        super().__init__(data)
        self.reads, self.last = reads, b""

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads[0] += 1
        if self.reads[0] > _MOST_READS:
            raise _TooManyElementsError
        self.last = super().read(size)
        return self.last

    def peek(self, size: int) -> bytes:
        start = self.read(size)
        self.seek(-len(start), 1)
        return start


def parse_dicom(data: bytes, name: str) -> ParsedFile:
    """Read all elements but the pixel data.

    Raises:
        UnreadableImageError: damaged, cut short, or more elements or inflated bytes than any header has.
    """
    try:
        return _parse(data, name)
    except UnreadableImageError:
        raise
    except _TooManyElementsError:
        raise UnreadableImageError(f"{name}: the DICOM file is damaged: its header has no end; send it again") from None
    except _EndsEarlyError:
        raise UnreadableImageError(f"{name}: the DICOM file ends early, within its header; send it again") from None
    except Exception as error:  # noqa: BLE001  # any, on damaged bytes; its text may quote a patient's name
        raise UnreadableImageError(
            f"{name}: the DICOM file is damaged or ends early ({type(error).__name__} while parsing); send it again"
        ) from None


def _parse(data: bytes, name: str) -> ParsedFile:
    stream = _CountedStream(data, [0])
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    meta, _ = _elements(stream, _Encoding(implicit=False, little=True), _outside(0x00020000, 0x00030000))
    # the command set of a network message may follow
    _elements(stream, _Encoding(implicit=True, little=True), _outside(0, 0x00010000))
    file_meta = FileMetaDataset(Dataset(meta))
    syntax = UID(str(file_meta.get("TransferSyntaxUID") or ""))
    if syntax == DeflatedExplicitVRLittleEndian:
        parsed = _inflated_data_set(InflatedBytes(data[stream.tell() :]), stream.reads, name)
    else:
        parsed = _data_set(stream, _encoding(stream, syntax), data, name)
    parsed.dataset.file_meta = file_meta
    return parsed


def _inflated_data_set(source: InflatedBytes, reads: list[int], name: str) -> ParsedFile:
    head = source.read(0, _HEADER_BYTES)
    try:
        parsed = _data_set(_CountedStream(head, reads), _Encoding(implicit=False, little=True), source, name)
    except _EndsEarlyError:
        if len(head) == _HEADER_BYTES:
            raise _too_many_bytes(_HEADER_BYTES, name) from None
        raise
    if parsed.pixels is None and len(head) == _HEADER_BYTES:
        raise _too_many_bytes(_HEADER_BYTES, name)
    return parsed


def _outside(first: int, end: int) -> _Stop:
    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        del vr, length
        return not first <= tag < end

    return stop


def _too_many_bytes(limit: int, name: str) -> UnreadableImageError:
    return UnreadableImageError(f"{name}: inflates to more than the {limit:,} bytes that are read", "too-many-bytes")


def _encoding(stream: _CountedStream, syntax: UID) -> _Encoding:
    """How the data set is encoded by its transfer syntax; where none is stated, by its first element."""
    if syntax:
        return _Encoding(implicit=syntax == ImplicitVRLittleEndian, little=syntax != ExplicitVRBigEndian)
    start = stream.peek(6)
    if start[4:] not in VALUE_REPRESENTATIONS:
        return _Encoding(implicit=True, little=True)
    return _Encoding(implicit=False, little=int.from_bytes(start[:2], "little") < _GROUP_OF_BIG_ENDIAN)


def _data_set(stream: _CountedStream, assumed: _Encoding, source: bytes | InflatedBytes, name: str) -> ParsedFile:
    stated: list[tuple[str | None, int]] = []  # representation and length of the pixel data

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            stated.append((vr, length))
        return tag == _PIXEL_DATA

    elements, encoding = _elements(stream, assumed, at_pixels)
    pixels = None
    if stated:
        vr, length = stated[-1]
        header = 12 if not encoding.implicit and vr in EXPLICIT_VR_LENGTH_32 else 8
        pixels = PixelElement(vr or "OW", length, stream.tell() + header, encoding.little, source)
        stream.seek(pixels.fragments(name).end if pixels.is_undefined_length else pixels.start + length)
        elements = {**_behind_the_pixels(stream, encoding), **elements}
    elif stream.last or not elements:
        raise _EndsEarlyError  # with nothing, or with a part of an element's tag and length
    encodings = _character_sets(elements)
    for tag in map(Tag, _SEQUENCES):
        if tag in elements:
            elements[tag] = _expanded(elements[tag], stream.reads, encodings)
    dataset = Dataset(elements)
    dataset.set_original_encoding(encoding.implicit, encoding.little, encodings)
    return ParsedFile(dataset, pixels)


def _elements(stream: _CountedStream, assumed: _Encoding, stop: _Stop) -> tuple[_Elements, _Encoding]:
    """Elements up to the first that `stop` names, and their encoding: some writers mix the encodings up."""
    vr = stream.peek(6)[4:]
    is_letters = len(vr) == 2 and vr.isalpha() and vr.isupper()  # noqa: PLR2004
    encoding = _Encoding(not is_letters if len(vr) == 2 else assumed.implicit, assumed.little)  # noqa: PLR2004
    elements: _Elements = {}
    for element in data_element_generator(stream, encoding.implicit, encoding.little, stop_when=stop):
        if _is_cut(element):
            raise _EndsEarlyError
        elements[element.tag] = element
    return elements, encoding


def _is_cut(element: RawDataElement | DataElement) -> bool:
    if not isinstance(element, RawDataElement) or element.length == UNDEFINED_LENGTH:
        return False
    return len(element.value or b"") < element.length


def _behind_the_pixels(stream: _CountedStream, encoding: _Encoding) -> _Elements:
    """Elements that a writer put behind the pixel data, where by the standard only padding and signatures stand."""
    elements: _Elements = {}

    try:
        for element in data_element_generator(
            stream, encoding.implicit, encoding.little, stop_when=_outside(_FIRST_TAG, _PIXEL_DATA)
        ):
            if _is_cut(element):
                break
            elements[element.tag] = element
    except Exception:  # noqa: BLE001  # padding of any kind, which is no element
        return elements
    return elements


def _character_sets(elements: _Elements) -> list[str]:
    raw = elements.get(Tag(_CHARACTER_SET))
    value = raw.value if isinstance(raw, RawDataElement) else b""
    return convert_encodings(convert_string(value or b"", is_little_endian=True))


def _expanded(
    element: RawDataElement | DataElement, reads: list[int], encodings: list[str]
) -> RawDataElement | DataElement:
    """A sequence of stated length read into its items on a stream that counts; pydicom would do so without a bound."""
    if not isinstance(element, RawDataElement) or element.VR not in {None, "SQ", "UN"}:
        return element
    unknown, value = element.VR == "UN", element.value or b""  # encoded as implicit little endian (PS3.5 6.2.2)
    items = read_sequence(
        _CountedStream(value, reads),
        element.is_implicit_VR or unknown,
        element.is_little_endian or unknown,
        len(value),
        encodings,
    )
    return DataElement(element.tag, "SQ", items)
