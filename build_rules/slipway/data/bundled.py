"""Looks up the files beside this module, in a folder or a wheel alike."""

from __future__ import annotations

import pkgutil
from typing import Optional


def read(name: str) -> Optional[bytes]:
    """The content of the file `name`, relative to this folder; None where there is no such file."""
    try:
        return pkgutil.get_data("slipway.data", name)
    except OSError:
        return None
