"""Hosts for deploy tests: real OpenSSH servers in Linux namespaces of this machine, and their faults.

    with HostFarm(scratch, count=8) as farm:
        host = farm.hosts[0]
        subprocess.run(["ssh", "-F", farm.ssh_config, host.name, "true"], check=True)
        host.power_cut()
        host.boot()
        assert "app" in host.run("ls /home").stdout

A host has its own processes, network, name, /home, /root, /run and /var/spool (with the crontabs).
Of these all but /run survive a power cut. The rest of the file system is this machine's: a test that
writes elsewhere, /tmp included, writes on every host. `volatile` names further folders of which
each host gets an empty one of its own at every boot. Hosts have no systemd and no default route.

A farm is closed when its block ends or fails. If the test process is killed, its hosts end too; a
bridge and the mounts below the scratch folder stay.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import pytest

from tests.e2e import harness

TOOLS = ("ip", "mount", "nsenter", "ssh", "ssh-keygen", "sshd", "unshare")
FARM = "/run/farm"  # where a host sees its folder
KEPT = (  # what a host has of its own and keeps, and where it lies in its folder
    ("/home", "disk/home"),
    ("/root", "root"),
    ("/var/spool", "spool"),
    (FARM, "."),
)
CRONTABS = "/var/spool/cron/crontabs"
LARGEST_FARM = 250
FIRST_GROUP = 1_990_000  # of network devices; a farm's are one group
BOOT_TIME_LIMIT = 30.0
MS_REMOUNT = 32
MS_BIND = 4096
MNT_DETACH = 2

# The first process of a host: $1 is the host's folder as this machine sees it, $2 its name. A line
# on standard input, its address, says that its network device is there.
INIT = f"""\
set -e
# This /proc is the machine's, so the process id is the one that the machine sees.
read -r pid rest </proc/self/stat
echo "$pid"
read -r address
exec 3<&0 </dev/null

mount -t proc proc /proc
echo "$2" >/proc/sys/kernel/hostname
mount -t tmpfs -o mode=755,size=16m tmpfs /run
mkdir /run/farm /run/sshd
mkdir -m 1777 /run/lock
mount --rbind "$1" {FARM}
# The disks of the other hosts.
umount --lazy "${{1%/*}}"
for pair in $KEPT; do
    mount --bind "{FARM}/${{pair#*:}}" "${{pair%%:*}}"
done
umount {FARM}/disk
for folder in $VOLATILE; do
    mount -t tmpfs -o mode=1777 tmpfs "$folder"
done

ip -batch - <<END
link set lo up
address add $address/24 dev eth0
link set eth0 up
END
$SSHD
echo up
exec >&2

# Waits for the end of the input, which is the end of the tests; wait reaps every orphan.
until cat <&3 >/dev/null & wait $!; do :; done
"""

# Without sntrup761: it takes half of the time of a connection.
SSHD_CONFIG = f"""\
Port 22
HostKey {FARM}/host_key
AuthorizedKeysFile {FARM}/authorized_keys
PidFile /run/sshd.pid
LogLevel VERBOSE
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
KexAlgorithms -sntrup*
MaxStartups 10:30:100
Subsystem sftp internal-sftp
SetEnv PATH="%s"
"""

SSH_CONFIG = """\
Host *
    User root
    BatchMode yes
    IdentityFile "{folder}/client_key"
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
"""

# What tests need of Debian's crontab, with its complaints.
CRONTAB = f"""\
#!/bin/sh
table="{CRONTABS}/$(id -un)"
case "$1" in
-l) if [ -e "$table" ]; then cat "$table"; else echo "no crontab for $(id -un)" >&2; exit 1; fi ;;
-r) if [ -e "$table" ]; then rm "$table"; else echo "no crontab for $(id -un)" >&2; exit 1; fi ;;
-?*) echo "crontab: $1 is not offered here" >&2; exit 1 ;;
*)
    umask 077
    new=$(mktemp "{CRONTABS}/.new.XXXXXX") || exit 1
    trap 'rm -f "$new"' EXIT
    cat "$1" >"$new" || exit 1
    if [ -n "$(tail -c 1 "$new")" ]; then
        echo "new crontab file is missing newline before EOF, can't install." >&2
        exit 1
    fi
    mv "$new" "$table"
    ;;
esac
"""

# Shifts the present only: a date that the caller names stays what it is.
DATE = f"""\
#!/bin/sh
for argument; do
    case "$argument" in
    -d* | --date* | -f* | --file* | -r* | --reference* | -s* | --set*) exec /bin/date "$@" ;;
    esac
done
exec /bin/date --date="$(cat {FARM}/clock) seconds" "$@"
"""


def require_hosts() -> None:
    """Skips a test where no farm can be."""
    if os.geteuid() != 0:
        pytest.skip("only root can make hosts")
    for tool in TOOLS:
        if shutil.which(tool, path=harness.PATH) is None:
            pytest.skip(f"no {tool} here: apt-get install openssh-server openssh-client iproute2")
    probe = ("unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc")
    answer = _call([*probe, "ip", "link", "add", "probe", "type", "bridge"])
    if answer.returncode != 0:
        pytest.skip(f"this machine grants no namespaces: {answer.stderr.strip()}")


# --- What the kernel is asked for.


def _call(command: Sequence[str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=60, check=False
    )


def _done(command: Sequence[str], given: str = "") -> str:
    answer = _call(command, given)
    if answer.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {answer.stderr.strip()}\n{given}")
    return answer.stdout


def _ip(*lines: str) -> None:
    _done(["ip", "-batch", "-"], "".join(f"{line}\n" for line in lines))


def _devices() -> Set[str]:
    return {name for _, name in socket.if_nameindex()}


def mount(source: str, folder: Path, flags: int, options: str = "") -> None:
    # By the system call: between a look at what is used and a remount little time may pass.
    libc = ctypes.CDLL(None, use_errno=True)
    point, kind = os.fsencode(folder), b"tmpfs"
    if libc.mount(os.fsencode(source), point, kind, ctypes.c_ulong(flags), options.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} {options}", str(folder))


def unmount(folder: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Detached, as a test may still have a file of it open.
    if libc.umount2(os.fsencode(folder), MNT_DETACH):
        raise OSError(ctypes.get_errno(), "umount", str(folder))


# --- Crontabs.


class Job(NamedTuple):
    command: str
    given: str
    settings: Dict[str, str]


def reboot_jobs(crontab: str) -> Iterator[Job]:
    """What cron runs at a boot: a bare % ends the command, and input for it follows."""
    settings: Dict[str, str] = {}
    for line in crontab.splitlines():
        setting = re.match(r"\s*(\w+)\s*=\s*(.*?)\s*$", line)
        job = re.match(r"\s*@reboot\s+(.*)", line)
        if setting:
            settings[setting[1]] = re.sub(r"^(['\"])(.*)\1$", r"\2", setting[2])
        elif job:
            command, *given = (part.replace(r"\%", "%") for part in re.split(r"(?<!\\)%", job[1]))
            yield Job(command, "\n".join(given), dict(settings))


# --- Hosts.


class Host:
    """One host; HostFarm makes it. Faults stay until the method that ends them is called."""

    def __init__(self, farm: HostFarm, number: int) -> None:
        self.farm = farm
        self.number = number
        self.name = f"h{number}"
        self.folder = farm.folder / self.name
        self.address = f"{farm.network}.{number + 1}"
        self.port = f"{farm.bridge}h{number}"  # this machine's end of its link
        self._is_cut = False
        self._init: Optional[int] = None
        self._process: Optional[subprocess.Popen[str]] = None

    def __repr__(self) -> str:
        return f"<{self.name} at {self.address}>"

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def init(self) -> int:
        """The process id of its first process, as this machine sees it."""
        assert self.is_on, f"{self.name} is off"
        assert self._init is not None
        return self._init

    def run(
        self, command: str, user: str = "root", timeout: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Runs a sh command in the host without ssh; does not wait for what it left running."""
        entry = pwd.getpwnam(user)
        arguments = [*self._enter(entry), "sh", "-c", command]
        # Files, as the end of a pipe comes only when all that was left running has ended.
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )
            try:
                process.wait(timeout)
            finally:
                if process.poll() is None:
                    _end_with_all(process)
            stdout.seek(0)
            stderr.seek(0)
            return subprocess.CompletedProcess(
                arguments, process.returncode, stdout.read(), stderr.read()
            )

    def _enter(
        self, user: pwd.struct_passwd, settings: Optional[Dict[str, str]] = None
    ) -> List[str]:
        environment = {
            "HOME": user.pw_dir,
            "LOGNAME": user.pw_name,
            "USER": user.pw_name,
            "PATH": self.farm.path,
            "LANG": "C.UTF-8",
            **(settings or {}),
        }
        return [
            *("nsenter", f"--target={self.init}", "--mount", "--pid", "--net", "--uts", "--ipc"),
            *(f"--setgid={user.pw_gid}", f"--setuid={user.pw_uid}"),
            *("env", "-i", *(f"{name}={value}" for name, value in environment.items())),
        ]

    def path(self, name: str) -> Path:
        """A file of the host as this machine sees it; what the host keeps, also while it is off.

        A symbolic link with an absolute target leads to this machine's own files from here.
        """
        for place, backing in KEPT:
            if name == place or name.startswith(f"{place}/"):
                return self.folder / backing / os.path.relpath(name, place)
        return Path(f"/proc/{self.init}/root{name}")

    def processes(self) -> Dict[int, str]:
        """The command line of all that runs in it, by the process id that this machine sees."""
        namespace = os.readlink(f"/proc/{self.init}/ns/pid")
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            # Processes end meanwhile, and one that has ended has no namespace.
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                    found[int(pid)] = os.fsdecode(line.rstrip(b"\0").replace(b"\0", b" "))
        return found

    # --- Power.

    def power_cut(self) -> None:
        """Ends all of it at once; the other ends of its connections are not told."""
        assert self.is_on, f"{self.name} is off"
        # The link goes first: a kernel that closes sockets says so to their peers.
        _ip(f"link delete dev {self.port}")
        self._end()

    def boot(self) -> None:
        """Starts it after a power cut, with its files; then the @reboot lines of its crontabs."""
        boot([self])

    def _end(self) -> None:
        """Ends what is left of it, however far its start came."""
        if self._process is None or self._process.stdin is None:
            return
        if self._init is not None and self._process.poll() is None:
            # It may have ended by itself just now.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
        # An init that has not told its process id yet ends by this.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(BOOT_TIME_LIMIT)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process, self._init = None, None

    def _start(self) -> None:
        """The first process, which waits for its network."""
        assert not self.is_on, f"{self.name} is on"
        kept = [f"{place}:{backing}" for place, backing in KEPT if place != FARM]
        with (self.folder / "boot.log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc"),
                    *("sh", str(self.folder / "init"), str(self.folder), self.name),
                ],
                env={
                    "PATH": harness.PATH,
                    "LANG": "C.UTF-8",
                    "SSHD": self.farm.sshd,
                    "KEPT": " ".join(kept),
                    "VOLATILE": " ".join(self.farm.volatile),
                },
                text=True,
                bufsize=1,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._init = int(self._answer())

    def _links(self) -> List[str]:
        """What makes its link. The address of its device stays, as that of a real one does."""
        end = f"peer name eth0 address {_device_address(self.farm, self.number + 1)}"
        return [
            f"link add name {self.port} group {self.farm.group} type veth {end} netns {self.init}",
            f"link set dev {self.port} master {self.farm.bridge}",
            self._link_state(),
        ]

    def _go_on(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self.address}\n")

    def _wait_until_up(self) -> None:
        assert self._answer() == "up"
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._wait_for_sshd()

    def _answer(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            log = (self.folder / "boot.log").read_text()
            raise RuntimeError(f"{self.name} does not boot: {log[-2000:]}")
        return line.strip()

    def _run_reboot_jobs(self) -> None:
        for table in sorted(self.path(CRONTABS).glob("[!.]*")):
            for job in reboot_jobs(table.read_text()):
                self._run_job(job, pwd.getpwnam(table.name))

    def _run_job(self, job: Job, user: pwd.struct_passwd) -> None:
        settings = {"PATH": f"{FARM}/bin:/usr/bin:/bin", "SHELL": "/bin/sh", **job.settings}
        script = 'cd "$HOME"; exec 3<&0; setsid "$SHELL" -c "$1" <&3 3<&- &'
        with tempfile.TemporaryFile("w+") as given, (self.folder / "cron.log").open("a") as log:
            given.write(job.given)
            given.seek(0)
            subprocess.run(
                [*self._enter(user, settings), "sh", "-c", script, "cron", job.command],
                stdin=given,
                stdout=log,
                stderr=log,
                timeout=60,
                check=True,
            )

    # --- Network.

    def cut(self) -> None:
        """Partitions it from everything: what is sent to it vanishes. A boot does not heal that."""
        self._set_cut(True)

    def mend(self) -> None:
        self._set_cut(False)

    def _set_cut(self, is_cut: bool) -> None:
        self._is_cut = is_cut
        if self.is_on:
            _ip(self._link_state())

    def _link_state(self) -> str:
        return f"link set dev {self.port} {'down' if self._is_cut else 'up'}"

    # --- The disk, which is /home.

    def fill_disk(self, leave: int = 0) -> None:
        """Leaves that many bytes, rounded down to pages; what is removed later is free again."""
        self._limit(lambda disk: f"nr_blocks={_used_blocks(disk) + leave // disk.f_frsize}")

    def use_up_inodes(self, leave: int = 0) -> None:
        self._limit(lambda disk: f"nr_inodes={disk.f_files - disk.f_ffree + leave}")

    def free_disk(self) -> None:
        """Ends both shortages."""
        mount("tmpfs", self.folder / "disk", MS_REMOUNT, self.farm.disk_options)

    def _limit(self, option: Callable[[os.statvfs_result], str]) -> None:
        """Makes the disk smaller rather than fuller: that takes no memory and leaves no file."""
        disk = self.folder / "disk"
        deadline = time.monotonic() + 10
        while True:
            try:
                return mount("tmpfs", disk, MS_REMOUNT, option(os.statvfs(disk)))
            except OSError as error:
                # The host has written since the look, and the limit is below what it uses.
                if error.errno != errno.EINVAL or time.monotonic() > deadline:
                    raise

    # --- The ssh server and the clock.

    def stop_sshd(self) -> None:
        """Ends the listener; connections that are open stay, as with Debian's service."""
        pid_file = self.path("/run/sshd.pid")
        assert self.run("kill $(cat /run/sshd.pid)").returncode == 0, f"{self.name} has no sshd"
        harness.wait_until(lambda: not pid_file.exists(), 10, f"sshd of {self.name} ends")

    def start_sshd(self) -> None:
        answer = self.run(self.farm.sshd)
        assert answer.returncode == 0, answer.stderr
        self._wait_for_sshd()

    def _wait_for_sshd(self) -> None:
        # sshd writes this file when it listens.
        pid_file = self.path("/run/sshd.pid")
        what = f"sshd of {self.name} listens; see {self.folder / 'sshd.log'}"
        harness.wait_until(pid_file.exists, BOOT_TIME_LIMIT, what)

    def sshd_log(self) -> str:
        return (self.folder / "sshd.log").read_text()

    def shift_clock(self, seconds: int) -> None:
        """Shifts what `date` answers in the host; times of files and in programs stay right."""
        (self.folder / "clock").write_text(f"{seconds}\n")


def _end_with_all(process: subprocess.Popen[bytes]) -> None:
    started = harness.descendants(process.pid)
    harness.end(started | {process.pid})
    process.wait()
    # These have become children of the host's init, so only a look tells when they have ended.
    harness.wait_until(
        lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), 10, f"{started} end"
    )


def _used_blocks(disk: os.statvfs_result) -> int:
    return disk.f_blocks - disk.f_bfree


def _device_address(farm: HostFarm, last: int) -> str:
    return f"02:c7:00:00:{farm.number:02x}:{last:02x}"


def boot(hosts: Sequence[Host]) -> None:
    """Boots hosts at the same time; returns when they take connections."""
    for host in hosts:
        host._start()
    _ip(*(line for host in hosts for line in host._links()))
    for host in hosts:
        host._go_on()
    for host in hosts:
        host._wait_until_up()
    for host in hosts:
        host._run_reboot_jobs()


class HostFarm:
    """Hosts h1, h2, ... at 10.199.<n>.2, .3, ...; this machine is 10.199.<n>.1 for them.

    `path` is the PATH of what runs in the hosts. Two farms can run at once.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        disk: str = "400m",
        inodes: int = 40_000,
        path: str = harness.PATH,
        volatile: Tuple[str, ...] = (),
    ) -> None:
        assert 0 < count <= LARGEST_FARM, f"no farm has {count} hosts"
        self.folder = folder.resolve()
        self.count = count
        self.disk_options = f"size={disk},nr_inodes={inodes}"
        self.path = f"{FARM}/bin:{path}"
        self.volatile = volatile
        # By its absolute path: it runs itself anew for every connection.
        program = shutil.which("sshd", path=harness.PATH)
        self.sshd = f"{program} -f {FARM}/sshd_config -E {FARM}/sshd.log"
        self.ssh_config = self.folder / "ssh_config"
        self.hosts: List[Host] = []
        self.number = 0
        self._stack = contextlib.ExitStack()

    @property
    def bridge(self) -> str:
        return f"farm{self.number}"

    @property
    def network(self) -> str:
        return f"10.199.{self.number}"

    @property
    def group(self) -> int:
        return FIRST_GROUP + self.number

    def __enter__(self) -> HostFarm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        with self._stack:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A mount by itself: with it, a host takes the disks of all others out of its view.
            mount(str(self.folder), self.folder, MS_BIND)
            self._stack.callback(unmount, self.folder)
            self._make_keys()
            self._make_network()
            self.hosts = [Host(self, number + 1) for number in range(self.count)]
            for host in self.hosts:
                self._make_folder(host)
                self._stack.callback(host._end)
            self._write_client_files()
            boot(self.hosts)
            self._stack = self._stack.pop_all()

    def close(self) -> None:
        """Ends the hosts and removes their mounts and devices; their logs and folders stay."""
        self._stack.close()

    def _make_keys(self) -> None:
        for name in ("client_key", "host_key"):
            key = str(self.folder / name)
            _done(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key])

    def _make_network(self) -> None:
        self._make_bridge()
        # By its group, every device of the farm goes at once, however many there are already.
        self._stack.callback(_ip, f"link delete group {self.group}")
        _ip(
            # An address of its own: else the bridge takes one of its ports', and that changes.
            f"link set dev {self.bridge} address {_device_address(self, 1)}",
            f"address add {self.network}.1/24 dev {self.bridge}",
            f"link set dev {self.bridge} up",
        )

    def _make_bridge(self) -> None:
        """The bridge's name is what reserves a network: only one farm can make it."""
        routes = _done(["ip", "-4", "route", "show", "table", "all"])
        for self.number in range(256):
            if self.bridge in _devices() or f"{self.network}." in routes:
                continue
            try:
                return _ip(f"link add name {self.bridge} group {self.group} type bridge")
            except RuntimeError:
                if self.bridge not in _devices():
                    raise
        raise RuntimeError("no free network of 10.199.0.0/16")

    def _make_folder(self, host: Host) -> None:
        folder = host.folder
        for name in ("bin", "disk", "root", "spool/cron/crontabs"):
            (folder / name).mkdir(parents=True)
        mount("tmpfs", folder / "disk", 0, f"{self.disk_options},mode=755")
        self._stack.callback(unmount, folder / "disk")
        for name in ("disk/home/app", "disk/home/logs"):
            (folder / name).mkdir(parents=True)
        # A disk that is limited to no block at all has no limit.
        (folder / "disk" / "one-block").write_bytes(b"\0")
        (folder / "spool" / "cron" / "crontabs").chmod(0o1777)
        (folder / "root").chmod(0o700)
        for name in ("crontab", "date"):
            (folder / "bin" / name).write_text({"crontab": CRONTAB, "date": DATE}[name])
            (folder / "bin" / name).chmod(0o755)
        (folder / "init").write_text(INIT)
        (folder / "sshd_config").write_text(SSHD_CONFIG % self.path)
        shutil.copy(self.folder / "host_key", folder)
        shutil.copy(self.folder / "client_key.pub", folder / "authorized_keys")
        (folder / "sshd.log").touch()
        host.shift_clock(0)

    def _write_client_files(self) -> None:
        kind, key, *_ = (self.folder / "host_key.pub").read_text().split()
        known = [f"{host.name},{host.address} {kind} {key}\n" for host in self.hosts]
        (self.folder / "known_hosts").write_text("".join(known))
        names = [f"Host {host.name}\n    HostName {host.address}\n" for host in self.hosts]
        common = SSH_CONFIG.format(folder=self.folder)
        self.ssh_config.write_text("".join(names) + common)
