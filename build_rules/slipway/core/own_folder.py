"""Creates the folders of a cache, and checks that no other user can write to them.

Slipway builds from cached files and removes old ones. A user who can write to the cache could
therefore choose what Slipway builds, and what it deletes.
"""

from __future__ import annotations

import os
import stat

from slipway.core.errors import SlipwayError


def make(path: str) -> None:
    """Creates the folder `path` with its parents, or checks that this user owns it.

    Raises SlipwayError for a symlink, for a folder of another user, and for a folder that every
    user may write to. Raises OSError if the folder cannot be created.
    """
    os.makedirs(path, mode=0o755, exist_ok=True)
    state = os.lstat(path)
    if stat.S_ISLNK(state.st_mode):
        raise _refused(path, "a symlink", f"rm {path}")
    if state.st_uid != os.geteuid():
        way_out = (
            "run as that user, or use your own cache folder; in pants.toml: "
            '[GLOBAL] named_caches_dir = "…"'
        )
        raise _refused(path, f"a folder of user {state.st_uid}", way_out)
    if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
        way_out = f"check what is in it, then: chmod o-w {path}"
        raise _refused(path, "a folder that every user may write to", way_out)


def _refused(path: str, found: str, way_out: str) -> SlipwayError:
    return SlipwayError(f'"{path}" is not a safe cache folder', found=found, next=way_out)
