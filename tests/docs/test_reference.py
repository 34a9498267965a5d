"""The generated reference pages agree with the help texts."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "docs" / "reference" / "write_reference.py"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["targets.md", "options.md"])
def test_page_is_up_to_date(writer: ModuleType, name: str) -> None:
    assert (PROGRAM.parent / name).read_text(encoding="utf-8") == writer.pages()[name], (
        "regenerate it: PYTHONPATH=build_rules python3 docs/reference/write_reference.py"
    )


def test_every_field_and_option_has_an_example(writer: ModuleType) -> None:
    for text in writer.pages().values():
        for part in text.split("\n##")[1:]:
            title = part.split("\n", 1)[0]
            own = "output_path" not in title and part.startswith("#")
            assert not own or re.search("(Example|For example): `", part), title
