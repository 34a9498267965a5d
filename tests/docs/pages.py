"""Reads the pages of the documentation: commands, their expected output, and files to write.

A block marked `console` holds commands after `$ ` and their output. `…` in an expected line stands
for any text, and a line that is only `…` stands for any lines. A block whose language is followed by
a path is the content of that file. A comment above a block may say

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
    """A file that the page asks the reader to write."""

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
    complete: List[Block] = []
    opened: Optional[Tuple[int, str, Optional[str], str]] = None
    content: List[str] = []
    last = ""
    for number, line in enumerate(text.split("\n"), 1):
        if opened is not None:
            if line == "```":
                start, language, path, comment = opened
                complete.append(Block(start, language, path, tuple(content), comment))
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
    return complete


def steps(text: str) -> List[object]:
    """The commands and files of a page, in its order."""
    items: List[object] = []
    for block in blocks(text):
        if block.path is not None:
            items.append(File(block.line, block.path, "\n".join(block.lines) + "\n"))
        elif block.language == "console":
            items.extend(_commands(block))
    return items


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
    """The first expected line that the output lacks; the lines must have the same order.

    The comparison leaves out the time before a log line.
    """
    lines = (_TIME.sub("", line).strip() for line in output.split("\n"))
    for expected_line in expected:
        if expected_line.strip() in ("", ANYTHING):
            continue
        wanted = _TIME.sub("", expected_line.strip())
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.split(ANYTHING)))
        if not any(pattern.fullmatch(line) for line in lines):
            return expected_line
    return None
