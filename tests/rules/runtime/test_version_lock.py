"""Ranges of versions in `node_runtime`: their locks, and `generate-lockfiles` for them."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Tuple

import pytest
from pants.core.goals.generate_lockfiles import (
    GenerateLockfileResult,
    KnownUserResolveNames,
    UserGenerateLockfiles,
)
from pants.core.goals.package import BuiltPackage

from slipway.runtime.programs import make
from slipway.runtime.rules.make import NodeRuntimeFieldSet
from slipway.runtime.rules.version_lock import (
    GenerateVersionLock,
    KnownNodeResolvesRequest,
    LockedVersion,
    LockedVersionRequest,
    RequestedNodeResolves,
)
from tests.rules.workspace import Workspace, make_definition

LOCK = "app/node-versions.lock"
COMMAND = "./pants generate-lockfiles --resolve=node:app"
NEXT = f"next:  {COMMAND}"


def runtime(*versions: str) -> str:
    return "".join(
        f'node_runtime(name="r{i}", version="{one}")\n' for i, one in enumerate(versions)
    )


def lock(**versions: str) -> str:
    lines = "".join(f'"{wanted}" = "{version}"\n' for wanted, version in versions.items())
    return f"[versions]\n{lines}"


def locked(workspace: Workspace, wanted: str) -> str:
    request = LockedVersionRequest(wanted, "app", "app:node")
    return workspace.request(LockedVersion, request).version


def fails(workspace: Workspace, wanted: str) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        locked(workspace, wanted)
    return str(caught.value)


def test_a_version_needs_no_lock(workspace: Workspace) -> None:
    assert locked(workspace, "16.20.2") == "16.20.2"
    workspace.write({LOCK: "not TOML"})
    workspace.begin_session()
    assert locked(workspace, "22.0.0-rc.1") == "22.0.0-rc.1"
    assert locked(workspace, "jxcore") == "jxcore"


def test_a_range_is_its_locked_version_even_if_newer_ones_are_defined(workspace: Workspace) -> None:
    workspace.write(
        {LOCK: lock(**{"^22": "22.1.0"}), "app/22.99.0.toml": make_definition("22.99.0")}
    )
    assert locked(workspace, "^22") == "22.1.0"


def test_a_range_without_a_lock(workspace: Workspace) -> None:
    error = fails(workspace, "^22")
    assert 'the range "^22" has no locked version' in error
    assert "in:    app:node, field version" in error
    assert f"found: no {LOCK}" in error
    assert NEXT in error


def test_a_lock_without_the_range(workspace: Workspace) -> None:
    workspace.write({LOCK: lock(**{"^16": "16.20.2"})})
    error = fails(workspace, "^22")
    assert f"found: no line for it in {LOCK}" in error
    assert NEXT in error


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<<<<<<< HEAD\n", (f'the lock of Node versions "{LOCK}" is not TOML', f"in:    {LOCK}:1")),
        (lock(**{"^22": "16.20.2"}), (f'the lock "{LOCK}" is not valid', "is not in this range")),
        ('version = "22.1.0"\n', (f'the lock "{LOCK}" is not valid', "other keys than [versions]")),
    ],
    ids=["a merge conflict", "a version outside of its range", "another document"],
)
def test_an_invalid_lock_is_an_error_with_the_command_that_writes_it(
    text: str, parts: Tuple[str, ...], workspace: Workspace
) -> None:
    workspace.write({LOCK: text})
    error = fails(workspace, "^22")
    for part in (*parts, NEXT):
        assert part in error


def test_a_runtime_is_made_of_the_locked_version(workspace: Workspace) -> None:
    workspace.write(
        {
            "app/BUILD": runtime("16"),
            LOCK: lock(**{"16": "16.3.0"}),
            "app/16.3.0.toml": make_definition("16.3.0"),
        }
    )
    field_set = NodeRuntimeFieldSet.create(workspace.target("app:r0"))
    workspace.request(BuiltPackage, field_set)
    (step,) = workspace.steps(make.__name__)
    assert make.PROGRAM.read(step.call.arguments).says == "v16.3.0"


# --- generate-lockfiles.


def names(workspace: Workspace) -> Tuple[str, ...]:
    return tuple(workspace.request(KnownUserResolveNames, KnownNodeResolvesRequest()).names)


def generated(workspace: Workspace, resolve: str) -> str:
    """The text of the lock that generate-lockfiles writes."""
    (request,) = workspace.request(UserGenerateLockfiles, RequestedNodeResolves([resolve]))
    assert isinstance(request, GenerateVersionLock)
    result = workspace.request(GenerateLockfileResult, request)
    assert (result.resolve_name, result.path) == (resolve, request.lockfile_dest)
    return workspace.contents(result.digest)[result.path]


def test_each_folder_with_ranges_has_a_resolve(workspace: Workspace) -> None:
    workspace.write(
        {
            "app/BUILD": runtime("^22", "16.20.2"),
            "other/BUILD": runtime(">=16 <18"),
            "exact/BUILD": runtime("16.20.2"),
        }
    )
    assert names(workspace) == ("node:app", "node:other")


def test_the_newest_definition_in_each_range_is_locked(workspace: Workspace) -> None:
    workspace.write({"app/BUILD": runtime("16", "16", "<16.20", ">=22 <23")})
    workspace.write({f"app/{one}.toml": make_definition(one) for one in ("16.9.0", "16.19.1")})
    text = generated(workspace, "node:app")
    assert text == (
        f"# Written by: {COMMAND}\n"
        "[versions]\n"
        '"16" = "16.20.2"\n'
        '"<16.20" = "16.19.1"\n'
        '">=22 <23" = "22.23.3"\n'
    )
    workspace.write({LOCK: text})
    assert locked(workspace, "<16.20") == "16.19.1"


def test_definitions_of_the_whole_path_count(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "22.99.0.toml").write_text("not read, for its name is enough")
    workspace.write({"app/BUILD": runtime("^22")})
    workspace.begin_session(NODE_BUILD_DEFINITIONS=str(tmp_path))
    assert '"^22" = "22.99.0"' in generated(workspace, "node:app")


def test_a_range_without_a_definition_is_an_error(workspace: Workspace) -> None:
    workspace.write({"app/BUILD": runtime("^99")})
    with pytest.raises(Exception, match=r"no definition of Node\.js matches") as caught:
        generated(workspace, "node:app")
    assert 'no definition of Node.js matches "^99"' in str(caught.value)
    assert "in:    app/BUILD, field version" in str(caught.value)
    assert "16.20.2, " in str(caught.value)


def test_only_the_wanted_resolves_are_generated(workspace: Workspace) -> None:
    workspace.write({"app/BUILD": runtime("^22"), "other/BUILD": runtime("^16")})
    wanted = workspace.request(UserGenerateLockfiles, RequestedNodeResolves(["node:other"]))
    assert [(one.resolve_name, one.lockfile_dest) for one in wanted] == [
        ("node:other", "other/node-versions.lock")
    ]


def test_a_range_at_the_top_of_the_workspace(workspace: Workspace) -> None:
    workspace.write({"BUILD": runtime("^22")})
    assert names(workspace) == ("node:",)
    (request,) = workspace.request(UserGenerateLockfiles, RequestedNodeResolves(["node:"]))
    assert request.lockfile_dest == "node-versions.lock"


def test_a_named_resolve_needs_no_build_file_of_others(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--generate-lockfiles-resolve=['node:app']")
    workspace.write({"app/BUILD": runtime("^22"), "other/BUILD": "raise Exception('was read')\n"})
    assert names(workspace) == ("node:app",)
    assert '"^22" = "22.23.3"' in generated(workspace, "node:app")


def test_a_resolve_of_another_kind_needs_no_node_runtime(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--generate-lockfiles-resolve=['npm:app']")
    workspace.write({"other/BUILD": "raise Exception('was read')\n"})
    assert names(workspace) == ()
