"""What a team writes about a toolchain image: the wanted packages, and what no package brings.

Every package that is wanted or cut and every path that is left out stands beside its reason: the
file is read by people who ask why something is or is not in the image.
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
_HEAD = ("name", "suite", "component", "architecture")


@dataclass(frozen=True)
class Edit:
    """In the file `path`, `find`, a pattern of lines, becomes `replace`; it must match so often."""

    path: str
    find: str
    replace: str
    times: int
    why: str


@dataclass(frozen=True)
class ImageSpec:
    """`wanted`, `cut` and `leave_out` map a name or a pattern to its reason.

    `keep` is an exception to `leave_out`.  `folders` maps a path to its mode.  Paths have no
    leading slash; in a pattern, `*` stands for anything but a slash, and what matches is matched
    with everything below it.  `edits` change texts of packages; `surface` says which libraries
    get stubs for the linker.
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
            f'"{file}" both wants and cuts the package "{both[0]}"',
            where=f"{file}: $.cut.{both[0]}",
            next="remove one of the two lines",
        )
    return spec


def check_lock_is_current(spec: ImageSpec, lock: DebianLock, lock_file: str, next: str) -> None:
    """Every reason why the lock does not belong to the spec any more; `next` renews it."""
    faults: List[str] = []
    for key in ("suite", "component", "architecture"):
        asked, locked = getattr(spec, key), getattr(lock, key)
        if asked != locked:
            faults.append(f'the {key} is "{asked}" now; locked is "{locked}"')
    for key, verb in (("wanted", "wants"), ("cut", "cuts")):
        asked, locked = set(getattr(spec, key)), set(getattr(lock, key))
        faults += [f'{spec.file} {verb} "{name}" now' for name in sorted(asked - locked)]
        faults += [f'{spec.file} no longer {verb} "{name}"' for name in sorted(locked - asked)]
    if faults:
        raise SlipwayErrors(
            f'"{lock_file}" is stale: it was not resolved from what "{spec.file}" says',
            faults,
            where=lock_file,
            next=next,
        )


def path_pattern(patterns: List[str]) -> Pattern[str]:
    """Matches what one of `patterns` names, and everything below it."""
    alternatives = "|".join(
        "[^/]*".join(re.escape(literal) for literal in pattern.split("*")) for pattern in patterns
    )
    # Without patterns nothing matches.
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
        for one in edits.items():
            parts = one.record(["find", "replace", "why"], ["times"])
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
    parts = field.record(["library"], ["with", "as_needed", "rest_of", "rest"])
    if ("rest_of" in parts) != ("rest" in parts):
        raise field.fault('both of "rest_of" and "rest", or none')
    words = r"(/|-l)[^\s()]+"
    return LinkScript(
        path,
        parts["library"].text(_PATH, "a path without leading slash"),
        tuple(one.text(words, "an absolute path or -lNAME") for one in _items(parts.get("with"))),
        tuple(one.text(_PATH, "a path") for one in _items(parts.get("as_needed"))),
        parts["rest_of"].text(_PATH, "a path") if "rest_of" in parts else "",
        parts["rest"].text(_PATH, "a path") if "rest" in parts else "",
    )


def _mode(field: Field) -> int:
    return int(field.text(r"755|1777", 'the mode "755" or "1777"'), 8)


def _lines(field: Field) -> str:
    return "".join(item.text(r"[^\n\0]*", "one line of text") + "\n" for item in field.items())
