"""Makes linkers in a tree find stub libraries, as if they linked on the oldest host.

The real libraries stay in place, because programs of the tree load them. A separate folder gets a
stub for each library. The file that `-l` finds becomes a symlink to the stub, or a linker script if
the library consists of more files.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Dict, List, Tuple

from slipway.abi.policy import AbiPolicy
from slipway.archive.rootfs import Content, Tree, file_entry, link_entry, text_entry
from slipway.archive.tar_reading import Kind
from slipway.core.errors import SlipwayError
from slipway.elf import static_rest
from slipway.elf.reader import ElfError
from slipway.elf.stub_library import Stub, make_stub

_SCRIPT_HEAD = (
    "/* GNU ld script: the versions that the oldest host has */\nOUTPUT_FORMAT(elf64-x86-64)\n"
)
_LINKED = re.compile(r"lib[^/]+\.so")


@dataclass(frozen=True)
class LinkScript:
    """A linker script at `path` with the stub of `library` and further files.

    `with_files` are further files and -l options. `as_needed` are libraries that are linked only if
    they are needed. `rest_of` is a static library; its part that the stub lacks is written to
    `rest`, where the names `zeros` are zero.
    """

    path: str
    library: str
    with_files: Tuple[str, ...] = ()
    as_needed: Tuple[str, ...] = ()
    rest_of: str = ""
    rest: str = ""
    zeros: Tuple[str, ...] = ()


@dataclass(frozen=True)
class SurfaceSpec:
    """The link surface of an image: stubs are in `folder`.

    Each symlink lib*.so in `links_in` is changed to lead to a stub. `static_instead` are patterns
    of symbols that are linked statically although the oldest host has them.
    """

    folder: str
    links_in: str
    scripts: Tuple[LinkScript, ...]
    static_instead: Tuple[str, ...] = ()


def apply_surface(
    tree: Tree,
    spec: SurfaceSpec,
    policy: AbiPolicy,
    file: str,
) -> None:
    """Adds the stubs and scripts to `tree`; `file` is the name of the spec in messages."""
    _Surface(tree, spec, policy, file).apply()


class _Surface:
    def __init__(
        self,
        tree: Tree,
        spec: SurfaceSpec,
        policy: AbiPolicy,
        file: str,
    ) -> None:
        self._tree, self._spec, self._policy, self._file = tree, spec, policy, file
        self._stubs: Dict[str, Stub] = {}

    def apply(self) -> None:
        for path in sorted(self._tree.entries):
            folder, _, name = path.rpartition("/")
            entry = self._tree.entries[path]
            linked = folder == self._spec.links_in and _LINKED.fullmatch(name)
            if linked and entry.kind is Kind.SYMLINK:
                stub = self._stub(path)
                place = posixpath.relpath(self._place(stub), folder)
                self._tree.entries[path] = link_entry(place)
        for script in self._spec.scripts:
            self._write_script(script)

    def _stub(self, path: str) -> Stub:
        content = self._read(path)
        try:
            stub = make_stub(
                content,
                self._policy.allows,
                self._spec.static_instead,
            )
        except ElfError as error:
            raise self._fault(f'cannot read the library "{path}": {error}') from None
        if not stub.provided:
            raise self._fault(f'the oldest host has no symbol of the library "{path}"')
        self._tree.put(self._place(stub), file_entry(Content(len(stub.data), data=stub.data)))
        self._stubs[stub.soname] = stub
        return stub

    def _place(self, stub: Stub) -> str:
        return f"{self._spec.folder}/{stub.soname}"

    def _write_script(self, script: LinkScript) -> None:
        stub = self._stub(script.library)
        words: List[str] = [f"/{self._place(stub)}", *script.with_files]
        for library in script.as_needed:
            words.append(f"AS_NEEDED ( /{self._place(self._stub(library))} )")
        if script.rest_of:
            archive = self._read(script.rest_of)
            rest = static_rest.make_rest(archive, stub.provided, stub.removed, script.zeros)
            self._tree.put(script.rest, file_entry(Content(len(rest), data=rest)))
            words.append(f"/{script.rest}")
        self._tree.put(script.path, text_entry(f"{_SCRIPT_HEAD}GROUP ( {' '.join(words)} )\n"))

    def _read(self, path: str) -> bytes:
        entry = self._tree.follow(path)
        if entry is None or entry.content is None:
            raise self._fault(f'the library "{path}" is not in the image')
        return entry.content.read()

    def _fault(self, what: str) -> SlipwayError:
        return SlipwayError(
            what, where=f"{self._file}: $.link_surface", next="correct the path, or remove it there"
        )
