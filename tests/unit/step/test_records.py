"""Records: reading returns what was written, and rejects everything else."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, FrozenSet, Mapping, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.step import records
from slipway.step.interface import Output, ReportFile, StepProgram
from slipway.step.records import WrongRecord


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Part:
    name: str
    size: int
    share: float = 1.0
    pair: Tuple[str, int] = ("", 0)


@dataclass(frozen=True)
class Whole:
    parts: Tuple[Part, ...]
    by_name: Mapping[str, Part]
    names: FrozenSet[str]
    colour: Colour
    done: bool
    words: Mapping[str, Tuple[str, ...]] = field(default_factory=dict)
    first: Optional[Part] = None
    note: Optional[str] = None


# Names of files need not be Unicode: Python gives their bytes as surrogates.
TEXTS = st.text(st.characters(min_codepoint=1), max_size=9)
PARTS = st.builds(
    Part,
    TEXTS,
    st.integers(-(2**63), 2**63),
    st.floats(allow_nan=False, allow_infinity=False),
    st.tuples(TEXTS, st.integers(0, 9)),
)
WHOLES = st.builds(
    Whole,
    st.lists(PARTS, max_size=3).map(tuple),
    st.dictionaries(TEXTS, PARTS, max_size=3),
    st.frozensets(TEXTS, max_size=3),
    st.sampled_from(Colour),
    st.booleans(),
    st.dictionaries(TEXTS, st.lists(TEXTS, max_size=3).map(tuple), max_size=3),
    st.none() | PARTS,
    st.none() | TEXTS,
)
SOUND = Whole((Part("a", 1),), {"b": Part("b", 2)}, frozenset("xy"), Colour.RED, True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WHOLES)
def test_a_record_is_read_as_it_was_written(whole: Whole) -> None:
    text = records.as_json(whole)
    again = records.read(Whole, text)
    assert again == whole
    assert records.as_json(again) == text
    assert hash(again) == hash(records.read(Whole, text))


@given(st.dictionaries(TEXTS, st.integers(), min_size=2))
def test_the_order_in_a_mapping_is_not_in_the_text(sizes: Mapping[str, int]) -> None:
    backwards = dict(reversed(list(sizes.items())))
    assert records.as_json(sizes) == records.as_json(backwards)


def test_the_text_is_canonical_and_leaves_out_what_is_none() -> None:
    assert records.as_json(SOUND) == (
        '{"by_name":{"b":{"name":"b","pair":["",0],"share":1.0,"size":2}},"colour":"red",'
        '"done":true,"names":["x","y"],'
        '"parts":[{"name":"a","pair":["",0],"share":1.0,"size":1}],"words":{}}'
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "Expecting value"),
        ("[]", "Part: list, not dict"),
        ('{"name": "a"}', "missing 1 required positional argument: 'size'"),
        ('{"name": "a", "size": 1, "more": 1}', "Part: unknown field more"),
        ('{"name": 1, "size": 1}', "Part.name: int, not str"),
        ('{"name": null, "size": 1}', "Part.name: NoneType, not str"),
        ('{"name": "a", "size": true}', "Part.size: bool, not int"),
        ('{"name": "a", "size": 1.0}', "Part.size: float, not int"),
        ('{"name": "a", "size": 1, "pair": ["a"]}', "Part.pair: 1 values, not 2"),
        ('{"name": "a", "size": 1, "pair": ["a", "b"]}', r"Part.pair\[1\]: str, not int"),
        ('{"name": "a", "size": ' + "9" * 99 + "}", "a number has 99 digits"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_record_is_not_read(text: str, fault: str) -> None:
    with pytest.raises(WrongRecord, match=fault):
        records.read(Part, text)


def test_a_fault_names_its_place() -> None:
    text = records.as_json(SOUND)
    with pytest.raises(WrongRecord, match=r"Whole\.by_name\.b\.size: str, not int"):
        records.read(Whole, text.replace('"size":2', '"size":"2"'))
    with pytest.raises(WrongRecord, match="'green' is not a valid Colour"):
        records.read(Whole, text.replace("red", "green"))


def test_any_json_is_taken_where_a_record_says_so() -> None:
    @dataclass(frozen=True)
    class Loose:
        values: Mapping[str, Any]

    # A class of a function has no name that annotations could be looked up by.
    Loose.__annotations__["values"] = Mapping[str, Any]
    values = {"a": [1, None, {"b": "c"}]}
    assert records.read(Loose, records.as_json(Loose(values))).values == values


def test_a_program_is_called_with_its_arguments() -> None:
    program = StepProgram("slipway.example", Part)
    call = program(Part("a", 1))
    assert call.program == "slipway.example"
    assert program.read(call.arguments) == Part("a", 1)


def test_a_report_is_written_into_the_folder_of_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    report = ReportFile("part.json", Part)
    report.write(Part("a", 1))
    assert (report, report.path, Output("x").path) == ("part.json", "out/part.json", "out/x")
    assert report.read((tmp_path / "out" / "part.json").read_text()) == Part("a", 1)
