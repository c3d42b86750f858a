"""Settings and limits of the service, checked once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pocketcxr.addresses import is_loopback
from pocketcxr.data.parallel import default_workers
from pocketcxr.errors import ConfigError
from pocketcxr.files import read_secret
from pocketcxr.imaging.radiograph import MAX_PIXELS

if TYPE_CHECKING:
    import argparse

TOKEN_VARIABLE = "POCKETCXR_TOKEN"  # noqa: S105  # the variable's name
PAGE_FOLDER = Path(__file__).parent / "static"
"""The web page, where it was built into the package: served at ``/``."""

SHORTEST_TOKEN = 16
"""Characters; shorter ones can be guessed."""

_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Limits:
    """What one request may ask for, and what all together may hold.

    `file_bytes` and `request_bytes` bound one file and one request, `files` the files of one request, `pixels` one
    picture (`pocketcxr.imaging.radiograph.MAX_PIXELS` at most). `picture_timeout_s` is for reading and scoring one
    picture. A request is told to come back where it would probably wait longer than `wait_s` for its turn, where
    `queue` pictures wait or are scored already, or where `held_bytes` of all requests together are in memory.

    At most `connections` are open. A request's header must arrive within `header_timeout_s`, its body within
    `upload_timeout_s` and, after `upload_grace_s`, at `upload_bytes_per_s` on average; its answer must be taken within
    `answer_timeout_s`.
    """

    file_bytes: int = 64 * 2**20
    request_bytes: int = 128 * 2**20
    held_bytes: int = 512 * 2**20
    files: int = 16
    pixels: int = MAX_PIXELS
    wait_s: float = 2.0
    queue: int = 128
    connections: int = 800  # below the 1024 open files that a process usually may have
    header_timeout_s: float = 10.0
    upload_timeout_s: float = 60.0
    upload_grace_s: float = 10.0
    upload_bytes_per_s: int = 100_000
    answer_timeout_s: float = 30.0
    picture_timeout_s: float = 20.0

    def __post_init__(self) -> None:
        """Refuse limits that contradict each other."""
        times = (
            self.upload_timeout_s, self.picture_timeout_s, self.wait_s, self.header_timeout_s, self.upload_grace_s,
            self.answer_timeout_s,
        )  # fmt: skip
        counts = (self.file_bytes, self.files, self.pixels, self.queue, self.connections, self.upload_bytes_per_s)
        if min(counts) < 1 or not all(seconds > 0 for seconds in times):
            raise ConfigError("expected every limit of the service to be above zero: check --max-file-mb and the like")
        if self.pixels > MAX_PIXELS:
            raise ConfigError(
                f"expected at most {MAX_PIXELS:,} pixels, which is all that is ever read, got {self.pixels:,}"
            )
        if not self.file_bytes <= self.request_bytes <= self.held_bytes:
            raise ConfigError("expected limits in the order bytes of a file <= of a request <= held for all requests")
        if self.queue < self.files:
            raise ConfigError(
                f"expected room for at least {self.files} waiting pictures (one request), got {self.queue}"
            )


@dataclass(frozen=True)
class Settings:
    """Where the service listens, with what model, and for whom.

    `token` empty means that none is asked for, which is allowed on the loopback address only. `page` is a folder of
    static files served at ``/``, or None. `drain_timeout_s`: how long accepted requests may go on after a stop signal.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    bundle: Path | None = None
    workers: int = 1
    token: str = field(default="", repr=False)
    limits: Limits = field(default_factory=Limits)
    page: Path | None = None
    drain_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what would be unsafe or cannot work."""
        if not 0 <= self.port <= _LARGEST_PORT:
            raise ConfigError(f"port: expected 0 to {_LARGEST_PORT}, found {self.port}")
        if self.workers < 1:
            raise ConfigError(f"workers: expected at least 1, found {self.workers}")
        if self.token and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"token: expected at least {SHORTEST_TOKEN} characters, found {len(self.token)}; make one with  "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        if not self.token.isascii() or any(character.isspace() for character in self.token):
            raise ConfigError("token: expected plain characters without spaces; make one with secrets.token_urlsafe")
        if not self.token and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host}: beyond this computer a token is needed; set {TOKEN_VARIABLE} or --token-file, or "
                "listen on 127.0.0.1"
            )


def settings_from(options: argparse.Namespace) -> Settings:
    """Settings from the options of ``pocketcxr serve``.

    Raises:
        ConfigError: they contradict each other or would be unsafe.
    """
    workers = default_workers() if options.workers is None else options.workers
    file_bytes = options.max_file_mb * 2**20
    limits = Limits(
        file_bytes=file_bytes,
        request_bytes=2 * file_bytes,
        held_bytes=8 * file_bytes,
        files=options.max_files,
        pixels=round(options.max_megapixels * 1e6),
        wait_s=options.max_wait,
        queue=max(64 * workers, options.max_files) if options.queue is None else options.queue,
        picture_timeout_s=options.timeout,
    )
    return Settings(
        host=options.host,
        port=options.port,
        bundle=options.bundle,
        workers=workers,
        token=read_token(options.token_file),
        limits=limits,
        page=PAGE_FOLDER if (PAGE_FOLDER / "index.html").is_file() else None,
    )


def read_token(file: Path | None) -> str:
    """Token from a file, else from the environment, else empty; never from the command line, where `ps` shows it.

    Raises:
        ConfigError: the file cannot be read or is empty.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    return read_secret(file, "token file")
