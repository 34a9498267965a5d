"""Names and paths that npm uses at every registry and in every configuration."""

from __future__ import annotations

CONFIG_PREFIX = "npm_config_"
"""The prefix of environment variables that are npm settings."""


def tarball_path(name: str, version: str) -> str:
    """The path of a tarball below the address of most registries."""
    bare = name.rpartition("/")[2]
    # npm drops build metadata ("+…") from the version when it publishes a package.
    return f"{name}/-/{bare}-{version.split('+', 1)[0]}.tgz"
