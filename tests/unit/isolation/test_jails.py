"""Jails with separate users: what a command can reach, and that it leaves nothing. Needs root."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Iterator, Optional

import pytest

from slipway.isolation import build_users, jails, sysv_ipc
from slipway.isolation.build_users import BuildUsers
from slipway.isolation.first_process import FirstProcess
from slipway.isolation.jail_protocol import Reply, Request
from slipway.isolation.jails import UserJail
from slipway.isolation.job import IsolationRefused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def users(tmp_path: Path) -> Iterator[BuildUsers]:
    with build_users.reserved(str(tmp_path / "locks")) as reserved:
        yield reserved


@pytest.fixture
def folder(users: BuildUsers) -> Iterator[Path]:
    """One of the program's, with a file that it made."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "app").mkdir()
        (path / "app" / "made").write_text("")
        for place in (path, path / "app", path / "app" / "made"):
            os.chown(place, users.program, users.program)
        path.chmod(0o755)
        yield path


def run(users: BuildUsers, folder: Path, script: str, attempts: Optional[int] = None) -> Reply:
    """In a process of its own, as the first of a step is."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        first = FirstProcess(UserJail(users.scripts, users.program, 150), attempts)
        request = Request(("sh", "-c", script), ENV, str(folder / "app"), (str(folder / "app"),))
        reply = first.run(request)
        jails.end_processes(lambda: jails.descendants(os.getpid()))
        os.write(writing, repr(reply).encode())
        os._exit(0)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    result: Reply = eval(said)
    return result


def test_a_command_is_another_user_and_writes_to_its_folder_alone(
    users: BuildUsers, folder: Path
) -> None:
    script = f"""
        [ "$(id -u):$(id -g)" = {users.scripts}:{users.scripts} ] && [ "$(id -G)" = {users.scripts} ] &&
        echo own >made && echo new >new && chmod 600 new && mkdir -p deep/er && ! touch ../other
    """
    assert run(users, folder, script) == Reply(status=0)
    owners = {path.stat().st_uid for path in (folder / "app").rglob("*")}
    assert owners == {users.program}, "the program has everything back, also what was private"
    assert not (folder / "other").exists()


def test_links_that_a_command_leaves_are_not_followed_when_its_folder_is_given_back(
    users: BuildUsers, folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    assert run(users, folder, f"ln -s {victim} link; ln -s {tmp_path} folder") == Reply(status=0)
    assert victim.stat().st_uid == tmp_path.stat().st_uid == 0


def test_a_tree_deeper_than_any_path_is_given_back_as_far_as_paths_reach(
    users: BuildUsers, folder: Path
) -> None:
    program = "import os; [(os.mkdir('d' * 200), os.chdir('d' * 200)) for _ in range(40)]"
    assert run(users, folder, f'/usr/bin/python3 -c "{program}"') == Reply(status=0)
    subprocess.run(["rm", "-rf", str(folder / "app")], check=True)


def test_the_program_can_be_neither_signalled_nor_traced_nor_read(
    users: BuildUsers, folder: Path
) -> None:
    with subprocess.Popen(["sleep", "60"], user=users.program) as program:
        script = (
            f"! kill -9 {program.pid} && ! kill -STOP {program.pid} && ! kill -9 $PPID &&"
            f"! cat /proc/{program.pid}/environ && ! cat /proc/$PPID/environ &&"
            f"! ls /proc/{program.pid}/fd/"
        )
        assert run(users, folder, script) == Reply(status=0)
        assert program.poll() is None
        program.kill()


def test_all_that_a_command_started_has_ended(users: BuildUsers, folder: Path) -> None:
    """Daemons, processes that ignore signals, and fork bombs."""
    bomb = "b() { b & b; }; (setsid sh -c 'trap \"\" TERM HUP; b() { sleep 0.01; b & b; }; b' &)"
    script = f"setsid sleep 300.97531 & {bomb}; sleep 0.3; exit 7"
    assert run(users, folder, script).status == 7
    assert not jails._processes_of(users.scripts)


def test_shared_memory_and_queues_of_a_command_are_removed(users: BuildUsers, folder: Path) -> None:
    made = "shmget(0, 4096, 0o1600), libc.msgget(0, 0o1600), libc.semget(0, 1, 0o1600)"
    program = f"import ctypes; libc = ctypes.CDLL(None); print(libc.{made})"
    assert run(users, folder, f'/usr/bin/python3 -c "{program}"') == Reply(status=0)
    assert not sysv_ipc.any_of(users.scripts)


def test_the_network_guard_sees_what_another_user_s_process_does(
    users: BuildUsers, folder: Path
) -> None:
    with tempfile.TemporaryFile() as attempts:
        script = "exec 3<>/dev/tcp/198.51.100.7/443"
        reply = run(users, folder, f"bash -c '{script}'", attempts.fileno())
        assert reply.status == 1
        attempts.seek(0)
        said = attempts.read()
    if b"refused" in said:
        pytest.skip("this kernel offers no guard")
    assert b'"target": "198.51.100.7:443"' in said


# --- The users.


def test_each_step_has_users_of_its_own(tmp_path: Path) -> None:
    locks = str(tmp_path / "locks")
    with build_users.reserved(locks) as one, build_users.reserved(locks) as other:
        ids = [one.scripts, one.program, other.scripts, other.program]
        assert len(set(ids)) == 4
        assert all(61000 <= user < 61128 for user in ids)
    with build_users.reserved(locks) as again:
        assert again == one


def test_users_that_still_run_something_are_passed_over(tmp_path: Path) -> None:
    locks = str(tmp_path / "locks")
    with build_users.reserved(locks) as first:
        pass
    with subprocess.Popen(["sleep", "60"], user=first.scripts) as left:
        with build_users.reserved(locks) as second:
            assert second.scripts not in (first.scripts, first.program)
        left.kill()


def test_users_that_the_machine_knows_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_users, "_is_known", lambda user: user < 61010)
    with build_users.reserved(str(tmp_path / "locks")) as users:
        assert users.scripts >= 61010


def test_no_user_left_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_users, "COUNT", 2)
    locks = str(tmp_path / "locks")
    refused = pytest.raises(IsolationRefused, match="all user IDs from 61000 to 61001 are in use")
    with build_users.reserved(locks), refused, build_users.reserved(locks):
        pass


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_of_locks_that_others_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks").chmod(mode)
    refused = pytest.raises(IsolationRefused, match="other users may write to it")
    with refused, build_users.reserved(str(tmp_path / "locks")):
        pass
