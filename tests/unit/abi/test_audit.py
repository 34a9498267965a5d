"""The ABI audit, file by file: which files fit, which do not and why, and which are foreign."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import pytest

from slipway.abi import audit as abi_audit
from slipway.abi import policy
from slipway.abi.audit import AuditedFile
from slipway.elf.facts import ElfFacts
from tests.unit.abi.test_policy import SOUND

POLICY = policy.read(SOUND, "abi.toml")
PACKAGES = {"node_modules/sharp": "sharp@0.30.7", "node_modules/a": "a@1.0.0"}
PATH = "node_modules/sharp/build/Release/sharp.node"
NODE = ElfFacts(
    "node_runtime/bin/node",
    "program",
    "x86-64",
    64,
    dynamic=True,
    interpreter="/lib64/ld-linux-x86-64.so.2",
    needed=("libc.so.6",),
    exported=("napi_create_object", "uv_default_loop"),
)


def make(path: str = PATH, **facts: Any) -> ElfFacts:
    sound: Dict[str, Any] = {
        "kind": "library",
        "machine": "x86-64",
        "bits": 64,
        "dynamic": True,
        "needed": ("libc.so.6",),
        "needed_versions": (("libc.so.6", "GLIBC_2.2.5", "malloc", 3),),
    }
    return ElfFacts(path, **{**sound, **facts})


def audit(*files: ElfFacts) -> List[AuditedFile]:
    return abi_audit.audit([*files, NODE], PACKAGES, POLICY, ["malloc", "free"])


def test_what_fits_is_listed_with_what_it_needs() -> None:
    found, node = audit(make(unversioned=("malloc", "napi_create_object")))
    assert (found.verdict, found.package) == ("fits", "sharp@0.30.7")
    assert found.highest == {"GLIBC": "GLIBC_2.2.5"}
    assert (node.verdict, node.package, node.highest) == ("fits", "", {})


# The properties of a file, and the expected reasons.
BREACHES: Dict[str, Tuple[Dict[str, Any], Tuple[str, ...]]] = {
    "a version above the ceiling": (
        {"needed_versions": (("libc.so.6", "GLIBC_2.28", "fcntl64", 1),)},
        ("needs fcntl64 of version GLIBC_2.28; the oldest host has up to GLIBC_2.17",),
    ),
    "many symbols of a version": (
        {"needed_versions": (("libstdc++.so.6", "GLIBCXX_3.4.21", "_ZNKSs", 7),)},
        (
            "needs _ZNKSs and 6 more of version GLIBCXX_3.4.21; the oldest host has up to GLIBCXX_3.4.19",
        ),
    ),
    "a version of a namespace that is not there": (
        {"needed_versions": (("libc.so.6", "GLIBC_PRIVATE", "_dl_sym", 1),)},
        ("needs _dl_sym of version GLIBC_PRIVATE",),
    ),
    "a name without a version that only newer hosts have": (
        {"unversioned": ("free", "getentropy")},
        ("needs getentropy, which no library of the oldest host has",),
    ),
    "many such names": (
        {"unversioned": tuple(f"new{number}" for number in range(7))},
        ("needs new0, new1, new2, new3, new4 and 2 more, which no library of the oldest host",),
    ),
    "a library that hosts need not have": (
        {"needed": ("libc.so.6", "libssl.so.3")},
        ("needs libssl.so.3, which the oldest host may not have",),
    ),
    "a library that it opens by name": (
        {"opened": ("libc.so.6", "libcuda.so.1")},
        ("may load libcuda.so.1 at run time, which the oldest host may not have",),
    ),
    "a run path out of the release": (
        {"run_paths": ("/usr/local/lib:$ORIGIN/../../../../..",)},
        (
            "searches for libraries in /usr/local/lib",
            "searches for libraries in $ORIGIN/../../../../..",
        ),
    ),
    "a run path to a folder beside the release": (
        {"run_paths": ("$ORIGIN/../../../../../lib",)},
        ("searches for libraries in $ORIGIN/../../../../../lib",),
    ),
    "an executable stack": ({"executable_stack": True}, ("needs an executable stack",)),
    "text relocations": ({"text_relocations": True}, ("has text relocations",)),
    "another loader": (
        {"interpreter": "/lib/ld.so.1", "kind": "program"},
        ("uses the loader /lib/ld.so.1, not /lib64/ld-linux-x86-64.so.2",),
    ),
    "damage": ({"fault": "a name has no end"}, ("is not a valid ELF file: a name has no end",)),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_names_file_package_and_reason(name: str) -> None:
    facts, reasons = BREACHES[name]
    found, _ = audit(make(**facts))
    assert found.verdict == "breach"
    told = [str(breach) for breach in found.breaches]
    assert len(told) == len(reasons)
    for text, reason in zip(told, reasons):
        assert text.startswith(f"{PATH} (sharp@0.30.7): {reason}")


def test_all_breaches_of_a_file_are_told_at_once() -> None:
    needs = (("libc.so.6", "GLIBC_2.28", "fcntl64", 1), ("libc.so.6", "GLIBC_2.34", "dlopen", 1))
    found, _ = audit(make(needed_versions=needs, executable_stack=True))
    assert [one.version for one in found.breaches] == ["GLIBC_2.28", "GLIBC_2.34", ""]


def test_a_library_that_the_release_carries_is_found_by_its_run_path() -> None:
    vips = make("node_modules/a/vendor/libvips.so.42", soname="libvips.so.42", exported=("vips",))
    needs: Dict[str, Any] = {
        "needed": ("libvips.so.42",),
        "needed_versions": (("libvips.so.42", "VIPS_42", "vips_init", 1),),
    }
    led = make(run_paths=("$ORIGIN/../../../a/vendor",), unversioned=("vips",), **needs)
    assert [one.verdict for one in audit(led, vips)] == ["fits"] * 3
    lost, _, _ = audit(make(**needs), vips)
    (breach,) = lost.breaches
    assert breach.reason == (
        "needs libvips.so.42, which is at node_modules/a/vendor/libvips.so.42, "
        "but in no folder of its run path"
    )


def test_an_entry_for_another_package_manager_does_no_harm() -> None:
    """As in sharp: its library is found by one entry, and the other is for Yarn's folders."""
    vips = make("node_modules/a/vendor/libvips.so.42", soname="libvips.so.42", exported=("vips",))
    yarn = "$ORIGIN/../../../../../a-npm-1.0.0-28ab0da74d/node_modules/a/vendor"
    needs: Dict[str, Any] = {"needed": ("libc.so.6", "libvips.so.42"), "unversioned": ("vips",)}
    found, _, _ = audit(make(run_paths=(f"{yarn}:$ORIGIN/../../../a/vendor",), **needs), vips)
    assert found.verdict == "fits"
    lost, _, _ = audit(make(run_paths=(yarn,), **needs), vips)
    assert [one.reason.split()[0] for one in lost.breaches] == ["searches", "needs"]
    absolute, _, _ = audit(make(run_paths=("/opt/a:$ORIGIN/../../../a/vendor",), **needs), vips)
    assert [one.reason for one in absolute.breaches] == ["searches for libraries in /opt/a"]


def test_a_library_that_the_release_carries_may_be_opened_by_name() -> None:
    carried = make("node_modules/a/vendor/libplugin.so")
    assert [one.verdict for one in audit(make(opened=("libplugin.so",)), carried)] == ["fits"] * 3


FOREIGN: Dict[str, Tuple[Dict[str, Any], str]] = {
    "arm64": ({"machine": "arm64"}, "arm64, 64 bits"),
    "32 bits": ({"machine": "x86", "bits": 32}, "x86, 32 bits"),
    "musl": ({"needed": ("libc.musl-x86_64.so.1",)}, "musl"),
    "a program for musl": ({"interpreter": "/lib/ld-musl-x86_64.so.1"}, "musl"),
    "Android": ({"needed": ("libm.so", "libc.so")}, "Android"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_for_other_systems_are_told_apart_and_not_judged(name: str) -> None:
    facts, about = FOREIGN[name]
    versions = (("libc.so.6", "GLIBC_2.99", "x", 1),)
    found, _ = audit(make(**{"needed_versions": versions, **facts}))
    assert (found.verdict, found.about, found.breaches) == ("foreign", about, ())


def test_objects_and_core_dumps_are_nothing_that_is_loaded() -> None:
    found, _ = audit(make(kind="object", needed=("libx.so",)))
    assert (found.verdict, found.about) == ("not loaded", "object")


def test_a_file_in_an_archive_belongs_to_the_archive_s_package() -> None:
    found, _ = audit(make("node_modules/a/bin.zip!/lib/x.so", executable_stack=True))
    assert found.package == "a@1.0.0"
    assert str(found.breaches[0]).startswith("node_modules/a/bin.zip!/lib/x.so (a@1.0.0): ")


def test_a_nested_package_is_named_before_the_one_around_it() -> None:
    packages = {"node_modules/a": "a@1.0.0", "node_modules/a/node_modules/b": "b@2.0.0"}
    assert abi_audit.package_of("node_modules/a/node_modules/b/x.node", packages) == "b@2.0.0"
    assert abi_audit.package_of("node_modules/a/x.node", packages) == "a@1.0.0"
    assert abi_audit.package_of("service/x.node", packages) == ""
