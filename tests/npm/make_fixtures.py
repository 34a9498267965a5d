"""Makes the lock fixtures again, with the real npm: `python -m tests.npm.make_fixtures [shape …]`.

Each shape is an application that shows one trait of locks. The registry's host is replaced, so
that the fixtures name none.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Optional

from tests.npm import npm_tools
from tests.npm.npm_tools import FIXTURE_FILES, FIXTURE_REGISTRY, NPM_6, NPM_8, Npm

FIXTURES = Path(__file__).parents[1] / "fixtures" / "npm"

Files = Dict[str, Any]  # a dict is written as JSON, a string as it is


@dataclass(frozen=True)
class Shape:
    """An application, the npm that writes its lock, and the lock's version."""

    files: Files
    npm: Npm = NPM_8
    lock_version: int = 3
    pack: Dict[str, Files] = field(default_factory=dict)  # tarball -> the package's files
    after: Optional[Callable[[Path], None]] = None


def _app(**fields: Any) -> Files:
    return {"package.json": {"name": "app", "version": "1.0.0", **fields}}


# Conflicting versions nest; two packages have a bin "uglifyjs"; one dev tree is optional in part.
_MIXED = {
    "dependencies": {
        "debug": "^2.6.9",
        "koa-compose": "^4.1.0",
        "mkdirp": "^0.5.5",
        "uglify-js": "3.4.10",
        "@babel/parser": "7.23.0",
    },
    "devDependencies": {"debug-dev": "npm:debug@^4.3.0", "uglify-es": "3.3.9", "chokidar": "2.1.8"},
    "optionalDependencies": {"semver": "^5.7.0"},
}


def _weaken(folder: Path) -> None:
    """Gives some packages the SHA-1 that locks of 2017 had."""
    shasums = {"debug": ("2.6.9", "5d128515df134ff327e90a4c93f4e077a536341f")}
    path = folder / "package-lock.json"
    document = json.loads(path.read_text())
    table = document.get("packages") or document["dependencies"]
    import base64  # noqa: PLC0415

    for name, (version, shasum) in shasums.items():
        entry = table.get(f"node_modules/{name}") or table[name]
        assert entry["version"] == version
        entry["integrity"] = "sha1-" + base64.b64encode(bytes.fromhex(shasum)).decode()
    path.write_text(json.dumps(document, indent=2) + "\n")


def _obey_shrinkwrap(folder: Path) -> None:
    """Nests the shrinkwrap's versions, as npm does if a registry says that a package has one."""
    path = folder / "package-lock.json"
    document = json.loads(path.read_text())
    table = document["packages"]
    own = json.loads(json.dumps(_SHRINKWRAPPED["npm-shrinkwrap.json"]))["dependencies"]
    for hoisted in ("node_modules/debug", "node_modules/debug/node_modules/ms"):
        del table[hoisted]
    above = "node_modules/shrinkwrapped"
    table[above]["hasShrinkwrap"] = True
    for name, entry in own.items():
        entry["dependencies"] = entry.pop("requires", {})
        table[f"{above}/node_modules/{name}"] = entry
    path.write_text(json.dumps(document, indent=2) + "\n")


_LOCAL: Files = {
    **_app(
        dependencies={
            "packed": "file:vendor/packed-1.2.3.tgz",
            "folder": "file:libs/folder",
            "debug": "^4.3.0",
        }
    ),
    "libs/folder/package.json": {
        "name": "folder",
        "version": "0.1.0",
        "bin": "cli.js",
        "dependencies": {"debug": "^2.6.9"},
        "scripts": {"test": "true"},
    },
    "libs/folder/cli.js": "#!/usr/bin/env node\n",
}
_PACKED: Files = {
    "package.json": {
        "name": "packed",
        "version": "1.2.3",
        "bin": {"packed": "bin/packed.js"},
        "dependencies": {"ms": "2.0.0", "inner": "1.0.0"},
        "bundleDependencies": ["inner"],
    },
    "bin/packed.js": "#!/usr/bin/env node\n",
    "node_modules/inner/package.json": {"name": "inner", "version": "1.0.0", "main": "i.js"},
    "node_modules/inner/i.js": "module.exports = 1\n",
}
# A package that brings a lock of its own, whose versions then hold below it.
_SHRINKWRAPPED: Files = {
    "package.json": {
        "name": "shrinkwrapped",
        "version": "3.0.0",
        "dependencies": {"debug": "^2.6.0"},
    },
    "npm-shrinkwrap.json": {
        "name": "shrinkwrapped",
        "version": "3.0.0",
        "lockfileVersion": 1,
        "requires": True,
        "dependencies": {
            "debug": {
                "version": "2.6.8",
                "resolved": f"{FIXTURE_REGISTRY}debug/-/debug-2.6.8.tgz",
                "integrity": "sha512-E22fsyWPt/lr4/UgQLt/pXqerGMDsanhbnmqIS3VAXuDi1v3IpiwXe2oncEIondHSBuPDWRoK/pMjlvi8FuOXQ==",
                "requires": {"ms": "2.0.0"},
            },
            "ms": {
                "version": "2.0.0",
                "resolved": f"{FIXTURE_REGISTRY}ms/-/ms-2.0.0.tgz",
                "integrity": "sha512-Tpp60P6IUJDTuOq/5Z8cdskzJujfwqfOTkrwIwj7IRISpnkJnT6SyJ4PCPnGMoFjC9ddhal5KVIYtAt97ix05A==",
            },
        },
    },
}
_SHRINKWRAP_APP = _app(
    dependencies={"shrinkwrapped": "file:vendor/shrinkwrapped-3.0.0.tgz", "ms": "^2.1.0"}
)
_LEGACY_PEER: Files = {
    **_app(dependencies={"react": "16.14.0", "react-dom": "17.0.2"}),
    ".npmrc": "legacy-peer-deps=true\n",
}
_WORKSPACES: Files = {
    **_app(workspaces=["packages/*"], dependencies={"debug": "^4.3.0"}, private=True),
    "packages/a/package.json": {
        "name": "@team/a",
        "version": "1.0.0",
        "bin": {"team-a": "cli.js"},
        "dependencies": {"@team/b": "^2.0.0", "debug": "^2.6.9"},
        "devDependencies": {"mkdirp": "^0.5.5"},
    },
    "packages/a/cli.js": "#!/usr/bin/env node\n",
    "packages/b/package.json": {
        "name": "@team/b",
        "version": "2.0.1",
        "dependencies": {"semver": "^5.7.0"},
        "peerDependencies": {"koa-compose": "^4.0.0"},
    },
}
_PEER = {
    "dependencies": {"react-dom": "17.0.2", "redux-thunk": "2.4.2"},
    "devDependencies": {"react-test-renderer": "17.0.2"},
}
_OTHER_OS = {
    "dependencies": {"@parcel/watcher": "2.4.1"},
    "optionalDependencies": {"fsevents": "2.3.3", "osx-temperature-sensor": "1.0.8"},
    "devDependencies": {"chokidar": "3.5.3"},
}
_ROOT_BUNDLE = {
    "dependencies": {"debug": "2.6.9", "mkdirp": "0.5.5"},
    "bundleDependencies": ["debug"],
}
_REMOTE = {
    "dependencies": {"packed": f"{FIXTURE_FILES}packed-1.2.3.tgz", "ms": "2.1.3"},
}

SHAPES: Dict[str, Shape] = {
    "v1-mixed": Shape(_app(**_MIXED), NPM_6, 1),
    "v2-mixed": Shape(_app(**_MIXED), NPM_8, 2),
    "v3-mixed": Shape(_app(**_MIXED), NPM_8, 3),
    "v1-sha1": Shape(_app(dependencies={"debug": "2.6.9"}), NPM_6, 1, after=_weaken),
    "v3-sha1": Shape(_app(dependencies={"debug": "2.6.9"}), NPM_8, 3, after=_weaken),
    "v1-local": Shape(_LOCAL, NPM_6, 1, {"vendor/packed-1.2.3.tgz": _PACKED}),
    "v2-local": Shape(_LOCAL, NPM_8, 2, {"vendor/packed-1.2.3.tgz": _PACKED}),
    "v3-local": Shape(_LOCAL, NPM_8, 3, {"vendor/packed-1.2.3.tgz": _PACKED}),
    "v3-workspaces": Shape(_WORKSPACES, NPM_8, 3),
    "v2-workspaces": Shape(_WORKSPACES, NPM_8, 2),
    "v3-alias": Shape(
        _app(
            dependencies={
                "debug": "^4.3.0",
                "debug2": "npm:debug@^2.6.9",
                "parser": "npm:@babel/parser@7.23.0",
            }
        )
    ),
    "v1-alias": Shape(
        _app(dependencies={"debug": "^4.3.0", "debug2": "npm:debug@^2.6.9"}), NPM_6, 1
    ),
    "v3-other-os": Shape(_app(**_OTHER_OS)),
    "v1-other-os": Shape(_app(**_OTHER_OS), NPM_6, 1),
    "v3-bundled": Shape(_app(dependencies={"bcrypt": "2.0.1"})),
    "v1-bundled": Shape(_app(dependencies={"bcrypt": "2.0.1"}), NPM_6, 1),
    "v3-root-bundle": Shape(_app(**_ROOT_BUNDLE)),
    "v1-root-bundle": Shape(_app(**_ROOT_BUNDLE), NPM_6, 1),
    "v3-peer": Shape(_app(**_PEER)),
    "v2-peer": Shape(_app(**_PEER), NPM_8, 2),
    "v3-overrides": Shape(
        _app(dependencies={"debug": "2.6.9"}, overrides={"debug": {"ms": "2.1.3"}})
    ),
    "v3-shrinkwrap": Shape(
        _SHRINKWRAP_APP,
        pack={"vendor/shrinkwrapped-3.0.0.tgz": _SHRINKWRAPPED},
        after=_obey_shrinkwrap,
    ),
    "v1-shrinkwrap": Shape(
        _SHRINKWRAP_APP, NPM_6, 1, {"vendor/shrinkwrapped-3.0.0.tgz": _SHRINKWRAPPED}
    ),
    "v3-legacy-peer": Shape(_LEGACY_PEER),
    "v3-remote": Shape(_app(**_REMOTE), pack={"files/packed-1.2.3.tgz": _PACKED}),
    "v1-remote": Shape(_app(**_REMOTE), NPM_6, 1, {"files/packed-1.2.3.tgz": _PACKED}),
}


def make(name: str, scratch: Path) -> None:
    """Writes one fixture."""
    shape = SHAPES[name]
    work = scratch / name
    with npm_tools.file_server(work / "files") as files:
        actual = {FIXTURE_REGISTRY: npm_tools.registry(), FIXTURE_FILES: files}
        write_files(work, shape.files, actual)
        for tarball, packed in shape.pack.items():
            _pack(packed, work / tarball, scratch / f"{name}-pack")
        arguments = ["install", "--package-lock-only"]
        if shape.lock_version > 1:
            arguments.append(f"--lockfile-version={shape.lock_version}")
        _run(shape.npm, work, scratch, *arguments)
    for path in work.rglob("package*.json"):
        replace(path, {there: here for here, there in actual.items()})
    if shape.after:
        shape.after(work)
    shutil.rmtree(work / "node_modules", ignore_errors=True)
    target = FIXTURES / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(work, target)


def _pack(files: Files, target: Path, scratch: Path) -> None:
    write_files(scratch, files, {})
    _run(NPM_8, scratch, scratch.parent, "pack", "--silent")
    target.parent.mkdir(parents=True, exist_ok=True)
    (packed,) = scratch.glob("*.tgz")
    shutil.move(str(packed), str(target))


def replace(path: Path, words: Dict[str, str]) -> None:
    text = path.read_text()
    for old, new in words.items():
        text = text.replace(old, new)
    path.write_text(text)


def write_files(folder: Path, files: Files, words: Dict[str, str]) -> None:
    for path, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
        replace(folder / path, words)


def _run(npm: Npm, folder: Path, scratch: Path, *arguments: str) -> None:
    done = npm.run(folder, scratch, *arguments)
    if done.returncode != 0:
        raise SystemExit(f"{npm} {' '.join(arguments)}:\n{done.stdout}")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for name in sys.argv[1:] or SHAPES:
            make(name, Path(scratch))
            print(name)


if __name__ == "__main__":
    main()
