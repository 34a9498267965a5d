"""Reads the spec of a toolchain image: the wanted packages, and files that no package contains.

Every wanted or cut package and every omitted path has a reason beside it. People who read the file
want to know why the image does or does not contain something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, Iterator, List, Mapping, Optional, Pattern, Tuple

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.json_fields import Field, read_json
from slipway.debian import lock as debian_lock
from slipway.debian.lock import DebianLock
from slipway.toolchain.link_surface import LinkScript, SurfaceSpec

FORMAT = 1

_PART = r"(?!\.\.?(/|$))[^/\0]+"
_PATH = rf"{_PART}(/{_PART})*"
_SYMBOL = r"[A-Za-z_][A-Za-z0-9_]*"
_HEAD = ("name", "suite", "component", "architecture")


@dataclass(frozen=True)
class Edit:
    """Replaces the regular expression `find` in the file `path`; it must match `times` times."""

    path: str
    find: str
    replace: str
    times: int
    why: str


@dataclass(frozen=True)
class ImageSpec:
    """A spec; `wanted`, `cut` and `leave_out` map a name or a pattern to its reason.

    `keep` has exceptions from `leave_out`. `folders` maps a path to its mode. Paths have no leading
    slash. In a pattern, `*` matches any characters except a slash; a pattern matches a path and
    everything below it. `edits` change text files of packages. `surface` says which libraries get
    stubs for linkers.
    """

    file: str
    name: str
    suite: str
    component: str
    architecture: str
    wanted: Mapping[str, str]
    cut: Mapping[str, str]
    leave_out: Mapping[str, str]
    keep: Tuple[str, ...]
    folders: Mapping[str, int]
    links: Mapping[str, str]
    files: Mapping[str, str]
    edits: Tuple[Edit, ...]
    surface: Optional[SurfaceSpec]
    environment: Mapping[str, str]


def read_image_spec(content: str, file: str) -> ImageSpec:
    fields = read_json(content, file).record(
        ["format", *_HEAD, "wanted"],
        [
            *("cut", "leave_out", "keep", "folders", "links", "files", "environment"),
            *("edits", "link_surface"),
        ],
    )
    if fields["format"].value != FORMAT:
        raise fields["format"].fault(f"the format {FORMAT}")
    spec = ImageSpec(
        file=file,
        name=fields["name"].text(r"[a-z0-9]+([._-][a-z0-9]+)*", "a name such as slipway-base"),
        suite=fields["suite"].text(r"[a-z][a-z0-9.-]*", "a suite such as bullseye"),
        component=fields["component"].text(r"[a-z][a-z-]*", "a component such as main"),
        architecture=fields["architecture"].text(r"amd64", 'the architecture "amd64"'),
        wanted=_reasons(fields["wanted"], debian_lock.NAME, "a package name"),
        cut=_reasons(fields.get("cut"), debian_lock.NAME, "a package name"),
        leave_out=_reasons(fields.get("leave_out"), _PATH, "a path without leading slash"),
        keep=tuple(item.text(_PATH, "a path") for item in _items(fields.get("keep"))),
        folders={path: _mode(value) for path, value in _paths(fields.get("folders")).items()},
        links={
            path: value.text(r"[^\0]+", "the target of a link")
            for path, value in _paths(fields.get("links")).items()
        },
        files={path: _lines(value) for path, value in _paths(fields.get("files")).items()},
        edits=tuple(_edits(fields.get("edits"))),
        surface=_surface(fields["link_surface"]) if "link_surface" in fields else None,
        environment={
            name: value.text() for name, value in _mapping(fields.get("environment")).items()
        },
    )
    both = sorted(set(spec.wanted) & set(spec.cut))
    if both:
        raise SlipwayError(
            f'"{file}" has the package "{both[0]}" in both "wanted" and "cut"',
            where=f"{file}: $.cut.{both[0]}",
            next="remove one of the two lines",
        )
    return spec


def check_lock_is_current(spec: ImageSpec, lock: DebianLock, lock_file: str, next: str) -> None:
    """Raises SlipwayErrors if the lock was not made from this spec; `next` updates the lock."""
    faults: List[str] = []
    for key in ("suite", "component", "architecture"):
        current, locked = getattr(spec, key), getattr(lock, key)
        if current != locked:
            faults.append(f'{key}: "{current}" in {spec.file}, "{locked}" in the lock')
    for key in ("wanted", "cut"):
        current, locked = set(getattr(spec, key)), set(getattr(lock, key))
        faults += [f'{key}: "{name}" is not in the lock' for name in sorted(current - locked)]
        faults += [f'{key}: "{name}" is only in the lock' for name in sorted(locked - current)]
    if faults:
        raise SlipwayErrors(
            f'"{lock_file}" is out of date: "{spec.file}" has changed',
            faults,
            where=lock_file,
            next=next,
        )


def path_pattern(patterns: List[str]) -> Pattern[str]:
    """A pattern for paths that match one of `patterns`, and for all paths below them."""
    alternatives = "|".join(
        "[^/]*".join(re.escape(literal) for literal in pattern.split("*")) for pattern in patterns
    )
    # An empty alternative would match every path, so without patterns this matches none.
    return re.compile(rf"({alternatives})(/.*)?" if patterns else r"(?!)", re.DOTALL)


def _mapping(field: Optional[Field]) -> Dict[str, Field]:
    return field.mapping() if field else {}


def _items(field: Optional[Field]) -> List[Field]:
    return field.items() if field else []


def _paths(field: Optional[Field]) -> Dict[str, Field]:
    fields = _mapping(field)
    for path, value in fields.items():
        _check_key(path, value, _PATH, "a path without leading slash and ..")
    return fields


def _reasons(field: Optional[Field], pattern: str, expected: str) -> Dict[str, str]:
    reasons = {}
    for key, value in _mapping(field).items():
        _check_key(key, value, pattern, expected)
        reasons[key] = value.text(r".*\S.*", "the reason, in words")
    return reasons


def _check_key(key: str, value: Field, pattern: str, expected: str) -> None:
    if not re.fullmatch(pattern, key):
        raise Field(key, value.file, value.path).fault(f"{expected} as the name of the field")


def _edits(field: Optional[Field]) -> Iterator[Edit]:
    for path, edits in _paths(field).items():
        for item in edits.items():
            parts = item.record(["find", "replace", "why"], ["times"])
            find = parts["find"].text(r"(?s).+", "a pattern")
            try:
                re.compile(find)
            except re.error as error:
                raise parts["find"].fault(f"a regular expression ({error})") from None
            yield Edit(
                path,
                find,
                parts["replace"].text(r"(?s).*"),
                parts["times"].number(1) if "times" in parts else 1,
                parts["why"].text(r".*\S.*", "the reason, in words"),
            )


def _surface(field: Field) -> SurfaceSpec:
    parts = field.record(["folder", "links_in"], ["scripts", "static_instead"])
    return SurfaceSpec(
        folder=parts["folder"].text(_PATH, "a path without leading slash"),
        links_in=parts["links_in"].text(_PATH, "a path without leading slash"),
        scripts=tuple(
            _link_script(path, script) for path, script in _paths(parts.get("scripts")).items()
        ),
        static_instead=tuple(item.text(r".+") for item in _items(parts.get("static_instead"))),
    )


def _link_script(path: str, field: Field) -> LinkScript:
    parts = field.record(["library"], ["with", "as_needed", "rest_of", "zeros", "rest"])
    if ("rest_of" in parts) != ("rest" in parts):
        raise field.fault('either both "rest_of" and "rest", or neither')
    if "zeros" in parts and "rest" not in parts:
        raise parts["zeros"].fault('"zeros" only together with "rest"')
    words = r"(/|-l)[^\s()]+"
    return LinkScript(
        path,
        parts["library"].text(_PATH, "a path without leading slash"),
        tuple(item.text(words, "an absolute path or -lNAME") for item in _items(parts.get("with"))),
        tuple(item.text(_PATH, "a path") for item in _items(parts.get("as_needed"))),
        parts["rest_of"].text(_PATH, "a path") if "rest_of" in parts else "",
        parts["rest"].text(_PATH, "a path") if "rest" in parts else "",
        tuple(_reasons(parts.get("zeros"), _SYMBOL, "the name of a symbol")),
    )


def _mode(field: Field) -> int:
    return int(field.text(r"755|1777", 'the mode "755" or "1777"'), 8)


def _lines(field: Field) -> str:
    return "".join(item.text(r"[^\n\0]*", "one line of text") + "\n" for item in field.items())
