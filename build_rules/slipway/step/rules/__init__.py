"""The rules of this room, for `register.py`."""

from __future__ import annotations

from slipway.step.rules import build_step, host_settings, locked_files, network_step, program

_MODULES = (build_step, host_settings, locked_files, network_step, program)


def rules():
    return [rule for module in _MODULES for rule in module.rules()]


def target_types():
    return []
