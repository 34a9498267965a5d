"""The table of a release under two Nodes."""

from __future__ import annotations

from slipway.release import trial
from slipway.release.trial import Stage, Trial, render
from tests.unit.release.test_differences import make

ALL = tuple(Stage(name, trial.PASSED) for name in trial.STAGES)


def test_stages_facts_and_files_are_one_table() -> None:
    before = Trial("16.20.2", ALL, make("16.20.2", "8.19.4", {"a": "1"}, GLIBC="GLIBC_2.17"))
    after = Trial("22.20.0", ALL, make("22.20.0", "10.9.3", {"a": "2"}, GLIBC="GLIBC_2.17"))
    assert render(before, after).splitlines() == [
        "                        Node.js 16.20.2  Node.js 22.20.0",
        "install                 passed           passed",
        "build, native packages  passed           passed",
        "tests                   passed           passed",
        "start probe             passed           passed",
        "smoke script            passed           passed",
        "ABI gate                passed           passed",
        "npm                     8.19.4           10.9.3",
        "packages                1                1",
        "size                    2.0 MB           2.0 MB",
        "GLIBC                   2.17             2.17",
        "",
        "files that differ: 1",
        "~ a",
    ]


def test_after_a_failure_its_message_follows_and_later_stages_did_not_run() -> None:
    before = Trial("16.20.2", ALL, make("16.20.2", "8.19.4", {}))
    stages = (Stage(trial.INSTALL, trial.PASSED), Stage(trial.BUILD, trial.FAILED, "no compiler"))
    after = Trial("22.20.0", stages, None)
    assert after.faults == ("no compiler",)
    assert render(before, after).splitlines() == [
        "                        Node.js 16.20.2  Node.js 22.20.0",
        "install                 passed           passed",
        "build, native packages  passed           FAILED",
        "tests                   passed           -",
        "start probe             passed           -",
        "smoke script            passed           -",
        "ABI gate                passed           -",
        "",
        "no compiler",
    ]
