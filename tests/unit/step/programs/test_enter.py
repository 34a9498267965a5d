"""The way into a step: which outputs are taken, and what is said when a step cannot run.

The root is nothing but links to this machine's own /usr, which comes in as an input.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from tests.places import started

ENTER = "slipway.step.programs.enter"


def make_root(path: Path) -> str:
    folders = ("build", "tmp", "home", "dev", "proc")
    entries = [Entry(name, "folder") for name in folders]
    entries.append(Entry("usr", "link", target="build/in/usr"))
    entries += [
        Entry(name, "link", target=os.readlink(f"/{name}"))
        for name in ("bin", "lib", "lib64")
        if os.path.islink(f"/{name}")
    ]
    layers.write_tar(str(path), entries)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Sandbox:
    """The folder in which Pants would start `enter.py`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("trees/0", "trees_cache", "slipway", "in", "host"):
            (folder / name).mkdir(parents=True)
        self.layer = folder / "trees" / "0" / "base.tar"
        self.sha256 = make_root(self.layer)
        (folder / "in" / "usr").symlink_to("/usr")
        (folder / "in" / "file").write_text("an input\n")
        self.time_limit: float = 60
        self.limits = {"memory": "50%", "processes": 4096, "space": "4GB", "inodes": 100_000}
        self.isolators = ["namespaces"]
        self.docker: Optional[Dict[str, Any]] = None

    def run(
        self, script: str, outputs: Sequence[str] = (), before: Sequence[str] = (), **more: Any
    ) -> Tuple[int, str, str]:
        step: Dict[str, Any] = {
            "argv": ["/bin/sh", "-c", script],
            "env": {},
            "outputs": list(outputs),
            "trees": [{"layer": "0/base.tar", "sha256": self.sha256, "target": "/"}],
            **more,
        }
        (self.folder / "step.json").write_text(json.dumps(step))
        (self.folder / "host" / "settings.json").write_text(
            json.dumps(
                {
                    "time_limit": self.time_limit,
                    "limits": self.limits,
                    "isolators": self.isolators,
                    "docker": self.docker,
                }
            )
        )
        done = subprocess.run(
            [*before, sys.executable, *started(ENTER)],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "SECRET": "of the machine"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def outputs(self) -> List[str]:
        return sorted(path.name for path in (self.folder / "out").iterdir())


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


def test_a_step_leaves_its_outputs_and_no_others(sandbox: Sandbox) -> None:
    script = "cat in/file >out/a; echo b >out/b; mkdir -p out/c/d; ln -s /nowhere out/e"
    assert sandbox.run(script, ["a"]) == (0, "", "")
    assert sandbox.outputs() == ["a"]
    assert (sandbox.folder / "out" / "a").read_text() == "an input\n"


def test_the_environment_is_the_step_s_own(sandbox: Sandbox) -> None:
    code, out, _ = sandbox.run("env | grep -v ^PWD= | sort; pwd", env={"ONE": "1"})
    assert code == 0
    assert out.splitlines() == [
        *("HOME=/home/build", "LANG=C.UTF-8", "LOGNAME=build", "ONE=1"),
        *("PATH=/usr/local/bin:/usr/bin:/bin", "SHELL=/bin/sh", "TMPDIR=/tmp", "TZ=UTC"),
        *("USER=build", "/build"),
    ]


def test_the_umask_of_the_user_does_not_show(sandbox: Sandbox) -> None:
    tool = sandbox.folder / "in" / "folder" / "tool"
    tool.parent.mkdir()
    tool.write_text("")
    for path, mode in ((tool, 0o700), (tool.parent, 0o700), (sandbox.folder / "slipway", 0o700)):
        path.chmod(mode)
    (sandbox.folder / "in" / "file").chmod(0o600)
    places = "in out slipway in/file in/folder in/folder/tool"
    code, out, err = sandbox.run(
        f"umask; stat -c %a {places}", before=["sh", "-c", 'umask 077 && exec "$@"', "sh"]
    )
    assert (code, err) == (0, "")
    assert out.split() == ["0022", "755", "755", "755", "644", "755", "755"]


def test_a_failing_step_ends_with_its_status_and_keeps_what_it_said(sandbox: Sandbox) -> None:
    code, _, err = sandbox.run("echo it failed >&2; exit 9", ["a"])
    assert (code, err) == (9, "it failed\n")


BAD_OUTPUTS = {
    "missing": ("true", 'the step did not write its output "a"'),
    "a folder": ("mkdir out/a", 'the step\'s output "a" is not a regular file'),
    "a link": (
        "ln -s /etc/passwd out/a",
        'the step\'s output "a" is not a regular file',
    ),
    "a pipe": ("mkfifo out/a", 'the step\'s output "a" is not a regular file'),
}


@pytest.mark.parametrize(("script", "text"), BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
def test_an_output_that_is_no_file_fails_the_step(sandbox: Sandbox, script: str, text: str) -> None:
    code, _, err = sandbox.run(script, ["a"])
    assert (code, err) == (1, f"{text}\n")


def test_the_next_step_finds_the_root_and_the_inputs_as_they_were(sandbox: Sandbox) -> None:
    spoil = (
        "for path in /new /usr/new /build/in/file /build/slipway/new /home/new /tmp/new /build/new; do"
        ' { echo spoiled >"$path"; } 2>/dev/null; done; rm -rf /bin /build/in/file 2>/dev/null; true'
    )
    assert sandbox.run(spoil)[0] == 0
    code, out, _ = sandbox.run("ls / /home /tmp /build | tr '\\n' ' '; cat in/file")
    assert code == 0
    assert "new" not in out
    assert out.endswith("an input\n")


def test_a_step_that_does_not_end_is_told_with_the_option(sandbox: Sandbox) -> None:
    sandbox.time_limit = 0.5
    code, _, err = sandbox.run("sleep 60")
    assert code == 1
    assert err.splitlines() == [
        "the step timed out after 0.5 seconds",
        (
            "  next:  find out what the step waits for, or raise the limit: "
            "--slipway-step-time-limit=SECONDS"
        ),
    ]


def test_a_machine_without_user_namespaces_is_told_the_ways_out(sandbox: Sandbox) -> None:
    before = [
        *("unshare", "--user", "--map-root-user", "sh", "-c"),
        *('echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"', "sh"),
    ]
    code, _, err = sandbox.run("true", before=before)
    assert code == 1
    first, found, *rest = err.splitlines()
    assert first == 'the isolator "namespaces" does not work on this machine'
    assert found == "  found: namespaces: unshare of namespaces: No space left on device"
    assert "sysctl -w user.max_user_namespaces=15000" in "\n".join(rest)
    assert "Traceback" not in err
    assert sandbox.run("true")[0] == 0


def test_a_root_without_the_program_is_told_apart(sandbox: Sandbox) -> None:
    code, _, err = sandbox.run("", argv=["/usr/bin/no-such-python"])
    assert code == 1
    assert err.splitlines()[:2] == [
        "cannot start the program of the step in its root file system",
        "  found: /usr/bin/no-such-python: No such file or directory",
    ]
    assert "[slipway] base_image" in err


def test_a_damaged_layer_is_named_and_never_entered(sandbox: Sandbox) -> None:
    sandbox.layer.write_bytes(sandbox.layer.read_bytes() + b"x")
    code, out, err = sandbox.run("echo ran")
    assert (code, out) == (1, "")
    assert err.startswith("a file in the store of Pants is damaged\n")
    assert "0/base.tar: sha256 is " in err
    assert "Traceback" not in err


def test_a_full_disk_under_the_trees_is_told(sandbox: Sandbox) -> None:
    big = [Entry("big", "file", content=b"x" * 4_000_000), Entry("build", "folder")]
    layers.write_tar(str(sandbox.layer), big)
    sandbox.sha256 = hashlib.sha256(sandbox.layer.read_bytes()).hexdigest()
    disk = sandbox.folder / "trees_cache"
    before = [
        *("unshare", "--user", "--map-root-user", "--mount", "sh", "-c"),
        *(f'mount -t tmpfs -o size=1m none "{disk}" && exec "$@"', "sh"),
    ]
    code, _, err = sandbox.run("true", before=before)
    assert code == 1
    assert 'cannot unpack the root file system of the step: "No space left on device"' in err
    assert "free space there, or set [GLOBAL] named_caches_dir to a folder on another disk" in err
