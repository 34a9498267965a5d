"""Contract tests of an image: a folder for each script, and the audit of their binaries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway.abi import policy as abi_policy
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.toolchain.programs import contract
from slipway.toolchain.programs.contract import OUTPUTS, Arguments, AuditedBinary, Report
from tests.unit.abi.test_policy import SOUND
from tests.unit.elf.test_reader import SMALL, content


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_process: None) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "contract" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(step: Path, **files: str) -> None:
    for name, text in files.items():
        (step / "in" / "contract" / name.replace("_", ".")).write_text(text)


def report(step: Path) -> Report:
    return OUTPUTS.report.read((step / OUTPUTS.report.path).read_text())


def test_each_script_finds_the_files_and_nothing_of_the_others(
    step: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(step, a_sh="test -e data.txt && touch left", b_sh="test ! -e left && cat data.txt")
    write(step, data_txt="the data\n")
    (step / "in/contract/sub/c.sh").write_text("test -e ../data.txt && echo below")
    contract.test(Arguments())
    said = capfd.readouterr().out.splitlines()
    assert said == ["-- a.sh", "-- b.sh", "the data", "-- sub/c.sh", "below"]
    assert report(step) == Report(())


def test_a_script_that_fails_is_told_with_its_last_lines(step: Path) -> None:
    write(step, a_sh="echo first; echo last >&2; exit 7")
    with pytest.raises(SlipwayError) as raised:
        contract.test(Arguments())
    assert raised.value.what == 'the contract test "a.sh" failed with exit status 7'
    assert raised.value.found == "first\nlast"


def test_files_without_any_script_are_a_mistake(step: Path) -> None:
    write(step, data_txt="")
    with pytest.raises(SlipwayError, match="contain no script"):
        contract.test(Arguments())


def _with_policy(step: Path, **changes: Any) -> Arguments:
    (step / "in/contract/addon.node").write_bytes(content(SMALL))
    write(step, a_sh="true")
    return Arguments(abi_policy.read({**SOUND, **changes}, "the policy"))


def test_binaries_are_held_against_the_policy(step: Path) -> None:
    # A newer host's own library has that version.
    contract.test(_with_policy(step, versions=["GLIBC_ABI_DT_RELR"]))
    assert report(step) == Report((AuditedBinary("addon.node", "fits"),))


def test_a_binary_that_breaks_the_policy_fails_the_test(step: Path) -> None:
    arguments = _with_policy(step, ceilings={"GLIBC": "2.1"})
    with pytest.raises(SlipwayErrors) as raised:
        contract.test(arguments)
    assert "binaries of the contract tests do not load" in raised.value.what
    assert any("addon.node: needs " in fault for fault in raised.value.faults)
    assert raised.value.where == "@origin@, field abi_policy"
