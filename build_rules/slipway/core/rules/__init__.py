"""The rules of this room, for `register.py`."""

from __future__ import annotations

from slipway.core.rules import declared_targets, provided_files
from slipway.core.rules.registration import Rules, TargetTypes

_MODULES = (declared_targets, provided_files)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return []
