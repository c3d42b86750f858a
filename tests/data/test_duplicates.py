"""Copies are found, re-encoded, cropped, mirrored, turned or inverted; images of other people are not copies."""

import io

import numpy as np
import pytest
from PIL import Image

from pocketcxr.data.duplicates.alignment import aligned, details
from pocketcxr.data.duplicates.hashing import thumbnail
from pocketcxr.data.duplicates.search import find_pairs
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError
from pocketcxr.imaging.reading import read_image


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return one image each of 70 synthetic patients, as uint8 images."""
    folder = tmp_path_factory.mktemp("images")
    draw_synthetic_xrays(folder, patients=70, seed=5, size=128, progress=False)
    paths = [path for path in sorted((folder / "images").iterdir()) if path.stem.endswith("-1")]
    return [Image.fromarray((read_image(path).pixels * 255).astype(np.uint8)) for path in paths]


def _jpeg(image, quality):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("L")


def _crop(image, share):
    width, height = image.size
    return image.crop(
        (round(share * width), round(share * height), round((1 - share) * width), round((1 - share) * height))
    )


CHANGES = {
    "recompressed": lambda image: _jpeg(image, 40),
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "darker": lambda image: Image.eval(image, lambda v: round(255 * (v / 255) ** 1.5)),
    "cropped": lambda image: _crop(image, 0.05),
    "cropped more": lambda image: _crop(image, 0.08),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "inverted": lambda image: Image.eval(image, lambda v: 255 - v),
    "turned by 3 degrees": lambda image: image.rotate(3, Image.Resampling.BILINEAR),
    "turned by 5 degrees to the right, recompressed": lambda image: _jpeg(
        image.rotate(-5, Image.Resampling.BICUBIC), 60
    ),
    "mirrored, cropped and recompressed": lambda image: _jpeg(
        _crop(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.04), 50
    ),
}


def _small(image):
    return np.round(thumbnail(np.asarray(image, np.float32) / 255) * 255).astype(np.uint8)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change, images):
    originals = [_small(image) for image in images]
    copies = [_small(CHANGES[change](image)) for image in images[:8]]
    pixels = np.stack([*originals, *copies])
    pairs = find_pairs(pixels, sha256=[str(i) for i in range(len(pixels))])
    sure = {(pair.first, pair.second) for pair in pairs if pair.sure}
    wanted = {(i, len(originals) + i) for i in range(8)}
    assert len(wanted & sure) >= 7
    assert not sure - wanted


def test_images_of_other_people_are_no_copies(images):
    pixels = np.stack([_small(image) for image in images])
    assert not [pair for pair in find_pairs(pixels, sha256=[str(i) for i in range(len(pixels))]) if pair.sure]


def test_equal_files_are_a_pair_without_a_comparison(images):
    pixels = np.stack([_small(images[0]), _small(images[1]), _small(images[2])])
    pairs = find_pairs(pixels, sha256=["x", "y", "x"])
    assert [(pair.first, pair.second, pair.change) for pair in pairs] == [(0, 2, "same file")]


def test_neighbours_in_an_embedding_are_candidates(images):
    # An image shifted by a tenth: no version fits, but a network that says "the same" brings the two together.
    pixels = np.stack([_small(image) for image in images])
    embedding = np.random.default_rng(0).normal(size=(len(images), 8)).astype(np.float32)
    with_network = find_pairs(pixels, sha256=[str(i) for i in range(len(images))], embedding=embedding)
    assert not [pair for pair in with_network if pair.sure]  # the fine structure still decides


def test_images_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="96"):
        find_pairs(np.zeros((2, 64, 64), np.uint8), sha256=["a", "b"])


def _correlation(first, second):
    """The definition, pixel by pixel: zero-padded cross-correlation of two images of mean 0 and norm 1, +-5 pixels."""
    first, second = ((image - image.mean()) / np.linalg.norm(image - image.mean()) for image in (first, second))
    padded = np.pad(second, 5)
    shifts = ((dy, dx) for dy in range(11) for dx in range(11))
    return max(float((first * padded[dy : dy + 48, dx : dx + 48]).sum()) for dy, dx in shifts)


def test_the_correlation_is_the_largest_over_shifts(images):
    first, second = (details(thumbnail(np.asarray(image, np.float32) / 255)[None])[0] for image in images[:2])
    moved = np.roll(first, (3, -2), axis=(0, 1))
    expected = _correlation(first, second)
    assert expected < 0.35  # below it no zoom is tried
    assert aligned(first[None], second[None])[0] == pytest.approx(expected, abs=1e-4)
    assert aligned(first[None], moved[None])[0] >= _correlation(first, moved) - 1e-4 > 0.8


def test_a_zoom_of_a_twentieth_is_found(images):
    image = images[0]
    fine = [details(thumbnail(np.asarray(image, np.float32) / 255)[None]) for image in (image, _crop(image, 0.025))]
    assert aligned(*fine)[0] > max(0.7, _correlation(fine[0][0], fine[1][0]))
