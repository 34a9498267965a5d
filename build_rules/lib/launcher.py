"""Fills in `bin/app`, the script that starts a release on its host."""

from __future__ import annotations

from typing import Mapping


def fill(template: str, values: Mapping[str, str]) -> bytes:
    """The script in the file `template`, with each `@name@` replaced by its value."""
    with open(template, encoding="utf-8") as file:
        text = file.read()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text.encode()
