#!/usr/bin/env python3
"""Renews a lock of this folder: python3 relock.py pants.in python3.7 python3.8 python3.9

The oldest interpreter comes first: its resolution is tried on the others too, so that a lock has one
version of each package wherever that is possible, and a marker only where it is not needed
everywhere. The lock names packages, versions and hashes; the index is that of the user's own pip.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Set

RESOLVER = "pip==24.0"  # the newest that runs on all of them


def resolve(interpreter: str, wanted: Path, pins: Path, scratch: Path) -> List[Any]:
    venv = scratch / Path(interpreter).name
    python = str(venv / "bin" / "python")
    subprocess.run([interpreter, "-m", "venv", str(venv)], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", RESOLVER], check=True)
    report = scratch / "report.json"
    command = [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--only-binary", ":all:", "--report", str(report)]
    command += ["--requirement", str(wanted), "--constraint", str(pins)]
    subprocess.run(command, check=True)
    installed: List[Any] = json.loads(report.read_text())["install"]
    return installed


def main(source: str, *interpreters: str) -> None:
    wanted = Path(source).resolve()
    versions: Dict[str, str] = {}
    hashes: Dict[str, Set[str]] = {}
    needed_by: Dict[str, List[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for interpreter in interpreters:
            pins = scratch / "pins.txt"
            pins.write_text("".join(f"{name}=={version}\n" for name, version in versions.items()))
            for package in resolve(interpreter, wanted, pins, scratch):
                name = package["metadata"]["name"].lower().replace("_", "-")
                versions[name] = package["metadata"]["version"]
                digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
                hashes.setdefault(name, set()).add(digest)
                needed_by.setdefault(name, []).append(Path(interpreter).name[len("python") :])

    known = ", ".join(Path(interpreter).name[len("python") :] for interpreter in interpreters)
    lines = [
        f"# Made from {wanted.name} by relock.py, for CPython {known} on Linux x86-64.",
        f"# To renew: python3 3rdparty/python/relock.py 3rdparty/python/{wanted.name} python3.7 …",
    ]
    for name in sorted(versions):
        marker = ""
        if len(needed_by[name]) < len(interpreters):
            marker = " ; " + " or ".join(f'python_version == "{v}"' for v in needed_by[name])
        lines.append(f"{name}=={versions[name]}{marker} \\")
        digests = sorted(hashes[name])
        lines += [f"    --hash=sha256:{digest} \\" for digest in digests[:-1]]
        lines.append(f"    --hash=sha256:{digests[-1]}")
    wanted.with_suffix(".lock").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
