"""The goal `abi-audit`: what it looks into, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from build_rules.lib.abi_policy import AbiPolicy
from build_rules.release.abi_audit import AuditPolicyRequest, ReleaseFile, ReleaseFileRequest
from tests.rules.test_toolchains import write_image
from tests.rules.workspace import Workspace


def test_a_file_is_read_wherever_it_lies(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"1")
    (workspace.folder / "dist").mkdir()
    (workspace.folder / "dist" / "y.tar.gz").write_bytes(b"2")
    for path, name in ((str(tmp_path / "x.tar.gz"), "x.tar.gz"), ("dist/y.tar.gz", "y.tar.gz")):
        found = workspace.request(ReleaseFile, ReleaseFileRequest(path))
        assert (found.name, found.label) == (name, path)
        assert workspace.files(found.digest) == (name,)


def test_a_file_that_is_not_there_is_told(workspace: Workspace) -> None:
    with pytest.raises(Exception, match="cannot be read") as caught:
        workspace.request(ReleaseFile, ReleaseFileRequest("dist/gone.tar.gz"))
    assert "found: No such file or directory" in str(caught.value)


def test_the_policy_is_that_of_the_toolchain(workspace: Workspace) -> None:
    write_image(workspace, "old", 'abi_policy="abi.toml"')
    assert workspace.request(AbiPolicy, AuditPolicyRequest("//old:image")).allows("GLIBC_2.17")


@pytest.mark.parametrize("toolchain", ["//plain:image", "//toolchains/node"])
def test_a_toolchain_without_a_policy_is_told(workspace: Workspace, toolchain: str) -> None:
    write_image(workspace, "plain")
    with pytest.raises(Exception, match="has no ABI policy") as caught:
        workspace.request(AbiPolicy, AuditPolicyRequest(toolchain))
    assert "in:    the option `[abi-audit] toolchain`" in str(caught.value)
    assert "next:  name a node_toolchain with the field abi_policy" in str(caught.value)
