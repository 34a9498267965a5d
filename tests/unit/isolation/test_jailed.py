"""The output of a program is passed on as it arrives, and its last lines are kept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.isolation import jail_protocol, jailed
from tests.places import SOURCES

ENV = {"PATH": os.environ["PATH"]}
pytestmark = pytest.mark.usefixtures("first_process")


def test_both_streams_pass_through_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    script = "echo one; echo two >&2; echo three"
    assert jailed.run(["sh", "-c", script], "/", ENV, writable=[]) == (0, ["one", "two", "three"])
    assert capfd.readouterr().out == "one\ntwo\nthree\n"


def test_the_exit_status_and_the_last_lines_explain_a_failure() -> None:
    status, last = jailed.run(["sh", "-c", "seq 1 100; exit 7"], "/", ENV, writable=[])
    assert (status, last) == (7, [str(n) for n in range(71, 101)])


def test_a_signal_is_a_negative_status() -> None:
    assert jailed.run(["sh", "-c", "kill -9 $$"], "/", ENV, writable=[]) == (-9, [])


def test_bytes_that_are_no_text_and_a_last_line_without_end_are_shown() -> None:
    assert jailed.run(["printf", r"a\377b\nend"], "/", ENV, writable=[])[1] == ["a\ufffdb", "end"]


def test_the_program_gets_its_folder_and_environment_and_no_input(tmp_path: Path) -> None:
    script = "pwd; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; cat"
    env = {"PATH": ENV["PATH"], "ONLY": "this"}
    status, last = jailed.run(["sh", "-c", script], str(tmp_path), env, writable=[])
    assert (status, last) == (0, [str(tmp_path), "ONLY=this", f"PATH={ENV['PATH']}"])


def test_lines_are_shown_while_the_program_runs() -> None:
    """A step's output goes to a pipe, where Python would hold it back."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from slipway.isolation import jailed; from slipway.isolation import jail_protocol;"
        "jail_protocol.DESCRIPTOR = int(sys.argv[3]);"
        'jailed.run(["sh", "-c", "echo now; sleep 30"], "/", {"PATH": sys.argv[2]}, writable=[])'
    )
    top = str(SOURCES)
    descriptor = jail_protocol.DESCRIPTOR
    argv = [sys.executable, "-I", "-S", "-B", "-c", program, top, ENV["PATH"], str(descriptor)]
    started = time.monotonic()
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, start_new_session=True, pass_fds=[descriptor]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        assert time.monotonic() - started < 15
        os.killpg(process.pid, 9)


def test_a_program_can_be_ended_early() -> None:
    started = time.monotonic()
    status, _ = jailed.run(["sleep", "60"], "/", ENV, writable=[], started=lambda stop: stop())
    assert status == -9
    assert time.monotonic() - started < 20


def test_control_characters_are_shown_escaped() -> None:
    script = r"printf '\033]52;c;eHg=\007red \033[31m\tend\n'"
    assert jailed.run(["sh", "-c", script], "/", ENV, writable=[]) == (
        0,
        [r"\x1b]52;c;eHg=\x07red \x1b[31m" + "\tend"],
    )


def test_a_line_without_end_and_output_without_end_are_cut(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jailed, "_MOST_OUTPUT", 1 << 20)
    script = "head -c 3000000 /dev/zero | tr '\\0' x"
    status, last = jailed.run(["sh", "-c", script], "/", ENV, writable=[])
    assert status == 0
    assert last[-1] == "… (output after 1 MiB is omitted)"
    assert len(capfd.readouterr().out) < 1_100_000


def test_what_a_command_leaves_running_has_ended_when_the_program_goes_on(tmp_path: Path) -> None:
    """Also when it holds the output open, and has left the command's session."""
    late = tmp_path / "late"
    script = f"setsid sh -c 'sleep 1; echo late >{late}' & setsid sleep 300.2468 & echo done"
    assert jailed.run(["sh", "-c", script], "/", ENV, writable=[]) == (0, ["done"])
    time.sleep(1.2)
    assert not late.exists()


def test_a_program_that_is_not_there_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        jailed.run(["/no/such/program"], "/", ENV, writable=[])


def test_output_of_a_command_that_says_little_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert jailed.capture(["sh", "-c", "echo v1; exit 3"], "/", ENV) == (3, "v1")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("ptrace", "101, 16, os.getppid(), 0, 0", "EPERM"),
        ("process_vm_writev", "311, os.getppid(), 0, 0, 0, 0, 0", "EPERM"),
        ("pidfd_getfd", "438, 0, 0, 0", "EPERM"),
        ("keyctl", "250, 1, 0", "EPERM"),
        ("add_key", "248, 0, 0, 0, 0, 0", "EPERM"),
        ("unshare of a user namespace", "272, 0x10000000", "EPERM"),
        ("clone of a user namespace", "56, 0x10000000 | 17, 0, 0, 0, 0", "EPERM"),
        ("clone3", "435, 0, 0", "ENOSYS"),
        ("io_uring_setup", "425, 8, 0", "ENOSYS"),
        ("io_uring_enter", "426, 0, 0, 0, 0, 0, 0", "ENOSYS"),
        ("io_uring_register", "427, 0, 0, 0, 0", "ENOSYS"),
        ("mount", "165, 0, 0, 0, 0, 0", "EPERM"),
        ("bpf", "321, 0, 0, 0", "EPERM"),
    ],
)
def test_calls_that_reach_beyond_the_own_processes_are_refused(
    call: str, number: str, error: str
) -> None:
    program = (
        "import ctypes, errno, os; libc = ctypes.CDLL(None, use_errno=True);"
        f"assert libc.syscall({number}) == -1; print(errno.errorcode[ctypes.get_errno()])"
    )
    argv = [sys.executable, "-S", "-c", program]
    assert jailed.run(argv, "/", ENV, writable=[]) == (0, [error]), call
