"""The audit's table for people, and its JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from slipway.abi.audit import BREACH, FITS, FOREIGN, AuditedFile, Breach
from slipway.abi.table import Format, render

NODE = AuditedFile(
    "node_runtime/bin/node",
    "",
    FITS,
    highest={"GLIBC": "GLIBC_2.17"},
    needed=("libc.so.6",),
)
PATH, PACKAGE = "node_modules/a/a.node", "a@1.0.0"
ADDON = AuditedFile(
    PATH,
    PACKAGE,
    BREACH,
    highest={"GLIBC": "GLIBC_2.28"},
    needed=("libc.so.6",),
    breaches=(
        Breach(
            PATH,
            PACKAGE,
            "needs fcntl64 of version GLIBC_2.28; the oldest host has up to GLIBC_2.17",
            symbol="fcntl64",
            version="GLIBC_2.28",
            ceiling="GLIBC_2.17",
        ),
    ),
)
MUSL = replace(NODE, path="a/musl.node", verdict=FOREIGN, about="musl", highest={})


def test_columns_stand_below_each_other_and_breaches_below_the_table() -> None:
    assert render({"//app:release": [NODE, ADDON, MUSL]}, Format.TABLE).splitlines() == [
        "//app:release: 3 binaries, 1 breach",
        "file                   package  GLIBC  GLIBCXX  CXXABI  GCC  needs      verdict",
        "node_runtime/bin/node           2.17                         libc.so.6  fits",
        "node_modules/a/a.node  a@1.0.0  2.28                         libc.so.6  breach",
        "a/musl.node                                                  libc.so.6  foreign: musl",
        (
            "1. node_modules/a/a.node (a@1.0.0): needs fcntl64 of version GLIBC_2.28; "
            "the oldest host has up to GLIBC_2.17"
        ),
        'next: compile it from source, in the bundle: install_scripts={"a": "source"}',
        "or use another version of it",
        'or waive it, with a reason: abi_waivers={"a@1.0.0": "why no old host loads it"}',
    ]


def test_a_release_without_binaries_has_no_table() -> None:
    assert render({"x.tar.gz": []}, Format.TABLE) == "x.tar.gz: 0 binaries, 0 breaches"


def test_json_has_all_of_it() -> None:
    reports = {"//app:release": [NODE, ADDON]}
    (found,) = json.loads(render(reports, Format.JSON)).values()
    assert found == json.loads(json.dumps([asdict(NODE), asdict(ADDON)]))
    assert found[1]["breaches"] == [
        {
            "path": PATH,
            "package": PACKAGE,
            "reason": "needs fcntl64 of version GLIBC_2.28; the oldest host has up to GLIBC_2.17",
            "symbol": "fcntl64",
            "version": "GLIBC_2.28",
            "ceiling": "GLIBC_2.17",
        }
    ]
