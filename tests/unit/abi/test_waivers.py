"""The verdict on a release: breaches fail it, unless each is waived with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slipway.abi.audit import BREACH, FITS, AuditedFile, Breach
from slipway.abi.waivers import Verdict, judge
from slipway.core.errors import SlipwayErrors

WHERE = "apps/x:release"
REASON = "needs fcntl64 of version GLIBC_2.28; the oldest host has up to GLIBC_2.17"
NODE = AuditedFile(
    "node_runtime/bin/node", "", FITS, highest={"GLIBC": "GLIBC_2.17", "GCC": "GCC_3.4"}
)


def addon(path: str = "node_modules/a/a.node", package: str = "a@1.0.0") -> AuditedFile:
    return AuditedFile(
        path,
        package,
        BREACH,
        highest={"GLIBC": "GLIBC_2.28"},
        breaches=(Breach(path, package, REASON),),
    )


def test_a_release_that_fits_is_told_by_its_newest_versions() -> None:
    older = replace(NODE, path="x", highest={"GLIBC": "GLIBC_2.4"})
    highest = (("GCC", "GCC_3.4"), ("GLIBC", "GLIBC_2.17"))
    assert judge([NODE, older], {}, WHERE) == Verdict(highest, ())


def test_all_breaches_are_told_at_once_with_the_ways_out() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([addon(), NODE, addon("bin/tool", "")], {}, WHERE)
    error = raised.value
    assert error.faults == (
        f"node_modules/a/a.node (a@1.0.0): {REASON}",
        f"bin/tool: {REASON}",
    )
    assert 'install_scripts={"a": "source"}' in error.next
    assert 'abi_waivers={"a@1.0.0": "why no old host loads it"}' in error.next


def test_the_own_file_of_an_application_has_no_package_to_compile() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([addon("vendor/x.zip!/lib.so", "")], {}, WHERE)
    assert "install_scripts" not in raised.value.next
    assert 'abi_waivers={"vendor/x.zip": ' in raised.value.next


def test_a_package_without_an_install_script_has_nothing_to_compile() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([addon()], {}, WHERE, {"other"})
    assert "install_scripts" not in raised.value.next
    assert raised.value.next.startswith("use another version of it")


def test_a_node_for_newer_hosts_leads_to_another_toolchain_or_node() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([addon("node_runtime/bin/node", "")], {}, WHERE, other_nodes="use another Node")
    assert raised.value.next == (
        "use another Node\n"
        'or waive it, with a reason: abi_waivers={"node_runtime/bin/node": "why no old host loads it"}'
    )


@pytest.mark.parametrize("key", ["a@1.0.0", "node_modules/a/a.node", "node_modules/a/*"])
def test_a_waiver_names_a_package_or_a_path(key: str) -> None:
    (waived,) = judge([addon()], {key: "no old host has it"}, WHERE).waived
    assert (waived.file, waived.package) == ("node_modules/a/a.node", "a@1.0.0")
    assert waived.reason == "no old host has it"
    assert waived.breaches == (REASON,)


def test_a_waiver_of_an_archive_covers_what_is_in_it() -> None:
    inside = addon("vendor/x.zip!/lib.so", "")
    assert judge([inside], {"vendor/x.zip": "unpacked on new hosts alone"}, WHERE).waived


def test_a_waiver_of_another_version_waives_nothing() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([addon()], {"a@0.9.0": "reason"}, WHERE)
    assert "do not load" in raised.value.what


def test_waivers_that_are_not_needed_or_give_no_reason_are_told() -> None:
    with pytest.raises(SlipwayErrors) as raised:
        judge([NODE], {"a@1.0.0": "reason"}, WHERE)
    assert raised.value.what == "waivers match no binary with a breach"
    assert raised.value.where == "apps/x:release, field abi_waivers"
    with pytest.raises(SlipwayErrors, match="waivers have no reason"):
        judge([addon()], {"a@1.0.0": " "}, WHERE)
