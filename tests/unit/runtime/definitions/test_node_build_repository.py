"""Definitions of node-build's own repository, compared on every field with what their text says.

The repository is not a part of this one. With a copy of it:

    NODE_BUILD=/opt/node-build python -m pytest -m long tests/unit/runtime/definitions
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict

import pytest
import toml

from slipway.runtime.definitions.definition import read
from slipway.runtime.definitions.node_build import (
    Archive,
    Definition,
    DefinitionRefused,
    Hook,
    parse,
)
from slipway.runtime.definitions.node_build_import import import_all
from tests.places import REPOSITORY

FOLDER = Path(os.environ.get("NODE_BUILD", ""), "share", "node-build")
EXPECTED = toml.loads(
    (REPOSITORY / "tests" / "fixtures" / "node_build" / "expected.toml").read_text()
)
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="NODE_BUILD names no copy of node-build"),
]


def definition(said: Dict[str, Any]) -> Definition:
    return Definition(
        name=said["name"],
        runtime=said["runtime"],
        version=said["version"],
        binaries=tuple((name, Archive(url, sha256)) for name, url, sha256 in said["binaries"]),
        source=Archive(*said["source"]) if "source" in said else None,
        hooks=tuple(Hook(name, tuple(calls)) for name, calls in said.get("hooks", {}).items()),
        package=said["package"],
        steps=tuple(said.get("steps", ())),
        messages=tuple(said.get("messages", ())),
        left_out=(),
    )


@pytest.mark.parametrize("said", EXPECTED["definitions"], ids=lambda said: said["name"])
def test_every_field_is_what_the_text_says(said: Dict[str, Any]) -> None:
    assert parse((FOLDER / said["name"]).read_bytes(), said["name"]) == definition(said)


@pytest.mark.parametrize("said", EXPECTED["refused"], ids=lambda said: said["name"])
def test_a_definition_that_is_not_fixed_is_refused_with_its_reason(said: Dict[str, str]) -> None:
    with pytest.raises(DefinitionRefused) as caught:
        parse((FOLDER / said["name"]).read_bytes(), said["name"])
    assert caught.value.reason.value == said["reason"]


def test_all_of_it_is_imported_or_refused_with_a_reason() -> None:
    texts = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    imported = import_all(texts, "a test", "2026-11-27")
    assert len(imported.files) + len(imported.refused) == len(texts)
    assert Counter(imported.refused.values()).keys() <= {
        "the source is a git repository",
        "the version is not fixed",
        "the install step graal changes the archive",
    }
    for name, text in imported.files.items():
        document = toml.loads(text)
        read(document, name, document["version"])
