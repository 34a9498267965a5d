"""Checks the address of a proxy from the settings of npm or apt, or from the environment."""

from __future__ import annotations

from slipway.core.errors import SlipwayError
from slipway.fetch import configured_address


def parse(address: str, source: str, line: str, shown: str = "") -> str:
    """The http address of a proxy, with any login in it.

    Raises SlipwayError for any other scheme. An https proxy would get the login without TLS,
    because CPython's http.client connects to proxies in plain text; other proxies do not speak
    HTTP. `source` says where the setting is, and `line` is a valid example of it. Messages show
    `shown` instead of the address, if it is given.
    """
    shown = configured_address.shown(shown or address).rstrip("/")
    address = address if "://" in address else f"http://{address}"
    parts = configured_address.parse(address)
    if parts is None:
        raise SlipwayError(
            "the proxy address is not valid",
            where=source,
            next=f"{line}\n{configured_address.ESCAPES}",
        )
    if parts.scheme != "http":
        raise SlipwayError(
            "the proxy has an address that is not http",
            where=source,
            found=shown,
            next=line,
        )
    return address
