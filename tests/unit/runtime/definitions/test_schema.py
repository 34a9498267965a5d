"""The JSON Schema of Node definitions: it accepts what Slipway accepts, and refuses the same mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import jsonschema  # type: ignore[import]  # it has no type hints
import pytest
import toml

from slipway.data import bundled
from tests.places import REPOSITORY
from tests.unit.runtime.definitions.test_definition import BAD, make_document

SCHEMA = json.loads(bundled.read("node-definition.schema.json") or b"")
# A schema cannot compare two values of a document, and whether [npm] is required depends on the kind of
# archive.
BEYOND_A_SCHEMA = {
    "another version",
    "a default that is not pinned",
    "no npm",
    "a pinned npm for a runtime without npm",
    "an npm without the node that it calls",
}


def definitions() -> List[Path]:
    bundled_files = REPOSITORY / "build_rules" / "slipway" / "data" / "node"
    workspace = REPOSITORY / "toolchains" / "node"
    examples = REPOSITORY / "examples" / "quickjs"
    return [one for top in (bundled_files, workspace, examples) for one in top.glob("*.toml")]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", definitions(), ids=lambda path: path.name)
def test_the_definitions_of_this_repository_are_valid(path: Path) -> None:
    jsonschema.validate(toml.loads(path.read_text()), SCHEMA)


@pytest.mark.parametrize("name", [name for name in BAD if name not in BEYOND_A_SCHEMA])
def test_a_mistake_that_slipway_refuses_is_not_valid(name: str) -> None:
    document = make_document()
    spoil: Callable[[Dict[str, Any]], None] = BAD[name][0]
    spoil(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)
