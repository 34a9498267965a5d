"""The commands that build a runtime from source: a definition has them, and a build step runs them.

They are a module of their own, since an edit of any module that a build step imports runs it again,
and a build of Node.js takes an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple


@dataclass(frozen=True)
class Recipe:
    """What changes the result of a build; `sha256` is the hash of the source archive.

    `{prefix}` in `install` is replaced by the folder that is packed. After the build, the command
    `check` must print `says`; its program is relative to that folder.
    """

    sha256: str
    patches: Tuple[str, ...]
    python: str
    configure: Tuple[str, ...]
    make: Tuple[str, ...]
    test: str
    test_targets: Tuple[str, ...]
    install: Tuple[str, ...]
    check: Tuple[str, ...]
    says: str
