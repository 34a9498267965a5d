"""Phrases that the texts of this repository do not use, and the texts that are searched for them.

Many readers have English as their second language.  Each entry of `BANNED` is a pattern, and the
words that other documentation uses instead.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Pattern, Tuple

POSSESSIVES = "my|your|his|her|its|our|their|one's|whose|very"


class Banned(NamedTuple):
    pattern: str
    instead: str


BANNED = (
    Banned(r"\b(is|are|was|were|be|been|being)( not)? told\b", "who reports what to whom"),
    Banned(r"(?<!as\sit\s)(?<!as\sthey\s)\bstand(s|ing)?\b(?! for\b)", "is, is in, is at"),
    Banned(r"\b(lies|lie|lain)\b", "is, is in, is at"),
    Banned(r"(?<!there\s)\b(is|are) no\b(?! longer\b)", "is not a, is not an"),
    Banned(r"\b(has|have|had) none\b", "has no, and the noun"),
    Banned(r"\banew\b", "again"),
    Banned(r"\bin vain\b", "what failed, and with which error"),
    Banned(r"\bof all(?=[.,;:)]|$)|\b(first|last) [^\s]+ of all\b", "first, last, most of them"),
    Banned(r"\bbecomes of\b", "what happens to, what somebody does with"),
    Banned(r"\bwhoever\b", "the person or process that"),
    Banned(r"\b(of|for|to|by) who\b", "the user, the process"),
    Banned(r"\bthat of\b", "the noun again"),
    Banned(r"\bplease\b", "the imperative alone"),
    Banned(r"\b(was|were)( not|n't) (tried|run here)\b|\bwas seen to\b", "a fact for users"),
)
# "Its own port" is English; "an own port" is not. In "root must own it", "own" is the verb.
_OWN = re.compile(r"(?:(?P<before>[\w']+)[`\"]?[ \n]+|(?:^|[.,:(]\s*))own\s+[a-z]", re.IGNORECASE)
_BEFORE_OWN = re.compile(
    rf"(?:{POSSESSIVES}|\w+'s|\w+s'|must|may|can|not|to|who|that|they|you|root|users)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Finding:
    """A banned phrase in a text; `line` counts from 1."""

    line: int
    phrase: str
    instead: str

    def __str__(self) -> str:
        return f"{self.line}: {self.phrase!r}; write: {self.instead}"


def _compiled() -> Iterator[Tuple[Pattern[str], str]]:
    for banned in BANNED:
        yield re.compile(banned.pattern.replace(" ", r"\s+"), re.IGNORECASE), banned.instead


PATTERNS = tuple(_compiled())


def find_phrases(text: str, first_line: int = 1) -> List[Finding]:
    """The banned phrases of a text, in its order; a phrase may go over the end of a line."""
    matches = [
        (match, instead) for pattern, instead in PATTERNS for match in pattern.finditer(text)
    ]
    for match in _OWN.finditer(text):
        if not _BEFORE_OWN.fullmatch(match["before"] or ""):
            matches.append((match, "the possessive: its own, the user's own"))
    return [
        Finding(
            first_line + text.count("\n", 0, match.start()),
            re.sub(r"\s+", " ", match.group()),
            instead,
        )
        for match, instead in sorted(matches, key=lambda pair: pair[0].start())
    ]


def find_in_python(source: str) -> List[Finding]:
    """Banned phrases of literals and comments; a literal without a space is data, not a text."""
    findings: List[Finding] = []
    for node, text in _literals(ast.parse(source)):
        if " " in text:
            findings.extend(find_phrases(text, node.lineno))
    findings.extend(find_in_comments(_comments(source)))
    return sorted(findings, key=lambda finding: finding.line)


def _literals(tree: ast.AST) -> Iterator[Tuple[ast.expr, str]]:
    """Each literal once: an f-string is the text of its parts with `{}` between them."""
    literals: List[Tuple[ast.expr, str]] = []
    parts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = []
            for part in node.values:
                parts.add(id(part))
                texts.append(str(part.value) if isinstance(part, ast.Constant) else "{}")
            literals.append((node, "".join(texts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            literals.append((node, node.value))
    yield from (literal for literal in literals if id(literal[0]) not in parts)


def _comments(source: str) -> Dict[int, str]:
    """The comments of a Python source by their lines."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT and not token.string.startswith("#!")
    }


def find_in_comments(comments: Dict[int, str]) -> List[Finding]:
    """Banned phrases of comments; comments in consecutive lines are one text."""
    findings: List[Finding] = []
    first, lines = 0, []  # type: int, List[str]
    for number, text in sorted(comments.items()):
        if number != first + len(lines):
            findings.extend(find_phrases("\n".join(lines), first))
            first, lines = number, []
        lines.append(text)
    return findings + find_phrases("\n".join(lines), first)


def find_in_shell(source: str) -> List[Finding]:
    """Banned phrases of a shell script: of its comments, and of other lines, with its messages."""
    comments: Dict[int, str] = {}
    lines = source.split("\n")
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            comments[number] = line.lstrip("# \t")
            lines[number - 1] = ""
    findings = find_in_comments(comments) + find_phrases("\n".join(lines))
    return sorted(findings, key=lambda finding: finding.line)


def find_in_file(path: Path) -> List[Finding]:
    """Banned phrases of a file: a page, a Python module or a shell script."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return find_in_python(text)
    return find_phrases(text) if path.suffix == ".md" else find_in_shell(text)
