"""Checks that a field names a target of the right type, with the same message for all fields."""

from __future__ import annotations

from typing import Type, TypeVar

from pants.engine.target import FieldSet, Target

from slipway.core.errors import SlipwayError

_FieldSet = TypeVar("_FieldSet", bound=FieldSet)


def take_as(
    kind: Type[_FieldSet], alias: str, target: Target, *, what: str, where: str, example: str = ""
) -> _FieldSet:
    """The field set of `target`; raises SlipwayError if it is not of the type `alias`.

    `where` names the field that has the target's address.
    """
    if not kind.is_applicable(target):
        raise SlipwayError(
            f"{what} must be a {alias}",
            where=where,
            found=f"{target.address}, a {target.alias}",
            next=f"name a {alias} target there" + (f", such as {example}" if example else ""),
        )
    return kind.create(target)
