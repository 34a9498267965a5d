"""Registers Slipway with Pants: the rules and target types of each room."""

from __future__ import annotations

from slipway.bundle import rules as bundle
from slipway.core import rules as core
from slipway.core.rules import plain_failures
from slipway.core.rules.registration import Rules, TargetTypes
from slipway.deploy import rules as deploy
from slipway.npm import rules as npm
from slipway.release import rules as release
from slipway.runtime import rules as runtime
from slipway.step import rules as step
from slipway.toolchain import rules as toolchain

_ROOMS = (core, step, toolchain, runtime, npm, bundle, release, deploy)


def target_types() -> TargetTypes:
    return [kind for room in _ROOMS for kind in room.target_types()]


def rules() -> Rules:
    plain_failures.install()
    return [rule for room in _ROOMS for rule in room.rules()]
