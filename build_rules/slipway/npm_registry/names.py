"""What npm calls things, at every registry and in every configuration."""

from __future__ import annotations

CONFIG_PREFIX = "npm_config_"
"""Before the names of settings that come by environment variables."""


def tarball_path(name: str, version: str) -> str:
    """Where registries keep a tarball, below their own address."""
    bare = name.rpartition("/")[2]
    # Build metadata is no part of a version for a registry.
    return f"{name}/-/{bare}-{version.split('+', 1)[0]}.tgz"
