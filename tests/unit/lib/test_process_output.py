"""A program's output passes through as it comes, and its last lines are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import build_rules
from build_rules.lib import process_output

ENV = {"PATH": os.environ["PATH"]}


def test_both_streams_pass_through_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    script = "echo one; echo two >&2; echo three"
    assert process_output.run(["sh", "-c", script], "/", ENV) == (0, ["one", "two", "three"])
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_the_exit_status_and_the_last_lines_explain_a_failure() -> None:
    status, last = process_output.run(["sh", "-c", "seq 1 100; exit 7"], "/", ENV)
    assert (status, last) == (7, [str(n) for n in range(71, 101)])


def test_a_signal_is_a_negative_status() -> None:
    assert process_output.run(["sh", "-c", "kill -9 $$"], "/", ENV) == (-9, [])


def test_bytes_that_are_no_text_and_a_last_line_without_end_are_shown() -> None:
    assert process_output.run(["printf", r"a\377b\nend"], "/", ENV)[1] == ["a\ufffdb", "end"]


def test_the_program_gets_its_folder_and_environment_and_no_input(tmp_path: Path) -> None:
    script = "pwd; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; cat"
    env = {"PATH": ENV["PATH"], "ONLY": "this"}
    status, last = process_output.run(["sh", "-c", script], str(tmp_path), env)
    assert (status, last) == (0, [str(tmp_path), "ONLY=this", f"PATH={ENV['PATH']}"])


def test_lines_are_shown_while_the_program_runs() -> None:
    """A step's output goes to a pipe, where Python would hold it back."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from build_rules.lib import process_output;"
        'process_output.run(["sh", "-c", "echo now; sleep 30"], "/", {"PATH": sys.argv[2]})'
    )
    top = str(Path(build_rules.__file__).resolve().parent.parent)
    argv = [sys.executable, "-I", "-S", "-B", "-c", program, top, ENV["PATH"]]
    started = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        assert time.monotonic() - started < 15
        os.killpg(process.pid, 9)


def test_a_program_can_be_ended_early() -> None:
    started = time.monotonic()
    status, _ = process_output.run(["sleep", "60"], "/", ENV, lambda stop: stop())
    assert status == -9
    assert time.monotonic() - started < 20
