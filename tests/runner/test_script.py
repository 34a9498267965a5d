"""Properties of the script and of the lock files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.places import NO_VARIABLES
from tests.runner.workbench import REPOSITORY

SCRIPT = REPOSITORY / "pants"


def test_every_shell_can_read_it(shell: str) -> None:
    subprocess.run([*shell.split(), "-n", str(SCRIPT)], check=True)


def test_half_a_script_does_nothing(shell: str, tmp_path: Path) -> None:
    text = SCRIPT.read_text()
    assert text.endswith('\nmain "$@"\n')
    for end in (len(text) // 2, len(text) - len('main "$@"\n')):
        half = tmp_path / "half"
        half.write_text(text[:end])
        done = subprocess.run(
            [*shell.split(), str(half)],
            env=NO_VARIABLES,
            capture_output=True,
            check=False,
        )
        assert done.stdout == b""
        assert b"pants:" not in done.stderr


@pytest.mark.parametrize("name", ["pants.lock", "test.lock"])
def test_a_lock_has_a_hash_for_everything_and_no_host(name: str) -> None:
    text = (REPOSITORY / "3rdparty/python" / name).read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[^ ])", text.split("\n", 2)[2].rstrip("\n"))
    names = []
    for entry in entries:
        first, *hashes = entry.split(" \\\n    --hash=sha256:")
        match = re.fullmatch(
            r"([a-z0-9.-]+)==[0-9.]+( ; python_version == \"3\.[789]\"( or .*)?)?", first
        )
        assert match, first
        names.append(match.group(1))
        assert hashes
        for digest in hashes:
            assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert names == sorted(set(names))
    assert {"pantsbuild.pants", "pex"} <= set(names)


def test_both_locks_have_the_same_pants() -> None:
    pins = [
        set(re.findall(r"^(\S+==\S+)", (REPOSITORY / "3rdparty/python" / name).read_text(), re.M))
        for name in ("pants.lock", "test.lock")
    ]
    different = {pin.split("==")[0] for pin in pins[0] ^ pins[1]}
    assert not different & {pin.split("==")[0] for pin in pins[0] & pins[1]}
    assert pins[0] - pins[1] == {"pip==24.0"}


def test_the_version_is_the_same_everywhere() -> None:
    (version,) = re.findall(
        r"^pantsbuild\.pants==(\S+)",
        (REPOSITORY / "3rdparty/python/pants.lock").read_text(),
        re.MULTILINE,
    )
    assert f'pants_version = "{version}"\n' in (REPOSITORY / "pants.toml").read_text()
