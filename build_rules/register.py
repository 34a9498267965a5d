"""Slipway: Node.js applications as reproducible releases. Lists what Pants loads."""

from __future__ import annotations

from build_rules.bundle import bundle, sources
from build_rules.npm import install, locks
from build_rules.release import package, release
from build_rules.runtime import definitions, make
from build_rules.target_types import NodeAppBundle, NodeRuntime, NodeToolchain, ReleaseTarball
from build_rules.toolchain import host_settings, image, locked_files, programs, step

_MODULES = (
    *(host_settings, programs, locked_files, step, image),
    *(definitions, make),
    *(locks, install),
    *(sources, bundle),
    *(release, package),
)


def target_types():
    return [NodeToolchain, NodeRuntime, NodeAppBundle, ReleaseTarball]


def rules():
    return [rule for module in _MODULES for rule in module.rules()]
