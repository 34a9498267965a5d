"""The frame of a step's program: every error is a message, and no process can trace the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Tuple

import pytest

from tests.places import SOURCES

PROGRAM = """
import ctypes, dataclasses, errno, os, sys
sys.path.insert(0, sys.argv[1])
from slipway.step import frame as step_program; from slipway.archive import layers
from slipway.core.errors import SlipwayError
from slipway.step.interface import StepProgram
enter = os.chdir
os.chdir = lambda folder: enter(sys.argv[2])

@dataclasses.dataclass(frozen=True)
class Arguments:
    code: str

step_program.run(StepProgram(__name__, Arguments), lambda arguments: exec(arguments.code))
"""


def run(folder: Path, code: str) -> Tuple[int, str]:
    """The exit status and what was printed as an error, of a program with this code."""
    (folder / "in").mkdir()
    (folder / "in" / "arguments.json").write_text(json.dumps({"code": code}))
    python = [sys.executable, "-c", PROGRAM, str(SOURCES), str(folder)]
    done = subprocess.run(
        # Where the first process of a step would answer.
        ["sh", "-c", 'exec "$@" 3</dev/null', "sh", *python],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("raise SlipwayError('it is wrong')", "it is wrong"),
        ("raise OSError(errno.ENOSPC, 'full')", "no space left for a build step"),
        (
            "for _ in range(1500): os.mkdir('d'); enter('d')\nenter(sys.argv[2]); list(os.walk('d'))",
            "folders in a build step are nested too deeply",
        ),
        (
            "for _ in range(300): os.mkdir('d'); enter('d')\nenter(sys.argv[2]); layers.walk('d')",
            f'folders are nested more than 200 levels deep in "{"d/" * 40}…"',
        ),
        (
            "os.mkdir('d'); open('d/f', 'wb').truncate(1 << 40); layers.walk('d')",
            'the files up to "f" are too large for a release',
        ),
    ],
)
def test_a_failure_is_one_message(tmp_path: Path, code: str, first: str) -> None:
    status, said = run(tmp_path, code)
    assert (status, said.splitlines()[0]) == (1, first)
    assert "Traceback" not in said
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_a_program_is_not_dumpable_and_hands_its_socket_to_nobody(tmp_path: Path) -> None:
    code = "os._exit(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) or os.get_inheritable(3))"
    assert run(tmp_path, code) == (0, "")
