"""The goal `test` for toolchain images: scripts must succeed, and binaries must fit the policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pants.core.goals.test import TestFieldSet, TestRequest, TestResult, TestSubsystem
from pants.engine.fs import (
    AddPrefix,
    Digest,
    DigestContents,
    PathGlobs,
    RemovePrefix,
)
from pants.engine.rules import Get, collect_rules, rule
from pants.engine.target import Target
from pants.option.option_types import SkipOption
from pants.option.subsystem import Subsystem

from slipway.abi.policy import AbiPolicy
from slipway.core import line_endings
from slipway.core.rules.registration import Rules
from slipway.step.rules.build_step import FallibleStepResult, Step
from slipway.step.rules.tested import as_test_result
from slipway.toolchain.programs import contract
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainImage, ToolchainImageRequest
from slipway.toolchain.targets import ContractTestsField, ImageField, PackagesLockField


class ToolchainContract(Subsystem):
    options_scope = "toolchain-contract"
    name = "toolchain-contract"
    help = "Runs the contract tests of toolchain images."

    skip = SkipOption("test")


@dataclass(frozen=True)
class ToolchainTestFieldSet(ToolchainFieldSet, TestFieldSet):
    required_fields = (ImageField, PackagesLockField, ContractTestsField)

    contract_tests: ContractTestsField

    @classmethod
    def opt_out(cls, target: Target) -> bool:
        return not target[ContractTestsField].value


class ToolchainTestRequest(TestRequest):
    tool_subsystem = ToolchainContract
    field_set_type = ToolchainTestFieldSet


@rule(desc="Test toolchain image")
async def test_toolchain(
    batch: ToolchainTestRequest.Batch[ToolchainTestFieldSet, Any], goal: TestSubsystem
) -> TestResult:
    field_set = batch.single_element
    sources = await Get(Digest, PathGlobs(field_set.contract_tests.globs()))
    for file in await Get(DigestContents, Digest, sources):
        if file.path.endswith(".sh"):
            line_endings.require_lf(file.content.decode("utf-8", "replace"), file.path)
    inputs = await Get(
        Digest,
        AddPrefix(
            await Get(Digest, RemovePrefix(sources, field_set.address.spec_path)), "contract"
        ),
    )
    policy = None
    if field_set.abi_policy.value:
        policy = await Get(AbiPolicy, AbiPolicyRequest(field_set))
    image = await Get(ToolchainImage, ToolchainImageRequest(field_set))
    result = await Get(
        FallibleStepResult,
        Step(
            contract.PROGRAM(contract.Arguments(policy)),
            trees=image.layers,
            outputs=contract.OUTPUTS,
            description=f"Test {field_set.address}",
            origin=str(field_set.address),
            inputs=inputs,
        ),
    )
    return as_test_result(result, field_set.address, goal)


def rules() -> Rules:
    return [*collect_rules(), *ToolchainTestRequest.rules()]
