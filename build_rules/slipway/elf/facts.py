"""What the ELF files of a layer need and offer, as plain data that outlives the layer.

The steps that write layers have every file at hand; they note down what the ABI gate asks for, so
that it never opens a layer again.  Files are known by their content, not by their name, also in
archives that a package may unpack when it runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import re
from dataclasses import asdict, dataclass, field, replace
from typing import (
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Sequence,
    Tuple,
)

from slipway.archive import nested
from slipway.archive.layers import Entry
from slipway.core.errors import SlipwayError
from slipway.elf import foreign_binary, reader
from slipway.elf.reader import Elf, ElfError

INSIDE = "!/"
"""Stands between the path of an archive and that of a file in it."""

_COMPILER = re.compile(
    rb"(GCC: \([^\0)]{0,80}\) [0-9][^\0]{0,40}|[^\0]{0,40}clang version [^\0]{1,80})\0"
)
_MOST_BYTES = 1 << 30
"""Of one file: the largest libraries that packages ship have a tenth of it. A larger archive is
passed over, like one that grows beyond measure."""
_MUSL, _ANDROID = ("libc.musl-", "ld-musl-"), ("libc.so", "liblog.so")


@dataclass(frozen=True)
class ElfFacts:
    """One ELF file of a layer, or a program of another system, which `system` names then.

    `sha256` is that of every ELF file, whatever it is for; other programs have none.
    `fault` says why it could not be read. `needed_versions` are (library, version, a symbol that
    needs it, how many do); `unversioned` are undefined names for which no library is named;
    `compilers` are those that left their name in it;
    `exported` is what others may find in it, for files that others link with.
    """

    path: str
    kind: str = ""
    machine: str = ""
    bits: int = 0
    fault: str = ""
    system: str = ""
    dynamic: bool = False
    interpreter: str = ""
    soname: str = ""
    needed: Tuple[str, ...] = ()
    run_paths: Tuple[str, ...] = ()
    executable_stack: bool = False
    text_relocations: bool = False
    needed_versions: Tuple[Tuple[str, str, str, int], ...] = ()
    unversioned: Tuple[str, ...] = ()
    opened: Tuple[str, ...] = ()
    sha256: str = ""
    compilers: Tuple[str, ...] = ()
    exported: Tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_ours(self) -> bool:
        return (self.machine, self.bits) == ("x86-64", 64)

    @property
    def foreign_system(self) -> str:
        """The system that the file is for, if it is another than ours."""
        if self.fault or self.system:
            return self.system
        if not self.is_ours:
            return f"{self.machine}, {self.bits} bits"
        marks = (*self.needed, posixpath.basename(self.interpreter))
        if any(mark.startswith(_MUSL) for mark in marks):
            return "musl"
        if "linker64" in marks or (set(_ANDROID) & set(marks) and "libc.so.6" not in marks):
            return "Android"
        return ""


def facts_of_layer(entries: Iterable[Entry]) -> List[ElfFacts]:
    """The ELF files among the files of a layer, and in archives among them, by path."""
    found: List[ElfFacts] = []
    for entry in entries:
        if entry.kind != "file":
            continue
        if entry.source is None:
            found.extend(facts_of_file(entry.name, io.BytesIO(entry.content).read))
            continue
        with open(entry.source, "rb") as file:
            found.extend(facts_of_file(entry.name, file.read))
    return sorted(found, key=lambda one: one.path)


def without_foreign(
    entries: Sequence[Entry], found: Sequence[ElfFacts]
) -> Tuple[List[Entry], List[ElfFacts], List[str]]:
    """Entries and facts without the files for other systems, and the paths of those."""
    dropped: FrozenSet[str] = frozenset(
        one.path for one in found if one.foreign_system and INSIDE not in one.path
    )
    return (
        [entry for entry in entries if entry.name not in dropped],
        [one for one in found if one.path not in dropped],
        sorted(dropped),
    )


def facts_of_file(path: str, read: Callable[[int], bytes]) -> Iterator[ElfFacts]:
    """The same of one file; `read` gives its next bytes, as many as it is asked for."""
    head = read(nested.HEAD)
    system = foreign_binary.system_of(head)
    if system:
        yield ElfFacts(path, system=system)
    elif head.startswith(reader.MAGIC) or nested.is_archive(head):
        content = head + read(_MOST_BYTES)
        if len(content) <= _MOST_BYTES:
            yield from _facts_in(path, content)
        elif head.startswith(reader.MAGIC):
            # A hole can make a file of any size; it is judged as one that could not be read.
            yield ElfFacts(path, fault=f"larger than {_MOST_BYTES >> 30} GiB")


def _facts_in(path: str, content: bytes) -> Iterator[ElfFacts]:
    if content.startswith(reader.MAGIC):
        yield facts(path, content)
    elif nested.is_archive(content[: nested.HEAD]):
        for name, inner in nested.members(content, reader.MAGIC):
            yield facts(f"{path}{INSIDE}{name}", inner)


def facts(path: str, content: bytes) -> ElfFacts:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        header = reader.read_header(content)
    except ElfError as error:
        return ElfFacts(path, fault=str(error), sha256=sha256)
    known = ElfFacts(path, header.kind, header.machine, header.bits, sha256=sha256)
    ours = header.is_ours and not header.system
    if not ours or header.kind not in (reader.PROGRAM, reader.LIBRARY):
        return replace(known, system=header.system)
    try:
        return _of_elf(path, reader.read(content), content, sha256)
    except ElfError as error:
        return replace(known, fault=str(error))


def _compilers(content: bytes) -> Tuple[str, ...]:
    """What compilers leave in the section .comment, also where a binary is stripped."""
    return tuple(sorted({one.decode("ascii", "replace") for one in _COMPILER.findall(content)}))


def _of_elf(path: str, read: Elf, content: bytes, sha256: str) -> ElfFacts:
    users: Dict[Tuple[str, str], List[str]] = {}
    for symbol in read.undefined:
        if symbol.version:
            users.setdefault((symbol.library, symbol.version), []).append(symbol.name)
    return ElfFacts(
        path=path,
        kind=read.header.kind,
        machine=read.header.machine,
        bits=read.header.bits,
        dynamic=read.dynamic,
        interpreter=read.interpreter,
        soname=read.soname,
        needed=read.needed,
        run_paths=read.run_paths,
        executable_stack=read.executable_stack,
        text_relocations=read.text_relocations,
        needed_versions=tuple(
            (
                need.library,
                need.version,
                min(users.get((need.library, need.version), [""])),
                len(users.get((need.library, need.version), [])),
            )
            for need in read.needed_versions
            if not need.weak
        ),
        unversioned=tuple(
            sorted({one.name for one in read.undefined if not one.version and not one.weak})
        ),
        opened=read.opened,
        sha256=sha256,
        compilers=_compilers(content),
        exported=tuple(sorted({one.name for one in read.exported}))
        if read.soname or read.header.kind == reader.PROGRAM or read.interpreter
        else (),
    )


def write(path: str, found: Iterable[ElfFacts]) -> None:
    """Notes down the facts of a layer, for the ABI gate."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump(as_json(found), file, sort_keys=True)


def read(path: str) -> List[ElfFacts]:
    """What `write` wrote."""
    try:
        with open(path, encoding="utf-8") as file:
            return from_json(json.load(file))
    except (ValueError, TypeError, AttributeError) as error:
        raise SlipwayError(
            f'"{path}" does not list the binaries of a layer',
            found=str(error),
            next="./pants --no-local-cache --no-remote-cache-read package with the target",
        ) from None


def as_json(found: Iterable[ElfFacts]) -> List[Dict[str, Any]]:
    """Without what is empty, which is most."""
    return [{key: value for key, value in asdict(one).items() if value} for one in found]


def from_json(document: Iterable[Mapping[str, Any]]) -> List[ElfFacts]:
    return [ElfFacts(**{key: _tuples(value) for key, value in one.items()}) for one in document]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
