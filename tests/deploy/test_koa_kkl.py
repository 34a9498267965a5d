"""koa-kkl on eight hosts under a steady load, by the goals of Pants: what each step costs.

The figures are printed.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core import text_table
from slipway.deploy import cli, deployment, shipped_release
from slipway.deploy.session import Session
from tests.deploy import hosts
from tests.deploy.hosts import Host, HostFarm
from tests.deploy.load import Load
from tests.e2e import harness
from tests.e2e.harness import Workspace
from tests.unit.deploy.shipping import Shipping
from tests.unit.deploy.tiny_release import sha256

pytestmark = pytest.mark.long

PORT = 3000
TOP = "/home/app/koa-kkl"
INVENTORY = """\
hosts = [{hosts}]
canary = 1
batch = "50%"
shared = ["uploads"]
ssh_options = ["-F", "{ssh}"]
[health]
url = "http://127.0.0.1:{port}/healthz"
hold = 2
[hooks]
before_switch = "mkdir -p /home/logs/koa-kkl"
"""


@pytest.fixture(scope="module")
def farm() -> Iterator[HostFarm]:
    hosts.require_hosts()
    settings: Dict[str, Any] = {"count": 8, "disk": "1g", "inodes": 200_000}
    with harness.scratch_folder("koa-") as folder, HostFarm(folder / "farm", **settings) as made:
        yield made


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace], farm: HostFarm) -> Workspace:
    made = make_workspace("deploy")
    folder = made.root / "apps" / "koa-kkl"
    names = ", ".join(f'"{host.name}"' for host in farm.hosts)
    text = INVENTORY.format(hosts=names, ssh=farm.ssh_config, port=PORT)
    (folder / "prod.toml").write_text(text)
    return made


def set_version(workspace: Workspace, version: str) -> None:
    for name in ("package.json", "package-lock.json"):
        path = workspace.root / "apps" / "koa-kkl" / name
        document = json.loads(path.read_text())
        document["version"] = version
        if "packages" in document:
            document["packages"][""]["version"] = version
        path.write_text(json.dumps(document, indent=2) + "\n")


def deploy(workspace: Workspace, *arguments: str) -> Any:
    return workspace.pants("deploy", "--format=json", *arguments, "//apps/koa-kkl:prod")


def version_of(farm: HostFarm) -> List[str]:
    found = [host.run(f"cat {TOP}/current/package.json").stdout for host in farm.hosts]
    return [json.loads(one)["version"] if one else "" for one in found]


def test_eight_hosts_under_load(workspace: Workspace, farm: HostFarm) -> None:
    figures: Dict[str, str] = {}
    started = time.monotonic()
    deploy(workspace).ok()
    figures["first deploy"] = f"{time.monotonic() - started:.1f} s, the build included"
    assert version_of(farm) == ["1.4.0"] * 8
    with ExitStack() as stack:
        loads = [
            stack.enter_context(Load(f"http://{host.address}:{PORT}/healthz", per_second=20))
            for host in farm.hosts
        ]

        def lost() -> List[int]:
            return [load.lost for load in loads]

        set_version(workspace, "1.4.1")
        before, started = lost(), time.monotonic()
        said = deploy(workspace).ok()
        seconds = time.monotonic() - started
        sent = [one["sent"] for one in json.loads(said.stdout)["hosts"]]
        after = lost()
        figures["a new version"] = (
            f"{seconds:.1f} s, {max(sent)} bytes to a host, requests lost by host "
            f"{[b - a for a, b in zip(before, after)]}"
        )
        assert version_of(farm) == ["1.4.1"] * 8

        break_health(workspace)
        set_version(workspace, "1.4.2")
        before, started = lost(), time.monotonic()
        said = deploy(workspace).failed()
        figures["failing health"] = (
            f"{time.monotonic() - started:.1f} s, requests lost by host "
            f"{[b - a for a, b in zip(before, lost())]}"
        )
        assert json.loads(said.stdout)["hosts"][0]["status"] == "returned"
        assert version_of(farm) == ["1.4.1"] * 8

        before, started = lost(), time.monotonic()
        workspace.pants("rollback", "//apps/koa-kkl:prod").ok()
        figures["rollback"] = (
            f"{time.monotonic() - started:.1f} s, requests lost by host "
            f"{[b - a for a, b in zip(before, lost())]}"
        )
        assert version_of(farm) == ["1.4.0"] * 8
        figures["longest gap"] = f"{max(load.longest_gap() for load in loads):.2f} s"
    for name, figure in figures.items():
        print(f"{name}: {figure}")


def break_health(workspace: Workspace) -> None:
    """The application says on hosts alone that it is not well: its smoke script would tell."""
    app = workspace.root / "apps" / "koa-kkl" / "service" / "app.js"
    text = app.read_text()
    assert "new Koa(" in text
    name = text.split("new Koa(")[0].rstrip(" =").split()[-1]
    lines = text.splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if "new Koa(" in line) + 1
    on_host = f"require('fs').existsSync('{TOP}')"
    lines.insert(
        at,
        f"  if ({on_host}) {name}.use((context) => {{ context.status = 503; }});\n",
    )
    app.write_text("".join(lines))


def change(manifest: Path, folder: Path, share: float, static: Any = None) -> Path:
    """A release in which that share of the scripts and texts of another one has changed.

    They are half of its files, those of npm included; which of them is by a fixed seed.
    """
    folder.mkdir()
    facts = json.loads(manifest.read_text())
    chance = random.Random(20261122)
    entries: List[Entry] = []
    with tarfile.open(manifest.parent / facts["tarball"]["file"]) as tar:
        for number, info in enumerate(tar):
            if info.name.startswith(".release") or info.name == "release.json":
                continue
            if info.isdir():
                entries.append(Entry(info.name, "folder"))
            elif info.issym():
                entries.append(Entry(info.name, "link", target=info.linkname))
            else:
                content = tar.extractfile(info)
                assert content is not None
                data = content.read()
                if chance.random() < share and info.name.endswith((".js", ".md")):
                    data += b"\n// changed\n"
                source = folder / f"file-{number}"
                source.write_bytes(data)
                entries.append(Entry(info.name, "file", bool(info.mode & 0o100), str(source)))
    layers.write_layer(str(folder / "all.layer"), "all", entries)
    tarball = folder / "changed.tar.gz"
    facts.update(version="9.9.9", static=static)
    if static:
        shutil.copy(manifest.parent / static["file"], folder)
    last = [Entry("release.json", "file", content=json.dumps(facts).encode())]
    digest, size = layers.write_release(str(tarball), [str(folder / "all.layer")], last)
    facts["tarball"] = {"file": tarball.name, "sha256": digest, "size": size}
    path = folder / "changed.release.json"
    path.write_text(json.dumps(facts))
    assert sha256(tarball) == digest
    return path


class Eight(Shipping):
    def connect(self, name: str) -> Session:
        return Session(cli.ssh_command(self.deployment, name))


@pytest.fixture
def manifest(workspace: Workspace) -> Path:
    """Of the application as it is in this repository."""
    for name in ("package.json", "package-lock.json", "service/app.js"):
        shutil.copy(
            harness.REPOSITORY / "apps" / "koa-kkl" / name, workspace.root / "apps/koa-kkl" / name
        )
    workspace.pants("package", "//apps/koa-kkl:release").ok()
    found = workspace.dist("apps.koa-kkl/release").glob("*.release.json")
    return max(found, key=lambda path: path.stat().st_mtime_ns)


def on_eight(farm: HostFarm, **more: Any) -> Eight:
    described = {
        "path": TOP,
        "server_env": "prod",
        "hosts": [host.name for host in farm.hosts],
        "health": {"url": f"http://127.0.0.1:{PORT}/healthz", "hold": 1},
        "hooks": {"before_switch": "mkdir -p /home/logs/koa-kkl"},
        "ssh_options": ["-F", str(farm.ssh_config)],
        **more,
    }
    return Eight(deployment.parse(described, "the test"))


def test_a_change_of_four_percent_sends_little(
    manifest: Path, farm: HostFarm, tmp_path: Path
) -> None:
    changed = change(manifest, tmp_path / "changed", 0.08)
    eight = on_eight(farm, batch="100%", canary=0)
    eight.deploy(manifest)
    release = shipped_release.read(str(changed))
    started = time.monotonic()
    coordinator = eight.deploy(changed)
    seconds = time.monotonic() - started
    size = release.facts["tarball"]["size"]
    sent = [host.sent for host in coordinator.hosts]
    missing = len(coordinator.hosts[0].plan.missing) if coordinator.hosts[0].plan else 0
    print(
        f"{missing} of {len(release.file_bytes)} files: {max(sent)} of {size} bytes, "
        f"{max(sent) / size:.3f}; {seconds:.1f} s for 8 hosts"
    )
    assert all(host.status == "healthy" for host in coordinator.hosts), coordinator.hosts[0].text
    assert max(sent) / size < 0.06


# Document 2's procedure, with the application's own scripts.
BY_HAND = f"""\
set -e
cd {TOP} && bin/app stop
cd .. && rm -rf koa-kkl && mkdir koa-kkl && tar -xzf koa-kkl.tar.gz -C koa-kkl
cd koa-kkl && SERVER_ENV=prod bin/app start
"""
STATIC = "/home/static"


def test_compared_with_the_manual_procedure(manifest: Path, farm: HostFarm, tmp_path: Path) -> None:
    static = json.loads(manifest.read_text())["static"]
    changed = change(manifest, tmp_path / "changed", 0.08, static=static)
    rows = [["how", "seconds", "MB to a host", "longest gap, s", "requests lost"]]

    def measure(name: str, step: Callable[[], object]) -> None:
        before = [bytes_to(host) for host in farm.hosts]
        with ExitStack() as stack:
            loads = [
                stack.enter_context(Load(f"http://{host.address}:{PORT}/healthz", per_second=20))
                for host in farm.hosts
            ]
            time.sleep(1)
            started = time.monotonic()
            step()
            seconds = time.monotonic() - started
            time.sleep(1)
        sent = [bytes_to(host) - one for host, one in zip(farm.hosts, before)]
        rows.append(
            [
                *(name, f"{seconds:.1f}", f"{max(sent) / 1e6:.1f}"),
                f"{max(load.longest_gap() for load in loads):.1f}",
                str(max(load.lost for load in loads)),
            ]
        )

    start_anew(farm)
    for host in farm.hosts:
        host.run(f"mkdir -p {TOP}/bin /home/logs/koa-kkl && ln -s /bin/true {TOP}/bin/app")
    by_hand(farm, manifest, tmp_path)
    measure("by hand", lambda: by_hand(farm, changed, tmp_path))
    start_anew(farm)
    with_static = {"static_hosts": [farm.hosts[0].name], "static_path": STATIC}
    by_half = on_eight(farm, batch="50%", **with_static)
    one_by_one = on_eight(farm, batch="1", **with_static)
    one_by_one.deploy(manifest)
    # By hand the hosts come one after the other, each with both cores of this machine.
    measure('deploy, batch="1"', lambda: one_by_one.deploy(changed))
    measure('rollback, batch="50%"', lambda: by_half.run(lambda one: one.rollback()))
    measure('deploy, batch="50%"', lambda: by_half.deploy(changed))
    print(text_table.render(rows))


def bytes_to(host: Host) -> int:
    return int(Path(f"/sys/class/net/{host.port}/statistics/tx_bytes").read_text())


def start_anew(farm: HostFarm) -> None:
    for host in farm.hosts:
        for pid, command in host.processes().items():
            if TOP in command or "koa-kkl" in command:
                harness.end({pid})
        host.run(f"crontab -r; rm -rf {TOP} {STATIC} {TOP}.tar.gz")


def by_hand(farm: HostFarm, manifest: Path, folder: Path) -> None:
    facts = json.loads(manifest.read_text())
    files = folder / "static"
    shutil.rmtree(files, ignore_errors=True)
    with tarfile.open(manifest.parent / facts["static"]["file"]) as tar:
        tar.extractall(files)
    ssh = ["-F", str(farm.ssh_config)]
    to = f"{farm.hosts[0].name}:{STATIC}/"
    run(["rsync", "-rlptD", "-e", f"ssh -F {farm.ssh_config}", f"{files}/", to])
    for host in farm.hosts:
        tarball = manifest.parent / facts["tarball"]["file"]
        run(["scp", "-q", *ssh, str(tarball), f"{host.name}:{TOP}.tar.gz"])
        run(["ssh", *ssh, host.name, BY_HAND])


def run(command: List[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
