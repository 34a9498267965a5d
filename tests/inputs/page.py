"""The page of the docs about what is checked when: held against what tests see, or written by them.

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
# What is checked, by what, when

This page lists every kind of content that comes into a build from outside, and what Slipway holds it against before a step can use it.
Tests write it: for each cell a server, a cache or a lock gives something else than the lock names, the real program runs, and the cell says
which differences it refused. `size, SHA-256` means that a content which differs in one of them alone is refused, and that nothing of it is
handed on.

{table}

- **{fetched}**: from a registry, mirror, server or file. A refused content is not kept.
- **{cached}**: by its name, in `~/.cache/pants/named_caches/slipway_downloads` or pip's own cache. Every content is hashed again each time that it is
  read. Where its bytes are not those of its name, it is fetched again; the cell says what the lock holds against it.
- **{remote}**: a remote cache holds results of steps. Contents that locks name are never read from there: they are fetched by the step that
  needs them. A result is as good as who may write to the cache: see [what a step sees](../explanation/what-a-step-sees.md).
- `{separate}`: there is no such moment for this kind.

`npm ci` gets the tarballs after one more check: the step that installs holds each of them against the integrity of `package-lock.json`
again, whatever way it came.

## See also

- [Review lock changes](../explanation/reviewing-lock-changes.md)
- [Fetch lock](fetch-lock.md)
"""


def hold(name: str, moment: str, outcome: str) -> None:
    """Holds the page against what a test has just seen, or writes that into it."""
    outcomes = read()
    if os.environ.get("SLIPWAY_WRITE_PAGES"):
        outcomes.setdefault(name, {})[moment] = outcome
        OUTCOMES.write_text(json.dumps(outcomes, indent=1, sort_keys=True) + "\n")
    assert outcomes.get(name, {}).get(moment) == outcome


def read() -> Outcomes:
    outcomes: Outcomes = json.loads(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    return outcomes


def render(inputs: Sequence[Tuple[str, str]], outcomes: Outcomes) -> str:
    """`inputs` are the rows: what comes in, and what names it."""
    lines = [["What comes in", "Named by", *(moment.capitalize() for moment in MOMENTS)]]
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
