"""Comparing archives by what is in them, and naming the first difference: member, then byte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, Iterator, List, Sequence, Tuple


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing(folder: Path) -> Dict[str, str]:
    """Every entry below a folder: path -> kind, mode and content."""
    found: Dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(place, name)
            relative = str(path.relative_to(folder))
            if path.is_symlink():
                found[relative] = f"link to {os.readlink(path)}"
            elif path.is_dir():
                found[relative] = "folder"
            else:
                found[relative] = f"{path.stat().st_mode & 0o777:o} {sha256(path)}"
    return found


def check_lists(folder: Path) -> List[str]:
    """Runs `sha256sum -c` on each list that a release carries; gives the lists' names."""
    lists = sorted(path.name for path in (folder / ".release").glob("*.sha256"))
    for name in lists:
        subprocess.run(
            ["sha256sum", "--check", "--quiet", "--strict", f".release/{name}"],
            cwd=folder,
            check=True,
            timeout=120,
        )
    return lists


def members(path: Path) -> Iterator[Tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path, "r:gz") as tar:
        for info in tar:
            content = tar.extractfile(info) if info.isfile() else None
            yield info, content.read() if content else b""


def first_difference(one: Path, other: Path) -> str:
    """Where two archives differ first, in words; empty if they are equal."""
    if one.read_bytes() == other.read_bytes():
        return ""
    layer = "runtime"
    for (left, left_bytes), (right, right_bytes) in zip(members(one), members(other)):
        where = f"layer {layer}, member {left.name}"
        if left.name != right.name:
            return f"layer {layer}: member {left.name} in one, {right.name} in the other"
        for fact in ("mode", "uid", "gid", "mtime", "type", "linkname", "uname", "gname"):
            if getattr(left, fact) != getattr(right, fact):
                return f"{where}: {fact} {getattr(left, fact)!r}, {getattr(right, fact)!r}"
        if left_bytes != right_bytes:
            return f"{where}: {_first_byte(left_bytes, right_bytes)}"
        if left.name.startswith(".release/"):
            layer = f"after {left.name}"
    return f"the compressed form: {_first_byte(one.read_bytes(), other.read_bytes())}"


def _first_byte(one: bytes, other: bytes) -> str:
    for place, (left, right) in enumerate(zip(one, other)):
        if left != right:
            near = slice(max(0, place - 20), place + 20)
            return f"byte {place}: {one[near]!r} in one, {other[near]!r} in the other"
    return f"{len(one)} bytes in one, {len(other)} in the other"


def extract(command: Sequence[str], target: Path) -> Dict[str, str]:
    target.mkdir(parents=True)
    subprocess.run(command, cwd=target, check=True, timeout=120)
    return listing(target)
