"""What this room hands over to `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
from slipway.release.rules import (
    abi_audit,
    abi_gate,
    checked_layers,
    contents,
    laid_out,
    package,
    package_addon,
    packed_summary,
    run,
    smoke,
    start,
    tailor,
    tarball,
    try_runtime,
)
from slipway.release.targets import ReleaseTarball

_MODULES = (
    abi_audit,
    abi_gate,
    checked_layers,
    contents,
    laid_out,
    package,
    package_addon,
    packed_summary,
    run,
    smoke,
    start,
    tailor,
    tarball,
    try_runtime,
)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [ReleaseTarball]
