"""Writes the table of bundled Node versions and images: docs/reference/node-matrix.md.

    python3 tests/benchmarks/node_matrix.py --write

For each Node and each toolchain with an ABI policy, it packages applications and reports which of
them pass: a release passes only if its packages install, its addon compiles, the ABI gate accepts
all binaries, and the release starts. The run takes half an hour and needs npm on the PATH.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "build_rules"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.e2e import harness, shared
from tests.e2e.harness import Workspace

PAGE = harness.REPOSITORY / "docs" / "reference" / "node-matrix.md"
ADDONS = harness.REPOSITORY / "examples" / "native-addon" / "addons"
NODES = ("6.3.0", "16.20.2", "18.20.8", "20.20.2", "22.20.0", "22.23.3", "24.21.0", "26.12.1")
TOOLCHAINS = ("gcc48", "gcc12", "debian12")
VERSIONS = {"bcrypt": "5.1.1", "better-sqlite3": "12.4.1", "nan": "2.23.0"}
# nan 2.23.0 was released before this Node.
NEWEST, NAN_FOR_NEWEST = "26.12.1", "2.30.0"
INTRODUCTION = """\
# Node versions and toolchain images

<!-- Written by tests/benchmarks/node_matrix.py: run it again. -->

Each cell is the result of `./pants package` of an application with this Node and this toolchain, on {day}: `yes` means that its packages installed, the addon compiled, the
ABI gate accepted all binaries, and the release started. `gate` means that Node itself does not load on the oldest hosts of the toolchain.

The applications: `app` has no addon; `V8` has an addon with V8's own interface, `NAN` one with nan {nan} ({nan_for_newest} for Node {newest}), and `N-API` one with
Node-API; `bcrypt` is {bcrypt} and `better-sqlite3` is {sqlite}, both compiled from source. Node 6 has no Node-API, which bcrypt needs too, and better-sqlite3 {sqlite} is for
Node 20 to 24.
"""


@dataclass(frozen=True)
class Application:
    """`addon` is a folder of an addon, `package` a package that is compiled from source.

    `nan` is the version of nan that the addon uses, if it uses nan.
    """

    label: str
    name: str
    addon: str = ""
    package: str = ""
    nan: str = ""


APPLICATIONS = (
    Application("app", "plain"),
    Application("V8", "v8", addon="hello"),
    Application("NAN", "nan", addon="words", nan=VERSIONS["nan"]),
    Application("N-API", "napi", addon="sum"),
    Application("bcrypt", "bcrypt", package="bcrypt"),
    Application("better-sqlite3", "sqlite", package="better-sqlite3"),
)
NAN_OF_NEWEST = Application("NAN", "nan-newest", addon="words", nan=NAN_FOR_NEWEST)


def applications(node: str) -> Sequence[Application]:
    if node != NEWEST:
        return APPLICATIONS
    return [NAN_OF_NEWEST if one.nan else one for one in APPLICATIONS]


def lay_out(workspace: Workspace) -> None:
    """Writes the applications, with lockfiles that every bundled npm reads."""
    for app in (*APPLICATIONS, NAN_OF_NEWEST):
        folder = workspace.root / "apps" / app.name
        folder.mkdir(parents=True)
        needed: Dict[str, str] = {}
        if app.addon:
            needed[app.addon] = "file:addon"
            shutil.copytree(ADDONS / app.addon, folder / "addon")
            if app.nan:
                set_nan(folder / "addon" / "package.json", app.nan)
        if app.package:
            needed[app.package] = VERSIONS[app.package]
        manifest = {
            "name": app.name,
            "version": "1.0.0",
            "dependencies": needed,
            "scripts": {"serve": "node service/app.js"},
        }
        (folder / "package.json").write_text(json.dumps(manifest))
        (folder / "service").mkdir()
        loads = "".join(f"require({json.dumps(name)});\n" for name in needed)
        (folder / "service" / "app.js").write_text(
            f"{loads}require('http').createServer().listen(process.env.PORT);\n"
        )
        for place in [folder, *([folder / "addon"] if app.addon else [])]:
            lock(place)


def set_nan(manifest: Path, version: str) -> None:
    content = json.loads(manifest.read_text())
    content["dependencies"]["nan"] = version
    manifest.write_text(json.dumps(content))


def lock(folder: Path) -> None:
    (folder / "package-lock.json").unlink(missing_ok=True)
    subprocess.run(
        ["npm", "install", "--package-lock-only", "--ignore-scripts", "--lockfile-version=2"]
        + ["--omit-lockfile-registry-resolved"],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def build_file(app: Application, node: str, toolchain: str) -> Mapping[str, str]:
    """The BUILD files of an application, by path."""
    runtime, image = f"//toolchains/node:{node}", f"//toolchains/{toolchain}"
    fields = [f'runtime="{runtime}"', f'toolchain="{image}"', 'build_script=""', 'static_dir=""']
    files = {}
    if app.addon:
        fields.append(f'addons=["//apps/{app.name}/addon"]')
        files[f"apps/{app.name}/addon/BUILD"] = (
            f'node_addon(runtimes=["{runtime}"], toolchain="{image}")\n'
        )
    if app.package:
        fields.append(f'install_scripts={{"{app.package}": "source"}}')
    files[f"apps/{app.name}/BUILD"] = (
        f'node_app_bundle(name="bundle", {", ".join(fields)}, build_outputs=[])\n'
        'release_tarball(name="release", bundle=":bundle", static="none")\n'
    )
    return files


def attempt(workspace: Workspace, app: Application, node: str, toolchain: str) -> str:
    for path, text in build_file(app, node, toolchain).items():
        (workspace.root / path).write_text(text)
    result = workspace.pants("package", f"//apps/{app.name}:release", timeout=1800)
    if result.code == 0:
        return "yes" if "ends at once" not in result.output else "no start"
    print(f"--- {app.name}, Node {node}, {toolchain}\n{result.output[-3000:]}", file=sys.stderr)
    return "gate" if "node_runtime/bin/node: needs" in result.output else "no"


def rows(workspace: Workspace) -> Iterator[Tuple[str, ...]]:
    yield ("Node", "toolchain", *(app.label for app in APPLICATIONS))
    for node in NODES:
        for toolchain in TOOLCHAINS:
            first, *others = applications(node)
            results = [attempt(workspace, first, node, toolchain)]
            # With a Node that does not load on the hosts, nothing else can pass.
            results += (
                ["gate"] * len(others)
                if results == ["gate"]
                else [attempt(workspace, app, node, toolchain) for app in others]
            )
            print(f"{node} {toolchain} {' '.join(results)}", file=sys.stderr)
            yield (node, toolchain, *results)


def page(table: Sequence[Sequence[str]]) -> str:
    head, *rest = table
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)]
    introduction = INTRODUCTION.format(
        day=datetime.date.today().isoformat(),
        nan=VERSIONS["nan"],
        nan_for_newest=NAN_FOR_NEWEST,
        newest=NEWEST,
        bcrypt=VERSIONS["bcrypt"],
        sqlite=VERSIONS["better-sqlite3"],
    )
    return "\n".join([introduction, *lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page")
    options = parser.parse_args()
    with harness.scratch_folder("matrix-") as scratch:
        tools = str(harness.tools_folder(scratch / "tools"))
        caches = shared.filled_caches(scratch / "caches", tools)
        with Workspace.make(scratch / "clone", caches, tools, daemon=True) as workspace:
            lay_out(workspace)
            names = [path.parent for path in workspace.root.glob("apps/*/package-lock.json")]
            names += [path.parent for path in workspace.root.glob("apps/*/addon/package-lock.json")]
            for app in (*APPLICATIONS, NAN_OF_NEWEST):
                for path, text in build_file(app, "16.20.2", "gcc48").items():
                    (workspace.root / path).write_text(text)
            resolves = [f"--resolve=npm:{one.relative_to(workspace.root)}" for one in names]
            workspace.pants("generate-lockfiles", *resolves).ok()
            table: List[Sequence[str]] = list(rows(workspace))
    if options.write:
        PAGE.write_text(page(table), encoding="utf-8")
    print(page(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
