"""Addresses of computers: what is this one, for services that are safe only there."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this computer can reach the address; a name other than ``localhost`` counts as reachable by all."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
