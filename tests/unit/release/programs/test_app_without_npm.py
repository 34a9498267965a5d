"""`bin/app` of a release whose runtime has no npm: the scripts are in it, and sh alone runs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.release.launcher import find_script
from tests.bin_app import filled
from tests.tiers import long_except

SHELLS = {"dash": ["dash"], "busybox": ["busybox", "sh"], "bash": ["bash"]}
# Stands in for the runtime; it is not called node.
_QJS = """\
#!/bin/sh
printf 'folder=%s\\n' "$(pwd)"
for one in "$@"; do printf 'argument=%s\\n' "$one"; done
env | grep -e ^npm_ -e ^SERVER_ENV | sort
exit 23
"""
SCRIPTS = {
    "start": "qjs --module worker.js",
    "stop": "echo stopped",
    "serve": 'qjs worker.js "a b"',
    "preserve": "echo before",
    "check it": "echo 'it works'",
}


@pytest.fixture(params=long_except(["dash", "busybox"], SHELLS))
def shell(request: Any) -> Sequence[str]:
    found = SHELLS[request.param]
    if shutil.which(found[0]) is None:
        pytest.skip(f"this machine has no {found[0]}")
    return found


def make_release(folder: Path, scripts: Mapping[str, str], **values: str) -> Path:
    functions = find_script("@team/app", "1.2.3", scripts)
    text = filled(bin="bin/qjs", find_script=functions, **values)
    for path, content in (("bin/app", text), ("node_runtime/bin/qjs", _QJS)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        (folder / path).chmod(0o755)
    return folder


def run(release: Path, shell: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(release / "bin" / "app"), *arguments],
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_runs_the_script_with_the_runtime_of_the_release(
    tmp_path: Path, shell: Sequence[str]
) -> None:
    release = make_release(tmp_path / "release", SCRIPTS)
    said = run(release, shell, "start", "it's", "*")
    assert said.returncode == 23
    assert said.stdout.splitlines() == [
        f"folder={release}",
        *("argument=--module", "argument=worker.js", "argument=it's", "argument=*"),
        "SERVER_ENV=prod",
        "npm_config_update_notifier=false",
        "npm_lifecycle_event=start",
        "npm_lifecycle_script=qjs --module worker.js",
        f"npm_package_json={release}/package.json",
        "npm_package_name=@team/app",
        "npm_package_version=1.2.3",
    ]


def test_the_scripts_before_run_first(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", SCRIPTS)
    said = run(release, shell, "run-foreground")
    assert said.stdout.startswith(f"before\nfolder={release}\nargument=worker.js\nargument=a b\n")


def test_restart_without_a_script_is_stop_and_start(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", SCRIPTS)
    said = run(release, shell, "restart", "--now")
    assert said.stdout.startswith(f"stopped\nfolder={release}\nargument=--module\n")
    assert said.returncode == 23


def test_a_failed_stop_is_no_restart(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", {**SCRIPTS, "stop": "exit 4"})
    said = run(release, shell, "restart")
    assert (said.returncode, said.stdout) == (4, "")


def test_restart_is_a_script_if_there_is_one(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", {**SCRIPTS, "restart": "echo again"})
    assert run(release, shell, "restart").stdout == "again\n"


def test_any_script_can_be_run(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", SCRIPTS)
    assert run(release, shell, "run", "check it").stdout == "it works\n"


def test_a_missing_script_is_named(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", {"start": "qjs a.js"})
    said = run(release, shell, "health")
    assert said.returncode == 1
    assert said.stderr == 'bin/app: package.json has no script "health" (its scripts: start)\n'


def test_a_release_without_scripts_says_so(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", {})
    assert "(its scripts: none)" in run(release, shell, "start").stderr


def test_the_program_of_the_runtime_can_be_called(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", SCRIPTS)
    said = run(release, shell, "node", "--eval", "1 + 1")
    assert said.stdout.splitlines()[1:3] == ["argument=--eval", "argument=1 + 1"]


def test_a_script_may_contain_what_looks_like_a_place_of_the_template(
    tmp_path: Path, shell: Sequence[str]
) -> None:
    release = make_release(tmp_path / "release", {"start": "echo @server_env@ @bin@ @member@"})
    assert run(release, shell, "start").stdout == "@server_env@ @bin@ @member@\n"


@settings(max_examples=40, deadline=None)
@given(
    scripts=st.dictionaries(
        st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1),
        st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r")),
        min_size=1,
        max_size=5,
    )
)
def test_any_name_and_any_line_reach_sh_unchanged(scripts: Dict[str, str]) -> None:
    functions = find_script("app", "1.0.0", scripts)
    prints = 'find_script "$1" && printf "%s" "$app_line"'
    for name, line in scripts.items():
        argv: List[str] = ["/bin/sh", "-c", f"{functions}\n{prints}", "sh", name]
        done = subprocess.run(argv, capture_output=True, check=True)
        assert done.stdout.decode() == line
