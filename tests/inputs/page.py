"""The docs page on checks of inputs: compared with the results of the tests, or written by them.

SLIPWAY_WRITE_PAGES=1 pytest -m "long or not long" tests/inputs tests/e2e/test_remote_cache.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Dict, Sequence, Tuple

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGE, OUTCOMES = FOLDER / "what-is-checked.md", FOLDER / "what-is-checked.json"
FETCHED, CACHED, REMOTE = "fetched", "found in a cache of downloads", "offered by a remote cache"
MOMENTS = (FETCHED, CACHED, REMOTE)
SEPARATE = "—"

Outcomes = Dict[str, Dict[str, str]]

TEXT = """\
# How Slipway checks each input

This page lists every kind of content that enters a build from outside, and the checks that Slipway makes before a step can use the content. Tests
write this page. For each cell, a server, a cache or a lock supplies content that differs from the lock, and the test runs the real program. The
cell lists the differences that the program refused. For example, `size, SHA-256` means that Slipway refuses content that differs in only one of
them, and passes no part of it on.

{table}

- **{fetched}**: from a registry, mirror, server or file. Slipway does not keep content that it refuses.
- **{cached}**: found by its name in `~/.cache/pants/named_caches/slipway_downloads` or in pip's cache. Slipway hashes the content each time it reads
  it. If the bytes do not match the name, Slipway fetches the content again. The cell lists the checks against the lock.
- **{remote}**: a remote cache holds results of steps. Slipway never reads content that locks name from a remote cache; the step that needs the
  content fetches it. Anyone who can write to the cache can replace results: see [what a step sees](../explanation/what-a-step-sees.md).
- `{separate}`: this moment does not exist for this kind.

For npm tarballs, one more check follows. The install step checks each tarball against the integrity in `package-lock.json` before it passes the
tarball to `npm ci`.

## See also

- [Review lock changes](../explanation/reviewing-lock-changes.md)
- [The fetch lock](fetch-lock.md)
"""


def hold(name: str, moment: str, outcome: str) -> None:
    """Compares a cell of the page with the result of a test, or writes the result into the page."""
    outcomes = read()
    if os.environ.get("SLIPWAY_WRITE_PAGES"):
        outcomes.setdefault(name, {})[moment] = outcome
        OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    assert outcomes.get(name, {}).get(moment) == outcome


def read() -> Outcomes:
    outcomes: Outcomes = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    return outcomes


def render(inputs: Sequence[Tuple[str, str]], outcomes: Outcomes) -> str:
    """The page; `inputs` are the rows: the kind of content, and the lock that names it."""
    lines = [["Input", "Named by", *(moment.capitalize() for moment in MOMENTS)]]
    lines.append(["---"] * len(lines[0]))
    for name, named_by in inputs:
        seen = outcomes.get(name, {})
        lines.append([name, named_by, *(seen.get(moment, SEPARATE) for moment in MOMENTS)])
    return TEXT.format(
        table="\n".join(f"| {' | '.join(line)} |" for line in lines),
        fetched=FETCHED.capitalize(),
        cached=CACHED.capitalize(),
        remote=REMOTE.capitalize(),
        separate=SEPARATE,
    )
