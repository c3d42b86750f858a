"""Pseudonyms are keyed: nobody without the project's key can try all numbers, and the same key gives the same."""

import hashlib
import hmac
import stat

import pytest

from pocketcxr.data.pseudonyms import KEY_FILE, pseudonym, read_key
from pocketcxr.errors import ConfigError, DataError


def test_the_key_is_made_once_for_its_owner_only(tmp_path):
    key = read_key(tmp_path / "new" / KEY_FILE)
    assert stat.S_IMODE((tmp_path / "new" / KEY_FILE).stat().st_mode) == 0o600
    assert len(key) == 32
    assert read_key(tmp_path / "new" / KEY_FILE) == key
    assert read_key(tmp_path / "other" / KEY_FILE) != key
    assert read_key(None) != read_key(None)


def test_a_pseudonym_is_the_keyed_hash_of_its_identifier():
    key = bytes(range(32))
    assert pseudonym("0004711", key) == hmac.new(key, b"0004711", hashlib.sha256).hexdigest()[:16]
    assert pseudonym("0004711", bytes(32)) != pseudonym("0004711", key)
    assert hashlib.sha256(b"0004711").hexdigest()[:12] not in pseudonym("0004711", key)
    assert pseudonym("", key) == ""


@pytest.mark.parametrize("text", ["", "abc", "ff" * 31, "ü" * 64])
def test_what_is_no_key_is_refused(tmp_path, text):
    (tmp_path / KEY_FILE).write_text(text)
    with pytest.raises(DataError, match="expected a key of 64 hexadecimal digits"):
        read_key(tmp_path / KEY_FILE)


def test_a_key_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="the place is a file where a folder is needed"):
        read_key(tmp_path / "file" / KEY_FILE)
