"""The program that writes a lock, from a mirror on the loopback interface to a lock on disk."""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from slipway.debian.lock import DebianLock, LockedPackage, read_lock, write_lock
from slipway.step.interface import ARGUMENTS
from slipway.toolchain.programs.generate_lock import LOCK, PROGRAM, Arguments
from tests.places import NO_VARIABLES, started
from tests.unit.debian.builders import spec_fields
from tests.unit.debian.test_archive import armoured
from tests.unit.fetch.loopback import Page, serve

STANZA = """\
Package: {0}
Version: 1.0-1
Architecture: amd64
Depends: {1}
Filename: pool/main/t/{0}/{0}_1.0-1_amd64.deb
Size: 1000000
SHA256: {2}

"""


def mirror_pages(release: str = "11.11", **replaced: str) -> Dict[str, Page]:
    """`replaced` is written in place of fields of the package `tool`."""
    listing = STANZA.format("tool", "libtool (>= 1)", "a" * 64)
    listing += STANZA.format("libtool", "", "b" * 64).replace("Depends: \n", "")
    for name, value in replaced.items():
        listing = re.sub(f"^{name}: .*", f"{name}: {value}", listing, count=1, flags=re.MULTILINE)
    packed = lzma.compress(listing.encode())
    text = (
        f"Codename: bullseye\nVersion: {release}\nDate: Sat, 31 Aug 2024 09:32:03 UTC\nSHA256:\n"
        f" {hashlib.sha256(packed).hexdigest()} {len(packed)} main/binary-amd64/Packages.xz\n"
    )
    folder = "/debian/dists/bullseye"
    return {
        f"{folder}/InRelease": armoured(text).encode(),
        f"{folder}/main/binary-amd64/Packages.xz": packed,
    }


def run(
    top: Path,
    mirror: Optional[str],
    spec: Optional[Dict[str, Any]] = None,
    env: Optional[Dict[str, str]] = None,
    trusted: Sequence[str] = ("bullseye",),
    below: Tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    (top / "image.json").write_text(json.dumps(spec or spec_fields()))
    settings = {
        "cache_dir": str(top / "cache"),
        "debian_mirror": mirror,
        "trusted_suites": trusted,
        "env": env or {"PATH": "/nowhere"},
        "patience": {"connect": 2, "stall": 1, "tries": 1},
    }
    (top / "settings.json").write_text(json.dumps(settings))
    call = PROGRAM(
        Arguments(
            spec="image.json",
            path="toolchains/base/image.json",
            old="packages.lock",
            resolve="toolchain:base",
            below=below,
        )
    )
    (top / ARGUMENTS).write_text(call.arguments)
    done = subprocess.run(
        [sys.executable, *started(call.program), "settings.json"],
        cwd=top,
        env=NO_VARIABLES,
        capture_output=True,
        text=True,
        check=False,
    )
    if (top / LOCK.path).exists():
        (top / LOCK.path).replace(top / "packages.lock")
    return done


def test_a_lock_is_written_without_the_mirrors_name(tmp_path: Path) -> None:
    with serve(mirror_pages()) as server:
        done = run(tmp_path, server.address + "/debian")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 packages, 2.0 MB, bullseye 11.11\n"
    (doubt,) = done.stderr.splitlines()
    assert doubt.startswith("accepted because of debian_trusted: cannot check the signature of ")
    text = (tmp_path / "packages.lock").read_text()
    lock = read_lock(text, "packages.lock")
    assert [package.name for package in lock.packages] == ["libtool", "tool"]
    assert (lock.release, lock.date, lock.wanted) == ("11.11", "2024-08-31", ("tool",))
    assert "127.0.0.1" not in text


def test_the_same_mirror_gives_the_same_lock(tmp_path: Path) -> None:
    texts = []
    with serve(mirror_pages()) as server:
        for _ in range(2):
            run(tmp_path, server.address + "/debian")
            texts.append((tmp_path / "packages.lock").read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("suite", "locked"), [("bullseye", ["tool"]), ("buster", ["libtool", "tool"])]
)
def test_only_packages_of_the_same_suite_below_satisfy_dependencies(
    tmp_path: Path, suite: str, locked: List[str]
) -> None:
    library = LockedPackage("libtool", "1.0-1", "amd64", "pool/main/t/t/t.deb", 1, "b" * 64)
    heads = (suite, "main", "amd64", "1", "2024-08-31", ("libtool",), ())
    (tmp_path / "below.lock").write_text(write_lock(DebianLock(*heads, (library,))))
    with serve(mirror_pages()) as server:
        done = run(tmp_path, server.address + "/debian", below=("below.lock",))
    assert done.returncode == 0, done.stderr
    lock = read_lock((tmp_path / "packages.lock").read_text(), "packages.lock")
    assert [package.name for package in lock.packages] == locked


@pytest.mark.parametrize("trusted", [(), ("bookworm",)])
def test_a_mirror_that_nobody_vouches_for_writes_no_lock(
    tmp_path: Path, trusted: Sequence[str]
) -> None:
    with serve(mirror_pages()) as server:
        done = run(tmp_path, server.address + "/debian", trusted=trusted)
    assert done.returncode == 1
    assert 'cannot check the signature of "dists/bullseye/InRelease"' in done.stderr
    assert "in:    the mirrors of the option `[slipway] debian_mirror`" in done.stderr
    assert "next:  apt-get install gpgv debian-archive-keyring" in done.stderr
    assert (
        "./pants --slipway-debian-trusted=bullseye generate-lockfiles --resolve=toolchain:base"
        in done.stderr
    )
    assert not (tmp_path / "packages.lock").exists()


@pytest.mark.parametrize("old", ["newer", "of another suite", "damaged"])
def test_the_age_of_the_old_lock_counts_where_it_is_of_the_same_suite(
    tmp_path: Path, old: str
) -> None:
    lock = tmp_path / "packages.lock"
    with serve(mirror_pages()) as server:
        run(tmp_path, server.address + "/debian")
        text = lock.read_text().replace("2024-08-31", "2024-09-01")
        if old == "of another suite":
            text = text.replace('"bullseye"', '"bookworm"')
        lock.write_text("{" if old == "damaged" else text)
        done = run(tmp_path, server.address + "/debian")
    assert done.returncode == 0
    assert ("2024-08-31; the lock was made from 2024-09-01" in done.stderr) is (old == "newer")


FAULTS: Dict[str, Any] = {
    "suite gone": (
        {},
        None,
        'cannot fetch the package index of "bullseye"',
        "set a mirror that still has it",
    ),
    "mirror broken": (
        {"/debian/dists/bullseye/InRelease": 500},
        None,
        "HTTP 500",
        "run the same command again",
    ),
    "unknown package": (
        None,
        spec_fields(wanted={"tols": "x"}),
        'the wanted package "tols"',
        "similar names: tool",
    ),
    "misspelt field": (
        None,
        spec_fields(wnated={}),
        'unknown field "wnated"',
        'write "wanted"',
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_and_the_old_lock_stays(case: str, tmp_path: Path) -> None:
    pages, spec, what, way_out = FAULTS[case]
    (tmp_path / "packages.lock").write_text("old")
    with serve(mirror_pages() if pages is None else pages) as server:
        done = run(tmp_path, server.address + "/debian", spec)
    assert done.returncode == 1
    assert what in done.stderr
    assert way_out in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "packages.lock").read_text() == "old"


NO_LOCK: Dict[str, Any] = {
    "a file outside": ({"Filename": "../../../etc/x.deb"}, "a file below pool/"),
    "an address": ({"Filename": "https://mirror.example/pool/x.deb"}, "a file below pool/"),
    "a hash": ({"SHA256": "x"}, "64 hexadecimal digits"),
    "a size": ({"Size": "0"}, "a number from 1"),
    "an architecture": ({"Architecture": "\x1b[31m"}, "an architecture"),
    "a release": ({"release": "12\x1bc\x1b]0;title\x07"}, "a release such as 11.11"),
}


@pytest.mark.parametrize("case", NO_LOCK)
def test_what_a_build_would_refuse_is_not_written(case: str, tmp_path: Path) -> None:
    """The mirror is trusted for this run: nothing but a lock's own form holds it back."""
    changed, expected = NO_LOCK[case]
    with serve(mirror_pages(**changed)) as server:
        done = run(tmp_path, server.address + "/debian")
    assert done.returncode == 1
    assert f'"the new lock" must have {expected}' in done.stderr
    assert "next:  use another mirror, because the data of this mirror is damaged" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert not (tmp_path / "packages.lock").exists()


def test_a_mirror_that_is_down_is_told(tmp_path: Path) -> None:
    with serve({}) as server:
        address = server.address
    done = run(tmp_path, address + "/debian")
    assert done.returncode == 1
    assert address in done.stderr
    assert "check the mirrors of the option `[slipway] debian_mirror`" in done.stderr
