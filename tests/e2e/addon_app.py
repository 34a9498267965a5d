"""Applications with addons, for tests: real ones of the npm registry, and small local ones."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Callable, Dict, Iterator, Mapping

from slipway.npm.lockfiles import fetch_lock
from tests.e2e.harness import Workspace

HERE = Path(__file__).parent / "addons"
# The sources of these are those of the example; here they are packages by themselves.
LOCAL = {"hello": "hello", "napi": "sum", "nan-words": "words"}
EXAMPLE = Path(__file__).parents[2] / "examples" / "native-addon" / "addons"
RUNTIMES = {
    "node16": ("16.20.2", ["bcrypt", "hello", "nan-words", "napi"]),
    "node6": ("6.3.0", ["bcrypt", "hello", "nan-words"]),
}


def _sources_of(name: str) -> Iterator[Path]:
    """The example's first, for the package.json of the test is another."""
    if name in LOCAL:
        for kind in ("binding.gyp", "index.js", "*.c", "*.cc"):
            yield from (EXAMPLE / LOCAL[name]).glob(kind)
    yield from (HERE / name).iterdir()


def pack(name: str) -> bytes:
    """An addon's folder as npm packs it, the same bytes each time on one machine."""
    packed = io.BytesIO()
    files = {path.name: path for path in _sources_of(name)}
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(files.values(), key=lambda one: one.name):
            info = tarfile.TarInfo(f"package/{path.name}")
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
    return gzip.compress(packed.getvalue(), mtime=0)


def write_app(workspace: Workspace, kind: str, **changed: Callable[[str], str]) -> str:
    """The application of a runtime; `changed` edits files of it. Gives its release's address."""
    version, names = RUNTIMES[kind]
    folder = workspace.root / "apps" / kind
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / kind, folder)
    lock = (folder / "package-lock.json").read_text()
    for name in LOCAL:
        content = pack(name)
        (folder / f"{name}-1.0.0.tgz").write_bytes(content)
        integrity = base64.b64encode(hashlib.sha512(content).digest()).decode()
        lock = lock.replace(f"@{name}@", f"sha512-{integrity}")
    (folder / "package-lock.json").write_text(lock)
    (folder / "service").mkdir()
    shutil.copyfile(HERE / "smoke.js", folder / "service" / "smoke.js")
    (folder / "BUILD").write_text(
        f'node_app_bundle(name="bundle", runtime="//toolchains/node:{version}", build_script="",'
        f' build_outputs=[], static_dir="", install_scripts={json.dumps(dict.fromkeys(names, "source"))})\n'
        'release_tarball(name="release", bundle=":bundle", static="none", smoke_script="smoke", run_script="")\n'
    )
    for name, change in changed.items():
        path = folder / name
        path.write_text(change(path.read_text()))
    return f"//apps/{kind}:release"


def have_only(folder: Path, packages: Mapping[str, bytes], decision: str = "source") -> None:
    """Makes these local packages, tarballs by name, all that the application depends on."""
    entries: Dict[str, object] = {}
    specs = {}
    for name, content in packages.items():
        specs[name] = f"file:{name}-1.0.0.tgz"
        (folder / f"{name}-1.0.0.tgz").write_bytes(content)
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        entries[f"node_modules/{name}"] = {
            "version": "1.0.0",
            "resolved": specs[name],
            "integrity": integrity,
        }
    manifest = json.loads((folder / "package.json").read_text())
    manifest["dependencies"] = specs
    (folder / "package.json").write_text(json.dumps(manifest))
    root = {"name": "addons", "version": "1.0.0", "dependencies": specs}
    lock = {
        "name": "addons",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {"": root, **entries},
    }
    (folder / "package-lock.json").write_text(json.dumps(lock, indent=2))
    (folder / "npm-fetch.lock").write_text(
        fetch_lock.render([], fetch_lock.renew_command("apps/node16/package-lock.json"))
    )
    decide(folder, dict.fromkeys(packages, decision))


def decide(folder: Path, decisions: Mapping[str, str]) -> None:
    """Replaces what the bundle says of install scripts."""
    build = (folder / "BUILD").read_text()
    before, _, rest = build.partition("install_scripts={")
    after = rest.partition("}")[2]
    (folder / "BUILD").write_text(f"{before}install_scripts={json.dumps(dict(decisions))}{after}")


def read_member(workspace: Workspace, folder: str, name: str) -> bytes:
    """A file of the release in that folder of `dist`."""
    (archive,) = workspace.dist(folder).glob("*-prod.tar.gz")
    with tarfile.open(archive) as tar:
        (member,) = (one for one in tar if one.name == name)
        content = tar.extractfile(member)
        assert content is not None
        return content.read()


def pack_binary(name: str, content: bytes) -> bytes:
    """One binary in an archive, as mirrors have them."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o755
        tar.addfile(info, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=0)
