"""Writes the page of the docs about faults, from strikes on real hosts.

PYTHONPATH=.:build_rules python3 tests/deploy/write_fault_table.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.deploy import faults
from tests.deploy.fleet import farm_of
from tests.e2e import harness

PAGE = harness.REPOSITORY / "docs" / "reference" / "deploy-faults.md"
HOSTS = 8
STRIKES = {
    (state, fault): 20 if fault in ("coordinator killed", "agent killed") else 5
    for state, fault in faults.CELLS
}
SEED = "20261122"

TEXT = """\
# Faults of a deploy, and what is left of a host

Written by `tests/deploy/write_fault_table.py` from {count} strikes with the seed {seed} on {hosts} hosts with an OpenSSH server each. Each row tells how
often a fault was struck in a state of the journal, and what the host served then, without help: the old or the new release, whole by its hashes,
healthy, and the only one that runs. Files of others, in the folder and beside it, had to be as before, and the hook `always` had to have run once for
each switch. Then the next deploy had to work with no manual step; where it did not, or anything else was found, it would count as
`{wrong}`. The times are the longest of a row: until a lock whose holder is gone was free, and until nothing was under way any more.

{table}

`looking` and `staging` come before anything is served anew, `going back` is the way from a release that is not healthy, `recovering` what
completes a switch whose agent was killed. `link cut` is a partition, `power cut` ends all of the host, which then boots.
"""


def write(outcomes: list[faults.Outcome]) -> None:
    head, *rest = faults.rows(outcomes)
    lines = [head, ["---"] * len(head), *rest]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    facts = {"count": len(outcomes), "seed": SEED, "hosts": HOSTS, "wrong": faults.WRONG}
    PAGE.write_text(TEXT.format(table=table, **facts))


def main() -> int:
    with tempfile.TemporaryDirectory() as releases, farm_of(HOSTS) as farm:
        matrix = faults.Matrix(farm, Path(releases), SEED, STRIKES)
        matrix.log = lambda line: print(line, flush=True)
        outcomes = matrix.run()
    write(outcomes)
    return 0 if all(one.kept_promise for one in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
