"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.bundle.rules import addons, app, build, export, install_scripts
from slipway.bundle.targets import NodeAppBundle

_MODULES = (addons, app, build, export, install_scripts)


def rules():
    return [rule for module in _MODULES for rule in module.rules()]


def target_types():
    return [NodeAppBundle]
