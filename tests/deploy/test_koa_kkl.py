"""koa-kkl on eight hosts under a steady load, by the goals of Pants: what each step costs.

The figures are printed.
"""

from __future__ import annotations

import json
import random
import tarfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from build_rules.lib import layers
from build_rules.lib.deploy import cli, deployment, shipped_release
from build_rules.lib.deploy.session import Session
from build_rules.lib.layers import Entry
from tests.deploy import hosts
from tests.deploy.hosts import HostFarm
from tests.deploy.load import Load
from tests.e2e import harness
from tests.e2e.harness import Workspace
from tests.unit.lib.deploy.shipping import Shipping
from tests.unit.lib.deploy.tiny_release import sha256

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
    settings = {"count": 8, "disk": "1g", "inodes": 200_000}
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


def change(manifest: Path, folder: Path, share: float) -> Path:
    """A release in which that share of the scripts and texts of another one, half of its files, those of npm
    included, has changed, by a fixed seed."""
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
    facts.update(version="9.9.9", static=None)
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


def test_a_change_of_four_percent_sends_little(
    workspace: Workspace, farm: HostFarm, tmp_path: Path
) -> None:
    workspace.pants("package", "//apps/koa-kkl:release").ok()
    (manifest,) = workspace.dist("apps.koa-kkl/release").glob("*.release.json")
    changed = change(manifest, tmp_path / "changed", 0.08)
    described = deployment.parse(
        {
            "path": TOP,
            "server_env": "prod",
            "hosts": [host.name for host in farm.hosts],
            "batch": "100%",
            "canary": 0,
            "health": {"url": f"http://127.0.0.1:{PORT}/healthz", "hold": 1},
            "hooks": {"before_switch": "mkdir -p /home/logs/koa-kkl"},
            "ssh_options": ["-F", str(farm.ssh_config)],
        },
        "the test",
    )
    eight = Eight(described)
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
