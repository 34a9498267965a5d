"""Reads the data files beside this module, from a folder or from a wheel."""

from __future__ import annotations

import pkgutil
from typing import Optional


def read(name: str) -> Optional[bytes]:
    """The content of the file `name`, relative to this folder; None if it does not exist."""
    try:
        return pkgutil.get_data("slipway.data", name)
    except OSError:
        return None
