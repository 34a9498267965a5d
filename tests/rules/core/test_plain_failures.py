"""A user's mistake prints only Slipway's message; Pants prints any other failure as usual."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Iterator, List

import pytest
from pants import version
from pants.engine.internals import scheduler
from pants.engine.internals.nodes import Throw
from pants.engine.internals.scheduler import ExecutionError, SchedulerSession
from pants.engine.rules import Get, QueryRule, collect_rules, rule
from pants.testutil.rule_runner import RuleRunner

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.core.rules import plain_failures

plain_failures.install()
PATCHED: Any = SchedulerSession._raise_on_error
ORIGINAL: Any = PATCHED.__wrapped__

STALE = SlipwayError('the lock "a" is stale', where="a:1", found="2", next="./pants x")
STALE_TEXT = 'the lock "a" is stale\n  in:    a:1\n  found: 2\n  next:  ./pants x'
SEVERAL = SlipwayErrors("two fields are wrong", ["x", "y"], where="app:bundle")
FRAMES = (("slipway.release", "Make release"), ("pants.package", "`package` goal"))
OTHERS: Dict[str, List[Exception]] = {
    "an exception of Pants": [ValueError("no such target")],
    "an exception that holds ours": [RuntimeError(STALE)],
    "ours first, another second": [STALE, KeyError("x")],
    "another first, ours second": [KeyError("x"), STALE],
    "several others": [ValueError("1"), ValueError("2")],
}


def throws_of(errors: List[Exception]) -> List[Throw]:
    return [Throw(error, f"Traceback of {error!r}", FRAMES) for error in errors]


def said(method: Any, errors: List[Exception], trace: bool = False) -> ExecutionError:
    session = SimpleNamespace(_scheduler=SimpleNamespace(include_trace_on_error=trace))
    with pytest.raises(ExecutionError) as caught:
        method(session, throws_of(errors))
    return caught.value


def test_a_failure_of_ours_is_its_message_alone() -> None:
    error = said(PATCHED, [STALE])
    assert str(error) == STALE_TEXT
    assert error.wrapped_exceptions == (STALE,)
    assert str(said(PATCHED, [SEVERAL])) == str(SEVERAL)


def test_several_failures_of_ours_are_their_messages_each_once() -> None:
    again = SlipwayError('the lock "a" is stale', where="a:1", found="2", next="./pants x")
    error = said(PATCHED, [STALE, SEVERAL, again])
    assert str(error) == f"{STALE_TEXT}\n\n{SEVERAL}"
    assert error.wrapped_exceptions == (STALE, SEVERAL, again)


def test_a_symlink_that_pants_cannot_read_is_one_message_with_the_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_failures, "get_buildroot", lambda: str(tmp_path))
    os.symlink("/etc/passwd", tmp_path / "pw")
    of_engine = RuntimeError(
        f'Failed to read link "{tmp_path}/pw": Absolute symlink: "/etc/passwd"'
    )
    error = said(PATCHED, [of_engine, of_engine])
    assert str(error).startswith("Pants cannot read a symlink of the workspace\n  in:    pw\n")
    assert str(error).count("pants_ignore.add") == 1
    assert error.wrapped_exceptions == (of_engine, of_engine)


@pytest.mark.parametrize("errors", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("trace", [False, True])
def test_other_failures_and_mixed_ones_are_as_pants_writes_them(
    errors: List[Exception], trace: bool
) -> None:
    one, other = said(PATCHED, errors, trace), said(ORIGINAL, errors, trace)
    assert str(one) == str(other)
    assert "encountered:\n\nEngine traceback:" in str(one)
    assert one.wrapped_exceptions == other.wrapped_exceptions


def test_print_stacktrace_shows_the_traces_of_ours_too() -> None:
    assert str(said(PATCHED, [STALE], trace=True)) == str(said(ORIGINAL, [STALE], trace=True))
    assert "Traceback of SlipwayError" in str(said(PATCHED, [STALE], trace=True))


# --- Another Pants.


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchedulerSession, "_raise_on_error", ORIGINAL)


@pytest.mark.usefixtures("unpatched")
def test_the_method_is_replaced_once() -> None:
    assert plain_failures.install()
    first: Any = SchedulerSession._raise_on_error
    assert first.__wrapped__ is ORIGINAL
    assert plain_failures.install()
    assert SchedulerSession._raise_on_error is first


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize("other", ["2.17.0", "2.17.2", "2.18.0", "2.17.1rc0"])
def test_another_version_of_pants_is_left_alone(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "VERSION", other)
    assert not plain_failures.install()
    assert SchedulerSession._raise_on_error is ORIGINAL


def _with_another_parameter(self: Any, throws: List[Throw], more: int = 0) -> None:
    ORIGINAL(self, throws)


def _with_another_body(self: Any, throws: List[Throw]) -> None:
    raise ExecutionError(f"{len(throws)} failures")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _OtherThrow:
    exc: Exception


class _OtherError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)


@pytest.mark.parametrize("method", [_with_another_parameter, _with_another_body, None])
def test_another_method_is_left_alone(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SchedulerSession, "_raise_on_error", method)
    assert not plain_failures.install()
    assert SchedulerSession._raise_on_error is method


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize(
    ("module", "name", "other"),
    [(plain_failures, "Throw", _OtherThrow), (scheduler, "ExecutionError", _OtherError)],
)
def test_other_classes_are_left_alone(
    module: Any, name: str, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, other)
    assert not plain_failures.install()
    assert SchedulerSession._raise_on_error is ORIGINAL


# --- The real engine.


@dataclass(frozen=True)
class Inner:
    what: str


@dataclass(frozen=True)
class Outer:
    what: str


@dataclass(frozen=True)
class Nothing:
    pass


@rule(desc="Look closer")
async def look_closer(inner: Inner) -> Nothing:
    if inner.what == "ours":
        raise STALE
    raise ValueError(inner.what)


@rule(desc="Look at it")
async def look(outer: Outer) -> Nothing:
    return await Get(Nothing, Inner(outer.what))


@pytest.fixture
def engine() -> Iterator[RuleRunner]:
    rules = [*collect_rules(), QueryRule(Nothing, (Outer,))]
    made = RuleRunner(rules=rules, inherent_environment=None)
    # RuleRunner asks for traces, which a user's run has with --print-stacktrace alone.
    made.scheduler.scheduler.include_trace_on_error = False
    yield made
    made.scheduler.scheduler.shutdown(timeout_secs=0)


def engine_says(engine: RuleRunner, *what: str) -> str:
    with pytest.raises(ExecutionError) as caught:
        engine.scheduler.product_request(Nothing, [Outer(one) for one in what])
    return str(caught.value)


def test_the_engine_s_own_failures(engine: RuleRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_says(engine, "ours") == STALE_TEXT
    others = [engine_says(engine, "theirs"), engine_says(engine, "ours", "theirs")]
    assert others[0].startswith("1 Exception encountered:\n\nEngine traceback:\n  in Look at it")
    assert "2 Exceptions encountered:" in others[1]
    monkeypatch.setattr(SchedulerSession, "_raise_on_error", ORIGINAL)
    assert [engine_says(engine, "theirs"), engine_says(engine, "ours", "theirs")] == others
