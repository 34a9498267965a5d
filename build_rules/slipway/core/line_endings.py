"""CRLF line endings, which Git for Windows or `core.autocrlf` writes into files that were committed with LF."""

from __future__ import annotations

from slipway.core.errors import SlipwayError

CHECK_OUT_AGAIN = (
    "git config core.autocrlf false && git rm -rq --cached . && git reset --hard\n"
    '(commit or stash your changes before); for all clones, add the line "* -text" to .gitattributes'
)


def require_lf(text: str, path: str) -> None:
    """Raises SlipwayError if a line of the file at `path` ends with CRLF."""
    count = text.count("\r\n")
    if not count:
        return
    line = text.count("\n", 0, text.index("\r\n")) + 1
    raise SlipwayError(
        f'"{path}" has CRLF line endings, and must have LF',
        where=f"{path}:{line}",
        found=f'"\\r\\n" at the end of {count} line{"" if count == 1 else "s"}',
        next=f"if Git wrote them (core.autocrlf): {CHECK_OUT_AGAIN}\n"
        f"if an editor wrote them: sed -i 's/\\r$//' {path}",
    )
