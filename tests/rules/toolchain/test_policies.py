"""The ABI policies of all toolchains, by the addresses that BUILD files write."""

from __future__ import annotations

import pytest
from pants.engine.addresses import Address

from slipway.toolchain.rules.policies import Policies, PoliciesRequest, shown
from tests.rules.workspace import POLICY, Workspace


def test_every_toolchain_with_a_policy_has_it_under_its_address(workspace: Workspace) -> None:
    newer = POLICY.replace("2.17", "2.36")
    workspace.write_image("toolchains/newer", 'abi_policy="abi.toml"', **{"abi.toml": newer})
    workspace.write_image("toolchains/plain")
    found = dict(workspace.request(Policies, PoliciesRequest()).by_address)
    assert sorted(found) == ["//toolchains/gcc48", "//toolchains/newer:image"]
    assert dict(found["//toolchains/gcc48"].ceilings) == {"GLIBC": (2, 17)}
    assert dict(found["//toolchains/newer:image"].ceilings) == {"GLIBC": (2, 36)}


def test_an_invalid_policy_names_its_file(workspace: Workspace) -> None:
    workspace.write_image("broken", 'abi_policy="abi.toml"', **{"abi.toml": "format = 9\n"})
    with pytest.raises(Exception, match=r"broken/abi\.toml"):
        workspace.request(Policies, PoliciesRequest())


def test_how_an_address_is_shown() -> None:
    assert shown(Address("toolchains/gcc48", target_name="gcc48")) == "//toolchains/gcc48"
    assert shown(Address("toolchains/node", target_name="22.1.0")) == "//toolchains/node:22.1.0"
    assert shown(Address("", target_name="node")) == "//:node"
