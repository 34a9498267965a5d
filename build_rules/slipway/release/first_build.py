"""The fields that `tailor` writes for a new application: only those that differ from the defaults.

A first BUILD file should work unchanged, also for applications with other folders than `src/`, `build/`
and `service/`.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, Mapping, Tuple

from slipway.npm.lockfiles.package import text_map

_SERVER = "service"
_CODE = (".js", ".cjs", ".mjs")
# Folders that a server does not need at run time.
_NOT_SERVED = frozenset(
    (
        *(
            "__mocks__",
            "__tests__",
            "coverage",
            "cypress",
            "doc",
            "docs",
            "e2e",
            "spec",
            "test",
            "tests",
        ),
        *("build", "client", "dist", "node_modules"),
    )
)


def bundle_fields(
    manifest: Mapping[str, Any], files: Iterable[str], folders: Iterable[str]
) -> Dict[str, Any]:
    """The fields of the bundle; `files` and `folders` are names in the application's folder."""
    fields: Dict[str, Any] = {}
    builds = "build" in text_map(manifest.get("scripts"))
    if not builds:
        fields["build_script"] = ""
    folders = set(folders)
    if _SERVER not in folders:
        sources = _runtime_sources(files, folders - ({"src"} if builds else set()))
        if sources:
            fields["runtime_sources"] = sources
    return fields


def release_fields(manifest: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields of the release, except `bundle`."""
    scripts = text_map(manifest.get("scripts"))
    return {"run_script": "start"} if "start" in scripts and "serve" not in scripts else {}


def _runtime_sources(files: Iterable[str], folders: Iterable[str]) -> Tuple[str, ...]:
    files = list(files)
    served = sorted(
        folder for folder in folders if folder not in _NOT_SERVED and not folder.startswith(".")
    )
    data = sorted(name for name in files if name.endswith(".json") and not _is_tools_own(name))
    code = sorted({ending for name in files for ending in _CODE if _is_code(name, ending)})
    return (*(f"*{ending}" for ending in code), *data, *(f"{folder}/**" for folder in served))


def _is_code(name: str, ending: str) -> bool:
    return name.endswith(ending) and ".config." not in name and not name.startswith(".")


def _is_tools_own(name: str) -> bool:
    return name.startswith((".", "package", "tsconfig", "jsconfig")) or ".config." in name
