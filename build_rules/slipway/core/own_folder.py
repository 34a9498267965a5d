"""Folders of a cache: whoever else could write to them would choose what is built and removed."""

from __future__ import annotations

import os
import stat

from slipway.core.errors import SlipwayError


def make(path: str) -> None:
    """Makes the folder at `path`, and those above it, or sees that it is this user's own.

    Raises SlipwayError for a link, for another user's folder, and for one that every user may write
    to; OSError where there is no folder and can be none.
    """
    os.makedirs(path, mode=0o755, exist_ok=True)
    state = os.lstat(path)
    if stat.S_ISLNK(state.st_mode):
        raise _refused(path, "a link", f"rm {path}")
    if state.st_uid != os.geteuid():
        way_out = (
            "run as that user, or with a cache of your own; in pants.toml: "
            '[GLOBAL] named_caches_dir = "…"'
        )
        raise _refused(path, f"a folder of user {state.st_uid}", way_out)
    if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
        way_out = f"see what is in it, and: chmod o-w {path}"
        raise _refused(path, "a folder that every user may write to", way_out)


def _refused(path: str, found: str, way_out: str) -> SlipwayError:
    return SlipwayError(f'"{path}" is no folder of a cache to rely on', found=found, next=way_out)
