"""The differences between two releases of an application, for `try-runtime`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

_MOST_NAMED = 20


@dataclass(frozen=True)
class Contents:
    """A release's release.json, and the SHA-256 of each file outside the runtime."""

    manifest: Mapping[str, Any]
    files: Mapping[str, str]


def changed_files(before: Contents, after: Contents) -> List[str]:
    """Lines about the files outside the runtime that differ."""
    changed = _changed(before.files, after.files)
    if not changed:
        return ["all files outside the Node runtime are the same"]
    shown = changed[:_MOST_NAMED]
    if len(changed) > len(shown):
        shown.append(f"… and {len(changed) - len(shown)} more")
    return [f"files that differ: {len(changed)}", *shown]


def facts(before: Contents, after: Contents) -> List[Tuple[str, str, str]]:
    """Rows with a fact about both releases: packages, sizes, and what they need of a host."""
    return _facts(before.manifest, after.manifest)


def _facts(before: Mapping[str, Any], after: Mapping[str, Any]) -> List[Tuple[str, str, str]]:
    facts: Dict[str, Tuple[str, str]] = {
        "npm": (before["node"]["npm"], after["node"]["npm"]),
        "packages": (str(len(before["packages"])), str(len(after["packages"]))),
        "compiled": (_addons(before), _addons(after)),
        "size": (_size(before), _size(after)),
    }
    for namespace in ("GLIBC", "GLIBCXX", "CXXABI", "GCC"):
        facts[namespace] = (_highest(before, namespace), _highest(after, namespace))
    return [(name, *pair) for name, pair in facts.items() if any(pair)]


def _addons(manifest: Mapping[str, Any]) -> str:
    names = [layer["name"] for layer in manifest["layers"] if layer["name"].startswith("addon-")]
    return ", ".join(name[len("addon-") :] for name in names)


def _size(manifest: Mapping[str, Any]) -> str:
    return f"{sum(layer['size'] for layer in manifest['layers']) / 1e6:.1f} MB"


def _highest(manifest: Mapping[str, Any], namespace: str) -> str:
    return str(manifest["abi"]["highest"].get(namespace, "")).partition("_")[2]


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> List[str]:
    changes = []
    for name in sorted({*before, *after}):
        if name not in after:
            changes.append(f"- {name}")
        elif name not in before:
            changes.append(f"+ {name}")
        elif before[name] != after[name]:
            changes.append(f"~ {name}")
    return changes
