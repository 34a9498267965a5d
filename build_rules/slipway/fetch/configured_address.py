"""Parses addresses from the user's configuration: registries, mirrors, proxies, with any login.

An unescaped "#", "/" or "?" in a password ends the host for a URL parser. The rest of the password
then looks like a port, a path, a query or a fragment. So no part of such an address may be in a
message.
"""

from __future__ import annotations

from typing import Mapping, Optional
from urllib.parse import SplitResult, urlsplit

from slipway.core.errors import SlipwayError

ESCAPES = 'in a password, write "#" as %23, "/" as %2F, "?" as %3F and "@" as %40'


def parse(address: str) -> Optional[SplitResult]:
    """The parts of an address with a host; None for any other text."""
    try:
        parts = urlsplit(address)
        (parts.hostname or "").encode("idna")
        has_host = parts.hostname and parts.port != 0
    except ValueError:
        return None
    after_host = parts.path + parts.query + parts.fragment
    return parts if has_host and address.isprintable() and "@" not in after_host else None


def shown(address: str) -> str:
    """An address for messages, without login and query; empty if it may contain a password."""
    parts = parse(address)
    return f"{parts.scheme}://{host_of(parts)}{parts.path}" if parts else ""


def host_of(parts: SplitResult) -> str:
    """The host of an address, with port and without login."""
    return parts.netloc.rpartition("@")[2]


def require_all(addresses: Mapping[str, str], option: str) -> None:
    """Raises SlipwayError if a value of the option is not an address."""
    for name, address in sorted(addresses.items()):
        if parse(address) is None:
            raise SlipwayError(
                f'the mirror for "{name}" is not an address', where=option, next=ESCAPES
            )
