"""The checkers of this repository, one test for each; a failure shows the checker's output."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import List

import pytest

from slipway.release.launcher import find_script
from tests.bin_app import filled
from tests.places import REPOSITORY, SOURCES

SHELL_SCRIPTS = (
    *(
        "pants",
        "build_rules/slipway/deploy/programs/agent.sh",
    ),
    *(".ci/isolator", ".ci/run"),
)


# The modules that run without Pants: a contract of import-linter lists them.
CONTRACTS = configparser.ConfigParser()
CONTRACTS.read(REPOSITORY / ".importlinter")
PLAIN = CONTRACTS["importlinter:contract:plain"]["source_modules"].split()
CHECKS = {
    "format": ["ruff", "format", "--check", "build_rules", "tests"],
    "lint": ["ruff", "check", "build_rules", "tests"],
    "types": ["mypy", "--strict", "build_rules", "tests"],
    "imports": ["lint-imports", f"--config={REPOSITORY}/.importlinter"],
    "shell": ["shellcheck", *SHELL_SCRIPTS],
}


def program(name: str) -> List[str]:
    """The command of a tool, from this interpreter's environment if it has the tool."""
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return [str(beside)]
    for folder in map(Path, sys.path):
        for place in (folder / "bin" / name, folder.parent.parent.parent / "bin" / name):
            if place.exists():
                return [str(place)]
    path = shutil.which(name)
    assert path, f"{name} is not installed: 3rdparty/python/test.in lists it"
    return [path]


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_checker_finds_nothing(check: str) -> None:
    name, *arguments = CHECKS[check]
    done = subprocess.run(
        [*program(name), *arguments],
        # import-linter looks for the package only in the current folder.
        cwd=SOURCES if check == "imports" else REPOSITORY,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode()


def test_every_module_is_plain_or_a_rule() -> None:
    """Only rules, target types, options and `register.py` may import Pants."""
    for path in sorted(SOURCES.glob("slipway/**/*.py")):
        parts = path.relative_to(SOURCES).with_suffix("").parts
        names = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        may_import_pants = parts[2:3] in (("rules",), ("targets",)) or len(parts) == 2
        assert may_import_pants != bool(names & set(PLAIN)) or path.stem == "__init__", path


def test_every_module_is_in_a_package_of_the_import_contracts() -> None:
    """import-linter does not see a file below a folder without `__init__.py`."""
    for path in SOURCES.glob("slipway/**/*.py"):
        for folder in list(path.relative_to(SOURCES).parents)[:-1]:
            assert (SOURCES / folder / "__init__.py").exists(), path


CALLS = {
    "pack.PROGRAM(pack.Arguments(as_layer=True))": "",
    "pack.PROGRAM(pack.Arguments(layer=True))": 'keyword argument "layer"',
    'pack.PROGRAM(pack.Arguments("yes"))': 'type "str"; expected "bool"',
    'pack.PROGRAM(try_runtime.Arguments("x"))': "incompatible type",
    "try_runtime.OUTPUTS.report": 'no attribute "report"',
    'try_runtime.OUTPUTS.contents.read("").names': '"Contents" has no attribute "names"',
}


def test_a_wrong_name_or_type_between_rules_and_programs_is_found_by_mypy(tmp_path: Path) -> None:
    file = tmp_path / "calls.py"
    imports = (
        "from slipway.release.programs import try_runtime",
        "from slipway.runtime.programs import pack",
    )
    file.write_text("\n".join([*imports, *CALLS]) + "\n")
    done = subprocess.run(
        [*program("mypy"), "--strict", "--no-error-summary", str(file)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    errors = {line.split(":")[1]: line for line in done.stdout.splitlines() if ": error: " in line}
    for number, (call, fault) in enumerate(CALLS.items(), len(imports) + 1):
        found = errors.get(str(number), "")
        assert fault in found if fault else not found, (call, found)


def test_one_program_says_where_modules_are() -> None:
    changing = {
        str(path.relative_to(SOURCES / "slipway"))
        for path in SOURCES.glob("slipway/**/*.py")
        if "sys.path.insert" in path.read_text()
    }
    assert changing == {"step/programs/launch.py"}


@pytest.mark.parametrize("folder", ["deploy", "e2e"])
def test_every_test_file_is_in_exactly_one_group(folder: str) -> None:
    """Pants runs no test of a file that no target names, and says nothing."""
    build = (REPOSITORY / "tests" / folder / "BUILD").read_text()
    names = sorted(path.name for path in (REPOSITORY / "tests" / folder).glob("test_*.py"))
    assert sorted(re.findall(r'"(test_\w+\.py)"', build)) == names


@pytest.mark.parametrize("has_npm", [True, False])
def test_shellcheck_finds_nothing_in_bin_app(has_npm: bool) -> None:
    example = find_script("app", "1.0.0", {"start": "node it's.js"})
    text = filled() if has_npm else filled(find_script=example)
    done = subprocess.run(
        [*program("shellcheck"), "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
