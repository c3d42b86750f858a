"""What stands at a path: recognised by its bytes, or refused in one line."""

import io
import os
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from subprocess import run

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pocketcxr.errors import PocketCxrError, UnreadableImageError
from pocketcxr.imaging import reading
from pocketcxr.imaging.decoder_warnings import decoder_warnings_ignored
from pocketcxr.imaging.reading import read_image, read_image_bytes

GREY = np.linspace(0, 255, 32 * 32).astype(np.uint8).reshape(32, 32)


def encoded(picture_format):
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, picture_format)
    return stream.getvalue()


def test_the_suffix_does_not_matter(tmp_path, make_dicom):
    for name, data, expected in (
        ("a.jpg", encoded("PNG"), "PNG"),
        ("b.png", encoded("JPEG"), "JPEG"),
        ("c.png", make_dicom(GREY), "DICOM"),
        ("IM0001", encoded("BMP"), "BMP"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert read_image(path).metadata.format == expected


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "empty.png"
    path.write_bytes(b"")
    with pytest.raises(UnreadableImageError, match=r"empty\.png: the file is empty"):
        read_image(path)


def test_a_text_file_named_png_is_refused_as_what_it_is(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("patient seen on Monday\n" * 20)
    with pytest.raises(UnreadableImageError, match=r"notes\.png: expected DICOM, PNG, JPEG.*found plain text"):
        read_image(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a" + bytes(40), "GIF"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"<!doctype html><html>", "web page"),
        (b"PK\x03\x04" + bytes(40), "ZIP"),
        (bytes(5000), "zero bytes"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
        (b"\x93\x01\x02\x80" * 40, "something unknown"),
        (b"BM", "plain text"),
        *(
            ("file;label\r\nMüller.png;normal\r\n".encode(coding), "plain text")
            for coding in ("utf-8-sig", "cp1252", "utf-16")
        ),
    ],
)
def test_other_formats_are_named_in_the_refusal(data, words):
    with pytest.raises(UnreadableImageError, match=words):
        read_image_bytes(data, "x")


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UnreadableImageError, match="found a folder"):
        read_image(tmp_path)
    with pytest.raises(UnreadableImageError, match="no such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(UnreadableImageError, match="cannot be read"):
        read_image(tmp_path / "nul\0byte.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnreadableImageError, match="regular file"):
        read_image(tmp_path / "pipe")


def test_no_read_permission_is_one_clear_line(tmp_path):
    path = tmp_path / "private.png"
    path.write_bytes(encoded("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads any file (root): permission cannot be taken away")
    with pytest.raises(UnreadableImageError, match="no permission"):
        read_image(path)


def test_an_operating_system_that_denies_access_is_one_clear_line(tmp_path, monkeypatch):
    # the same for root, who is never denied: the open call itself is refused
    path = tmp_path / "private.png"
    path.write_bytes(encoded("PNG"))

    def denied(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(UnreadableImageError, match="no permission to read it"):
        read_image(path)


def test_a_file_that_is_too_large_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    path = tmp_path / "large.png"
    path.write_bytes(encoded("PNG"))
    with pytest.raises(UnreadableImageError, match="bytes are more than the 100"):
        read_image(path)


def test_reading_a_png_does_not_import_pydicom():
    code = (
        "import io, sys; from PIL import Image; from pocketcxr.imaging.reading import read_image_bytes;"
        "import pocketcxr.imaging.input_checks, pocketcxr.imaging.resize;"
        "s = io.BytesIO(); Image.new('L', (9, 9)).save(s, 'PNG'); read_image_bytes(s.getvalue(), 'x');"
        "sys.exit('pydicom' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0


def test_decoder_remarks_are_silent_inside_and_audible_outside():
    with decoder_warnings_ignored():
        warnings.warn_explicit("trivia", UserWarning, "x.py", 1, module="pydicom.filereader")
        with pytest.warns(UserWarning, match="of the caller"):
            warnings.warn_explicit("of the caller", UserWarning, "x.py", 1, module="somebody.elses")
    with pytest.warns(UserWarning, match="trivia"):
        warnings.warn_explicit("trivia", UserWarning, "x.py", 1, module="pydicom.filereader")


def test_threads_leave_the_warning_filters_as_they_were():
    before = list(warnings.filters)
    data = encoded("PNG")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: read_image_bytes(data, "x").pixels.sum(), range(40)))
    assert len(set(results)) == 1
    assert list(warnings.filters) == before


# --- damaged bytes ---------------------------------------------------------------------------------------------------

PREFIXES = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"RIFF\x20\x00\x00\x00WEBPVP8L"]


def reads_or_refuses(data):
    try:
        result = read_image_bytes(data, "picture")
    except PocketCxrError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "picture" in message
        assert "\n" not in message
        assert "Doe" not in message
        return
    assert result.pixels.dtype == np.float32
    assert 0 <= result.pixels.min() <= result.pixels.max() <= 1


@settings(max_examples=150, deadline=None)
@given(
    prefix=st.sampled_from([*PREFIXES, bytes(128) + b"DICM", b"\x08\x00\x05\x00CS\x0a\x00"]),
    tail=st.binary(max_size=300),
)
def test_random_bytes_are_refused_and_nothing_else(prefix, tail):
    reads_or_refuses(prefix + tail)


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "DICOM", "DICOM RLE", "DICOM J2K"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_pictures_are_read_or_refused_and_nothing_else(picture_format, data, samples_by_format):
    damaged = bytearray(samples_by_format[picture_format])
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    reads_or_refuses(bytes(damaged[: data.draw(st.integers(len(damaged) // 2, len(damaged)))]))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damaged_png_with_sound_checksums_is_read_or_refused_and_nothing_else(data):
    original = encoded("PNG")
    result, position = bytearray(original[:8]), 8
    while position < len(original):
        length = int.from_bytes(original[position : position + 4], "big")
        body = bytearray(original[position + 4 : position + 8 + length])  # type and content
        if length:
            body[data.draw(st.integers(4, len(body) - 1))] = data.draw(st.integers(0, 255))
        result += original[position : position + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        position += 12 + length
    reads_or_refuses(bytes(result))


@pytest.fixture
def samples_by_format(make_dataset, to_bytes, compress):
    deep = GREY.astype(np.uint16) * 16
    header = {"WindowCenter": 2000, "WindowWidth": 3000, "PatientName": "Doe^John", "BitsStored": 12}
    return {
        **{name: encoded(name) for name in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")},
        "DICOM": to_bytes(make_dataset(deep, **header)),
        "DICOM RLE": compress(make_dataset(deep, **header), "1.2.840.10008.1.2.5"),
        "DICOM J2K": compress(make_dataset(deep, **header), "1.2.840.10008.1.2.4.90"),
    }
