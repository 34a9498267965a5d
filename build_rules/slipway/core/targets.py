"""Base classes of fields, for the target types of all rooms."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Mapping, Optional, Tuple

from pants.engine.addresses import Address
from pants.engine.target import (
    AsyncFieldMixin,
    DictStringToStringField,
    Field,
    InvalidFieldException,
    InvalidFieldTypeException,
    SecondaryOwnerMixin,
    SpecialCasedDependencies,
    StringField,
    StringSequenceField,
)
from pants.source.filespec import Filespec


class OneAddressField(SpecialCasedDependencies):
    """The address of a single target, written as a plain string.

    The goals `dependencies` and `dependents` include this target.
    """

    default_address: ClassVar[Optional[str]] = None

    @classmethod
    def compute_value(cls, raw_value: Any, address: Address) -> Optional[Tuple[str, ...]]:
        if raw_value is None:
            return (cls.default_address,) if cls.default_address else None
        # Pants passes a value from `__defaults__` through this method twice: the second time, the
        # value is already the tuple that the first call returned.
        value = raw_value[0] if isinstance(raw_value, tuple) and len(raw_value) == 1 else raw_value
        if not isinstance(value, str):
            raise InvalidFieldTypeException(
                address, cls.alias, raw_value, expected_type="the address of one target, a string"
            )
        return (value,)


class BelowFolderMixin(Field):
    """Paths and globs relative to the target's folder, which they must not leave.

    With `from_build_root`, those that start with `//` are relative to the build root instead.
    """

    from_build_root: ClassVar[bool] = False

    @classmethod
    def compute_value(cls, raw_value: Any, address: Address) -> Any:
        value = super().compute_value(raw_value, address)
        for path in (value,) if isinstance(value, str) else value or ():
            plain = path[1:] if path.startswith("!") else path
            if cls.from_build_root and plain.startswith("//"):
                plain = plain[2:]
            if plain.startswith("/") or ".." in plain.split("/"):
                folder = address.spec_path or "the build root"
                raise InvalidFieldException(
                    f"The '{cls.alias}' field in target {address} must stay below its folder, "
                    f"but has {path!r}. Write it relative to {folder}, or move the target."
                )
        return value


def in_build_root(folder: str, path: str) -> str:
    """A path of a field as a path in the build root; `folder` is the target's folder."""
    return path[2:] if path.startswith("//") else os.path.join(folder, path)


def as_in_field(folder: str, path: str) -> str:
    """A path in the build root as a path of a field; `folder` is the target's folder."""
    inside = os.path.relpath(path, folder or ".")
    return f"//{path}" if inside.startswith("../") else inside


class FileField(BelowFolderMixin, StringField, AsyncFieldMixin, SecondaryOwnerMixin):
    """A single file below the target's folder, in addition to its sources field."""

    @property
    def path(self) -> Optional[str]:
        """The path relative to the build root."""
        return in_build_root(self.address.spec_path, self.value) if self.value else None

    @property
    def filespec(self) -> Filespec:
        return {"includes": [self.path] if self.path else []}


class GlobsField(BelowFolderMixin, StringSequenceField, AsyncFieldMixin, SecondaryOwnerMixin):
    """Globs below the target's folder, in addition to its sources field; `!` excludes files."""

    def globs(self) -> Tuple[str, ...]:
        """The globs relative to the build root."""
        folder = self.address.spec_path
        return tuple(
            "!" + in_build_root(folder, glob[1:])
            if glob.startswith("!")
            else in_build_root(folder, glob)
            for glob in self.value or ()
        )

    @property
    def filespec(self) -> Filespec:
        globs = self.globs()
        return {
            "includes": [glob for glob in globs if not glob.startswith("!")],
            "excludes": [glob[1:] for glob in globs if glob.startswith("!")],
        }


def entries_of(field: DictStringToStringField) -> Mapping[str, str]:
    """The entries of a field; none where the target does not have it."""
    entries: Optional[Mapping[str, str]] = field.value
    return {} if entries is None else entries
