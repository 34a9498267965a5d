"""Runs build steps: a root file system, inputs, a command, and declared output files.

The command runs inside the root, in `/build`, as an ordinary user, without network access and with
a clean environment. Its inputs are below `/build/in` and its programs below `/build/slipway`, both
read-only. It writes its outputs to `/build/out`. The cache key has the root's layers, the inputs
and the command, but not the isolator of the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import dataclass, field
from typing import ContextManager, Mapping, Set, Tuple

from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    DigestContents,
    DigestSubset,
    FileContent,
    FileDigest,
    MergeDigests,
    PathGlobs,
    RemovePrefix,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST, IntrinsicError
from pants.engine.process import (
    FallibleProcessResult,
    Process,
    ProcessCacheScope,
    ProcessResultMetadata,
)
from pants.engine.rules import Get, MultiGet, collect_rules, rule
from pants.util.frozendict import FrozenDict
from pants.util.logging import LogLevel

from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.core.printable import printable
from slipway.core.rules.registration import Rules
from slipway.isolation import network_guard, network_words
from slipway.isolation.network_guard import Report
from slipway.step import records
from slipway.step.interface import ARGUMENTS, OUT, Call
from slipway.step.programs import enter
from slipway.step.rules.cache_lookup import as_lookup, has_all_inputs
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.locked_files import (
    FetchedFiles,
    FetchRequest,
    LockedFiles,
    LockedFilesDigest,
)
from slipway.step.rules.program import Program, ProgramRequest, command
from slipway.step.rules.progress import Progress

logger = logging.getLogger(__name__)
_ISOLATORS = {
    "namespaces": "user namespaces",
    "docker": "a Docker engine",
    "chroot": "chroot and separate users",
    "inside": "the container of the job and separate users",
    "inside as its user": "the container of the job only; a hostile script can do what the job can",
}
_named: Set[str] = set()
# Pants starts a local run if the remote cache does not answer within this time. These steps are
# slow, so wait ten minutes (in milliseconds) for the cache.
_NO_SPECULATION = 600_000
_NETWORK = network_guard.FILE
ROOT = "/"
RUNTIME = "/build/node_runtime"


@dataclass(frozen=True)
class Tree:
    """An uncompressed tar file, the only file in `digest`, unpacked once per machine."""

    name: str
    digest: Digest
    file: FileDigest
    target: str


@dataclass(frozen=True)
class Step:
    """A program of a room that runs inside a root, with its arguments; or the command `argv`.

    Such a command is foreign: it starts in its own empty folder and has no outputs.

    The program reads its arguments as JSON from `/build/in/arguments.json`. `inputs` and `locked`
    are below `/build/in`; `large` maps names there to digests that Pants shares between steps.
    `log` names the output that a long step writes its log to, for progress lines. `network` gives
    the step network access; its result is then cached only within a session. With `strict`, the
    caller reports blocked network attempts. `origin` is the target's address, and `words` are the
    values of placeholders in messages; both are not part of the cache key.
    """

    call: Call
    trees: Tuple[Tree, ...]
    outputs: Tuple[str, ...]
    description: str = field(compare=False)
    origin: str = field(compare=False)
    inputs: Digest = EMPTY_DIGEST
    large: FrozenDict[str, Digest] = FrozenDict()
    locked: LockedFiles = LockedFiles()
    argv: Tuple[str, ...] = ()
    log: str = ""
    network: bool = False
    strict: bool = field(compare=False, default=False)
    words: FrozenDict[str, str] = field(compare=False, default=FrozenDict())


@dataclass(frozen=True)
class StepResult:
    """The declared outputs of a step, and what its program printed.

    `network` lists the blocked network attempts.
    """

    digest: Digest
    stdout: str
    stderr: str
    network: Report = Report()


@dataclass(frozen=True)
class FallibleStepResult:
    """The result of a step that may have failed; `said` is its message without placeholders."""

    exit_code: int
    digest: Digest
    stdout: str
    stderr: str
    said: str
    metadata: ProcessResultMetadata
    network: Report = Report()


@dataclass(frozen=True)
class HostStep:
    """A program that runs before a root exists: on the runner's CPython, without isolation.

    Its arguments are in a file in its folder, beside `inputs` and `locked`.
    """

    call: Call
    outputs: Tuple[str, ...]
    description: str = field(compare=False)
    origin: str = field(compare=False)
    inputs: Digest = EMPTY_DIGEST
    large: FrozenDict[str, Digest] = FrozenDict()
    locked: LockedFiles = LockedFiles()


@dataclass(frozen=True)
class _StepOutputs:
    digest: Digest


@dataclass(frozen=True)
class _TakenOutputs:
    """The declared outputs, and the report of the network guard."""

    digest: Digest
    network: Report


@dataclass(frozen=True)
class _Attempt:
    """A process whose locked inputs may be missing in the store."""

    process: Process
    locked: LockedFiles


@rule
async def run_attempt(attempt: _Attempt, settings: HostSettings) -> FallibleProcessResult:
    settings.ensure_written()
    if attempt.locked.files:
        try:
            return await Get(FallibleProcessResult, Process, as_lookup(attempt.process))
        except IntrinsicError as error:
            # If missing files were not the reason, the attempt below fails with the same error.
            fetched = has_all_inputs(error)
        if not fetched:
            await Get(FetchedFiles, FetchRequest(attempt.locked))
    try:
        return await Get(FallibleProcessResult, Process, attempt.process)
    except IntrinsicError as error:
        raise settings.explained(error) from None


@rule
async def take_outputs(outputs: _StepOutputs) -> _TakenOutputs:
    own, found = await MultiGet(
        Get(Digest, DigestSubset(outputs.digest, PathGlobs([f"{OUT}/**"]))),
        Get(DigestContents, DigestSubset(outputs.digest, PathGlobs([_NETWORK]))),
    )
    report = network_guard.read_json(found[0].content.decode()) if found else Report()
    return _TakenOutputs(await Get(Digest, RemovePrefix(own, OUT)), report)


async def _finish(
    result: FallibleProcessResult, origin: str, words: Mapping[str, str]
) -> FallibleStepResult:
    taken = await Get(_TakenOutputs, _StepOutputs(result.output_digest))
    stdout = printable(result.stdout.decode(errors="replace"))
    stderr = printable(result.stderr.decode(errors="replace"))
    said = (stderr or stdout).strip() or f"the step failed with exit status {result.exit_code}"
    if result.exit_code != 0 and taken.network.attempts:
        tried = "\n         ".join(network_words.listed(taken.network))
        said += f"\n  blocked: {tried}; build steps have no network access"
    return FallibleStepResult(
        result.exit_code,
        taken.digest,
        stdout,
        stderr,
        placeholders.fill(said, {**words, "origin": origin}),
        result.metadata,
        taken.network,
    )


def _successful(result: FallibleStepResult, origin: str) -> StepResult:
    if result.exit_code != 0:
        raise SlipwayError(f"{origin}: {result.said}")
    return StepResult(result.digest, result.stdout, result.stderr, result.network)


def _tell_network(result: FallibleStepResult, step: Step) -> None:
    """Warns about blocked network attempts of a step that succeeded.

    The message of a failed step contains its attempts already.
    """
    refused = result.network.refused
    if refused and refused not in _named:
        _named.add(refused)
        logger.warning(f"cannot trace network attempts on this machine: {printable(refused)}")
    if result.exit_code == 0 and not step.strict:
        for line in network_words.listed(result.network):
            logger.warning(f"{step.origin}: {line}; build steps have no network access")


def _name_isolator(name: str) -> None:
    """Logs the isolator, once in the lifetime of this Pants process."""
    if name and name not in _named:
        _named.add(name)
        logger.info(f"build steps are isolated with {_ISOLATORS.get(name, name)}")


@rule
async def require_step(step: Step) -> StepResult:
    return _successful(await Get(FallibleStepResult, Step, step), step.origin)


@rule
async def run_step(step: Step, settings: HostSettings) -> FallibleStepResult:
    program, entry, locked = await MultiGet(
        Get(Program, ProgramRequest((step.call.program,))),
        Get(Program, ProgramRequest((enter.__name__,))),
        Get(LockedFilesDigest, LockedFiles, step.locked),
    )
    described = enter.Arguments(
        argv=step.argv or command("/usr/bin/python3", step.call.program, "/build/slipway"),
        foreign=bool(step.argv),
        outputs=step.outputs,
        trees=tuple(
            enter.LaidOutTree(f"{index}/{tree.name}", tree.file.fingerprint, tree.target)
            for index, tree in enumerate(step.trees)
        ),
        log=step.log,
        network=step.network,
    )
    text = records.as_json(described).encode()
    own, arguments = await MultiGet(
        Get(Digest, CreateDigest([FileContent(enter.STEP, text)])),
        Get(Digest, CreateDigest([FileContent(ARGUMENTS, step.call.arguments.encode())])),
    )
    inside = await Get(Digest, MergeDigests([arguments, step.inputs, locked.digest]))
    parts = await MultiGet(
        Get(Digest, AddPrefix(inside, "in")), Get(Digest, AddPrefix(program.digest, "slipway"))
    )
    inputs = await Get(Digest, MergeDigests([own, entry.digest, *parts]))
    process = Process(
        command("host/python", enter.__name__),
        input_digest=inputs,
        immutable_input_digests={
            **{f"trees/{index}": tree.digest for index, tree in enumerate(step.trees)},
            **{f"in/{name}": digest for name, digest in step.large.items()},
        },
        append_only_caches={settings.cache_name: "host", "slipway_trees": "trees_cache"},
        output_files=[*(f"{OUT}/{name}" for name in step.outputs), _NETWORK],
        description=step.description,
        level=LogLevel.INFO,
        remote_cache_speculation_delay_millis=_NO_SPECULATION,
        cache_scope=ProcessCacheScope.PER_SESSION if step.network else ProcessCacheScope.SUCCESSFUL,
    )
    attempt = _Attempt(process, step.locked)
    link = os.path.join(settings.folder, hashlib.sha256(text).hexdigest() + ".log")
    watching: ContextManager[None] = contextlib.nullcontext()
    if step.log:
        watching = Progress(link, step.description)
    with watching:
        result = await Get(FallibleProcessResult, _Attempt, attempt)
    _name_isolator(settings.isolator())
    finished = await _finish(result, step.origin, step.words)
    _tell_network(finished, step)
    return finished


@rule
async def run_host_step(step: HostStep, settings: HostSettings) -> StepResult:
    program, locked, arguments = await MultiGet(
        Get(Program, ProgramRequest((step.call.program,))),
        Get(LockedFilesDigest, LockedFiles, step.locked),
        Get(Digest, CreateDigest([FileContent(ARGUMENTS, step.call.arguments.encode())])),
    )
    inputs = await Get(
        Digest, MergeDigests([program.digest, arguments, step.inputs, locked.digest])
    )
    process = Process(
        command("host/python", step.call.program),
        input_digest=inputs,
        immutable_input_digests=step.large,
        append_only_caches={settings.cache_name: "host"},
        output_files=[f"{OUT}/{name}" for name in step.outputs],
        description=step.description,
        level=LogLevel.INFO,
        remote_cache_speculation_delay_millis=_NO_SPECULATION,
    )
    result = await Get(FallibleProcessResult, _Attempt(process, step.locked))
    return _successful(await _finish(result, step.origin, {}), step.origin)


def rules() -> Rules:
    return collect_rules()
