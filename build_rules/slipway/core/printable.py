"""Makes untrusted text safe for a terminal and for a log.

The output and the names of packages can contain control sequences. A terminal that interprets them
moves the cursor, overwrites earlier lines, fills the clipboard, or changes the text direction.
"""

from __future__ import annotations

import unicodedata

# Cc: control characters; Cf: invisible characters, such as marks that change the text direction;
# Cs: surrogates, which cannot be encoded as UTF-8; Zl and Zp: Unicode line and paragraph breaks.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_KEPT = frozenset("\n\t")


def printable(text: str) -> str:
    r"""`text` with control characters as `\x1b` or `\u202e`; keeps line breaks and tabs."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(
        character if character in _KEPT or not _is_escaped(character) else _escape(character)
        for character in text
    )


def one_line(text: str) -> str:
    """As printable(), but escapes line breaks too, so that a name cannot imitate a message."""
    return printable(text).replace("\n", "\\n")


def _is_escaped(character: str) -> bool:
    return unicodedata.category(character) in _ESCAPED


def _escape(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
