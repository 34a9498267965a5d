"""What a Node binary needs from its host: the newest symbol versions, and libraries."""

from __future__ import annotations

from typing import Dict, Iterable, Optional, Tuple

from slipway.abi.policy import AbiPolicy
from slipway.core.errors import SlipwayError
from slipway.elf import reader
from slipway.elf.reader import ElfError
from slipway.elf.symbol_versions import split_version

_SHARED = ".so"
_SHOWN = ("GLIBC", "GLIBCXX", "CXXABI")


def of_binary(content: bytes) -> Tuple[str, ...]:
    """The newest symbol version of each namespace and the libraries of an ELF file, sorted.

    Raises ElfError.
    """
    if not content.startswith(reader.MAGIC):
        raise reader.ElfError("not an ELF file")
    elf = reader.read(content)
    newest: Dict[str, Tuple[Tuple[int, ...], str]] = {}
    for need in elf.needed_versions:
        namespace, numbers = split_version(need.version)
        if numbers is not None and not need.weak:
            found = (numbers, need.version)
            newest[namespace] = max(newest.get(namespace, found), found)
    return (*sorted(version for _, version in newest.values()), *sorted(elf.needed))


def of_node(binary: Optional[bytes], archive: str, where: str = "") -> Tuple[str, ...]:
    """The needs of the `bin/node` of an archive; None if the archive has no such file.

    Raises SlipwayError, which names the archive.
    """
    try:
        return of_binary(binary or b"")
    except ElfError as error:
        raise SlipwayError(
            f'the archive "{archive}" has no usable bin/node',
            where=where,
            found="no such file" if binary is None else str(error),
            next="choose another version",
        ) from None


def missing(needs: Iterable[str], policy: AbiPolicy) -> Tuple[str, ...]:
    """Those of `needs` that the oldest host of a policy lacks."""
    return tuple(
        need
        for need in needs
        if not (need in policy.libraries if _SHARED in need else policy.allows(need))
    )


def floor(needs: Iterable[str]) -> str:
    """The versions of the C and C++ libraries among the needs, as a cell of a table."""
    by_namespace = {need.partition("_")[0]: need for need in needs if _SHARED not in need}
    return " ".join(by_namespace[name] for name in _SHOWN if name in by_namespace)
