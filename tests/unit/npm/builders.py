"""Builders with defaults for npm tests: a test shows only what differs."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Dict, Optional

from slipway.npm.lockfiles import lock
from slipway.npm.lockfiles.fetch_lock import FetchEntry
from slipway.npm.lockfiles.lock import NpmLock


def sha512(content: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def sha1(content: bytes) -> str:
    return "sha1-" + base64.b64encode(hashlib.sha1(content).digest()).decode()


def integrity_of(name: str, version: str) -> str:
    """Some integrity, another for each package."""
    return sha512(f"{name}@{version}".encode())


def entry(version: str = "1.0.0", name: str = "left", **fields: Any) -> Dict[str, Any]:
    """A registry package as locks of version 2 and 3 have it."""
    made: Dict[str, Any] = {"version": version, "integrity": integrity_of(name, version), **fields}
    return {key: value for key, value in made.items() if value is not None}


def lock_text(
    packages: Optional[Dict[str, Any]] = None,
    root: Optional[Dict[str, Any]] = None,
    version: int = 3,
) -> str:
    """A lock of version 2 or 3; by default it has the package `left`."""
    table: Dict[str, Any] = {"": {"name": "app", "version": "1.0.0", **(root or {})}}
    table.update({"node_modules/left": entry()} if packages is None else packages)
    document = {
        "name": "app",
        "version": "1.0.0",
        "lockfileVersion": version,
        "requires": True,
        "packages": table,
    }
    return json.dumps(document, indent=2)


def lock_text_v1(dependencies: Dict[str, Any]) -> str:
    return json.dumps(
        {"name": "app", "version": "1.0.0", "lockfileVersion": 1, "dependencies": dependencies},
        indent=2,
    )


def make_lock(
    packages: Optional[Dict[str, Any]] = None, root: Optional[Dict[str, Any]] = None
) -> NpmLock:
    return lock.parse(lock_text(packages, root), "apps/x/package-lock.json")


def make_entry(name: str = "left", version: str = "1.0.0", **fields: Any) -> FetchEntry:
    """A line of a fetch lock for a package of `entry`."""
    values: Dict[str, Any] = {
        "name": name,
        "version": version,
        "integrity": integrity_of(name, version),
        "sha256": hashlib.sha256(f"{name}@{version}".encode()).hexdigest(),
        "size": 100,
        **fields,
    }
    return FetchEntry(**values)
