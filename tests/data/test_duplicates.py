"""Copies in every dress are found among strangers; strangers are not."""

import io

import numpy as np
import pytest
from PIL import Image

from pocketcxr.data.duplicates.alignment import aligned, details
from pocketcxr.data.duplicates.hashing import aligned_correlations, detail, thumbnail
from pocketcxr.data.duplicates.search import find_pairs
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.errors import ConfigError
from pocketcxr.imaging.reading import read_image


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Return one film each of 70 drawn patients, as uint8 pictures."""
    folder = tmp_path_factory.mktemp("films")
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
    "mirrored, cropped and recompressed": lambda image: _jpeg(
        _crop(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 0.04), 50
    ),
}


def _small(image):
    return np.round(thumbnail(np.asarray(image, np.float32) / 255) * 255).astype(np.uint8)


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_whatever_was_done_to_it(change, films):
    originals = [_small(film) for film in films]
    copies = [_small(CHANGES[change](film)) for film in films[:8]]
    pixels = np.stack([*originals, *copies])
    pairs = find_pairs(pixels, sha256=[str(i) for i in range(len(pixels))])
    sure = {(pair.first, pair.second) for pair in pairs if pair.sure}
    wanted = {(i, len(originals) + i) for i in range(8)}
    assert len(wanted & sure) >= 7
    assert not sure - wanted


def test_strangers_are_no_copies(films):
    pixels = np.stack([_small(film) for film in films])
    assert not [pair for pair in find_pairs(pixels, sha256=[str(i) for i in range(len(pixels))]) if pair.sure]


def test_equal_files_are_a_pair_without_looking(films):
    pixels = np.stack([_small(films[0]), _small(films[1]), _small(films[2])])
    pairs = find_pairs(pixels, sha256=["x", "y", "x"])
    assert [(pair.first, pair.second, pair.change) for pair in pairs] == [(0, 2, "same file")]


def test_neighbours_in_an_embedding_are_looked_at(films):
    # A film shifted by a tenth: no version fits, but a network that says "the same" brings the two together.
    pixels = np.stack([_small(film) for film in films])
    embedding = np.random.default_rng(0).normal(size=(len(films), 8)).astype(np.float32)
    with_network = find_pairs(pixels, sha256=[str(i) for i in range(len(films))], embedding=embedding)
    assert not [pair for pair in with_network if pair.sure]  # the fine structure still decides


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ConfigError, match="96"):
        find_pairs(np.zeros((2, 64, 64), np.uint8), sha256=["a", "b"])


def test_the_correlation_is_the_one_of_the_index(films):
    first, second = thumbnail(np.asarray(films[0], np.float32) / 255), thumbnail(np.asarray(films[1], np.float32) / 255)
    moved = np.roll(first, 3, axis=0)
    for other in (second, moved):
        fine = details(np.stack([first, other]))
        assert np.abs(fine[0] - detail(first)).max() < 1e-3
        expected = aligned_correlations(detail(first), [detail(other)])[0]
        assert aligned(fine[:1], fine[1:])[0] == pytest.approx(expected, abs=2e-3)
