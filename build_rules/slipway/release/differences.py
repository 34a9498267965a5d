"""The differences between two releases of an application, for `try-runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

from slipway.core import text_table

_MOST_NAMED = 20


@dataclass(frozen=True)
class Contents:
    """A release's release.json, and the SHA-256 of each file outside the runtime."""

    manifest: Mapping[str, Any]
    files: Mapping[str, str]


def render(before: Contents, after: Contents) -> str:
    """A table of facts, followed by the files that differ."""
    rows = _facts(before.manifest, after.manifest)
    table = text_table.render([("", _name(before), _name(after)), *rows])
    changed = _changed(before.files, after.files)
    if not changed:
        return "\n".join([table, "", "all files outside the Node runtime are the same"])
    shown = changed[:_MOST_NAMED]
    if len(changed) > len(shown):
        shown.append(f"… and {len(changed) - len(shown)} more")
    return "\n".join([table, "", f"files that differ: {len(changed)}", *shown])


def _name(one: Contents) -> str:
    return f"Node.js {one.manifest['node']['version']}"


def _facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> List[Tuple[str, str, str]]:
    found: Dict[str, Tuple[str, str]] = {
        "npm": (before["node"]["npm"], after["node"]["npm"]),
        "packages": (str(len(before["packages"])), str(len(after["packages"]))),
        "compiled": (_addons(before), _addons(after)),
        "size": (_size(before), _size(after)),
    }
    for namespace in ("GLIBC", "GLIBCXX", "CXXABI", "GCC"):
        found[namespace] = (_highest(before, namespace), _highest(after, namespace))
    return [(name, *pair) for name, pair in found.items() if any(pair)]


def _addons(manifest: Mapping[str, Any]) -> str:
    names = [one["name"] for one in manifest["layers"] if one["name"].startswith("addon-")]
    return ", ".join(name[len("addon-") :] for name in names)


def _size(manifest: Mapping[str, Any]) -> str:
    return f"{sum(one['size'] for one in manifest['layers']) / 1e6:.1f} MB"


def _highest(manifest: Mapping[str, Any], namespace: str) -> str:
    return str(manifest["abi"]["highest"].get(namespace, "")).partition("_")[2]


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> List[str]:
    found = []
    for name in sorted({*before, *after}):
        if name not in after:
            found.append(f"- {name}")
        elif name not in before:
            found.append(f"+ {name}")
        elif before[name] != after[name]:
            found.append(f"~ {name}")
    return found
