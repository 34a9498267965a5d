"""The fields that `tailor` writes for a new application: only those that differ from the defaults.

A first BUILD file should work unchanged, also for applications with other folders than `src/`, `build/`
and `service/`, and for servers that their build script writes.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple

from slipway.bundle.defaults import BUILD_OUTPUTS, BUILD_SOURCES
from slipway.npm.lockfiles.package import text_map
from slipway.release import start_command
from slipway.release.start_advice import start_scripts

_SERVER = "service"
_CODE = (".js", ".cjs", ".mjs")
_NOT_BUILT = frozenset(
    [
        "__mocks__",
        "__tests__",
        "coverage",
        "cypress",
        "doc",
        "docs",
        "e2e",
        "node_modules",
        "spec",
        "test",
        "tests",
    ]
)
# Folders that a server does not need at run time.
_NOT_SERVED = _NOT_BUILT | frozenset(("build", "client", "dist"))
_OUTPUT_FOLDERS = frozenset((".next", ".nuxt", ".output", "build", "dist", "out", "output"))
# The folder that a program of a build script writes, if no option names another.
_WRITES: Mapping[str, str] = {
    "next": ".next",
    "nuxt": ".output",
    "nuxi": ".output",
    "nitro": ".output",
    "remix": "build",
    "react-router": "build",
    "react-scripts": "build",
    "gatsby": "public",
}
_OUT_OPTION = re.compile(
    r"(?:--out-?dir|--out-?file|--output-path|\b(?:babel|swc)\s[^&|;]*?\s-[do])(?:=|\s+)[\"']?([\w.@/-]+)",
    re.IGNORECASE,
)
_OUT_DIR = re.compile(r"^[^/\n]*\"outDir\"\s*:\s*\"([^\"]+)\"", re.MULTILINE)
_STANDALONE = ".next/standalone/"
_TSCONFIGS = ("tsconfig.build.json", "tsconfig.json")
_EXTENDS = re.compile(r"^[^/\n]*\"extends\"\s*:\s*\"(\.[^\"]+\.json)\"", re.MULTILINE)
_READS_ARGUMENTS = re.compile(r"\bprocess\.argv\b")
# Files of tools, of the repository and of npm, which no build reads; or which hold secrets.
_NEVER_SOURCES = (
    "*.md",
    "README*",
    "LICENSE*",
    "BUILD*",
    "*.lock",
    "*.lockb",
    "package*.json",
    "npm-*",
    "*.y*ml",
)


@dataclass(frozen=True)
class Folder:
    """The names in an application's folder, and the texts of files that say more about its build.

    `path` is the folder itself, from the build root, and `lockfile` the lockfile of its npm workspaces.
    """

    files: Tuple[str, ...]
    folders: Tuple[str, ...]
    texts: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    lockfile: str = ""


def files_to_read(manifest: Mapping[str, Any]) -> Tuple[str, ...]:
    """The files whose texts `bundle_fields` looks at, as far as they exist."""
    scripts = text_map(manifest.get("scripts"))
    started = start_command.files_to_start("build", scripts)
    return (*started, *_TSCONFIGS)


def bundle_fields(manifest: Mapping[str, Any], folder: Folder) -> Dict[str, Any]:
    """The fields of the bundle."""
    scripts = text_map(manifest.get("scripts"))
    fields: Dict[str, Any] = {"lockfile": f"//{folder.lockfile}"} if folder.lockfile else {}
    outputs: Tuple[str, ...] = ()
    if "build" not in scripts:
        fields["build_script"] = ""
    else:
        outputs = _build_outputs(scripts, folder)
        fields.update(_fields_of_build(scripts, folder, outputs))
    if outputs and _carries_packages(scripts, outputs):
        fields["node_modules"] = "none"
    if _SERVER not in folder.folders:
        sources = _runtime_sources(folder, outputs)
        if sources:
            fields["runtime_sources"] = sources
        if outputs:
            # Only the layout with `service/` says which build outputs are for browsers alone.
            fields["static_dir"] = ""
    return fields


def _carries_packages(scripts: Mapping[str, str], outputs: Tuple[str, ...]) -> bool:
    """Whether the build copies the packages of the server to its outputs, as Nuxt and Next.js do."""
    started = start_command.files_to_start(run_script(scripts) or "", scripts)
    return ".output" in outputs or any(path.startswith(_STANDALONE) for path in started)


def release_fields(manifest: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields of the release, except `bundle`."""
    script = run_script(text_map(manifest.get("scripts")))
    return {} if script in (None, "serve") else {"run_script": script}


def run_script(scripts: Mapping[str, str]) -> Optional[str]:
    """The script that runs the application on a host: rather one that starts a file than a tool."""
    names = sorted(start_scripts(scripts), key=lambda name: (name != "serve", name != "start"))
    for name in names:
        if start_command.files_to_start(name, scripts):
            return name
    return names[0] if names else None


def _fields_of_build(
    scripts: Mapping[str, str], folder: Folder, outputs: Tuple[str, ...]
) -> Dict[str, Any]:
    fields: Dict[str, Any] = {}
    if outputs != BUILD_OUTPUTS:
        fields["build_outputs"] = outputs
    sources = _build_sources(folder, frozenset(outputs))
    if sources:
        fields["build_sources"] = sources
    started = start_command.files_to_start("build", scripts)
    if any(_READS_ARGUMENTS.search(folder.texts.get(path, "")) for path in started):
        fields["build_args"] = ("{server_env}",)
    return fields


def _build_outputs(scripts: Mapping[str, str], folder: Folder) -> Tuple[str, ...]:
    found: Dict[str, None] = {}
    for path in start_command.files_to_start(run_script(scripts) or "", scripts):
        top = path.split("/")[0]
        exists = path in folder.files or top in folder.folders
        if "/" in path and (top in _OUTPUT_FOLDERS or not exists):
            found[top] = None
    for name, line in scripts.items():
        if name.startswith("build"):
            found.update(dict.fromkeys(_written_by(line, folder)))
    return tuple(found) or BUILD_OUTPUTS


def _written_by(line: str, folder: Folder) -> Iterable[str]:
    """The top folders of what a build script writes, by the options of common programs."""
    for option in _OUT_OPTION.findall(line):
        if _top(option) not in (".", "..", ""):
            yield _top(option)
    for program, output in _WRITES.items():
        if re.search(rf"(?:^|[\s/]){re.escape(program)} build\b", line):
            yield output
    if re.search(r"(?:^|[\s/])tsc\b", line):
        for name in _TSCONFIGS:
            named = _OUT_DIR.search(folder.texts.get(name, ""))
            if named and named.group(1) not in (".", "./"):
                yield _top(named.group(1))
                return


def _top(path: str) -> str:
    return posixpath.normpath(path).split("/", maxsplit=1)[0]


def _build_sources(folder: Folder, outputs: FrozenSet[str]) -> Tuple[str, ...]:
    """The sources of a build that reads more than the defaults; empty if the defaults are enough."""
    folders = [
        one
        for one in sorted(folder.folders)
        if one not in {*_NOT_BUILT, *outputs, _SERVER} and not one.startswith(".")
    ]
    files = [one for one in folder.files if not _matches(one, (*_NEVER_SOURCES, ".*"))]
    others = sorted(one for one in files if not _matches(one, BUILD_SOURCES))
    others.extend(_extended(folder))
    if not others and not [one for one in folders if f"{one}/**" not in BUILD_SOURCES]:
        return ()
    patterns = [
        one for one in BUILD_SOURCES if any(_matches(name, (one,)) for name in folder.files)
    ]
    return (*(f"{one}/**" for one in folders), *patterns, *others)


def _extended(folder: Folder) -> Iterable[str]:
    """The configurations above the application that its own configuration of TypeScript extends."""
    if not folder.lockfile:
        return ()
    found = (_EXTENDS.search(text) for name, text in folder.texts.items() if name in _TSCONFIGS)
    paths = (posixpath.normpath(posixpath.join(folder.path, one.group(1))) for one in found if one)
    return sorted({f"//{one}" for one in paths if not one.startswith(("..", f"{folder.path}/"))})


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _runtime_sources(folder: Folder, outputs: Tuple[str, ...]) -> Tuple[str, ...]:
    left_out = {*_NOT_SERVED, *outputs}
    files = list(folder.files)
    if ".output" in outputs:
        return ()  # it holds all that it needs
    if ".next" in outputs:
        names = [name for name in files if name.startswith("next.config.")]
        return (*names, *(f"{one}/**" for one in ("public",) if one in folder.folders))
    if outputs:
        left_out.add("src")
    served = sorted(
        one for one in folder.folders if one not in left_out and not one.startswith(".")
    )
    data = sorted(name for name in files if name.endswith(".json") and not _is_tools_own(name))
    code = sorted({ending for name in files for ending in _CODE if _is_code(name, ending)})
    return (*(f"*{ending}" for ending in code), *data, *(f"{one}/**" for one in served))


def _is_code(name: str, ending: str) -> bool:
    return name.endswith(ending) and ".config." not in name and not name.startswith(".")


def _is_tools_own(name: str) -> bool:
    tools = (".", "package", "tsconfig", "jsconfig", "nest-cli", "components.json", "biome")
    return name.startswith(tools) or ".config." in name
