"""Slipway: Node.js applications as reproducible releases. Lists what Pants loads."""

from __future__ import annotations

from slipway.bundle.rules import addons, app, export, node_mirrors
from slipway.bundle.rules import build as bundle
from slipway.bundle.targets import NodeAppBundle
from slipway.core.rules import plain_failures, provided_files
from slipway.deploy import coordinator, goals
from slipway.deploy import target as deployment
from slipway.npm.rules import (
    addon,
    app_files,
    compared_contents,
    compile,
    generate_lock,
    install,
    lint_lock,
    locks,
    manifest,
)
from slipway.npm.targets import NodeAddon
from slipway.release.rules import (
    abi_audit,
    abi_gate,
    checked_layers,
    package,
    package_addon,
    packed_summary,
    tailor,
    tarball,
    try_runtime,
)
from slipway.release.rules import run as run_release
from slipway.release.targets import ReleaseTarball
from slipway.runtime.rules import build, definitions, make
from slipway.runtime.rules import run as run_node
from slipway.runtime.targets import NodeRuntime
from slipway.step.rules import build_step, host_settings, locked_files, network_step, program
from slipway.target_types import NodeDeployment
from slipway.toolchain.rules import abi_policy, contract, image, packaged_image, ready_image
from slipway.toolchain.rules import generate_lock as generate_toolchain_lock
from slipway.toolchain.rules import run as run_toolchain
from slipway.toolchain.targets import NodeToolchain

_MODULES = (
    *(provided_files, host_settings, program, network_step, locked_files, build_step),
    *(image, abi_policy, packaged_image, ready_image, contract, run_toolchain),
    *(generate_toolchain_lock,),
    *(definitions, build, make, run_node),
    *(manifest, locks, app_files, install, compile, addon, generate_lock),
    *(compared_contents, lint_lock),
    *(app, addons, bundle, export, tailor, node_mirrors),
    *(deployment, coordinator, goals),
    *(tarball, abi_gate, checked_layers, package, package_addon, run_release),
    *(abi_audit, try_runtime, packed_summary),
)


def target_types():
    return [NodeToolchain, NodeRuntime, NodeAddon, NodeAppBundle, ReleaseTarball, NodeDeployment]


def rules():
    plain_failures.install()
    return [rule for module in _MODULES for rule in module.rules()]
