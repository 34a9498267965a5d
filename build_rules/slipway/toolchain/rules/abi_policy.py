"""Reads the ABI policies of toolchains from their TOML files."""

from __future__ import annotations

from dataclasses import dataclass

from pants.engine.rules import Get, collect_rules, rule

from slipway.abi import policy as abi_policy
from slipway.abi.policy import AbiPolicy
from slipway.core.errors import SlipwayError
from slipway.core.rules.provided_files import ProvidedFile, ProvidedFileRequest
from slipway.core.rules.registration import Rules
from slipway.core.toml_text import read_toml
from slipway.toolchain.rules.image import ToolchainFieldSet


@dataclass(frozen=True)
class AbiPolicyRequest:
    """Requests the policy in the field `abi_policy` of an image."""

    field_set: ToolchainFieldSet


@rule
async def read_abi_policy(request: AbiPolicyRequest) -> AbiPolicy:
    field_set = request.field_set
    path = field_set.abi_policy.path
    if not path:
        raise SlipwayError(
            f'the toolchain "{field_set.address}" has no ABI policy',
            where=f"{field_set.address}, field abi_policy",
            next='set the field, such as abi_policy="abi.toml", or use //toolchains/gcc48',
        )
    name = field_set.address.target_name
    found = await Get(ProvidedFile, ProvidedFileRequest((path,), f"images/{name}/abi.toml"))
    if found.content is None:
        raise SlipwayError(
            f'the ABI policy "{path}" does not exist',
            where=f"{field_set.address}, field abi_policy",
            found="no such file",
            next="write this file, or correct the field",
        )
    return abi_policy.read(read_toml(found.content, path, "ABI policy"), path)


def rules() -> Rules:
    return collect_rules()
