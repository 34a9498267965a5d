"""Parses Debian's control format: paragraphs of `Field: value` lines, see deb822(5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Dict, List, Tuple

from slipway.core.errors import SlipwayError

Stanza = Dict[str, str]

TRY_ANOTHER = "use another mirror, because the data of this mirror is damaged"

# The case of field names is not significant, so they are converted to these spellings.
_SPELLINGS = {
    name.lower(): name
    for name in (
        *("Codename", "Suite", "Date", "Valid-Until", "SHA256"),
        *("Package", "Version", "Architecture", "Filename", "Size"),
        *("Pre-Depends", "Depends", "Provides"),
    )
}


def parse_stanzas(text: str) -> List[Stanza]:
    """The paragraphs of a control file, such as a package index."""
    return list(filter(None, map(parse_stanza, text.split("\n\n"))))


def parse_stanza(paragraph: str) -> Stanza:
    lines: Dict[str, List[str]] = {}
    key = ""
    for line in paragraph.split("\n"):
        if line[:1] in (" ", "\t") and key:
            lines[key].append(line.strip())
        elif ":" in line and not line.startswith("#"):
            key, _, value = line.partition(":")
            key = _SPELLINGS.get(key.lower(), key)
            lines[key] = [value.strip()]
    return {key: "\n".join(values) for key, values in lines.items()}


@dataclass(frozen=True)
class Relation:
    """An alternative of a dependency; `operator` is empty if any version satisfies it."""

    name: str
    operator: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name


_RELATION = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9+.-]*)(:[a-z0-9-]+)?"
    r"(\s*\(\s*(?P<operator><<|<=|=|>=|>>)\s*(?P<version>[0-9A-Za-z.+~:-]+)\s*\))?",
    re.ASCII,
)


def parse_relations(text: str, label: str) -> List[Tuple[Relation, ...]]:
    """Parses a dependency field: `a (>= 1), b | c:any` requires `a`, and `b` or `c`.

    `label` names the package and the field in messages. Raises SlipwayError.
    """
    clauses = []
    for clause in filter(None, (clause.strip() for clause in text.split(","))):
        alternatives = []
        for alternative in clause.split("|"):
            match = _RELATION.fullmatch(alternative.strip())
            if not match:
                raise SlipwayError(
                    f'cannot parse the dependency "{alternative.strip()[:80]}"',
                    where=label,
                    found=text[:400],
                    next=TRY_ANOTHER,
                )
            alternatives.append(
                Relation(match["name"], match["operator"] or "", match["version"] or "")
            )
        clauses.append(tuple(alternatives))
    return clauses
