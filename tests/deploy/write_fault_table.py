"""Writes the docs page on faults of a deploy, from faults on real hosts.

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
# Faults of a deploy, and what they leave on a host

This page shows which release a host serves after a fault during a deploy. Without help, the host must return to the old release or reach the new release.
That release must be complete by its hashes, healthy, and the only one that runs. Other files on the host must be unchanged. The hook `always` must have
run once for each switch, and the next deploy must succeed without a manual step.

`tests/deploy/write_fault_table.py` writes the table from real deploys: {count} faults on {hosts} hosts with OpenSSH, with the seed {seed} for random times.

- `state` is the state in the host's journal when the fault struck, and `times` is the number of faults.
- `old` and `new` count the hosts that served the old or the new release afterwards. `{wrong}` counts every other result.
- `lock free` is the longest time until the lock of a dead holder was free. `settled` is the longest time until no step was in progress.

{table}

## States and faults

- `looking`, `staging`: the deploy has not yet changed what the host serves.
- `going back`: the host returns from a release that is not healthy.
- `recovering`: a process completes a switch after the agent was killed.
- `link cut`: the network between the machines is interrupted.
- `power cut`: all processes of the host end, and then the host boots.

## See also

- [How a deploy works on a host](../explanation/deploy-protocol.md)
- [Help a host that is stuck](../how-to/when-a-host-is-stuck.md)
"""


def write_page(outcomes: list[faults.Outcome]) -> None:
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
    write_page(outcomes)
    return 0 if all(outcome.kept_promise for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
