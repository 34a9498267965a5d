"""The ABI policies of all toolchains of the workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Tuple

from pants.engine.addresses import Address, Addresses, UnparsedAddressInputs
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.abi.policy import AbiPolicy
from slipway.core.rules.declared_targets import DeclaredTargets, DeclaredTargetsRequest
from slipway.core.rules.registration import Rules
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.image import ToolchainFieldSet


@dataclass(frozen=True)
class PoliciesRequest:
    """Requests the policies of all toolchains that have one, and that are not the base of another."""


@dataclass(frozen=True)
class Policies:
    """Pairs of the address of a toolchain and its policy, those for the oldest hosts first."""

    by_address: Tuple[Tuple[str, AbiPolicy], ...]


@rule
async def find_policies(_: PoliciesRequest) -> Policies:
    targets = await Get(DeclaredTargets, DeclaredTargetsRequest(ToolchainFieldSet.required_fields))
    field_sets = [ToolchainFieldSet.create(one) for one in targets]
    # An image that is only the base of another has a policy for its link surface.
    bases = await MultiGet(
        Get(Addresses, UnparsedAddressInputs, one.base.to_unparsed_address_inputs())
        for one in field_sets
        if one.base.value
    )
    below = {address for addresses in bases for address in addresses}
    having = [one for one in field_sets if one.abi_policy.value and one.address not in below]
    policies = await MultiGet(Get(AbiPolicy, AbiPolicyRequest(one)) for one in having)
    named = [(shown(one.address), policy) for one, policy in zip(having, policies)]
    return Policies(tuple(sorted(named, key=lambda item: dict(item[1].ceilings)["GLIBC"])))


def shown(address: Address) -> str:
    """The address as BUILD files write it: without the target's name if the folder has the same."""
    is_default = address.target_name == os.path.basename(address.spec_path)
    return f"//{address.spec_path}{'' if is_default else f':{address.target_name}'}"


def rules() -> Rules:
    return collect_rules()
