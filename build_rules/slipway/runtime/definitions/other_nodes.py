"""Advice for a Node that does not run on the oldest hosts of a toolchain."""

from __future__ import annotations

from typing import List, Optional, Sequence

from slipway.runtime.definitions.lines import order
from slipway.runtime.definitions.listing import Row


def advice(version: str, toolchain: str, rows: Sequence[Row], declared: Sequence[str]) -> str:
    """Which toolchain takes this Node, and which Node is for the hosts of this toolchain.

    `declared` are the addresses of the `node_runtime` targets with `rows`' newest fitting version.
    """
    lines: List[str] = []
    for row in rows:
        others = [name for name in row.toolchains or () if name != toolchain]
        if row.version == version and others:
            lines.append(
                "if all hosts are newer, name a toolchain with their policy in the bundle: "
                f'toolchain="{others[0]}"'
            )
            break
    fitting = newest_for(toolchain, rows)
    if fitting:
        address = declared[0] if declared else f"//toolchains/node:{fitting.version}"
        start = "or use" if lines else "use"
        lines.append(f'{start} the newest Node for these hosts: runtime="{address}"')
        if not declared:
            version = fitting.version
            lines.append(
                f'  with, in a BUILD file: node_runtime(name="{version}", version="{version}")'
            )
    return "\n".join(lines)


def newest_for(toolchain: str, rows: Sequence[Row]) -> Optional[Row]:
    """The newest definition that a toolchain takes; None without one."""
    fitting = [row for row in rows if toolchain in (row.toolchains or ())]
    return sorted(fitting, key=lambda row: order(row.version))[-1] if fitting else None
