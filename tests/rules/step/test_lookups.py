"""A step with locked files shows once, whether they are absent, in the store, or not needed.

The processes here are real. Pants logs a work unit of level INFO as "Starting" and "Completed".
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from pants.engine.fs import CreateDigest, Digest, FileContent
from pants.engine.process import FallibleProcessResult, Process
from pants.engine.rules import Get, QueryRule, TaskRule, collect_rules, rule
from pants.testutil.rule_runner import RuleRunner
from pants.util.frozendict import FrozenDict
from pants.util.logging import LogLevel

from slipway import register
from slipway.core.errors import SlipwayError
from slipway.step.rules.build_step import _Attempt
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.locked_files import (
    FetchedFiles,
    FetchRequest,
    LockedFile,
    LockedFiles,
    LockedFilesDigest,
)

_BACKEND: Any = register  # without annotations, as Pants has it
_fetched: List[str] = []


@rule
async def fetch_from_its_name(request: FetchRequest) -> FetchedFiles:
    """Each locked file has its own name as its content."""
    names = [file.source["name"] for file in request.files.files]
    _fetched.extend(names)
    if "gone" in names:
        raise SlipwayError("the registry does not have it")
    contents = [FileContent(name, name.encode()) for name in names]
    return FetchedFiles(await Get(Digest, CreateDigest(contents)))


class Engine:
    """A fresh graph and session; `caches` holds the store and the named caches."""

    def __init__(self, caches: Path) -> None:
        _fetched.clear()
        ours = [one for one in collect_rules() if isinstance(one, TaskRule)]
        theirs = [
            one
            for one in _BACKEND.rules()
            if not (isinstance(one, TaskRule) and one.output_type is FetchedFiles)
        ]
        queries: Tuple[Tuple[type, Tuple[type, ...]], ...] = (
            (FallibleProcessResult, (_Attempt,)),
            (HostSettings, ()),
            (LockedFilesDigest, (LockedFiles,)),
            (Digest, (CreateDigest,)),
        )
        options = [f"--named-caches-dir={caches}/named", f"--local-store-dir={caches}/store"]
        self.runner = RuleRunner(
            rules=[*theirs, *ours, *(QueryRule(output, inputs) for output, inputs in queries)],
            target_types=_BACKEND.target_types(),
            bootstrap_args=options,
        )
        self.runner.set_options(options, env_inherit={"PATH", "HOME"})

    def attempt(self, name: str, locked: bool = True) -> FallibleProcessResult:
        """Runs a process that prints its one input file."""
        file = LockedFile(
            "in", hashlib.sha256(name.encode()).hexdigest(), len(name), FrozenDict(name=name)
        )
        files = LockedFiles((file,))
        digest = self.runner.request(LockedFilesDigest, [files]).digest
        settings = self.runner.request(HostSettings, [])
        process = Process(
            ["host/python", "-I", "-S", "-c", "print(open('in').read())"],
            input_digest=digest,
            append_only_caches={settings.cache_name: "host"},
            description=f"Print {name}",
            level=LogLevel.INFO,
        )
        attempt = _Attempt(process, files if locked else LockedFiles())
        return self.runner.request(FallibleProcessResult, [attempt])

    def write(self, name: str) -> None:
        """Puts the file of that name into the store."""
        self.runner.request(Digest, [CreateDigest([FileContent("x", name.encode())])])

    def close(self) -> None:
        self.runner.scheduler.scheduler.shutdown(timeout_secs=0)

    def shown(self) -> List[str]:
        units = self.runner.scheduler.poll_workunits(LogLevel.INFO)["completed"]
        return [str(unit.get("description")) for unit in units]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.close()


def test_a_step_whose_files_are_absent_shows_once(engine: Engine) -> None:
    assert engine.attempt("absent").stdout == b"absent\n"
    assert engine.shown() == ["Print absent"]
    assert _fetched == ["absent"]


def test_a_step_whose_files_are_in_the_store_shows_once_and_fetches_nothing(
    engine: Engine,
) -> None:
    engine.write("stored")
    assert engine.attempt("stored").stdout == b"stored\n"
    assert engine.shown() == ["Print stored"]
    assert _fetched == []


def test_a_step_that_is_cached_neither_shows_nor_fetches(engine: Engine, tmp_path: Path) -> None:
    engine.attempt("cached")
    again = Engine(tmp_path)
    try:
        # A look-up finds only what has the key of the run.
        assert again.attempt("cached").stdout == b"cached\n"
        assert (again.shown(), _fetched) == ([], [])
    finally:
        again.close()


def test_a_step_without_locked_files_runs_at_once(engine: Engine) -> None:
    engine.write("plain")
    assert engine.attempt("plain", locked=False).stdout == b"plain\n"
    assert engine.shown() == ["Print plain"]


def test_a_failed_fetch_shows_no_step(engine: Engine) -> None:
    with pytest.raises(Exception, match="the registry does not have it"):
        engine.attempt("gone")
    assert engine.shown() == []
