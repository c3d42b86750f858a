"""Recognises a file by its first bytes."""

from __future__ import annotations

import struct

_RASTERS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)

_FOREIGN = (
    (b"GIF8", "a GIF, which holds 256 colours at most"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xff\x4f\xff\x51", "a bare JPEG 2000 codestream"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 file"),
    (b"<", "a web page or XML"),
)

_TEXT_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_FOREIGN_PICTURES = (b"GIF8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ", b"\x00\x00\x00\x0cJXL ")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis"})

_BMP_FILE_HEADER = 14  # bytes before the size of the second header
_DICOM_MAGIC_AT = 128

# PS3.5 table 6.2-1: what may stand as a value representation in explicit encoding
VALUE_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)


def raster_format(data: bytes) -> str:
    """Name of the raster format that the bytes begin as, or an empty string."""
    if data[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM":
        return ""  # its preamble may be the header of a TIFF (PS3.10 section 7.1), as some writers make it
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for signature, name in _RASTERS:
        if data.startswith(signature):
            # two letters are a weak sign: a BMP also gives the size of its second header, 12 to 124 bytes
            if name == "BMP" and not 12 <= int.from_bytes(data[_BMP_FILE_HEADER:18], "little") <= 124:  # noqa: PLR2004
                continue
            return name
    return ""


def looks_like_dicom(data: bytes) -> bool:
    """Whether the bytes are DICOM: the DICM mark (PS3.10 section 7.1), or none but a plausible first element.

    Files from before 1996 and raw network captures start at once with an element of group 0002 or 0008.
    """
    if data[_DICOM_MAGIC_AT : _DICOM_MAGIC_AT + 4] == b"DICM":
        return True
    return _plausible_element(data, "<") or _plausible_element(data, ">")


def _plausible_element(data: bytes, order: str) -> bool:
    header = 8  # bytes of tag, then representation and length, or length alone
    if len(data) < 2 * header:
        return False
    group, element = struct.unpack_from(f"{order}HH", data)
    if group not in {0x0002, 0x0008} or element > 0x0100:  # noqa: PLR2004  # the lists start with low numbers
        return False
    if data[4:6] in VALUE_REPRESENTATIONS:
        return True
    # implicit: a short length, after which the next element of the same group follows
    (length,) = struct.unpack_from(f"{order}I", data, 4)
    if order == ">" or header + length + 4 > len(data):
        return False
    next_group, next_element = struct.unpack_from(f"{order}HH", data, header + length)
    return next_group == group and next_element > element


def is_foreign_picture(data: bytes) -> bool:
    """Whether the bytes begin a picture of a format that is not read."""
    return data.startswith(_FOREIGN_PICTURES) or (data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS)


def foreign_format(data: bytes) -> str:
    """Describe a file that is not read, for the message that refuses it."""
    for signature, words in _FOREIGN:
        if data.startswith(signature):
            return words
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    if not any(data[:1024]):
        return "nothing but zero bytes"
    return "plain text" if _is_text(data[:1024]) else "something unknown"


def _is_text(head: bytes) -> bool:
    """Whether the bytes are text: UTF-8, UTF-16 behind its mark, or Windows-1252, as spreadsheet programs write it."""
    encoding = next((name for mark, name in _TEXT_MARKS if head.startswith(mark)), "utf-8")
    text = head.decode(encoding, errors="replace")
    if "\ufffd" in text[:-4]:  # the last character may be cut
        text = head.decode("cp1252", errors="replace")
    return "\ufffd" not in text[:-4] and all(character.isprintable() or character.isspace() for character in text)
