"""Reading `.npmrc` files the way npm does: its own kind of ini, with `${VAR}` in keys and values."""

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
    """One setting and where it came from; `unset` names the variables that it lacks, `variables`
    all that it asks for, `written` is its text with their names."""

    value: str
    source: str
    unset: Tuple[str, ...] = ()
    variables: Tuple[str, ...] = ()
    written: str = ""

    @property
    def shown(self) -> str:
        """The setting for messages: what a variable holds may be secret."""
        return one_line(self.written if self.variables else self.value)


def parse(text: str, path: str, env: Mapping[str, str]) -> Dict[str, Setting]:
    """The settings of one file; a later line wins, `key[]=` lines join with commas."""
    found: Dict[str, Setting] = {}
    lists = set()
    text = text[1:] if text.startswith("\ufeff") else text
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if _HEADING.match(line):
            # What stands below a heading belongs to that heading; npm has no setting there.
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
        if key in lists and key in found:
            value = f"{found[key].value},{value}"
            unset = found[key].unset + unset
            variables = found[key].variables + variables
            written = f"{found[key].written},{written}"
        if not name.unset:
            found[key] = Setting(value, f"{path}:{number}", unset, variables, written)
    return found


class Expanded(NamedTuple):
    """A text with its `${VAR}` filled in, all variables that it asks for, and those not set."""

    text: str
    variables: Tuple[str, ...]
    unset: Tuple[str, ...]


def expand(text: str, env: Mapping[str, str]) -> Expanded:
    """A backslash before the dollar keeps it; `${VAR?}` is empty where VAR is not set."""
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
    # Outside quotes `;` and `#` begin a comment, unless a backslash stands before them.
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
