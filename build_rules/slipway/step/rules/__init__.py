"""The rules of this room, for `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
from slipway.step.rules import build_step, host_settings, locked_files, network_step, program

_MODULES = (build_step, host_settings, locked_files, network_step, program)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return []
