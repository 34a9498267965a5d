"""Parses the names of symbol versions in ELF files."""

from __future__ import annotations

import re
from typing import Optional, Tuple

_SYMBOL_VERSION = re.compile(r"([A-Za-z][A-Za-z0-9]*)_([0-9][0-9.]*)")


def split_version(version: str) -> Tuple[str, Optional[Tuple[int, ...]]]:
    """GLIBC_2.17 as ("GLIBC", (2, 17)); the numbers are None for names such as GLIBC_PRIVATE."""
    match = _SYMBOL_VERSION.fullmatch(version)
    if not match:
        return version.rpartition("_")[0], None
    return match[1], tuple(int(part) for part in match[2].split(".") if part)
