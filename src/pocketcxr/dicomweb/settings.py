"""How an archive is reached: address, account and certificates; passwords come from files or the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pocketcxr.addresses import is_loopback
from pocketcxr.errors import ConfigError, expect
from pocketcxr.files import read_secret
from pocketcxr.imaging.radiograph import MAX_FILE_BYTES

PASSWORD_VARIABLE = "POCKETCXR_PACS_PASSWORD"  # noqa: S105  # the variable's name
_MEGABYTE = 2**20


@dataclass(frozen=True)
class ArchiveSettings:
    """The archive. `url` is the root of its DICOMweb services.

    `changes_url`: the REST interface of an Orthanc, whose feed of changes tells sooner what to look at; "" asks by
    query alone. `user`, and the password from `password_file` or the variable POCKETCXR_PACS_PASSWORD. `ca_file`:
    certificates to trust in place of the system's. `certificate_file`, `key_file`: of this worker, where the archive
    wants one. An answer may take `timeout_s`, and have `largest_mb` where it is an image.
    """

    url: str = ""
    changes_url: str = ""
    user: str = ""
    password_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    timeout_s: float = 60.0
    largest_mb: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot work or would send images in clear."""
        expect(bool(self.url), "archive.url", "the address of the archive's DICOMweb services", self.url)
        for name in ("url", "changes_url"):
            check_address(f"archive.{name}", getattr(self, name))
        expect(not self.key_file or bool(self.certificate_file), "archive.certificate_file", "one with the key", "")
        expect(0 < self.timeout_s <= 3600, "archive.timeout_s", "seconds, above 0 to 3600", self.timeout_s)  # noqa: PLR2004
        most = MAX_FILE_BYTES // _MEGABYTE
        expect(1 <= self.largest_mb <= most, "archive.largest_mb", f"1 to {most}", self.largest_mb)

    @property
    def largest_bytes(self) -> int:
        """`largest_mb` in bytes."""
        return self.largest_mb * _MEGABYTE


def read_password(settings: ArchiveSettings) -> str:
    """The password from its file, else from the environment, else empty; never from the settings or a command line.

    Raises:
        ConfigError: the file cannot be read or is empty, or there is a user without a password.
    """
    password = os.environ.get(PASSWORD_VARIABLE, "")
    if settings.password_file:
        password = read_secret(Path(settings.password_file), "archive.password_file")
    if settings.user and not password:
        raise ConfigError(f"archive.user: expected a password in archive.password_file or {PASSWORD_VARIABLE}")
    return password


def settings_of(url: str) -> tuple[ArchiveSettings, str]:
    """Settings and password for an archive of which only the address is given; the rest is in the environment.

    POCKETCXR_PACS_USER with POCKETCXR_PACS_PASSWORD, else the account that ``~/.netrc`` has for the host, else none;
    POCKETCXR_PACS_CA_FILE, POCKETCXR_PACS_CERTIFICATE_FILE and POCKETCXR_PACS_KEY_FILE as in `ArchiveSettings`.

    Raises:
        ConfigError: the address or a variable does not fit.
    """
    from requests.utils import get_netrc_auth

    check_address("address of the archive", url)
    user, ca_file, certificate_file, key_file = (
        os.environ.get(f"POCKETCXR_PACS_{name}", "") for name in ("USER", "CA_FILE", "CERTIFICATE_FILE", "KEY_FILE")
    )
    account = None if user else get_netrc_auth(url)
    settings = ArchiveSettings(
        url=url,
        user=account[0] if account else user,
        ca_file=ca_file,
        certificate_file=certificate_file,
        key_file=key_file,
    )
    return settings, account[1] if account else read_password(settings)


def check_address(name: str, address: str) -> None:
    """Refuse an address that cannot be one of an archive, or would send images or an account in clear.

    Raises:
        ConfigError: naming the field, and never an account.
    """
    if not address:
        return
    clean = not {"@", "?"} & set(address)
    expect(clean, name, "an address without account and query; give user and password apart", "one with them")
    try:
        parts = urlsplit(address)
        host, usable = parts.hostname or "", parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError:
        parts, host, usable = urlsplit(""), "", False
    expect(bool(host) and usable, name, "an address like https://archive.example:8042/dicom-web", address)
    secure = parts.scheme == "https" or is_loopback(host)
    expect(secure, name, "https beyond this computer: images must not travel in clear", address)
