"""The link surface: stubs of this machine's libraries, static parts, and what linkers find."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from slipway.abi import policy as abi_policy
from slipway.abi.policy import AbiPolicy
from slipway.archive import ar
from slipway.archive.rootfs import Content, Tree, file_entry, link_entry
from slipway.core.errors import SlipwayError
from slipway.elf import reader, static_rest, stub_library
from slipway.toolchain import link_surface
from slipway.toolchain.link_surface import LinkScript, SurfaceSpec
from tests.unit.abi.test_policy import SOUND

LIB = "/usr/lib/x86_64-linux-gnu"
LIBC = f"{LIB}/libc.so.6"
POLICY = abi_policy.read(SOUND, "abi.toml")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")

pytestmark = pytest.mark.skipif(not os.path.exists(LIBC), reason="no x86-64 Debian")


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def policy(glibc: str) -> AbiPolicy:
    return abi_policy.read({**SOUND, "ceilings": {"GLIBC": glibc}}, "abi.toml")


def test_a_stub_offers_what_the_policy_allows_and_nothing_newer() -> None:
    stub = stub_library.make_stub(content(LIBC), POLICY.allows)
    read = reader.read(stub.data)
    assert (stub.soname, read.soname) == ("libc.so.6", "libc.so.6")
    assert {one.version for one in read.exported} >= {"GLIBC_2.2.5", "GLIBC_2.17"}
    assert all(POLICY.allows(one.version) for one in read.exported)
    names = {one.name for one in read.exported}
    assert {"malloc", "environ", "secure_getenv"} <= names
    assert not {"getentropy", "getrandom", "memfd_create"} & names
    assert {"getentropy", "getrandom"} <= stub.removed
    assert "malloc" in stub.provided


def test_a_name_whose_newest_version_goes_gets_its_older_one_back() -> None:
    stub = stub_library.make_stub(content(f"{LIB}/libm.so.6"), POLICY.allows)
    versions = {one.version for one in reader.read(stub.data).exported if one.name == "exp"}
    assert versions == {"GLIBC_2.2.5"}
    assert "exp" in stub.provided


def test_names_may_be_left_to_the_static_library() -> None:
    stub = stub_library.make_stub(content(LIBC), POLICY.allows, ["mall(oc|info)", "qsort"])
    assert not {"malloc", "mallinfo", "qsort"} & stub.provided
    assert {"malloc", "qsort"} <= stub.removed


def test_a_stub_is_the_same_each_time() -> None:
    first = stub_library.make_stub(content(LIBC), POLICY.allows).data
    assert stub_library.make_stub(content(LIBC), POLICY.allows).data == first


@needs_gcc
def test_the_real_linker_links_with_a_stub_and_refuses_what_is_newer(tmp_path: Path) -> None:
    stub = stub_library.make_stub(content(LIBC), POLICY.allows)
    (tmp_path / "libc.so.6").write_bytes(stub.data)
    for name, links in (("malloc", True), ("getentropy", False)):
        (tmp_path / "a.c").write_text(f"char {name}(); void *p = {name};")
        done = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-nostdlib", "-Wl,-z,defs", "-fno-builtin", "a.c"]
            + ["libc.so.6", "-o", "a.so"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == links, done.stderr


@needs_gcc
def test_a_static_remainder_has_what_is_asked_for_and_what_that_needs(tmp_path: Path) -> None:
    sources = {
        "wanted.c": "int helper(void); int shared(void); int newer(void) { return helper() + shared(); }",
        "helper.c": "int helper(void) { return 1; } int shared(void) { return 2; }",
        "other.c": "int other(void) { return 3; }",
    }
    objects = []
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
        subprocess.run(["gcc", "-c", name], cwd=tmp_path, check=True)
        objects.append((f"{name[:-2]}.o", (tmp_path / f"{name[:-2]}.o").read_bytes()))
    archive = ar.write(objects, [[] for _ in objects])
    rest = static_rest.make_rest(archive, provided={"shared"}, removed={"newer"})
    assert [name for name, _ in ar.members(rest, "rest")] == ["wanted.o", "helper.o"]
    assert static_rest.defined_names(rest) == {"newer", "helper"}
    assert static_rest.defined_names(archive) == {"newer", "helper", "shared", "other"}

    # What the stub has comes from the shared library; nothing of the rest is seen from outside.
    (tmp_path / "rest.a").write_bytes(rest)
    (tmp_path / "shared.c").write_text("int shared(void) { return 40; }")
    (tmp_path / "use.c").write_text("int newer(void); int use(void) { return newer(); }")
    for command in (
        ("gcc", "-shared", "-fPIC", "shared.c", "-o", "libshared.so"),
        ("gcc", "-shared", "-fPIC", "use.c", "rest.a", "-L.", "-lshared", "-o", "use.so"),
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    made = reader.read((tmp_path / "use.so").read_bytes())
    assert "shared" in {one.name for one in made.undefined}
    assert {"use"} == {one.name for one in made.exported} & {"use", "newer", "helper", "shared"}


@needs_gcc
@pytest.mark.parametrize("options", [["-shared", "-fPIC"], ["-pie"], ["-no-pie"]])
def test_what_the_oldest_host_lacks_is_zero_in_each_linked_file(
    tmp_path: Path, options: List[str]
) -> None:
    (tmp_path / "part.c").write_text(
        "extern char flag; extern long number;"
        "int newer(void) { flag += 1; number += 2; return flag + number; }"
    )
    subprocess.run(["gcc", "-fPIC", "-c", "part.c"], cwd=tmp_path, check=True)
    archive = ar.write([("part.o", (tmp_path / "part.o").read_bytes())], [[]])
    rest = static_rest.make_rest(archive, set(), {"newer"}, ["flag", "number", "unread"])
    assert [name for name, _ in ar.members(rest, "rest")] == ["part.o", "zeros.o"]
    assert static_rest.defined_names(rest) == {"newer", "flag", "number", "unread"}

    (tmp_path / "rest.a").write_bytes(rest)
    (tmp_path / "use.c").write_text("int newer(void); int main(void) { return newer(); }")
    strict = ["-Wl,-z,defs", "-Wl,--fatal-warnings"]
    command = ["gcc", *options, "use.c", "rest.a", *strict, "-o", "use"]
    subprocess.run(command, cwd=tmp_path, check=True)
    made = reader.read((tmp_path / "use").read_bytes())
    assert not {"flag", "number", "unread"} & {one.name for one in made.exported}
    assert not made.executable_stack
    if "-shared" not in options:
        assert subprocess.run([str(tmp_path / "use")], check=False).returncode == 3


def tree_of(files: Dict[str, bytes], links: Dict[str, str]) -> Tree:
    tree = Tree()
    for path, data in files.items():
        tree.put(path, file_entry(Content(len(data), data=data)))
    for path, target in links.items():
        tree.put(path, link_entry(target))
    return tree


def apply(**more: Any) -> Tree:
    tree = tree_of(
        {"lib/libc.so.6": content(LIBC), "lib/libm.so.6": content(f"{LIB}/libm.so.6")},
        {"lib/libm.so": "libm.so.6", "lib/libown.txt": "libm.so.6"},
    )
    script = LinkScript("lib/libc.so", "lib/libc.so.6", with_files=("/lib/rest.a",), **more)
    spec = SurfaceSpec("stubs", "lib", (script,))
    link_surface.apply_surface(tree, spec, POLICY, "image.json")
    return tree


def test_linkers_find_stubs_and_programs_the_libraries() -> None:
    tree = apply()
    assert tree.entries["lib/libm.so"].target == "../stubs/libm.so.6"
    assert tree.entries["lib/libown.txt"].target == "libm.so.6"
    script = tree.entries["lib/libc.so"].content
    assert script is not None
    assert script.read().decode().endswith("GROUP ( /stubs/libc.so.6 /lib/rest.a )\n")
    real, stub = tree.entries["lib/libc.so.6"].content, tree.entries["stubs/libc.so.6"].content
    assert real is not None
    assert stub is not None
    assert real.read() == content(LIBC)
    assert stub.size < real.size


def test_a_library_that_is_not_there_is_told_with_its_place() -> None:
    with pytest.raises(SlipwayError) as raised:
        apply(as_needed=("lib/ld.so",))
    assert str(raised.value).split("\n")[:2] == [
        'the library "lib/ld.so" is not in the image',
        "  in:    image.json: $.link_surface",
    ]


def test_a_library_of_which_nothing_is_left_is_told() -> None:
    tree = tree_of({"lib/libm.so.6": content(f"{LIB}/libm.so.6")}, {"lib/libm.so": "libm.so.6"})
    with pytest.raises(SlipwayError, match="the oldest host has no symbol of the library"):
        link_surface.apply_surface(tree, SurfaceSpec("stubs", "lib", ()), policy("1.0"), "i.json")
