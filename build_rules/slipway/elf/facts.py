"""Records what the ELF files of a layer need and export, as data for the ABI audit.

A step that writes a layer has all its files, so it records these facts, and the ABI audit need not
open the layer again. ELF files are recognized by their content and not by their name, also inside
archives that a package may unpack at run time.
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
"""The separator between the path of an archive and the path of a file in it."""

_GCC, _CLANG = b"GCC: (", b"clang version "
_BEFORE_CLANG = 40
_COMPILERS = {
    _GCC: re.compile(rb"(GCC: \([^\0)]{0,80}\) [0-9][^\0]{0,40})\0"),
    _CLANG: re.compile(rb"([^\0]{0,%d}clang version [^\0]{1,80})\0" % _BEFORE_CLANG),
}
_MOST_BYTES = 1 << 30
"""The maximum size of a file: ten times the largest libraries in packages. Larger archives are
skipped, as archives are that become too large when they are unpacked."""
_MUSL, _ANDROID = ("libc.musl-", "ld-musl-"), ("libc.so", "liblog.so")


@dataclass(frozen=True)
class ElfFacts:
    """An ELF file of a layer, or a program for another system, named in `system`.

    `sha256` is set for every ELF file, and empty for other programs. `fault` says why the file could
    not be read. `needed_versions` are tuples of library, version, a symbol that needs this version,
    and the number of such symbols. `unversioned` are undefined symbols without a version.
    `compilers` are the compiler names in the file. `exported` are the symbols of files that other
    files can link with.
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
        """The system that the file is for; empty for x86-64 Linux with glibc."""
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
    """The ELF files among the entries of a layer and in archives among them, sorted by path."""
    files: List[ElfFacts] = []
    for entry in entries:
        if entry.kind != "file":
            continue
        if entry.source is None:
            files.extend(facts_of_file(entry.name, io.BytesIO(entry.content).read))
            continue
        with open(entry.source, "rb") as file:
            files.extend(facts_of_file(entry.name, file.read))
    return sorted(files, key=lambda item: item.path)


def without_foreign(
    entries: Sequence[Entry], files: Sequence[ElfFacts]
) -> Tuple[List[Entry], List[ElfFacts], List[str]]:
    """Entries and facts without the files for other systems, and the paths of these files."""
    dropped: FrozenSet[str] = frozenset(
        file.path for file in files if file.foreign_system and INSIDE not in file.path
    )
    return (
        [entry for entry in entries if entry.name not in dropped],
        [file for file in files if file.path not in dropped],
        sorted(dropped),
    )


def facts_of_file(path: str, read: Callable[[int], bytes]) -> Iterator[ElfFacts]:
    """The ELF files in a file; `read` returns up to the given number of its next bytes."""
    head = read(nested.HEAD)
    system = foreign_binary.system_of(head)
    if system:
        yield ElfFacts(path, system=system)
    elif head.startswith(reader.MAGIC) or nested.is_archive(head):
        content = head + read(_MOST_BYTES)
        if len(content) <= _MOST_BYTES:
            yield from _facts_in(path, content)
        elif head.startswith(reader.MAGIC):
            # A sparse file can have any size. The audit rejects it, like an unreadable file.
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
    """The compiler names in the section .comment, which `strip` keeps."""
    names = set()
    # One search with both patterns takes seconds for a large library.
    for mark, pattern in _COMPILERS.items():
        at = content.find(mark)
        while at >= 0:
            start = at
            if mark == _CLANG:
                first = max(at - _BEFORE_CLANG, 0)
                start = max(first, content.rfind(b"\0", first, at) + 1)
            found = pattern.match(content, start)
            if found:
                names.add(found.group(1).decode("ascii", "replace"))
            at = content.find(mark, at + 1)
    return tuple(sorted(names))


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
            sorted(
                {symbol.name for symbol in read.undefined if not symbol.version and not symbol.weak}
            )
        ),
        opened=read.opened,
        sha256=sha256,
        compilers=_compilers(content),
        exported=tuple(sorted({symbol.name for symbol in read.exported}))
        if read.soname or read.header.kind == reader.PROGRAM or read.interpreter
        else (),
    )


def write(path: str, files: Iterable[ElfFacts]) -> None:
    """Writes the facts of a layer to `path`, for the ABI audit."""
    with open(path, "w", encoding="utf-8") as out:
        json.dump(as_json(files), out, sort_keys=True)


def read(path: str) -> List[ElfFacts]:
    """Reads a file from write(); raises SlipwayError if it is not valid."""
    try:
        with open(path, encoding="utf-8") as file:
            return from_json(json.load(file))
    except (ValueError, TypeError, AttributeError) as error:
        raise SlipwayError(
            f'"{path}" is not a list of the binaries of a layer',
            found=str(error),
            next="./pants --no-local-cache --no-remote-cache-read package <the target>",
        ) from None


def as_json(files: Iterable[ElfFacts]) -> List[Dict[str, Any]]:
    """The facts as JSON, without empty values, because most values are empty."""
    return [{key: value for key, value in asdict(file).items() if value} for file in files]


def from_json(document: Iterable[Mapping[str, Any]]) -> List[ElfFacts]:
    return [
        ElfFacts(**{key: _tuples(value) for key, value in fields.items()}) for fields in document
    ]


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
