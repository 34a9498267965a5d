"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.deploy.rules import coordinator, deployment, goals
from slipway.deploy.targets import NodeDeployment

_MODULES = (coordinator, deployment, goals)


def rules():
    return [rule for module in _MODULES for rule in module.rules()]


def target_types():
    return [NodeDeployment]
