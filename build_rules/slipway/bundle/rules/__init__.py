"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.bundle.rules import (
    addons,
    app,
    app_tests,
    build,
    export,
    install_scripts,
    line_endings,
    linked_folders,
    patches,
    sources,
)
from slipway.bundle.targets import NodeAppBundle
from slipway.core.rules.registration import Rules, TargetTypes

_MODULES = (
    addons,
    app,
    app_tests,
    build,
    export,
    install_scripts,
    line_endings,
    linked_folders,
    patches,
    sources,
)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [NodeAppBundle]
