"""Which workspace the runner uses, and which arguments and variables reach Pants."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

import pytest

from tests.runner.workbench import Bench, add_program

ODD_NAMES = ("with space", "工作区-ü", "-dash", "st*r [a] $x ; &", 'double " quote', "per%cent")


def test_at_the_root_of_a_workspace(warm: Bench, shell: str) -> None:
    result = warm.run(shell=shell)
    assert result.ok
    assert result.err == ""
    assert result.seen["PANTS_BUILDROOT_OVERRIDE"] == str(warm.workspace)


def test_in_a_sub_folder_pants_keeps_the_folder(warm: Bench, shell: str) -> None:
    folder = warm.workspace / "a" / "b"
    folder.mkdir(parents=True)
    seen = warm.run(cwd=folder, shell=shell).seen
    assert seen["PANTS_BUILDROOT_OVERRIDE"] == str(warm.workspace)
    assert seen["folder"] == str(folder)


def test_the_nearest_workspace_wins(warm: Bench) -> None:
    inner = warm.workspace / "inner"
    inner.mkdir()
    (inner / "pants.toml").write_text("[GLOBAL]\n")
    assert warm.run(cwd=inner).seen["PANTS_BUILDROOT_OVERRIDE"] == str(inner)


@pytest.mark.parametrize("relative", [False, True])
def test_through_links_of_links(warm: Bench, shell: str, relative: bool) -> None:
    target = os.path.relpath(str(warm.runner), str(warm.folder)) if relative else str(warm.runner)
    (warm.folder / "first").symlink_to(target)
    link = warm.folder / "links" / "pants"
    link.parent.mkdir()
    link.symlink_to("../first" if relative else warm.folder / "first")
    result = warm.run(runner=link, shell=shell)
    assert result.ok
    assert result.seen["PANTS_BUILDROOT_OVERRIDE"] == str(warm.workspace)


def test_as_a_link_on_path(warm: Bench) -> None:
    (warm.programs / "pants").symlink_to(warm.runner)
    folder = warm.workspace / "sub"
    folder.mkdir()
    done = subprocess.run(
        ["sh", "-c", "pants one"],
        cwd=str(folder),
        env=warm.environ,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert str(warm.workspace).encode() in done.stdout.split(b"\0")


def test_a_workspace_reached_through_a_link_has_one_name(warm: Bench) -> None:
    link = warm.folder / "link"
    link.symlink_to(warm.workspace)
    one = warm.run(cwd=link, PWD=str(link)).seen
    other = warm.run(cwd=warm.workspace).seen
    assert one == other
    assert one["PANTS_BUILDROOT_OVERRIDE"] == str(warm.workspace)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_paths_of_everything(tmp_path: Path, warm: Bench, shell: str, name: str) -> None:
    odd = tmp_path / name
    odd.mkdir()
    for part in ("slipway", "workspace", "cache", "home"):
        shutil.move(str(warm.folder / part), str(odd / part))
    moved = Bench(odd, warm.packages, dict(warm.environ))
    moved.environ.update(HOME=str(odd / "home"), XDG_CACHE_HOME=str(odd / "cache"))
    for _ in range(2):
        result = moved.run("package", "//:x", shell=shell)
        assert result.ok
        assert result.err == ""
        assert result.seen["PANTS_BUILDROOT_OVERRIDE"] == str(odd / "workspace")
        assert result.arguments == ["package", "//:x"]
    assert moved.run("goal", STUB_SERVE="1").out == b"pants goal\n"


def test_outside_of_a_workspace(warm: Bench, shell: str, tmp_path: Path) -> None:
    (warm.folder / "pants").symlink_to(warm.runner)
    folder = tmp_path / "nowhere"
    folder.mkdir()
    result = warm.run(cwd=folder, runner=warm.folder / "pants", shell=shell)
    assert result.status == 1
    assert result.out == b""
    assert result.err == (
        "pants: no pants.toml in this folder or above it\n"
        f"  in:    {folder}\n"
        "  next:  cd to a workspace, or create one: printf '[GLOBAL]\\n' > pants.toml\n"
    )
    # The command that it names works.
    subprocess.run(["sh", "-c", "printf '[GLOBAL]\\n' > pants.toml"], cwd=str(folder), check=True)
    assert warm.run(cwd=folder, runner=warm.folder / "pants", shell=shell).ok


def test_called_by_the_path_of_a_workspace_from_elsewhere(warm: Bench, shell: str) -> None:
    (warm.repository / "pants.toml").write_text("[GLOBAL]\n")
    seen = warm.run(cwd=Path("/"), shell=shell).seen
    assert seen["PANTS_BUILDROOT_OVERRIDE"] == str(warm.repository)
    assert seen["folder"] == str(warm.repository)


def test_a_copy_of_the_runner_says_that_it_needs_a_link(warm: Bench) -> None:
    copy = warm.workspace / "pants"
    shutil.copy(str(warm.runner), str(copy))
    result = warm.run(runner=copy)
    assert result.status == 1
    assert result.err == (
        "pants: files of the runner are missing\n"
        f"  in:    {warm.workspace}/build_rules/slipway/runner\n"
        "  next:  use a symlink to the runner instead of a copy: ln -s …/slipway/pants pants\n"
    )


@pytest.mark.parametrize("name", ["o'brien", "back\\slash", "per%(cent)s"])
def test_a_path_that_pants_cannot_read_is_refused(warm: Bench, name: str) -> None:
    folder = warm.folder / name
    folder.mkdir()
    (folder / "pants.toml").write_text('[GLOBAL]\npythonpath = ["%(buildroot)s"]\n')
    result = warm.run(cwd=folder)
    assert result.status == 1
    assert "'%(buildroot)s' if the workspace's path has a quote" in result.err
    assert f"  found: {folder}\n  next:  rename the folder\n" in result.err
    (folder / "pants.toml").write_text("[GLOBAL]\n")
    assert warm.run(cwd=folder).ok


ARGUMENTS: List[str] = [
    "package",
    "",
    "with space",
    "tab\there",
    "line\nbreak\n",
    "'single'",
    'double "quotes"',
    "back\\slash\\n",
    "$HOME `id` $(id)",
    "*",
    "--",
    "-n",
    "工作",
    "",
]


def test_arguments_survive(warm: Bench, shell: str) -> None:
    for _ in ("cold", "warm"):
        assert warm.run(*ARGUMENTS, shell=shell).arguments == ARGUMENTS


def test_no_arguments_stay_none(warm: Bench, shell: str) -> None:
    assert warm.run(shell=shell).arguments == []


def test_arguments_survive_up_to_python(warm: Bench) -> None:
    assert warm.run("a  b", "", "c", STUB_SERVE="1").out == b"pants a  b  c\n"


@pytest.mark.parametrize("status", [0, 1, 7, 130])
def test_the_exit_status_is_that_of_pants(warm: Bench, shell: str, status: int) -> None:
    assert warm.run(shell=shell, STUB_STATUS=str(status)).status == status


# A value that breaks or changes a CPython.
HOSTILE: Dict[str, str] = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "{folder}/hostile",
    "PYTHONPLATLIBDIR": "nolib",
    "PYTHONOPTIMIZE": "2",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONSTARTUP": "/nowhere",
    "PYTHONDONTWRITEBYTECODE": "1",
    "VIRTUAL_ENV": "/nowhere",
    "CDPATH": "/:/tmp",
    "IFS": "/",
    "ENV": "{folder}/hostile/profile",
    "BASH_ENV": "{folder}/hostile/profile",
    "LC_ALL": "C",
    "PIP_USER": "1",
    "PIP_TARGET": "/nowhere",
    "PIP_NO_BINARY": ":all:",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PEX_ROOT": "/nowhere/pex",
    "XDG_CONFIG_HOME": "/nowhere",
}


def test_a_hostile_environment(bench: Bench) -> None:
    hostile = bench.folder / "hostile"
    hostile.mkdir()
    for module in ("os.py", "sitecustomize.py", "subprocess.py"):
        (hostile / module).write_text("raise SystemExit('a hostile module')\n")
    for name, value in HOSTILE.items():
        bench.environ[name] = value.format(folder=bench.folder)
    for _ in ("cold", "warm"):
        result = bench.run("goal")
        assert result.ok
        assert result.seen["PYTHONHOME"] == result.seen["PYTHONPATH"] == ""
        assert bench.run("goal", STUB_SERVE="1").out == b"pants goal\n"


def test_variables_of_the_user_keep_their_values(warm: Bench) -> None:
    # Names that a script might take for its own, and would then hand on with its own values.
    names = "environment target runner workspace cache lock name folder source python stamp found"
    mine = dict.fromkeys(names.split(), "mine")
    env = add_program(warm.folder / "client", "exec env")
    (environment,) = warm.environments
    (environment / "bin/native_client").unlink()
    (environment / "bin/native_client").symlink_to(env)
    warm.environ.update(mine)
    lines = warm.run().out.decode().splitlines()
    assert {f"{name}=mine" for name in mine} <= set(lines)
    before = set(warm.environ) | {"PWD", "OLDPWD", "_", "SHLVL"}
    added = {line.split("=")[0] for line in lines} - before
    assert added == {
        "NO_SCIE_WARNING",
        "PANTS_BUILDROOT_OVERRIDE",
        "PANTS_DYNAMIC_UI",
        "PANTS_LOCAL_EXECUTION_ROOT_DIR",
        "PANTS_PEX_CLI_KNOWN_VERSIONS",
        "PANTS_PEX_CLI_URL_TEMPLATE",
        "PANTS_PYTHON_BOOTSTRAP_SEARCH_PATH",
        "_PANTS_SERVER_EXE",
    }


@pytest.mark.parametrize(
    "name",
    [
        "PANTS_LOCAL_EXECUTION_ROOT_DIR",
        "PANTS_PEX_CLI_URL_TEMPLATE",
        "PANTS_PYTHON_BOOTSTRAP_SEARCH_PATH",
    ],
)
def test_settings_of_the_user_stay(warm: Bench, name: str) -> None:
    warm.environ[name] = "/mine"
    for _ in range(2):
        assert warm.run().seen[name] == "/mine"


def test_a_pants_inside_of_a_pants_has_its_own_folder(warm: Bench) -> None:
    outer = warm.run().seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"]
    inner = warm.workspace / "inner"
    inner.mkdir()
    (inner / "pants.toml").write_text("[GLOBAL]\n")
    seen = warm.run(cwd=inner, PANTS_LOCAL_EXECUTION_ROOT_DIR=outer).seen
    assert seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"] != outer


def test_each_workspace_has_its_own_short_folder(warm: Bench) -> None:
    other = warm.folder / "other"
    other.mkdir()
    (other / "pants.toml").write_text("[GLOBAL]\n")
    folders = [
        Path(warm.run(cwd=cwd).seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"])
        for cwd in (warm.workspace, other, warm.workspace)
    ]
    assert folders[0] == folders[2] != folders[1]
    for folder in folders:
        assert folder.is_dir()
        assert len(str(folder.relative_to(warm.cache))) <= 25


def test_the_pex_program_is_named_by_hash(warm: Bench) -> None:
    seen = warm.run().seen
    (environment,) = warm.environments
    assert seen["PANTS_PEX_CLI_URL_TEMPLATE"] == f"file://{environment}/pex"
    assert seen["PANTS_PEX_CLI_KNOWN_VERSIONS"].startswith('["v2.1.137|linux_x86_64|')
    assert (environment / "pex").stat().st_size == 3


def test_home_is_missing(warm: Bench, shell: str) -> None:
    result = warm.run(shell=shell, HOME=None, XDG_CACHE_HOME=None)
    assert result.status == 1
    assert result.err == (
        "pants: HOME is not set, so the runner has no folder for its environment\n"
        "  next:  export HOME=<a folder>, or export XDG_CACHE_HOME=<a folder>\n"
    )


def test_a_relative_cache_home_does_not_count(warm: Bench) -> None:
    shutil.move(str(warm.cache), str(warm.home / ".cache"))
    assert warm.run(XDG_CACHE_HOME="relative").ok
    assert not (warm.workspace / "relative").exists()
