"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
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
    read_scripts,
)
from slipway.npm.targets import NodeAddon

_MODULES = (
    addon,
    app_files,
    compared_contents,
    compile,
    generate_lock,
    install,
    lint_lock,
    locks,
    manifest,
    read_scripts,
)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [NodeAddon]
