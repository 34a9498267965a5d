"""What the fetch program does with each kind of content where that is not what the lock names.

Every strike runs the program and looks at what it wrote; the words are for the page.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Callable, Dict, List

from tests.inputs.kinds import OTHER, RIGHT, Kind, ask, other_than
from tests.unit.step.programs.fetching import Run

_WRONG = re.compile(r"wrong (size|integrity|SHA-256)|(SHA-256 in the lock belongs to another)")


def when_fetched(kind: Kind, folder: Path) -> str:
    """Other bytes of the same size are served; then each word of the lock is made wrong alone."""
    served = Run(_new(folder / "served"))
    with kind.serve(served, OTHER) as fields:
        ask(served, fields, kind.integrity)
        _refused(served)
    return _told([check for check in WORDS if _holds(kind, check, folder, cached=False)])


def when_cached(kind: Kind, folder: Path) -> str:
    """The cache holds other bytes; then each word of the lock is made wrong over a sound cache."""
    run = Run(_new(folder / "spoilt"))
    with kind.serve(run, RIGHT) as fields:
        ask(run, fields, kind.integrity)
        assert run.counts()["downloaded"] == 1
        (cached,) = (path for path in (run.cache / "sha256").rglob("*") if path.is_file())
        cached.chmod(0o644)
        cached.write_bytes(OTHER)
        assert run.counts()["downloaded"] == 1
        assert (run.out / "content").read_bytes() == RIGHT
    return _told([check for check in WORDS if _holds(kind, check, folder, cached=True)])


def _holds(kind: Kind, check: str, folder: Path, *, cached: bool) -> bool:
    """Whether the right content is refused where the lock has another word for it."""
    if check == "integrity" and not kind.integrity:
        return False
    run = Run(_new(folder / f"{check} {cached}"))
    with kind.serve(run, RIGHT) as fields:
        ask(run, fields, kind.integrity)
        if cached:
            assert run.counts()["downloaded"] == 1
            (run.out / "content").unlink()
        run.requests[0].update(WORDS[check](run.requests[0]))
        _refused(run)
    return True


WORDS: Dict[str, Callable[[Dict[str, Any]], Dict[str, Any]]] = {
    "size": lambda request: {"size": request["size"] + 1},
    "integrity": lambda request: {"integrity": other_than(request["integrity"])},
    "SHA-256": lambda request: {"sha256": hashlib.sha256(OTHER).hexdigest()},
}


def _refused(run: Run) -> None:
    assert _WRONG.search(run.fails())
    assert not (run.out / "content").exists()


def _told(checks: List[str]) -> str:
    return ", ".join(checks)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
