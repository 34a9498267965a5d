"""The program that writes a fetch lock, run as the goal runs it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Dict, Optional

import pytest

from slipway.npm.lockfiles import fetch_lock
from slipway.npm.lockfiles import lock as npm_lock
from slipway.npm.programs.generate_lock import LOCK, PROGRAM, Arguments
from slipway.step.interface import ARGUMENTS
from tests.places import NO_VARIABLES, started
from tests.unit.npm.builders import entry, lock_text, lock_text_v1, sha1, sha512
from tests.unit.registry_stub import Registry

PATH = "apps/x/package-lock.json"
COMMAND = "./pants generate-lockfiles --resolve=npm:apps/x"
LEFT, RIGHT = b"left " * 99, b"right " * 99


def _entry(content: bytes, **fields: Any) -> Dict[str, Any]:
    return entry(**{"integrity": sha512(content), **fields})


def packed(text: bytes = b"", **manifest: Any) -> bytes:
    """A package with this package.json."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        content = text or json.dumps(manifest).encode()
        info = tarfile.TarInfo("package/package.json")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _line(name: str, content: bytes, version: str = "1.0.0", weak: str = "") -> str:
    digest = hashlib.sha256(content).hexdigest()
    return f"{name} {version} {sha512(content)} {digest} {len(content)}{weak and ' ' + weak}"


class Run:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "npm-fetch.lock"
        self.registry: Optional[str] = None

    def program(self, lock: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "package-lock.json").write_text(lock)
        settings = {
            "cache_dir": str(self.folder / "cache"),
            "registry": self.registry,
            "env": {"PATH": "/nowhere"},
            "patience": {"backoff": 0.01},
        }
        (self.folder / "settings.json").write_text(json.dumps(settings))
        call = PROGRAM(Arguments(lock="package-lock.json", path=PATH, old=str(self.out)))
        (self.folder / ARGUMENTS).write_text(call.arguments)
        written = self.folder / LOCK.path
        with contextlib.suppress(FileNotFoundError):
            written.unlink()
        done = subprocess.run(
            [sys.executable, *started(call.program), "settings.json"],
            cwd=self.folder,
            env=NO_VARIABLES,
            capture_output=True,
            text=True,
            check=False,
        )
        if written.exists():
            written.replace(self.out)
        return done

    def write(self, lock: str) -> Dict[str, int]:
        done = self.program(lock)
        assert done.returncode == 0, done.stderr
        counts: Dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        written = fetch_lock.parse(self.out.read_text(), "npm-fetch.lock", COMMAND)
        fetch_lock.require_fresh(npm_lock.parse(lock, PATH), written)
        return counts

    def lines(self) -> str:
        return self.out.read_text().partition("\n")[2]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_records_hash_and_size_of_each_tarball(run: Run) -> None:
    lock = lock_text(
        {
            "node_modules/left": _entry(LEFT),
            "node_modules/other": {**_entry(RIGHT), "name": "@team/right"},
            "node_modules/left/node_modules/inner": {"version": "1.0.0", "inBundle": True},
        }
    )
    with Registry({"left": {"1.0.0": LEFT}, "@team/right": {"1.0.0": RIGHT}}) as registry:
        run.registry = registry.url
        counts = run.write(lock)
        assert registry.host not in run.out.read_text()
    assert counts == {
        "downloaded": 2, "cached": 0, "kept": 0, "bytes": len(LEFT) + len(RIGHT),
    }  # fmt: skip
    assert run.out.read_text().splitlines()[0].endswith(f"Renew it with: {COMMAND}")
    assert run.lines() == f"{_line('@team/right', RIGHT)}\n{_line('left', LEFT)}\n"


def test_only_new_tarballs_are_fetched(run: Run) -> None:
    both = {"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}
    with Registry(both) as registry:
        run.registry = registry.url
        run.write(lock_text({"node_modules/left": _entry(LEFT)}))
        counts = run.write(
            lock_text({"node_modules/left": _entry(LEFT), "node_modules/right": _entry(RIGHT)})
        )
        assert (counts["kept"], counts["downloaded"]) == (1, 1)
        assert len(registry.requests) == 2
        counts = run.write(lock_text({"node_modules/right": _entry(RIGHT)}))
        assert (counts["kept"], counts["downloaded"]) == (1, 0)
    assert run.lines() == f"{_line('right', RIGHT)}\n"


def test_without_the_old_lock_hashes_come_from_the_cache(run: Run) -> None:
    lock = lock_text({"node_modules/left": _entry(LEFT)})
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.registry = registry.url
        run.write(lock)
        before = run.out.read_text()
        run.out.unlink()
        assert run.write(lock)["cached"] == 1
        assert len(registry.requests) == 1
    assert run.out.read_text() == before


def test_a_damaged_old_lock_is_replaced(run: Run) -> None:
    run.out.write_text("<<<<<<< ours\n")
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.registry = registry.url
        run.write(lock_text({"node_modules/left": _entry(LEFT)}))
    assert run.lines() == f"{_line('left', LEFT)}\n"


def test_sha1_is_accepted_once_by_name_and_recorded_with_sha512(run: Run) -> None:
    lock = lock_text_v1({"left": entry(integrity=sha1(LEFT))})
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.registry = registry.url
        done = run.program(lock)
        assert "apps/x/package-lock.json has only a weaker hash than sha512" in done.stderr
        assert "  left@1.0.0" in done.stderr
        assert run.lines() == f"{_line('left', LEFT, weak=sha1(LEFT))}\n"
        again = run.program(lock)
        assert again.returncode == 0
        assert again.stderr == ""


def test_an_entry_without_integrity_is_accepted_once_by_name_and_version(run: Run) -> None:
    content = packed(name="left", version="1.0.0")
    lock = lock_text({"node_modules/left": {"version": "1.0.0"}})
    with Registry({"left": {"1.0.0": content}}) as registry:
        run.registry = registry.url
        done = run.program(lock)
        assert "apps/x/package-lock.json has no integrity for these packages" in done.stderr
        assert "  left@1.0.0" in done.stderr
        assert run.lines() == f"{_line('left', content)}\n"
        # The registry may change the file: the fetch lock decides from now on.
        registry.faults["*"] = ["wrong"]
        assert run.write(lock)["kept"] == 1
    assert run.lines() == f"{_line('left', content)}\n"


def test_an_optional_package_that_the_registry_lacks_is_skipped_and_named(run: Run) -> None:
    lock = lock_text(
        {
            "node_modules/left": _entry(LEFT),
            "node_modules/gone": _entry(RIGHT, optional=True),
            "node_modules/left/node_modules/unlocked": {"version": "2.0.0", "optional": True},
        }
    )
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.registry = registry.url
        done = run.program(lock)
        assert done.returncode == 0, done.stderr
        assert "the registry does not have these optional packages of apps/x/pack" in done.stderr
        assert "  gone@1.0.0\n" in done.stderr
        expected = f"{_line('left', LEFT)}\n- gone 1.0.0 {sha512(RIGHT)}\n- unlocked 2.0.0\n"
        assert run.lines() == expected
        assert run.write(lock)["kept"] == 1
    with Registry({"gone": {"1.0.0": RIGHT}}) as registry:
        run.registry = registry.url
        run.write(lock)
    assert _line("gone", RIGHT) in run.lines()


@pytest.mark.parametrize("fault", ["404", "401", "500", "wrong"])
def test_only_what_is_optional_everywhere_and_not_there_is_skipped(run: Run, fault: str) -> None:
    packages = {
        "node_modules/left": _entry(LEFT, optional=True),
        "node_modules/right": _entry(RIGHT),
        "node_modules/right/node_modules/left": _entry(LEFT, optional=fault != "404"),
    }
    with Registry({"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}) as registry:
        run.registry = registry.url
        registry.faults["/left"] = registry.faults["/left/-/left-1.0.0.tgz"] = [fault, "…"]
        done = run.program(lock_text(packages))
    assert done.returncode == 1
    assert "1 of 2 files could not be fetched" in done.stderr
    assert not run.out.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>log in</html>", "left@1.0.0: the registry returned no npm package"),
        (packed(name="left", version="2.0.0"), "left@1.0.0: the registry returned left@2.0.0"),
        (packed(name="evil\n\x1b", version="1.0.0"), r"the registry returned evil\n\x1b@1.0.0"),
        (packed(other=[]), "left@1.0.0: the registry returned None@None"),
        (packed(b"{"), "left@1.0.0: its package.json is not JSON"),
    ],
)
def test_what_no_hash_identifies_must_be_the_package_of_its_entry(
    run: Run, content: bytes, said: str
) -> None:
    with Registry({"left": {"1.0.0": content}}) as registry:
        run.registry = registry.url
        done = run.program(lock_text({"node_modules/left": {"version": "1.0.0"}}))
    assert done.returncode == 1
    assert "cannot pin entries" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not run.out.exists()


def test_a_remote_tarball_is_fetched_from_its_own_address(run: Run) -> None:
    with Registry({}) as server:
        server.files["/left.tgz"] = LEFT
        lock = lock_text(
            {"node_modules/left": _entry(LEFT, resolved=f"{server.url}left.tgz")},
            {"dependencies": {"left": f"{server.url}left.tgz"}},
        )
        run.write(lock)
        assert server.paths() == ["/left.tgz"]
        assert server.host not in run.out.read_text()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("404", "the registry does not have it"),
        ("401", "requires a login"),
        ("500", "HTTP 500"),
        ("wrong", "wrong integrity"),
        ("truncated", "truncated after 297 of 594 bytes"),
    ],
)
def test_a_failure_leaves_the_old_fetch_lock(run: Run, fault: str, said: str) -> None:
    with Registry({"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}) as registry:
        run.registry = registry.url
        run.write(lock_text({"node_modules/left": _entry(LEFT)}))
        before = run.out.read_text()
        registry.faults["*"] = [fault, "…"]
        both = lock_text({"node_modules/left": _entry(LEFT), "node_modules/right": _entry(RIGHT)})
        done = run.program(both)
        assert done.returncode == 1
        assert "1 of 1 files could not be fetched" in done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert run.out.read_text() == before
        registry.faults.clear()
        run.write(both)


def test_a_lock_that_cannot_be_installed_is_refused_before_anything_is_fetched(run: Run) -> None:
    done = run.program(lock_text({"node_modules/left": entry("1.x", integrity=None)}))
    assert done.returncode == 1
    assert "apps/x/package-lock.json:11: node_modules/left: has no integrity" in done.stderr
    assert not run.out.exists()


def test_a_private_scope_from_the_common_registry_is_reported(run: Run) -> None:
    lock = lock_text(
        {
            "node_modules/left": _entry(LEFT, resolved="https://registry.example/left.tgz"),
            "node_modules/@corp/right": {
                **_entry(RIGHT), "resolved": "https://npm.corp.example/right.tgz",
            },
        }
    )  # fmt: skip
    packages = {"left": {"1.0.0": LEFT}, "@corp/right": {"1.0.0": RIGHT}}
    with Registry(packages) as registry:
        run.registry = registry.url
        done = run.program(lock)
    assert done.returncode == 0, done.stderr
    assert "@corp/right: fetched from the registry of [slipway].npm_registry" in done.stderr
    assert "add to ~/.npmrc: @corp:registry=https://npm.corp.example/" in done.stderr


def test_names_in_messages_have_no_control_characters(run: Run) -> None:
    host = "https://evil\x1bc\x07\u202e\u2028.example/right.tgz"
    lock = lock_text({"node_modules/@corp/right": _entry(RIGHT, resolved=host)})
    with Registry({"@corp/right": {"1.0.0": RIGHT}}) as registry:
        run.registry = registry.url
        done = run.program(lock)
    assert done.returncode == 0, done.stderr
    assert r"evil\x1bc\x07\u202e\u2028.example" in done.stderr
    assert done.stderr.replace("\n", "").isprintable()
    assert len(done.stderr.splitlines()) == 1
