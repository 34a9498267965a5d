"""The address of a proxy, as clients' settings have it."""

from __future__ import annotations

from slipway.core.errors import SlipwayError
from slipway.fetch import configured_address


def parse(address: str, source: str, line: str, shown: str = "") -> str:
    """The http address of a proxy, with the login that may stand in it.

    Another scheme is refused: its login would be sent without TLS, or it would not answer at all.
    `source` is where the setting stands, `line` a right one; `shown` is what messages may show of
    it, if that is not the address.
    """
    shown = configured_address.shown(shown or address).rstrip("/")
    address = address if "://" in address else f"http://{address}"
    parts = configured_address.parse(address)
    if parts is None:
        raise SlipwayError(
            "the address of a proxy cannot be read",
            where=source,
            next=f"{line}\n{configured_address.ESCAPES}",
        )
    if parts.scheme != "http":
        raise SlipwayError(
            "only proxies with an http address are known",
            where=source,
            found=shown,
            next=line,
        )
    return address
