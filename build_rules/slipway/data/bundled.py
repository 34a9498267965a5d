"""Reads the data files beside this module, from a folder or from a wheel."""

from __future__ import annotations

import os
import pkgutil
from typing import List, Optional


def read(name: str) -> Optional[bytes]:
    """The content of the file `name`, relative to this folder; None if it does not exist."""
    try:
        return pkgutil.get_data("slipway.data", name)
    except OSError:
        return None


def names(folder: str) -> List[str]:
    """The names of the files in `folder`, relative to this folder; sorted."""
    return sorted(os.listdir(os.path.join(os.path.dirname(__file__), folder)))
