"""Which interpreter the runner uses, and its error if there is none."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Dict

import pytest

from tests.installed_pants import PYTHON
from tests.runner.workbench import (
    Bench,
    add_program,
    lines_of,
    newer_python,
    wait_until,
)


def without_pythons(bench: Bench) -> Bench:
    for path in bench.programs.iterdir():
        path.unlink()
    return bench


@pytest.mark.parametrize("name", ["python3.9", "python3.8", "python3.7", "python3"])
def test_path_is_searched_by_name(warm: Bench, name: str) -> None:
    python = without_pythons(warm).add_python(name)
    assert warm.run().ok
    assert warm.bootstrapped_by == [python]


def test_every_folder_of_path_is_searched(warm: Bench, tmp_path: Path) -> None:
    without_pythons(warm)
    python = warm.add_python("python3", folder=tmp_path / "a folder")
    warm.environ["PATH"] += f":{tmp_path / 'missing'}::{python.parent}"
    assert warm.run().ok
    assert warm.bootstrapped_by == [python]


NOT_WORKING: Dict[str, str] = {
    "a fake that always fails": "exit 1",
    "a fake that always succeeds": "exit 0",
    "a pyenv shim without a version": 'echo "pyenv: python3.9: command not found" >&2; exit 127',
    "another version than its name says": "exit 44",
    "no lzma": "exit 45",
    "one that kills itself": "kill -9 $$",
    "no interpreter at all": "exec /nowhere/python",
}


@pytest.mark.parametrize("body", NOT_WORKING.values(), ids=NOT_WORKING)
def test_what_does_not_work_is_passed_over(warm: Bench, shell: str, body: str) -> None:
    add_program(warm.programs / "python3.9", body)
    python = warm.add_python("python3", folder=warm.folder / "later")
    warm.environ["PATH"] += f":{python.parent}"
    result = warm.run(shell=shell)
    assert result.ok
    assert result.err == ""
    assert warm.bootstrapped_by == [python]


def test_what_hangs_is_passed_over(warm: Bench) -> None:
    # Its child keeps the descriptors open for longer than the runner waits.
    add_program(warm.programs / "python3.9", "sleep 40\nexit 49")
    python = warm.add_python("python3")
    assert warm.run().ok
    assert warm.bootstrapped_by == [python]


def test_folders_dangling_links_and_plain_files_are_passed_over(warm: Bench) -> None:
    without_pythons(warm)
    (warm.programs / "python3.9").mkdir()
    (warm.programs / "python3.8").symlink_to("/nowhere")
    (warm.programs / "python3.7").write_text("#!/bin/sh\n")
    python = warm.add_python("python3")
    assert warm.run().ok
    assert warm.calls == [python, python]


def test_path_comes_before_pyenv_and_pyenv_before_uv(warm: Bench) -> None:
    on_path = warm.programs / "python3.9"
    pyenv = warm.add_python("python3.9", folder=warm.home / ".pyenv/versions/3.9.2/bin")
    uv = warm.add_python(
        "python3.9",
        folder=warm.home / ".local/share/uv/python/cpython-3.9.19-linux-x86_64-gnu/bin",
    )
    for expected in (on_path, pyenv, uv):
        stamps_of(warm)
        assert warm.run().ok
        assert warm.bootstrapped_by[-1] == expected
        expected.unlink()


def stamps_of(bench: Bench) -> None:
    for stamp in bench.cache.glob("slipway/workspaces/**/.runner-stamp"):
        stamp.unlink()


def test_managed_pythons_newest_patch_first_and_39_before_38(warm: Bench) -> None:
    without_pythons(warm)
    versions = warm.home / ".pyenv/versions"
    wanted = warm.add_python("python3.9", folder=versions / "3.9.18/bin")
    warm.add_python("python3.9", folder=versions / "3.9.2/bin")
    warm.add_python("python3.8", folder=versions / "3.8.19/bin")
    warm.add_python("python3.9", folder=versions / "3.9-dev/bin")
    assert warm.run().ok
    assert warm.calls == [wanted, wanted]


def test_pyenv_and_uv_folders_are_taken_from_the_environment(warm: Bench) -> None:
    without_pythons(warm)
    pyenv = warm.add_python("python3.8", folder=warm.folder / "my pyenv/versions/3.8.1/bin")
    uv = warm.add_python("python3.7", folder=warm.folder / "uv/cpython-3.7.9-linux-x86_64-gnu/bin")
    warm.environ.update(
        PYENV_ROOT=str(warm.folder / "my pyenv"), UV_PYTHON_INSTALL_DIR=str(uv.parents[2])
    )
    assert warm.run().ok
    pyenv.unlink()
    stamps_of(warm)
    assert warm.run().ok
    assert warm.bootstrapped_by == [pyenv, uv]


@pytest.mark.parametrize("form", ["path", "name"])
def test_slipway_python_goes_first(warm: Bench, form: str) -> None:
    python = warm.add_python("my-python")
    assert warm.run(SLIPWAY_PYTHON=str(python) if form == "path" else python.name).ok
    assert warm.calls == [python, python]


BAD_CHOICES: Dict[str, str] = {
    "/nowhere/python": "does not work (exit status 127)",
    "tool": "is newer or older, or lacks ctypes, ssl, venv or pip",
    "too-old": "is not CPython 3.6 or newer",
}


@pytest.mark.parametrize("choice", BAD_CHOICES)
def test_a_bad_slipway_python_is_an_error(warm: Bench, shell: str, choice: str) -> None:
    add_program(warm.programs / "tool", "exit 46")
    add_program(warm.programs / "too-old", "exit 44")
    result = warm.run(shell=shell, SLIPWAY_PYTHON=choice)
    assert result.status == 1
    assert result.out == b""
    lines = result.err.splitlines()
    assert lines[0] == "pants: SLIPWAY_PYTHON is not a working CPython 3.9, 3.8 or 3.7"
    assert lines[1].startswith("  found: ")
    assert lines[1].endswith(f"{choice}: {BAD_CHOICES[choice]}")
    assert lines[2] == "  next:  unset SLIPWAY_PYTHON, or set it to another interpreter"
    assert warm.bootstrapped_by == []


def test_changing_slipway_python_is_noticed(warm: Bench) -> None:
    one = warm.add_python("one")
    other = warm.add_python("other")
    for choice in (one, other, other):
        assert warm.run(SLIPWAY_PYTHON=str(choice)).ok
    assert warm.bootstrapped_by == [one, other]


def test_no_python_is_one_message_with_the_ways_out(bench: Bench, shell: str) -> None:
    without_pythons(bench)
    add_program(bench.programs / "python3", "exit 1")
    result = bench.run(shell=shell)
    assert result.status == 1
    assert result.out == b""
    assert result.err == (
        "pants: found no Python that can run Pants\n"
        f"  found: {bench.programs}/python3: does not work (exit status 1)\n"
        "  next:  run one of\n"
        "         apt-get install python3      (3.6 or any newer version)\n"
        "         uv python install 3.9\n"
        "         pyenv install 3.9\n"
        "         export SLIPWAY_PYTHON=/path/to/python3.9\n"
    )
    assert not bench.cache.exists()


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_no_usable_path_at_all(bench: Bench, path: str) -> None:
    result = bench.run(PATH=path)
    assert result.status == 1
    assert "no python3 on PATH, in pyenv or in uv" in result.err


def test_the_current_folder_is_not_searched(bench: Bench) -> None:
    without_pythons(bench)
    bench.add_python("python3.9", folder=bench.workspace)
    bench.environ["PATH"] = f":{bench.environ['PATH']}:"
    assert bench.run().status == 1
    assert bench.calls == []


def test_the_probe_knows_a_newer_python_from_a_fitting_one(bench: Bench) -> None:
    script = bench.runner.read_text()
    probe = re.search(r"^PROBE='\n(.*?)^'", script, re.MULTILINE | re.DOTALL)
    assert probe is not None
    for python, expected in ((PYTHON, {47, 48, 49}), (newer_python(), {46})):
        done = subprocess.run([python, "-I", "-c", probe.group(1)], check=False)
        assert done.returncode in expected


def test_a_virtual_environment_on_path_is_only_the_way_to_its_base(warm: Bench) -> None:
    without_pythons(warm)
    (warm.programs / "python3").symlink_to(PYTHON)
    assert warm.run(VIRTUAL_ENV=str(warm.programs)).ok
    (environment,) = warm.environments
    links = [os.readlink(str(path)) for path in (environment / "bin").glob("python*")]
    assert str(Path(PYTHON)) in links
    assert not [link for link in links if link.startswith(str(warm.folder))]


def test_a_runner_that_dies_while_it_asks_leaves_nobody_who_kills(bench: Bench) -> None:
    """After ten seconds, the process ID of the probe may belong to another program."""
    add_program(bench.programs / "python3.9", f'echo $$ >"{bench.folder}/asked"\nexec sleep 14')
    run = bench.start()
    wait_until(lambda: (bench.folder / "asked").exists() and lines_of(bench.folder / "asked") != [])
    os.kill(run.pid, signal.SIGKILL)
    run.communicate(timeout=60)
    asked = int((bench.folder / "asked").read_text())
    started = time.monotonic()
    while Path(f"/proc/{asked}/cmdline").exists() and time.monotonic() < started + 30:
        time.sleep(0.1)
    assert time.monotonic() - started > 12
