"""No text of this repository has a phrase of `phrases.BANNED`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator, List, Tuple

import pytest

from slipway import register
from slipway.subsystem import InstallScripts, Slipway
from tests.checks import phrases
from tests.places import REPOSITORY, SOURCES

PAGES = ("*.md", "apps/**/*.md", "docs/**/*.md", "examples/**/*.md", "toolchains/**/*.md")
SHELL_SCRIPTS = ("pants", ".ci/isolator", ".ci/run")


def searched_files() -> List[Path]:
    pages = {path for pattern in PAGES for path in REPOSITORY.glob(pattern)}
    scripts = {REPOSITORY / name for name in SHELL_SCRIPTS} | set(SOURCES.glob("slipway/**/*.sh"))
    files = pages | scripts | set(SOURCES.glob("slipway/**/*.py"))
    return sorted(path for path in files if "node_modules" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


@pytest.mark.parametrize("path", searched_files(), ids=name_of)
def test_file_has_no_banned_phrase(path: Path) -> None:
    findings = phrases.find_in_file(path)
    assert not findings, "\n".join(f"{name_of(path)}:{finding}" for finding in findings)


def help_texts() -> Iterator[Tuple[str, str]]:
    """The name and the help text of each target type, field, subsystem and option."""
    for target in register.target_types():
        yield target.alias, text_of(target.help)
        for field in target.core_fields:
            if field.__module__.startswith("slipway."):
                yield f"{target.alias}.{field.alias}", text_of(field.help)
    for subsystem in (Slipway, InstallScripts):
        yield subsystem.options_scope, text_of(subsystem.help)
        for name, option in vars(subsystem).items():
            if hasattr(option, "_help"):
                yield name, text_of(option._help)


def text_of(text: object) -> str:
    return str(text() if callable(text) else text)


@pytest.mark.parametrize(("name", "text"), help_texts(), ids=lambda part: part[:40])
def test_help_text_has_no_banned_phrase(name: str, text: str) -> None:
    assert not phrases.find_phrases(text), name


def test_help_texts_are_there() -> None:
    assert {"node_app_bundle.install_scripts", "isolator"} <= {name for name, _ in help_texts()}


@pytest.mark.parametrize(
    "text",
    [
        "who has it is told",
        "the loss is not told",
        "It stands in the log.",
        "an application lies in a folder",
        "a name that is no UTF-8",
        "a line that has none",
        "to build it anew",
        "tried to reach github.com, in vain",
        "the first run of all",
        "what becomes of it",
        "Whoever holds the lock",
        "a file of who builds",
        "the user, and that of the host",
        "please try again",
        "an own CA",
        "own processes",
        "other servers were not tried",
        "over the end of a line:\nis\n  told",
    ],
)
def test_a_banned_phrase_is_found(text: str) -> None:
    assert len(phrases.find_phrases(f"Some words. {text}\nand more")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "there is no network",
        "it is no longer supported",
        "`…` stands for any text",
        "its own port, the package's own name and Pants' own log",
        "root must own the folder",
        "the locks of all applications",
        "let only root own it, and take the value as it stands",
        "Slipway tells the host",
        "a belief; outstanding; told; owner",
        'if own "$path"; then own; fi',
    ],
)
def test_an_ordinary_phrase_is_not_found(text: str) -> None:
    assert phrases.find_phrases(text) == []


def test_a_finding_has_its_line() -> None:
    assert [finding.line for finding in phrases.find_phrases("one\ntwo\nit is\ntold\n")] == [3]


def test_python_is_searched_in_its_literals_and_comments() -> None:
    source = (
        "def told(own):\n"
        '    """The host is told."""\n'
        "    # It\n"
        "    # stands there.\n"
        '    raise Error(f"{own} is "\n'
        '                f"no {own}", "lies", "own")\n'
    )
    found = [(finding.line, finding.phrase) for finding in phrases.find_in_python(source)]
    assert found == [(2, "is told"), (4, "stands"), (5, "is no")]


def test_a_literal_is_searched_once() -> None:
    literals = [text for _, text in phrases._literals(ast.parse("f'it {name} is' + 'told'"))]
    assert sorted(literals) == ["it {} is", "told"]


def test_a_shell_script_is_searched_in_its_comments_and_lines() -> None:
    source = "#!/bin/sh\n# it is\n# told\necho 'made anew' # in vain\n"
    found = [(finding.line, finding.phrase) for finding in phrases.find_in_shell(source)]
    assert found == [(2, "is told"), (4, "anew"), (4, "in vain")]
