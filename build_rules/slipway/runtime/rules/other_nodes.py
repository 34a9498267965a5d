"""Finds another Node or toolchain for a release whose Node is too new for its hosts."""

from __future__ import annotations

from dataclasses import dataclass

from pants.engine.addresses import Address
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.core.errors import SlipwayError
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.runtime.definitions import other_nodes
from slipway.runtime.rules.listed_definitions import Rows, RowsRequest
from slipway.runtime.targets import NodeVersionField
from slipway.toolchain.rules.policies import shown


@dataclass(frozen=True)
class OtherNodesRequest:
    """Requests advice for the Node of this version, which breaks the policy of the toolchain."""

    version: str
    toolchain: Address


@dataclass(frozen=True)
class OtherNodes:
    """The advice, or an empty text."""

    text: str


@rule
async def find_other_nodes(request: OtherNodesRequest) -> OtherNodes:
    try:
        rows, targets = await MultiGet(
            Get(Rows, RowsRequest(today="")),
            Get(DeclaredTargets, DeclaredTargetsRequest((NodeVersionField,))),
        )
    except SlipwayError:
        # A fault of another definition or policy must not hide the breach, nor fail a waived one.
        return OtherNodes("")
    toolchain = shown(request.toolchain)
    fitting = other_nodes.newest_for(toolchain, rows.rows)
    declared = [
        shown(one.address)
        for one in targets
        if fitting is not None and one[NodeVersionField].value == fitting.version
    ]
    return OtherNodes(other_nodes.advice(request.version, toolchain, rows.rows, declared))


def rules() -> Rules:
    return collect_rules()
