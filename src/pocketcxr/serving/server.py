"""The running service: load, answer until a stop signal, then finish accepted requests."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import signal
import sys
from typing import TYPE_CHECKING

import uvicorn

from pocketcxr.bundle.format import default_bundle_path, read_bundle, read_manifest, sha256_of
from pocketcxr.serving.access_log import configure_access_log
from pocketcxr.serving.app import make_app, make_service
from pocketcxr.serving.connections import connections_within

if TYPE_CHECKING:
    import socket

    from pocketcxr.serving.app import Service
    from pocketcxr.serving.settings import Settings

_KEEP_ALIVE_S = 75  # longer than clients and proxies wait, so that they close first and never write into a closed line
_SETTLE_S = 0.3  # after a stop signal: for requests that have arrived and are not yet read
_LOGGER = logging.getLogger(__name__)


def serve_on(listener: socket.socket, settings: Settings) -> None:
    """Load the model and answer on a bound socket until SIGINT or SIGTERM; see `command.run_serve`."""
    path = default_bundle_path() if settings.bundle is None else settings.bundle
    data = read_bundle(path)
    settings = dataclasses.replace(settings, bundle=path)
    service = make_service(settings, read_manifest(data, str(path)), sha256=sha256_of(data, str(path)))
    configure_access_log()
    try:
        service.pool.start()
        _serve(service, listener)
    finally:
        service.pool.stop()
    _LOGGER.info("stopped")


def _serve(service: Service, listener: socket.socket) -> None:
    config = uvicorn.Config(
        make_app(service),
        http=connections_within(service.settings.limits),  # h11: the same parser everywhere, whatever else is installed
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it would hold addresses and queries
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(service.settings.drain_timeout_s),
    )
    # uvicorn raises the signal again when it has finished, for whoever handled it before; a stop is no failure
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Server(config, service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn that says where it listens, and answers what has arrived before it closes idle connections."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settings = self._service.settings
        port = sockets[0].getsockname()[1] if sockets else settings.port
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        fields = {
            "url": f"http://{host}:{port}",
            "model": self._service.manifest.name,
            "sha256": self._service.sha256,
            "workers": settings.workers,
            "token": bool(settings.token),
            "page": settings.page is not None,
        }
        _LOGGER.info("listening", extra={"fields": fields})
        if sys.stdout.isatty():
            sys.stdout.write(_greeting(fields["url"], page=fields["page"]))
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        _LOGGER.info("stopping", extra={"fields": {"pictures": self._service.backpressure.pictures}})
        for server in self.servers:
            server.close()
        await asyncio.sleep(_SETTLE_S)
        await super().shutdown(sockets)


def _greeting(url: str, *, page: bool) -> str:
    """What a person at the terminal is told, beside the log."""
    shown = f"The page: {url}" if page else "The page is not part of this copy: see  pocketcxr doctor"
    return f"{shown}\nThe interface for programs: {url}/v1/docs\nCtrl-C ends the service.\n"
