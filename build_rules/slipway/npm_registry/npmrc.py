"""Reads `.npmrc` files as npm does: an ini dialect with `${VAR}` in keys and values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

from slipway.core.printable import one_line

_HEADING = re.compile(r"^\[[^\]]*\]\Z")
_VARIABLE = re.compile(r"(?<!\\)(\\*)\$\{([^${}]+)\}")


@dataclass(frozen=True)
class Setting:
    """A setting and its source, such as `path:line`.

    `variables` are the variables in its text, `unset` those without a value, and `written` is the
    text before the variables were replaced.
    """

    value: str
    source: str
    unset: Tuple[str, ...] = ()
    variables: Tuple[str, ...] = ()
    written: str = ""

    @property
    def shown(self) -> str:
        """The value for messages, without values of variables, which can be secret."""
        return one_line(self.written if self.variables else self.value)


def parse(text: str, path: str, env: Mapping[str, str]) -> Dict[str, Setting]:
    """The settings of a file; a later line wins, and `key[]=` lines are joined with commas."""
    settings: Dict[str, Setting] = {}
    lists = set()
    text = text[1:] if text.startswith("\ufeff") else text
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if _HEADING.match(line):
            # Lines below an ini section belong to the section, and npm has no settings in sections.
            break
        key, equals, value = line.partition("=")
        if not key or line.lstrip()[:1] in (";", "#", ""):
            continue
        name = expand(_unquote(key.strip()), env)
        written = _unquote(value.strip()).strip() if equals else "true"
        content = expand(written, env)
        key, value, unset = name.text, content.text, content.unset
        variables = name.variables + content.variables
        if len(key) > 2 and key.endswith("[]"):
            key = key[:-2]
            lists.add(key)
        if key in lists and key in settings:
            value = f"{settings[key].value},{value}"
            unset = settings[key].unset + unset
            variables = settings[key].variables + variables
            written = f"{settings[key].written},{written}"
        if not name.unset:
            settings[key] = Setting(value, f"{path}:{number}", unset, variables, written)
    return settings


class Expanded(NamedTuple):
    """A text with `${VAR}` replaced, all its variables, and the variables that are not set."""

    text: str
    variables: Tuple[str, ...]
    unset: Tuple[str, ...]


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """Replaces `${VAR}`, except after a backslash; `${VAR?}` is empty if VAR is not set."""
    variables: List[str] = []
    unset: List[str] = []

    def fill(matched: re.Match[str]) -> str:
        escapes, name = matched.group(1), matched.group(2)
        if len(escapes) % 2:
            return matched.group(0)[(len(escapes) + 1) // 2 :]
        kept = escapes[: len(escapes) // 2]
        variables.append(one_line(name[:-1] if name.endswith("?") else name))
        value: Optional[str] = env.get(name)
        if value is None and name.endswith("?"):
            value = env.get(name[:-1], "")
        if value is None:
            unset.append(one_line(name))
            return kept + "${" + name + "}"
        return kept + value

    return Expanded(_VARIABLE.sub(fill, text), tuple(variables), tuple(unset))


def _unquote(text: str) -> str:
    if text[:1] == text[-1:] and text[:1] in ("'", '"'):
        inner = text[1:-1] if text[0] == "'" else text
        try:
            value = json.loads(inner)
            return value if isinstance(value, str) else inner
        except ValueError:
            return inner
    # Outside quotes, `;` and `#` begin a comment, unless a backslash precedes them.
    plain = []
    escaped = False
    for character in text:
        if escaped:
            plain.append(character if character in "\\;#" else "\\" + character)
            escaped = False
        elif character in ";#":
            break
        elif character == "\\":
            escaped = True
        else:
            plain.append(character)
    if escaped:
        plain.append("\\")
    return "".join(plain).strip()
