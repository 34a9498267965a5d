"""Packages of a team's scope that would be asked for at a public registry."""

from __future__ import annotations

import json
from typing import Any, Dict, Sequence

import pytest

from slipway.npm.lockfiles import scope_registries
from slipway.npm.lockfiles.package import Tarball
from slipway.npm_registry.config import Registry

PUBLIC, CORP = "https://registry.example/", "https://npm.corp.example/"


def doubts(
    resolved: Dict[str, str], *, bound: Sequence[str] = (), registry: str = PUBLIC, version: int = 3
) -> Any:
    packages = {name: {"version": "1.0.0", "resolved": url} for name, url in resolved.items()}
    lock = {
        "lockfileVersion": version,
        ("packages" if version > 1 else "dependencies"): {
            (f"node_modules/{name}" if version > 1 else name): entry
            for name, entry in packages.items()
        },
    }
    return scope_registries.doubts(
        json.dumps(lock),
        [Tarball(name, "1.0.0", "") for name in resolved],
        lambda scope: scope in bound,
        lambda name: Registry(registry, "~/.npmrc:1"),
    )


MIXED = {
    "koa": f"{PUBLIC}koa.tgz",
    "@corp/x": f"{CORP}x.tgz",
    "@corp/y": f"{CORP}y.tgz",
    "@babel/core": f"{PUBLIC}core.tgz",
}


@pytest.mark.parametrize("version", [1, 3])
def test_an_unbound_scope_is_reported_with_the_line_to_add(version: int) -> None:
    (text,) = doubts(MIXED, version=version)
    assert text.startswith("@corp/x, @corp/y: fetched from the registry of ~/.npmrc:1, but ")
    assert "the lockfile has @corp from npm.corp.example;" in text
    assert text.endswith("add to ~/.npmrc: @corp:registry=https://npm.corp.example/")


def test_a_bound_scope_is_not_reported() -> None:
    assert doubts(MIXED, bound=["@corp"]) == []


def test_a_lock_of_one_host_with_a_mirror_is_not_reported() -> None:
    """As most locks of teams that use a mirror: it has the public registry's names."""
    lock = {"koa": f"{PUBLIC}koa.tgz", "@babel/core": f"{PUBLIC}core.tgz"}
    assert doubts(lock, registry="https://mirror.example/") == []


def test_a_registry_that_has_the_scope_is_not_reported() -> None:
    assert doubts(MIXED, registry=CORP) == []


@pytest.mark.parametrize("address", ["file:x.tgz", "git+ssh://git@h.example/x", "http://[bad/", ""])
def test_entries_without_a_registry_are_not_reported(address: str) -> None:
    assert doubts({"koa": f"{PUBLIC}koa.tgz", "@corp/x": address}) == []
