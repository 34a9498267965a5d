"""Toolchain images: the images below them, their policies, and their contract tests."""

from __future__ import annotations

from typing import Dict, Tuple

import pytest
from pants.core.goals.test import TestResult

from slipway.abi.policy import AbiPolicy
from slipway.toolchain.programs import assemble, contract
from slipway.toolchain.rules.abi_policy import AbiPolicyRequest
from slipway.toolchain.rules.contract import ToolchainTestFieldSet, ToolchainTestRequest
from slipway.toolchain.rules.image import ToolchainFieldSet, ToolchainImage, ToolchainImageRequest
from tests.rules.workspace import POLICY, Workspace


def image_of(workspace: Workspace, spec: str) -> ToolchainImage:
    field_set = ToolchainFieldSet.create(workspace.target(spec))
    return workspace.request(ToolchainImage, ToolchainImageRequest(field_set))


def test_an_image_has_the_layers_of_those_that_it_stands_on(workspace: Workspace) -> None:
    workspace.write_image("one")
    workspace.write_image("two", 'base="//one:image"')
    workspace.write_image("three", 'base="//two:image"')
    layers = [image_of(workspace, f"{name}:image").layers for name in ("one", "two", "three")]
    assert [len(one) for one in layers] == [1, 2, 3]
    assert layers[2][:2] == layers[1]
    (upper,) = [step for step in workspace.host_steps() if len(step.large) == 2]
    assert sorted(upper.large) == ["below/0", "below/1"]
    layer = assemble.PROGRAM.read(upper.call.arguments).layer
    assert layer is not None
    assert layer.below == ("below/0/base.tar", "below/1/base.tar")


def test_the_policy_is_an_input_of_the_image_but_its_comments_are_not(
    workspace: Workspace,
) -> None:
    workspace.write_image("a", 'abi_policy="abi.toml"')
    workspace.write_image("b", 'abi_policy="abi.toml"', **{"abi.toml": "# said\n" + POLICY})
    workspace.write_image("c")
    for name in "abc":
        image_of(workspace, f"{name}:image")
    # Equal steps run once.
    with_policy, without = workspace.host_steps()
    policies = []
    for step in (with_policy, without):
        layer = assemble.PROGRAM.read(step.call.arguments).layer
        assert layer is not None
        policies.append(layer.policy)
    assert policies[0] is not None
    assert dict(policies[0].ceilings) == {"GLIBC": (2, 17)}
    assert policies[1] is None


BAD: Dict[str, Tuple[str, str, Tuple[str, ...]]] = {
    "a base that is a runtime": (
        'base="//toolchains/node"',
        POLICY,
        ("the image below another must be a node_toolchain", "in:    a:image, field base"),
    ),
    "no such policy": (
        'abi_policy="gone.toml"',
        POLICY,
        ('the ABI policy "a/gone.toml" does not exist', "in:    a:image, field abi_policy"),
    ),
    "a policy that is not TOML": (
        'abi_policy="abi.toml"',
        "format = ",
        ('the ABI policy "a/abi.toml" is not TOML', "in:    a/abi.toml:1"),
    ),
    "a policy without sense": (
        'abi_policy="abi.toml"',
        "format = 1\n",
        ('the ABI policy "a/abi.toml" is not valid', "libraries: the list is empty"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_told_with_its_place(workspace: Workspace, name: str) -> None:
    fields, policy, lines = BAD[name]
    workspace.write_image("a", fields, **{"abi.toml": policy})
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        image_of(workspace, "a:image")
    for line in (*lines, "next:  "):
        assert line in str(caught.value)


def test_a_policy_is_read(workspace: Workspace) -> None:
    workspace.write_image("a", 'abi_policy="abi.toml"')
    field_set = ToolchainFieldSet.create(workspace.target("a:image"))
    policy = workspace.request(AbiPolicy, AbiPolicyRequest(field_set))
    assert policy.allows("GLIBC_2.17")
    assert not policy.allows("GLIBC_2.18")


def test_contract_tests_run_in_the_image_with_its_policy(workspace: Workspace) -> None:
    fields = 'base="//one:image", abi_policy="abi.toml", contract_tests=["contract/**"]'
    workspace.write_image("one")
    workspace.write_image("a", fields, **{"contract/c.sh": "true\n", "contract/c.c": ""})
    field_set = ToolchainTestFieldSet.create(workspace.target("a:image"))
    result = workspace.request(TestResult, ToolchainTestRequest.Batch("", (field_set,), None))
    assert result.exit_code == 0
    (step,) = workspace.steps("slipway.toolchain.programs.contract")
    assert len(step.trees) == 2
    policy = contract.PROGRAM.read(step.call.arguments).policy
    assert policy is not None
    assert dict(policy.ceilings) == {"GLIBC": (2, 17)}
    assert set(workspace.files(step.inputs)) == {
        "contract/contract/c.c",
        "contract/contract/c.sh",
    }


def test_an_image_without_contract_tests_has_nothing_to_test(workspace: Workspace) -> None:
    workspace.write_image("a")
    assert not ToolchainTestFieldSet.is_applicable(workspace.target("a:image"))
