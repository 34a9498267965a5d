"""Reads the pages of the documentation: their commands, what these must say, and files to write.

A block marked `console` holds commands behind `$ ` and what they print; `…` in an expected line
stands for any text, a line that is only `…` for any lines. A block whose language is followed by a
path is that file. A comment right above a block may say

    <!-- not run: why -->     the commands cannot be run by a test
    <!-- fails -->            the block's last command must fail
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Tuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md")
PROMPT = "$ "
ANYTHING = "…"

_FENCE = re.compile(r"```(\w*)(?: (\S+))?$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_FAILS = "<!-- fails -->"
_TIME = re.compile(r"^\d\d:\d\d:\d\d\.\d\d ")


@dataclass(frozen=True)
class Command:
    """One command of a page; `expected` are the lines shown below it."""

    line: int
    text: str
    expected: Tuple[str, ...]
    fails: bool = False
    not_run: Optional[str] = None


@dataclass(frozen=True)
class File:
    """A file that the reader is told to write."""

    line: int
    path: str
    content: str


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    path: Optional[str]
    lines: Tuple[str, ...]
    comment: str


def paths() -> List[Path]:
    return sorted({path for glob in PAGES for path in REPOSITORY.glob(glob)})


def blocks(text: str) -> List[Block]:
    """The fenced blocks of a page."""
    found: List[Block] = []
    opened: Optional[Tuple[int, str, Optional[str], str]] = None
    content: List[str] = []
    last = ""
    for number, line in enumerate(text.split("\n"), 1):
        if opened is not None:
            if line == "```":
                start, language, path, comment = opened
                found.append(Block(start, language, path, tuple(content), comment))
                opened, content, last = None, [], ""
            else:
                content.append(line)
            continue
        fence = _FENCE.match(line)
        if fence:
            opened = (number, fence.group(1), fence.group(2), last)
        elif line.strip():
            last = line.strip()
    if opened is not None:
        raise ValueError(f"line {opened[0]}: the block has no end")
    return found


def steps(text: str) -> List[object]:
    """The commands and files of a page, in its order."""
    found: List[object] = []
    for block in blocks(text):
        if block.path is not None:
            found.append(File(block.line, block.path, "\n".join(block.lines) + "\n"))
        elif block.language == "console":
            found.extend(_commands(block))
    return found


def _commands(block: Block) -> List[Command]:
    reason = _NOT_RUN.match(block.comment)
    parts: List[Tuple[int, List[str], List[str]]] = []
    continued = False
    for number, line in enumerate(block.lines, block.line + 1):
        if continued:
            parts[-1][1].append(line)
        elif line.startswith(PROMPT):
            parts.append((number, [line[len(PROMPT) :]], []))
        elif not parts:
            raise ValueError(f"line {number}: a console block begins with a command")
        else:
            parts[-1][2].append(line)
        continued = line.endswith("\\") and (continued or line.startswith(PROMPT))
    return [
        Command(
            number,
            "\n".join(lines),
            tuple(expected),
            fails=block.comment == _FAILS and (number, lines, expected) == parts[-1],
            not_run=reason.group(1) if reason else None,
        )
        for number, lines, expected in parts
    ]


def missing_line(expected: Tuple[str, ...], output: str) -> Optional[str]:
    """The first expected line that the output lacks; lines must come in their order.

    The time in front of a log line is not compared.
    """
    lines = (_TIME.sub("", line).strip() for line in output.split("\n"))
    for one in expected:
        if one.strip() in ("", ANYTHING):
            continue
        wanted = _TIME.sub("", one.strip())
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split(ANYTHING)))
        if not any(pattern.fullmatch(line) for line in lines):
            return one
    return None
