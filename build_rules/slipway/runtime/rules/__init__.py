"""The rules and target types of this room, for `register.py`."""

from __future__ import annotations

from slipway.core.rules.registration import Rules, TargetTypes
from slipway.runtime.rules import (
    added_definitions,
    build,
    definitions,
    import_definitions,
    listed_definitions,
    make,
    new_definitions,
    node_definitions,
    other_nodes,
    run,
    support,
    version_lock,
    version_runtime,
)
from slipway.runtime.targets import NodeRuntime

_MODULES = (
    added_definitions,
    build,
    definitions,
    import_definitions,
    listed_definitions,
    make,
    new_definitions,
    node_definitions,
    other_nodes,
    run,
    support,
    version_lock,
    version_runtime,
)


def rules() -> Rules:
    return [rule for module in _MODULES for rule in module.rules()]


def target_types() -> TargetTypes:
    return [NodeRuntime]
