"""Text of others, made safe for a terminal and for a log.

What packages print, and the names that they choose, can hold control sequences: those move the
cursor, rewrite lines that are there already, fill the clipboard, or change the direction of text.
"""

from __future__ import annotations

import unicodedata

# Cc: control characters; Cf: invisible ones such as the marks that change the direction of text;
# Cs: halves of a pair, which no terminal can show; Zl and Zp: line breaks of another kind.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""The text with control characters as `\x1b` or `\u202e`; line breaks and tabs stay."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        character if character in _KEPT or not _is_escaped(character) else _escape(character)
        for character in text
    )


def one_line(text: str) -> str:
    """As printable(), with line breaks escaped too: a name must not look like another message."""
    return printable(text).replace("\n", "\\n")


def _is_escaped(character: str) -> bool:
    return unicodedata.category(character) in _ESCAPED


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
