"""The farm itself: its hosts are separate, their faults are real, and nothing outlives it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Iterator

import pytest

from tests.deploy.hosts import CRONTABS, Host, HostFarm, reboot_jobs, require_hosts
from tests.e2e import harness


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    require_hosts()
    with harness.scratch_folder("farm-") as folder, HostFarm(folder, count=2) as started:
        yield started


@pytest.fixture
def scratch() -> Iterator[Path]:
    require_hosts()
    with harness.scratch_folder("farm-") as folder:
        yield folder


def ssh(farm: HostFarm, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ssh", "-F", str(farm.ssh_config), "-o", "ConnectTimeout=2", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_command_by_ssh_runs_in_the_host(farm: HostFarm) -> None:
    answer = ssh(farm, "h2", "hostname; id -un; echo $HOME; ls /home; test -e /run/systemd")
    assert answer.stdout.split() == ["h2", "root", "/root", "app", "logs"]
    assert (answer.returncode, answer.stderr) == (1, "")
    assert "Accepted publickey for root" in farm.hosts[1].sshd_log()
    assert ssh(farm, farm.hosts[0].address, "hostname").stdout == "h1\n"


def test_files_go_by_rsync_and_sftp(farm: HostFarm, tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("no rsync here: apt-get install rsync")
    (tmp_path / "file").write_text("content\n")
    remote = ["-F", str(farm.ssh_config)]
    subprocess.run(["scp", "-q", *remote, tmp_path / "file", "h1:/home/app/by-sftp"], check=True)
    assert farm.hosts[0].path("/home/app/by-sftp").read_text() == "content\n"
    shell = f"ssh -F {farm.ssh_config}"
    subprocess.run(["rsync", "-e", shell, tmp_path / "file", "h1:/home/app/by-rsync"], check=True)
    assert farm.hosts[0].run("cat /home/app/by-rsync").stdout == "content\n"


def test_hosts_do_not_see_each_other(farm: HostFarm) -> None:
    first, second = farm.hosts
    first.path("/home/app/secret").write_text("of h1")
    assert first.run("cat /home/app/secret").stdout == "of h1"
    assert "secret" not in second.run("ls -R /home; cat /proc/mounts").stdout
    assert second.run(f"ls {first.folder}/disk").stdout == ""
    assert not Path("/home/app/secret").exists()
    assert not set(first.processes()) & set(second.processes())


def test_run_returns_the_result_and_does_not_wait_for_background_processes(farm: HostFarm) -> None:
    host = farm.hosts[0]
    started = time.monotonic()
    answer = host.run("id -un; echo wrong >&2; sleep 321 & exit 3", user="nobody")
    assert (answer.returncode, answer.stdout, answer.stderr) == (3, "nobody\n", "wrong\n")
    assert time.monotonic() - started < 5
    harness.wait_until(lambda: "sleep 321" in host.processes().values(), 5, "sleep goes on")
    with pytest.raises(subprocess.TimeoutExpired):
        host.run("sleep 322; true", timeout=0.5)
    assert "sleep 322" not in host.processes().values()
    harness.end({pid for pid, line in host.processes().items() if line == "sleep 321"})


def test_orphans_are_reaped(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.run("(sh -c 'sleep 0.1 & sleep 0.2 & exit 0' &) ; true")

    def none_left() -> bool:
        return host.run("ps -e -o stat= | grep -c Z").stdout == "0\n" and not any(
            line.startswith("sleep 0.") for line in host.processes().values()
        )

    harness.wait_until(none_left, 5, "no zombie in h1")


def nobodys_sleep(host: Host) -> int:
    sleeping = [pid for pid, line in host.processes().items() if line == "sleep 444"]
    owner = harness.user("nobody").uid
    return sum(Path(f"/proc/{pid}").stat().st_uid == owner for pid in sleeping)


def test_power_cut_ends_all_at_once_and_boot_keeps_files(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.path("/home/app/kept").write_text("kept")
    table = "GREETING='good morning'\n# @reboot false\n@reboot echo $GREETING >/home/booted\n"
    assert host.run(f"crontab - <<'END'\n{table}END").returncode == 0
    assert host.run("echo '@reboot exec sleep 444' | crontab -", user="nobody").returncode == 0
    host.run("sleep 333 & echo 1 >/run/app.pid")
    harness.wait_until(lambda: "sleep 333" in host.processes().values(), 5, "sleep runs")
    running = set(host.processes())

    host.power_cut()
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    assert ssh(farm, "h1", "true").returncode == 255
    assert host.path("/home/app/kept").read_text() == "kept"

    host.boot()
    assert ssh(farm, "h1", "cat /home/app/kept").stdout == "kept"
    harness.wait_until(host.path("/home/booted").exists, 5, "the @reboot line has run")
    harness.wait_until(lambda: nobodys_sleep(host) == 1, 5, "nobody's line runs as nobody")
    assert host.path("/home/booted").read_text() == "good morning\n"
    assert host.run("ls /run/app.pid").returncode != 0
    assert "sleep 333" not in host.processes().values()
    assert "GREETING" in ssh(farm, "h1", "crontab -l").stdout


def test_power_cut_leaves_the_other_end_of_a_connection_waiting(farm: HostFarm) -> None:
    host = farm.hosts[1]
    with socket.create_connection((host.address, 22), timeout=5) as connection:
        assert connection.recv(100).startswith(b"SSH-2.0-")
        host.power_cut()
        connection.settimeout(1)
        with pytest.raises(socket.timeout):
            connection.recv(100)
    host.boot()


def test_crontab_complains_as_debians_does(farm: HostFarm) -> None:
    host = farm.hosts[1]
    assert host.run("crontab -l", user="nobody").stderr == "no crontab for nobody\n"
    assert "missing newline" in host.run("printf '@reboot true' | crontab -").stderr
    assert list(host.path(CRONTABS).iterdir()) == []


def test_percent_sign_ends_the_command_of_a_crontab_line() -> None:
    (job,) = reboot_jobs("@daily false\nA = 1\n @reboot date +\\%F; cat%one%two\nA=2\n")
    assert job == ("date +%F; cat", "one\ntwo", {"A": "1"})


def test_partition_makes_ssh_fail_and_mending_heals_it(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.cut()
    started = time.monotonic()
    assert ssh(farm, "h1", "true").returncode == 255
    assert 1 < time.monotonic() - started < 10
    assert host.run("hostname").stdout == "h1\n"
    host.mend()
    assert ssh(farm, "h1", "true").returncode == 0


def test_partition_outlasts_a_boot(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.cut()
    host.power_cut()
    host.boot()
    assert ssh(farm, "h1", "true").returncode == 255
    host.mend()
    assert ssh(farm, "h1", "true").returncode == 0


def test_full_disk_has_the_room_that_was_left(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.fill_disk(leave=65536)
    answer = host.run("head -c 100000 /dev/zero >/home/app/large")
    assert "No space left on device" in answer.stderr
    assert host.path("/home/app/large").stat().st_size == 65536
    assert host.run("rm /home/app/large; echo 1 >/home/app/small").returncode == 0
    host.fill_disk()
    # Not dash's own echo, which says "I/O error" whatever the reason.
    assert "No space left on device" in host.run("/bin/echo 1 >/home/app/other").stderr
    host.free_disk()
    assert host.run("echo 1 >/home/app/other").returncode == 0


def test_disk_fills_while_the_host_writes(farm: HostFarm) -> None:
    host = farm.hosts[1]
    with subprocess.Popen(
        ["ssh", "-F", farm.ssh_config, "h2", "cat >/home/app/large"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as upload:
        assert upload.stdin is not None
        assert upload.stderr is not None
        upload.stdin.write(bytes(1_000_000))
        host.fill_disk(leave=500_000)
        with pytest.raises(BrokenPipeError):
            upload.stdin.write(bytes(100_000_000))
        assert b"No space left on device" in upload.stderr.read()
    host.free_disk()
    host.run("rm /home/app/large")


def test_inodes_run_out(farm: HostFarm) -> None:
    host = farm.hosts[0]
    host.use_up_inodes(leave=2)
    answer = host.run("cd /home/app && for n in a b c; do : >inode-$n || exit; done")
    assert "No space left on device" in answer.stderr
    assert host.run("ls /home/app | grep -c inode").stdout == "2\n"
    host.free_disk()
    assert host.run("touch /home/app/inode-c").returncode == 0


def test_sshd_stops_and_starts_while_connections_stay(farm: HostFarm) -> None:
    host = farm.hosts[0]
    with subprocess.Popen(
        ["ssh", "-F", farm.ssh_config, "h1", "echo here; cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "here\n"
        host.stop_sshd()
        refused = ssh(farm, "h1", "true")
        assert "Connection refused" in refused.stderr
        stdout, _ = session.communicate("still\n", timeout=10)
        assert stdout == "still\n"
    host.start_sshd()
    assert ssh(farm, "h1", "true").returncode == 0


def test_clock_is_shifted(farm: HostFarm) -> None:
    farm.hosts[0].shift_clock(-86400)
    shifted, right = (int(ssh(farm, name, "date +%s").stdout) for name in ("h1", "h2"))
    assert abs(right - shifted - 86400) < 10
    assert ssh(farm, "h1", "date -u -d @0 +%Y").stdout == "1970\n"
    farm.hosts[0].shift_clock(0)


def test_nothing_is_left_of_a_closed_farm(scratch: Path) -> None:
    children = harness.descendants(os.getpid())
    folder = scratch / "with a space"
    with HostFarm(folder, count=3, volatile=("/tmp",)) as farm:
        first, second, third = farm.hosts
        first.run("setsid sleep 1000 >/dev/null 2>&1 &")
        assert second.run("ls -A /tmp").stdout == ""
        assert ssh(farm, "h2", "date +%s").returncode == 0
        third.power_cut()
        running = {*first.processes(), *second.processes()}
        assert str(folder).replace(" ", r"\040") in Path("/proc/self/mounts").read_text()
        # Farms of other tests come and go at the same time.
        devices = {farm.bridge, *(host.port for host in farm.hosts)}
        assert devices - {third.port} <= {name for _, name in socket.if_nameindex()}
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)
    assert harness.descendants(os.getpid()) == children
    assert not devices & {name for _, name in socket.if_nameindex()}
    assert str(scratch) not in Path("/proc/self/mounts").read_text()
    farm.close()


def test_nothing_is_left_of_a_farm_that_did_not_start(scratch: Path) -> None:
    devices, children = socket.if_nameindex(), harness.descendants(os.getpid())
    farm = HostFarm(scratch, count=3)
    farm.sshd = "no-such-sshd"
    with pytest.raises(RuntimeError, match=r"h1 does not boot.*no-such-sshd"):
        farm.start()
    with pytest.raises(OSError, match="no size"):
        HostFarm(scratch / "other", count=3, disk="no size").start()
    (scratch / "third" / "h3").mkdir(parents=True)
    (scratch / "third" / "h3" / "bin").write_text("in the way")
    with pytest.raises(OSError, match="h3"):
        HostFarm(scratch / "third", count=3).start()
    assert harness.descendants(os.getpid()) == children
    assert socket.if_nameindex() == devices
    assert str(scratch) not in Path("/proc/self/mounts").read_text()


def test_two_farms_run_at_once(farm: HostFarm, scratch: Path) -> None:
    with HostFarm(scratch, count=1) as other:
        assert other.network != farm.network
        assert ssh(other, "h1", "touch /home/app/other-farm").returncode == 0
        assert ssh(farm, "h1", "test -e /home/app/other-farm").returncode == 1
    assert ssh(farm, "h1", "true").returncode == 0
