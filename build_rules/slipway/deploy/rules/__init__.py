"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
from slipway.deploy.rules import coordinator, deployment, goals
from slipway.deploy.targets import NodeDeployment

_MODULES = (coordinator, deployment, goals)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [NodeDeployment]
