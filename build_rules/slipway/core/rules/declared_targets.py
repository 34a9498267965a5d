"""Finds targets by their fields, from BUILD files alone.

`AllTargets` and `AllUnexpandedTargets` of Pants also generate the targets of `files(sources=["**"])`
and its kind: they list every file that such a target matches. One unusual file, or very many files, of
one application would then stop a goal that is about another application.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple, Type

from pants.base.glob_match_error_behavior import GlobMatchErrorBehavior
from pants.base.specs import (
    AddressLiteralSpec,
    AncestorGlobSpec,
    RawSpecsWithoutFileOwners,
    RecursiveGlobSpec,
)
from pants.engine.internals.mapper import AddressFamilies
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import Field, RegisteredTargetTypes, Targets, UnexpandedTargets
from pants.engine.unions import UnionMembership

from slipway.core.rules.registration import Rules

_ORIGIN = "Slipway's search for targets"


@dataclass(frozen=True)
class DeclaredTargetsRequest:
    """The targets with all of `fields`.

    With `around`: only from the BUILD files of these folders and the folders above them.
    """

    fields: Tuple[Type[Field], ...]
    around: Tuple[str, ...] = ()


class DeclaredTargets(Targets):
    """Targets in the order of their addresses; each parametrization is a target."""


@rule
async def find_declared_targets(
    request: DeclaredTargetsRequest,
    registered: RegisteredTargetTypes,
    union_membership: UnionMembership,
) -> DeclaredTargets:
    # Pants would check that each glob matches a file, and therefore list all files.
    families = await Get(
        AddressFamilies,
        RawSpecsWithoutFileOwners(
            _ORIGIN,
            recursive_globs=() if request.around else (RecursiveGlobSpec(""),),
            ancestor_globs=tuple(AncestorGlobSpec(folder) for folder in request.around),
            unmatched_glob_behavior=GlobMatchErrorBehavior.ignore,
        ),
    )
    kinds = {
        alias
        for alias, kind in registered.aliases_to_types.items()
        if kind.class_has_fields(request.fields, union_membership)
    }
    addresses = sorted(
        address
        for family in families
        for address, adaptor in family.addresses_to_target_adaptors.items()
        if adaptor.type_alias in kinds
    )
    found = await Get(
        UnexpandedTargets,
        RawSpecsWithoutFileOwners(
            _ORIGIN,
            address_literals=tuple(
                AddressLiteralSpec(address.spec_path, address.target_name) for address in addresses
            ),
            unmatched_glob_behavior=GlobMatchErrorBehavior.ignore,
        ),
    )
    return DeclaredTargets(found)


def rules() -> Rules:
    return collect_rules()
