"""The result of a step as the result of a test."""

from __future__ import annotations

from pants.core.goals.test import TestResult, TestSubsystem
from pants.engine.addresses import Address
from pants.engine.fs import EMPTY_FILE_DIGEST

from slipway.step.rules.build_step import FallibleStepResult


def as_test_result(result: FallibleStepResult, address: Address, goal: TestSubsystem) -> TestResult:
    return TestResult(
        exit_code=result.exit_code,
        stdout=result.stdout,
        stdout_digest=EMPTY_FILE_DIGEST,
        stderr=result.said if result.exit_code else result.stderr,
        stderr_digest=EMPTY_FILE_DIGEST,
        addresses=(address,),
        output_setting=goal.output,
        result_metadata=result.metadata,
    )
