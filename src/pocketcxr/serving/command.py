"""Runs ``pocketcxr serve``: bind first, which tells at once that an address is taken, then load what answers."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pocketcxr.errors import ConfigError

if TYPE_CHECKING:
    from pocketcxr.serving.settings import Settings


def run_serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; returns when all accepted requests were answered.

    Raises:
        BundleError: no usable bundle.
        ConfigError: the address cannot be bound.
    """
    with _bound_socket(settings.host, settings.port) as listener:
        from pocketcxr.serving.server import serve_on  # the web framework takes a second to import

        serve_on(listener, settings)


def _bound_socket(host: str, port: int) -> socket.socket:
    listener = None
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error.strerror}): choose another with --host or --port"
        ) from error
    return listener
