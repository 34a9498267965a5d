"""The audit of a whole release: its own files, by its own release.json, against this machine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from slipway.abi import policy as abi_policy
from slipway.abi.audit import AuditedFile
from slipway.core.errors import SlipwayError
from slipway.release.programs import abi_gate
from tests.unit.abi.test_policy import SOUND
from tests.unit.elf.test_reader import SMALL, content

pytestmark = pytest.mark.skipif(not os.path.exists(SMALL), reason="no x86-64 Debian")
PACKAGES = [{"path": "node_modules/a", "name": "a", "version": "1.0.0", "bytes": 1}]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "release").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(step: Path, files: Dict[str, bytes]) -> None:
    with tarfile.open(step / "in/release/app.tar.gz", "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def audit(step: Path, **changes: Any) -> Tuple[AuditedFile, ...]:
    policy = abi_policy.read({**SOUND, **changes}, "the policy")
    abi_gate.audit(abi_gate.Arguments(policy, archive="app.tar.gz"))
    report = abi_gate.OUTPUTS.report
    return report.read((step / report.path).read_text()).files


def test_files_are_named_with_the_package_that_brought_them(step: Path) -> None:
    about = json.dumps({"packages": PACKAGES}).encode()
    pack(step, {"./node_modules/a/x.node": content(SMALL), "release.json": about})
    (found,) = audit(step, versions=["GLIBC_ABI_DT_RELR"])
    assert (found.path, found.package) == ("node_modules/a/x.node", "a@1.0.0")
    assert (found.verdict, found.needed) == ("fits", ("libc.so.6",))


def test_an_archive_that_is_not_a_release_is_audited_too(step: Path) -> None:
    pack(step, {"x.node": content(SMALL), "readme": b"text"})
    (found,) = audit(step, ceilings={"GLIBC": "2.1"})
    assert (found.package, found.verdict) == ("", "breach")


def test_a_file_that_is_not_an_archive_is_an_error(step: Path) -> None:
    (step / "in/release/app.tar.gz").write_bytes(b"text")
    with pytest.raises(SlipwayError) as raised:
        audit(step)
    assert raised.value.what == 'cannot read "app.tar.gz" as a tar archive'
    assert raised.value.next.startswith("pass a release")


def test_names_of_the_oldest_host_are_those_within_the_policy() -> None:
    names = abi_gate.provided_names(abi_policy.read(SOUND, "abi.toml"))
    assert {"malloc", "_ZSt9terminatev"} <= names
    assert "getentropy" not in names
