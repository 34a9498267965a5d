"""The table of known Node definitions, and the choice of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from slipway.abi.policy import AbiPolicy
from slipway.core import semver
from slipway.core.errors import SlipwayError
from slipway.runtime.definitions import needs
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.definitions.lines import Lines, order

LTS, SUPPORTED = "lts", "supported"
_NAMES = {"package": "npm binary", "wheel": "wheel", "file": "local archive", "url": "archive"}
_HEAD = (
    *("version", "kind", "built by", "needs", "toolchains", "LTS", "end of life"),
    *("security releases missing", "definition"),
)


@dataclass(frozen=True)
class Row:
    """A definition; `shadows` are the paths of the files with other content that it replaces.

    `toolchains` are those whose oldest hosts run its binary; None if the definition does not say what
    the binary needs. `missing` are the newer security releases of its line.
    """

    version: str
    kind: str
    built_by: str
    needs: str
    toolchains: Optional[Tuple[str, ...]]
    lts: str
    is_lts: bool
    end_of_life: str
    missing: Tuple[str, ...]
    path: str
    shadows: Tuple[str, ...] = ()

    def is_supported(self, today: str) -> bool:
        return not self.end_of_life or today < self.end_of_life

    def as_plain(self) -> Dict[str, object]:
        """The row for JSON."""
        names = ("version", "kind", "built_by", "needs", "lts", "is_lts", "end_of_life", "path")
        plain: Dict[str, object] = {name: getattr(self, name) for name in names}
        plain["toolchains"] = None if self.toolchains is None else list(self.toolchains)
        plain["security_releases_missing"] = list(self.missing)
        plain["shadows"] = list(self.shadows)
        return plain


def row(
    definition: NodeDefinition,
    platform: str,
    policies: Sequence[Tuple[str, AbiPolicy]],
    lines: Lines,
    today: str,
    shadows: Tuple[str, ...] = (),
) -> Row:
    line = lines.of(definition.version)
    archive = dict(definition.binaries).get(platform)
    known = archive.needs if archive else ()
    kind = _NAMES[archive.place] if archive else "source" if definition.source else "-"
    return Row(
        version=definition.version,
        kind=kind,
        built_by=archive.built_by if archive else "your toolchain" if definition.source else "",
        needs=needs.floor(known),
        toolchains=tuple(name for name, policy in policies if not needs.missing(known, policy))
        if known
        else None,
        lts=line.lts if line else "",
        is_lts=line.is_lts(today) if line else False,
        end_of_life=definition.end_of_life or (line.end_of_life if line else ""),
        missing=line.security_after(definition.version) if line else (),
        path=definition.path,
        shadows=shadows,
    )


def chosen(rows: Iterable[Row], wanted: str, today: str) -> List[Row]:
    """The rows that match the filter, newest last; `wanted` is a range, `lts`, `supported` or "".

    Raises SlipwayError for a text that is not a range, and for a range that matches nothing.
    """
    found = sorted(rows, key=lambda one: (order(one.version), one.path))
    if wanted == LTS:
        return [one for one in found if one.is_lts]
    if wanted == SUPPORTED:
        return [one for one in found if one.is_supported(today)]
    if not wanted:
        return found
    if semver.satisfies("1.0.0", wanted) is None:
        raise SlipwayError(
            f'"{wanted}" is not a range of versions',
            where="option --filter",
            next=f"give a range such as '>=18 <21', or one of {LTS}, {SUPPORTED}",
        )
    matching = [one for one in found if semver.satisfies(one.version, wanted)]
    if not matching:
        raise SlipwayError(
            f'no definition matches "{wanted}"',
            where="option --filter",
            found=", ".join(dict.fromkeys(one.version for one in found)) or "no definitions",
            next="./pants node-definitions --all\nor add a version: "
            "./pants node-definitions --add=<version>",
        )
    return matching


def newest(rows: Iterable[Row]) -> List[Row]:
    """The newest row of each line and kind, in the order of `rows`."""
    last: Mapping[Tuple[str, str], Row] = {
        (one.version.partition(".")[0], one.kind): one for one in rows
    }
    return list(last.values())


def cells(rows: Iterable[Row]) -> List[Tuple[str, ...]]:
    """The rows as text, with a head."""
    return [_HEAD, *(_cells(one) for one in rows)]


def _cells(one: Row) -> Tuple[str, ...]:
    toolchains = "unknown" if one.toolchains is None else ", ".join(one.toolchains) or "none"
    missing = str(len(one.missing)) if one.missing else "-"
    shadows = f" (shadows {', '.join(one.shadows)})" if one.shadows else ""
    return (
        *(one.version, one.kind, one.built_by or "-", one.needs or "unknown", toolchains),
        *(one.lts or "-", one.end_of_life or "-", missing, f"{one.path}{shadows}"),
    )
