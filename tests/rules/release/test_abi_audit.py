"""The goal `abi-audit`: what it looks into, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from slipway.release.programs import abi_gate
from slipway.release.rules.abi_audit import ReleaseFile, ReleaseFileRequest
from slipway.release.rules.abi_gate import Audited, ReleaseAuditRequest
from slipway.release.rules.contents import ReleaseTarballFieldSet
from slipway.toolchain.rules.image import ToolchainFieldSet
from tests.rules.workspace import POLICY, Workspace, make_build, make_definition

NEWER = POLICY.replace("2.17", "2.36")


def test_a_file_is_read_wherever_it_lies(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"1")
    (workspace.folder / "dist").mkdir()
    (workspace.folder / "dist" / "y.tar.gz").write_bytes(b"2")
    for path, name in ((str(tmp_path / "x.tar.gz"), "x.tar.gz"), ("dist/y.tar.gz", "y.tar.gz")):
        found = workspace.request(ReleaseFile, ReleaseFileRequest(path))
        assert (found.name, found.label) == (name, path)
        assert workspace.files(found.digest) == (name,)


def test_a_file_that_is_not_there_is_told(workspace: Workspace) -> None:
    with pytest.raises(Exception, match="cannot read the archive") as caught:
        workspace.request(ReleaseFile, ReleaseFileRequest("dist/gone.tar.gz"))
    assert "found: No such file or directory" in str(caught.value)


def audit(workspace: Workspace, **toolchain: Any) -> Audited:
    field_set = ReleaseTarballFieldSet.create(workspace.target("app:release"))
    return workspace.request(Audited, ReleaseAuditRequest(field_set, **toolchain))


def test_a_release_is_held_against_the_policy_of_its_bundle(workspace: Workspace) -> None:
    workspace.write_image("new", 'abi_policy="abi.toml"', **{"abi.toml": NEWER})
    workspace.write_app("app", BUILD=make_build('toolchain="//new:image"'))
    audit(workspace)
    (step,) = workspace.steps("slipway.release.programs.abi_gate")
    arguments = abi_gate.PROGRAM.read(step.call.arguments)
    assert dict(arguments.policy.ceilings) == {"GLIBC": (2, 36)}
    assert arguments.layers == ("runtime", "dependencies", "app")
    assert workspace.files(step.inputs) == (
        *("facts/app.elf.json", "facts/dependencies.elf.json", "facts/runtime.elf.json"),
    )


@pytest.mark.parametrize(
    ("fields", "layers"),
    [("", 1), ('base="//toolchains/base"', 1), ('base="//old:image"', 2)],
)
def test_the_audit_runs_in_the_image_of_build_steps_or_in_the_whole_toolchain(
    workspace: Workspace, fields: str, layers: int
) -> None:
    workspace.write_image("toolchains/base", BUILD='node_toolchain(name="base")')
    workspace.write_image("old")
    workspace.write_image("new", f'abi_policy="abi.toml", {fields}')
    workspace.write_app("app", BUILD=make_build('toolchain="//new:image"'))
    audit(workspace)
    (step,) = workspace.steps("slipway.release.programs.abi_gate")
    assert len(step.trees) == layers


def test_another_toolchain_can_be_asked_for(workspace: Workspace) -> None:
    workspace.write_image("new", 'abi_policy="abi.toml"', **{"abi.toml": NEWER})
    workspace.write_app("app")
    chosen = ToolchainFieldSet.create(workspace.target("new:image"))
    audit(workspace, toolchain=chosen)
    (step,) = workspace.steps("slipway.release.programs.abi_gate")
    policy = abi_gate.PROGRAM.read(step.call.arguments).policy
    assert dict(policy.ceilings) == {"GLIBC": (2, 36)}


def test_a_toolchain_without_a_policy_is_told(workspace: Workspace) -> None:
    workspace.write_image("plain")
    workspace.write_app("app", BUILD=make_build('toolchain="//plain:image"'))
    with pytest.raises(Exception, match="has no ABI policy") as caught:
        audit(workspace)
    assert "in:    plain:image, field abi_policy" in str(caught.value)


def test_a_toolchain_is_a_toolchain(workspace: Workspace) -> None:
    workspace.write_app("app", BUILD=make_build('toolchain="//toolchains/node"'))
    with pytest.raises(Exception, match="toolchain of a bundle must be a node_toolchain") as caught:
        workspace.package("app:release")
    assert "a node_runtime" in str(caught.value)
    assert not workspace.made_root()


def test_a_bundle_without_a_toolchain_is_judged_by_the_default_policy(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--slipway-default-policy=//newer:image")
    workspace.write_image("newer", 'abi_policy="abi.toml"', **{"abi.toml": NEWER})
    workspace.write_app("app", BUILD=make_build("toolchain=None"))
    workspace.package("app:release")
    (step,) = workspace.steps("slipway.release.programs.abi_gate")
    policy = abi_gate.PROGRAM.read(step.call.arguments).policy
    assert dict(policy.ceilings) == {"GLIBC": (2, 36)}


def test_a_default_policy_that_does_not_exist(make_workspace: Callable[..., Workspace]) -> None:
    workspace = make_workspace("--slipway-default-policy=//gone")
    workspace.write_app("app", BUILD=make_build("toolchain=None"))
    with pytest.raises(Exception, match="default_policy"):
        workspace.package("app:release")


TOO_NEW = make_definition().replace("size = 1", 'size = 1\nneeds = ["GLIBC_2.28", "libc.so.6"]', 1)


def test_a_node_for_newer_hosts_is_refused_before_its_packages_are_installed(
    workspace: Workspace,
) -> None:
    workspace.write({"toolchains/node/16.20.2.toml": TOO_NEW})
    workspace.write_image("new", 'abi_policy="abi.toml"', **{"abi.toml": NEWER})
    workspace.write_app("app")
    with pytest.raises(Exception, match=r"Node\.js 16\.20\.2 does not load") as caught:
        workspace.package("app:release")
    text = str(caught.value)
    assert "needs GLIBC_2.28; the oldest host has up to GLIBC_2.17" in text
    assert 'toolchain="//new:image"' in text
    assert not workspace.steps("slipway.npm.programs.install")


def test_a_waiver_leaves_the_verdict_on_node_to_the_gate(workspace: Workspace) -> None:
    workspace.write({"toolchains/node/16.20.2.toml": TOO_NEW})
    waiver = 'abi_waivers={"node_runtime/bin/node": "all hosts are newer"}'
    workspace.write_app("app", BUILD=make_build(release=waiver))
    # The stand-in for the gate finds no breach that the waiver could be for.
    with pytest.raises(Exception, match="waivers match no binary with a breach"):
        workspace.package("app:release")
