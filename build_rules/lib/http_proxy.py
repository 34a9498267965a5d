"""The address of a proxy, as clients' settings have it."""

from __future__ import annotations

from urllib.parse import urlsplit

from build_rules.lib.errors import SlipwayError


def parse(address: str, source: str, line: str) -> str:
    """The http address of a proxy, with the login that may stand in it.

    Another scheme is refused: its login would be sent without TLS, or it would not answer at all.
    `source` is where the setting stands, `line` a right one.
    """
    address = address if "://" in address else f"http://{address}"
    parts = urlsplit(address)
    if parts.scheme != "http" or not parts.hostname:
        raise SlipwayError(
            "only proxies with an http address are known",
            where=source,
            found=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            next=line,
        )
    return address
