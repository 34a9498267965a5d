"""The rules and target types of this room, for `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
from slipway.toolchain.rules import (
    abi_policy,
    archive,
    contract,
    generate_lock,
    image,
    packaged_image,
    policies,
    ready_image,
    run,
)
from slipway.toolchain.targets import NodeToolchain

_MODULES = (
    abi_policy,
    archive,
    contract,
    generate_lock,
    image,
    packaged_image,
    policies,
    ready_image,
    run,
)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [NodeToolchain]
