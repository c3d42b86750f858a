"""Pseudonyms of patients and studies in an index: keyed hashes, so that nobody without the key can try all identifiers.

The key is a file of the project, readable by its owner only. The same key gives the same pseudonyms: indexes whose
patients must be recognised in each other are made with one key. Who holds the key can compute the pseudonym of an
identifier, so an index together with its key is no anonymisation.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING

from pocketcxr.errors import DataError
from pocketcxr.files import cannot_write, check_output, open_private

if TYPE_CHECKING:
    from pathlib import Path

KEY_FILE = "pseudonyms.key"
"""Name of the key beside an index."""

_KEY_BYTES = 32
_DIGITS = 16  # 64 bits: among a million patients two meet by chance once in 37 million indexes


def read_key(path: Path | None) -> bytes:
    """Read a project's key, or make it where there is none yet; None gives a key that is forgotten afterwards.

    Raises:
        ConfigError: its place cannot be written.
        DataError: the file is no key, or cannot be read or made.
    """
    if path is None:
        return secrets.token_bytes(_KEY_BYTES)
    check_output(path, folder=False)
    try:
        descriptor = open_private(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return _stored_key(path)
    except OSError as error:
        raise DataError(cannot_write(path, error)) from error
    key = secrets.token_bytes(_KEY_BYTES)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(key.hex() + "\n")
    return key


def pseudonym(identifier: str, key: bytes) -> str:
    """Pseudonym of an identifier (HMAC-SHA-256, FIPS 198-1); empty stays empty."""
    return (
        hmac.new(key, identifier.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:_DIGITS]
        if identifier
        else ""
    )


def _stored_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except OSError as error:
        raise DataError(f"cannot read the key {path}: {error.strerror}; ask its owner, or name another") from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise DataError(f"{path}: expected a key of {2 * _KEY_BYTES} hexadecimal digits; name another, or remove it")
    return key
