"""Runs every command of the documentation, page by page, each page in a fresh workspace.

A command that no test can run has the reason in the page's source; the test prints it. `-k tutorial`
runs the pages of one folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.docs import pages
from tests.docs.pages import Command, File
from tests.docs.shell import Shell
from tests.e2e import harness, shared
from tests.e2e.harness import Workspace

TIME_LIMIT = 900.0
COMMAND_PAGES = [
    path
    for path in pages.paths()
    if any(isinstance(step, Command) for step in pages.steps(path.read_text(encoding="utf-8")))
]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with harness.scratch_folder("docs-") as folder:
        yield folder


@pytest.fixture(scope="module")
def clone(scratch: Path) -> Iterator[Workspace]:
    """One clone for all pages, with a daemon: a start of Pants takes longer than most commands."""
    tools = str(harness.tools_folder(scratch / "tools"))
    env = {"LOG_DIR": str(scratch / "logs")}
    root = scratch / "clone" / "slipway"
    caches = shared.filled_caches(scratch / "caches", tools)
    with Workspace.make(root, caches, tools, daemon=True, env=env) as made:
        made.commit()
        yield made


@pytest.fixture
def workspace(clone: Workspace) -> Workspace:
    """The clone in its first state, except for the folders that Pants itself keeps there."""
    clone.git("reset", "--quiet", "--hard")
    clone.git("clean", "--quiet", "--force", "-dx", "--exclude=.pants.d", "--exclude=.pids")
    return clone


def _page_id(path: Path) -> str:
    return path.relative_to(pages.REPOSITORY).with_suffix("").as_posix()


# These need more than the applications of the repository (another image, a registry, a proxy), or build
# them once more; a test of another folder has the same commands in the quick tier.
_LONG = (
    *("add-a-toolchain-image", "pin-another-node", "private-registry", "proxy-and-ca"),
    *("try-another-node", "upgrade-dependencies", "audit-binaries", "run-by-hand", "CONTRIBUTING"),
    *("npm-workspaces", "start-probe", "static-files", "release-layout"),
)


def _parameter(path: Path) -> Any:
    marks = (pytest.mark.long,) if path.stem in _LONG else ()
    return pytest.param(path, id=_page_id(path), marks=marks)


@pytest.mark.skipif(harness.npm_registry() is None, reason="no npm registry is configured here")
@pytest.mark.parametrize("path", map(_parameter, COMMAND_PAGES))
def test_page(path: Path, workspace: Workspace) -> None:
    with Shell(workspace) as shell:
        for step in pages.steps(path.read_text(encoding="utf-8")):
            if isinstance(step, File):
                file = workspace.root / step.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(step.content, encoding="utf-8")
            elif isinstance(step, Command):
                _run(step, shell, path)


def _run(command: Command, shell: Shell, page: Path) -> None:
    at = f"{page.name}:{command.line}: {command.text}"
    if command.not_run:
        print(f"not run ({command.not_run}): {at}")
        return
    status, output = shell.run(command.text, TIME_LIMIT)
    assert (status != 0) == command.fails, f"exit status {status} of {at}\n{output}"
    if page.name == "README.md" and command.text == f"./pants {' '.join(shared.COMMAND)}":
        # The page shows a first run; here, the caches are filled.
        output = shared.first_run(shell.path)
    missing = pages.missing_line(command.expected, output)
    assert missing is None, f"no line {missing!r} from {at}\n{output}"
