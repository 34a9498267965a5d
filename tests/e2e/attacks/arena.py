"""Where attacks are run: hostile packages in applications, one build for many of them, and evidence.

A build keeps its sandboxes, so that each step can be looked into whatever came of the others: what
an attack reached is in the package's own folder, as its step packed it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import tarfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from slipway.npm.scripts import native_packages
from tests.e2e import harness
from tests.e2e.addon_app import have_only
from tests.e2e.attacks.fence import small_disk
from tests.e2e.attacks.machine import Machine, Outcome
from tests.e2e.harness import User, Workspace

PAYLOADS = Path(__file__).parent / "payloads"
STEP_TIME_LIMIT = 90
BUILD_TIME_LIMIT = 600.0  # seconds
# Where scripts of a step that isn't walled off could leave files for others on the machine.
SHARED_FOLDERS = ("/tmp", "/dev/shm", "/var/tmp", "/", "/run", "/dev", "/etc")
_RELEASE = 'release_tarball(name="release", bundle=":bundle", static="none", run_script="")\n'
_INSTALL = """
install:
\tmkdir -p $(PREFIX)/bin $(PREFIX)/include/node $(PREFIX)/lib $(PREFIX)/share
\tcp -r reports $(PREFIX)/share
\tprintf '#!/bin/sh\\necho 42\\n' >$(PREFIX)/bin/node
\tchmod 755 $(PREFIX)/bin/node
"""
_DEFINITION = """\
version = "1.0.0"

[source]
file = "source.tar.gz"
sha256 = "{sha256}"
make = ["all"]
test = "skip"
install = ["install", "PREFIX={{prefix}}"]

[runtime]
check = ["bin/node"]
says = "42"
"""
FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\udc80-\udcff]")
Member = Tuple[tarfile.TarInfo, bytes]


@dataclass(frozen=True)
class Package:
    """An npm package whose install script is a payload: `settings` reach it as attack.json.

    `script` is another install script, for packages that do not attack.
    """

    name: str
    payload: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    decision: str = "run"
    script: str = ""


@dataclass(frozen=True)
class Step:
    """One step as its kept sandbox shows it: the program, its arguments, and what it left."""

    sandbox: Path
    program: str
    arguments: Mapping[str, Any]

    @property
    def out(self) -> Path:
        return self.sandbox / "out"

    def found(self, report: str = "found.json") -> Optional[Dict[str, Any]]:
        """What the script of the step noted; None if the step packed nothing."""
        for path in sorted(self.out.glob("*.tar")) if self.out.is_dir() else []:
            for info, content in read_members(path):
                if os.path.basename(info.name) == report:
                    notes: Dict[str, Any] = json.loads(content)
                    return notes
        return None


@dataclass
class Run:
    """One build and what came of it; `traces` are files with the mark of this run on the machine."""

    outcome: Outcome
    steps: Sequence[Step]
    traces: List[str]

    @property
    def output(self) -> str:
        return f"{self.outcome.stdout}\n{self.outcome.stderr}"

    def step_of(self, name: str) -> Optional[Step]:
        """The step of a package by its name, or of another program."""
        for step in self.steps:
            if step.arguments.get("name") == name or step.program == name:
                return step
        return None

    @property
    def messages(self) -> List[str]:
        """The error of the build, package by package where it tells of several."""
        _, _, error = self.output.partition("[ERROR] ")
        if "packages failed\n" not in error:
            return [error] if error else []
        return re.split(r"(?m)^(?:  found: | {9})\d+\. ", error)[1:]

    def message_of(self, name: str) -> str:
        """The part of the error that is about one package; empty without one."""
        named = re.compile(re.escape(name) + r"(?![\w-])")
        return "\n".join(text for text in self.messages if named.search(text))


class Arena:
    """A workspace for attacks, with what they are not to reach, and one way to isolate steps."""

    def __init__(
        self,
        workspace: Workspace,
        scratch: Path,
        isolator: str,
        before: Sequence[str] = (),
        env: Optional[Mapping[str, str]] = None,
        owner: Optional[User] = None,
        machine_root: Path = Path("/"),
        groups: Sequence[Path] = (),
    ) -> None:
        """`owner` is who builds, if not who tests; `before` is what starts a build, and then as
        that user; `machine_root` is the folder that is the root of the machine of the build.
        `groups` are control groups of a fence: then no sandbox is kept."""
        self.workspace = workspace
        self.scratch = scratch
        self.isolator = isolator
        self.before = tuple(before)
        self.env = dict(env or {})
        self.owner = owner
        self.machine_root = machine_root
        self.run_name = f"{random.SystemRandom().getrandbits(40):010x}"
        self._builds = 0
        self._fenced = bool(groups)
        self._held = contextlib.ExitStack()
        if self._fenced:
            self._held.enter_context(small_disk(scratch / "sandboxes"))
        self._machine = self._held.enter_context(Machine(scratch, groups))
        self.targets = scratch / "targets"
        self.targets.mkdir()
        self.targets.chmod(0o777)
        self.victim = self._canary("victim", "the text of the user who builds\n")
        self.secret = self._canary("secret", f"secret-{self.run_name}\n")
        for path in (self.targets, self.victim, self.secret):
            if owner is not None:
                os.chown(path, owner.uid, owner.gid)

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        # What an isolator could not keep scripts from leaving on this very machine.
        for path in self.traces():
            if os.path.dirname(path) in SHARED_FOLDERS:
                subprocess.run(["rm", "-rf", "--", path], check=False)

    def _canary(self, name: str, text: str) -> Path:
        path = self.scratch / name
        path.write_text(text)
        return path

    @property
    def settings(self) -> Dict[str, Any]:
        """Facts of the machine for every attack, which need not search for what it must not reach."""
        return {
            "port": _port_of(self.run_name, 0),
            "outer_port": _port_of(self.run_name, 1),
            "outer_address": outer_address(),
            "abstract": f"slipway-attacks-{self.run_name}",
            "socket": str(self.scratch / "listening"),
            "key": f"key-{self.run_name}",
            "machine_path": str(self.scratch),
            "targets": str(self.targets),
            "victim": str(self.victim),
            "secret": str(self.secret),
            "ipc_key": int(self.run_name[:7], 16) | 1,
        }

    # --- Applications.

    def attack_files(self, package: Package) -> Dict[str, bytes]:
        """The payload with what it needs, by their names in one folder."""
        settings = {
            **self.settings,
            "name": package.name,
            "layer": native_packages.layer_name(f"node_modules/{package.name}"),
            "token": self.token(package.name),
            **package.settings,
        }
        return {
            "kit.py": (PAYLOADS / "kit.py").read_bytes(),
            "attack.py": (PAYLOADS / f"{package.payload}.py").read_bytes(),
            "attack.json": json.dumps(settings).encode(),
            **package.files,
        }

    def token(self, name: str) -> str:
        """What marks all that an attack leaves anywhere, and its processes."""
        return f"{self.run_name}-{name}"

    def pack(self, package: Package) -> bytes:
        script = package.script or f"python3 -B attack.py {self.token(package.name)}"
        manifest = {"name": package.name, "version": "1.0.0", "scripts": {"install": script}}
        files = {
            "package.json": json.dumps(manifest).encode(),
            "index.js": b"exports.ok = true\n",
            **self.attack_files(package),
        }
        return _packed({f"package/{name}": content for name, content in files.items()})

    def write_app(
        self, name: str, packages: Sequence[Package], runtime: str = "//toolchains/node:16.20.2"
    ) -> str:
        """An application that depends on these packages; gives its release's address."""
        folder = self._new_app(name, {"start": "node service/smoke.js"})
        decisions = json.dumps({one.name: one.decision for one in packages})
        (folder / "BUILD").write_text(
            f'node_app_bundle(name="bundle", runtime="{runtime}", build_script="",'
            ' build_outputs=[], static_dir="", install_scripts={})\n' + _RELEASE
        )
        have_only(folder, {one.name: self.pack(one) for one in packages})
        build = (folder / "BUILD").read_text()
        before, _, rest = build.partition("install_scripts={")
        (folder / "BUILD").write_text(
            f"{before}install_scripts={decisions}{rest.partition('}')[2]}"
        )
        harness.own(folder, self.workspace.owner)
        return f"//apps/{name}:release"

    def write_built_app(self, name: str, attacks: Sequence[Package]) -> str:
        """An application whose build script is these attacks, one after the other."""
        calls = [
            f"(cd attacks/{one.name} && python3 -B attack.py {self.token(one.name)})"
            for one in attacks
        ]
        script = " && ".join(["mkdir -p dist", *calls])
        folder = self._new_app(name, {"start": "node service/smoke.js", "build": script})
        for attack in attacks:
            placed = replace_report(attack, f"/build/app/dist/{attack.name}.json")
            for file, content in self.attack_files(placed).items():
                path = folder / "attacks" / attack.name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        have_only(folder, {})
        (folder / "BUILD").write_text(
            'node_app_bundle(name="bundle", runtime="//toolchains/node:16.20.2",'
            ' build_sources=["attacks/**"], build_outputs=["dist"], static_dir="")\n'
            + _RELEASE.replace('"none"', '"include"')
        )
        harness.own(folder, self.workspace.owner)
        return f"//apps/{name}:release"

    def _new_app(self, name: str, scripts: Mapping[str, str]) -> Path:
        folder = self.workspace.root / "apps" / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "service").mkdir(parents=True)
        (folder / "service" / "smoke.js").write_text("// the application's own\n")
        manifest = {"name": "attacked", "version": "1.0.0", "scripts": dict(scripts)}
        (folder / "package.json").write_text(json.dumps(manifest))
        (folder / "BUILD").write_text("install_scripts={}\n")
        return folder

    def write_runtime(self, name: str, attacks: Sequence[Package]) -> str:
        """A runtime whose `make` is these attacks; gives its address."""
        calls = [
            f"\t(cd {one.name} && python3 -B attack.py {self.token(one.name)})" for one in attacks
        ]
        makefile = "\n".join(["all:", *calls, _INSTALL])
        files = {"source/Makefile": makefile.encode()}
        for attack in attacks:
            placed = replace_report(attack, f"/build/source/reports/{attack.name}.json")
            for file, content in self.attack_files(placed).items():
                files[f"source/{attack.name}/{file}"] = content
        folder = self.workspace.root / "toolchains" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        archive = _packed(files)
        (folder / "source.tar.gz").write_bytes(archive)
        (folder / "definition.toml").write_text(
            _DEFINITION.format(sha256=hashlib.sha256(archive).hexdigest())
        )
        (folder / "BUILD").write_text(
            f'node_runtime(name="{name}", version="1.0.0", definition="definition.toml",'
            ' toolchain="//toolchains/gcc48", tags=["source_build"])\n'
        )
        harness.own(folder, self.workspace.owner)
        return f"//toolchains/{name}"

    # --- Builds.

    def build(
        self,
        *arguments: str,
        parallel: int = 4,
        daemon: bool = True,
        seconds: float = BUILD_TIME_LIMIT,
    ) -> Run:
        """Runs Pants once. Its daemon, if it has one, stays on the machine of this arena."""
        # The daemon would start again with another folder for sandboxes.
        sandboxes = self.scratch / "sandboxes"
        sandboxes.mkdir(exist_ok=True)
        self._renew_job()
        if self.owner is not None:
            os.chown(sandboxes, self.owner.uid, self.owner.gid)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.settings["socket"])
        starter = None if self.before else self.owner
        options = (
            f"--slipway-isolator={self.isolator}",
            f"--slipway-step-time-limit={STEP_TIME_LIMIT}",
            f"--keep-sandboxes={'never' if self._fenced else 'always'}",
            f"--process-execution-local-parallelism={parallel}",
        )
        env = {
            **self.workspace.environment(self.env),
            "PANTS_PANTSD": str(daemon).lower(),
            "PANTS_LOCAL_EXECUTION_ROOT_DIR": str(sandboxes),
        }
        spec = {
            **self.settings,
            "command": [*self.before, "./pants", *options, *arguments],
            "cwd": str(self.workspace.root),
            "env": env,
            "uid": starter.uid if starter else None,
            "gid": starter.gid if starter else None,
            "isolator": self.isolator,
            "builder": self.owner.uid if self.owner else os.geteuid(),
            "seconds": seconds,
            "canary": f"secret-{self.run_name}",
            "canary_file": str(self.secret),
            "run": self.run_name,
        }
        outcome = self._machine.run(spec)
        self._builds += 1
        kept = self.scratch / f"kept-{self._builds}"
        kept.mkdir()
        for sandbox in sandboxes.glob("pants-sandbox-*"):
            sandbox.rename(kept / sandbox.name)
        return Run(outcome, list(kept_steps(kept)), self.traces())

    def _renew_job(self) -> None:
        """Empties what a killed step has left, in a job whose scripts may kill what would do it: of
        CI, each job has a new container."""
        if self.before and self.owner is not None:
            for folder in ("build", "home/build"):
                place = f"{self.machine_root}/{folder}"
                # rm takes trees that are too deep for Python.
                subprocess.run(["find", place, "-mindepth", "1", "-delete"], check=True)

    def traces(self) -> List[str]:
        """Files on the machine that carry the mark of this run: scripts alone make such."""
        found = [str(path) for path in self.targets.iterdir()]
        places = [str(self.workspace.home), str(self.workspace.root)]
        for folder in SHARED_FOLDERS:
            places.extend((folder, f"{self.machine_root}{folder}"))
        for folder in places:
            with contextlib.suppress(OSError):
                found.extend(
                    os.path.join(folder, name)
                    for name in os.listdir(folder)
                    if self.run_name in name and "marked" in name
                )
        trees = self.workspace.caches.named / "slipway_trees"
        # Scripts make folders that are too deep for Python to walk.
        marked = subprocess.run(
            ["find", str(trees), "-name", f"*{self.run_name}*", "-prune", "-print"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        found.extend(os.fsdecode(line) for line in marked.stdout.splitlines())
        # The root of a step in a chroot, which is gone when the step is over.
        found.extend(str(path) for path in trees.glob("chroot-*") if path.suffix != ".lock")
        return sorted(set(found))

    def released(self, target: str) -> List[Member]:
        folder = target.lstrip("/").replace("/", ".").replace(":", "/")
        (archive,) = self.workspace.dist(folder).glob("*.tar.gz")
        return list(read_members(archive))


def replace_report(attack: Package, report: str) -> Package:
    """The attack, noting what it reached in that file."""
    return replace(attack, settings={**attack.settings, "report": report})


def _packed(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)


def kept_steps(folder: Path) -> Iterator[Step]:
    for sandbox in sorted(folder.glob("pants-sandbox-*")):
        with contextlib.suppress(OSError, ValueError, StopIteration):
            described = json.loads((sandbox / "step.json").read_text())
            program = next(word for word in described["argv"] if word.startswith("slipway."))
            arguments = json.loads((sandbox / "in" / "arguments.json").read_text())
            yield Step(sandbox, program, arguments)


def read_members(path: Path) -> Iterator[Member]:
    with tarfile.open(path, "r:*") as tar:
        for info in tar:
            content = tar.extractfile(info) if info.isreg() else None
            yield info, content.read() if content else b""


def outer_address() -> str:
    """An address of this machine that isn't loopback's; no packet is sent to find it."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        try:
            sock.connect(("198.51.100.7", 9))
            return str(sock.getsockname()[0])
        except OSError:
            return "127.0.0.2"


def _port_of(name: str, number: int) -> int:
    """A port that stays the same for all that one arena does."""
    return 20000 + (int(name, 16) + number * 7919) % 12000
