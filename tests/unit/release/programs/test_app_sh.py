"""`bin/app` under the shells that hosts have, wherever the release lies and however it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import pytest

from tests.bin_app import filled
from tests.tiers import long_except

SHELLS = {
    "sh": ["/bin/sh"],
    "dash": ["dash"],
    "busybox": ["busybox", "sh"],
    "bash": ["bash"],
    "bash as POSIX sh": ["bash", "--posix"],
}
# Stands in for node: says how it was called, for a test to read. Of package.json it says what a file
# `lines` in the release says.
_NODE = """\
#!/bin/sh
if [ "$1" = -e ] && [ -n "${npm_lifecycle_event-}" ]; then cat lines && exit; fi
printf 'folder=%s\\n' "$(pwd)"
for one in "$@"; do printf 'argument=%s\\n' "$one"; done
env -0 | tr '\\n\\0' '|\\n' | grep -v -e ^_= -e ^SHLVL= -e ^OLDPWD= -e ^PWD= | sed 's/^/env /'
exit 23
"""
NPM = "node_runtime/lib/node_modules/npm/bin/npm-cli.js"


@dataclass(frozen=True)
class Said:
    """What the stand-in for node saw, or what the script said instead."""

    code: int
    folder: Optional[str]
    arguments: List[str]
    env: Dict[str, str]
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Release:
    folder: Path
    shell: Sequence[str]

    @property
    def app(self) -> Path:
        return self.folder / "bin" / "app"

    def run(
        self,
        *arguments: str,
        app: Optional[str] = None,
        cwd: Optional[Path] = None,
        env: Optional[Dict[str, str]] = None,
    ) -> Said:
        done = subprocess.run(
            [*self.shell, app or str(self.app), *arguments],
            cwd=cwd or "/",
            env={"PATH": "/usr/bin:/bin", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = done.stdout.splitlines()
        folders = [line[7:] for line in lines if line.startswith("folder=")]
        return Said(
            done.returncode,
            folders[0] if folders else None,
            [line[9:] for line in lines if line.startswith("argument=")],
            dict(line[4:].split("=", 1) for line in lines if line.startswith("env ")),
            done.stdout,
            done.stderr,
        )


def make_release(folder: Path, shell: Sequence[str], **values: str) -> Release:
    for path, text in (("bin/app", filled(**values)), ("node_runtime/bin/node", _NODE)):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(text)
        (folder / path).chmod(0o755)
    (folder / "lines").write_text("app_before=''\napp_line='node main'\napp_after=''\n")
    return Release(folder, shell)


# Both shells of old and of small hosts; the others read the same grammar of POSIX.
@pytest.fixture(params=long_except(["dash", "busybox"], SHELLS))
def shell(request: Any) -> Sequence[str]:
    found = SHELLS[request.param]
    if shutil.which(found[0]) is None:
        pytest.skip(f"this machine has no {found[0]}")
    return found


@pytest.fixture
def release(tmp_path: Path, shell: Sequence[str]) -> Release:
    return make_release(tmp_path / "release", shell)


@pytest.mark.parametrize("command", ["start", "stop", "restart", "health"])
def test_a_command_is_the_script_of_that_name(release: Release, command: str) -> None:
    said = release.run(command, "--now", "a b")
    npm = str(release.folder / NPM)
    assert said.arguments == [npm, "run", "--silent", command, "--", "--now", "a b"]
    assert said.folder == str(release.folder)
    assert said.code == 23, "the exit status is the script's own"


def test_any_script_can_be_run(release: Release) -> None:
    said = release.run("run", "migrate", "it's", "", "*", "$HOME")
    assert said.arguments[1:] == ["run", "--silent", "migrate", "--", "it's", "", "*", "$HOME"]


def test_run_foreground_is_the_configured_script(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", shell, run_script="front")
    said = release.run("run-foreground")
    assert (said.arguments, said.code) == (["main"], 23)
    assert said.env["npm_lifecycle_event"] == "front"
    assert said.env["npm_lifecycle_script"] == "node main"


def test_run_foreground_hands_arguments_to_the_script(release: Release) -> None:
    said = release.run("run-foreground", "a b", "", "$HOME", "it's", "*")
    assert said.arguments == ["main", "a b", "", "$HOME", "it's", "*"]


def test_run_foreground_runs_the_scripts_before_and_after(release: Release) -> None:
    lines = "app_before='echo before $npm_lifecycle_event'\napp_line='echo during'\n"
    (release.folder / "lines").write_text(f"{lines}app_after='echo after $npm_lifecycle_event'\n")
    said = release.run("run-foreground", "now")
    assert said.stdout == "before preserve\nduring now\nafter postserve\n"
    assert said.code == 0


@pytest.mark.parametrize("failing", ["before", "line", "after"])
def test_a_script_that_fails_ends_run_foreground(release: Release, failing: str) -> None:
    scripts = {name: f"echo {name}" for name in ("before", "line", "after")}
    scripts[failing] += "; exit 7"
    (release.folder / "lines").write_text(
        "".join(f"app_{name}='{text}'\n" for name, text in scripts.items())
    )
    said = release.run("run-foreground")
    assert said.code == 7
    assert said.stdout.split()[-1] == failing


def test_run_foreground_finds_commands_of_packages(release: Release) -> None:
    command = release.folder / "node_modules" / ".bin" / "serve-it"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\necho served\n")
    command.chmod(0o755)
    (release.folder / "lines").write_text("app_before=\napp_line=serve-it\napp_after=\n")
    assert release.run("run-foreground").stdout == "served\n"


def test_a_member_of_workspaces_runs_in_its_folder(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", shell, member="apps/my shop")
    home = release.folder / "apps" / "my shop"
    home.mkdir(parents=True)
    (release.folder / "lines").rename(home / "lines")
    assert release.run("start").folder == str(home)
    assert release.run("run-foreground").env["INIT_CWD"] == str(home)
    # The commands of its own packages come before those of the workspaces.
    for place, names in ((home, ["own"]), (release.folder, ["own", "shared"])):
        for name in names:
            command = place / "node_modules" / ".bin" / name
            command.parent.mkdir(parents=True, exist_ok=True)
            command.write_text(f"#!/bin/sh\necho {name} {len(place.parts)}\n")
            command.chmod(0o755)
    (home / "lines").write_text("app_before=\napp_line='own && shared'\napp_after=\n")
    assert release.run("run-foreground").stdout == (
        f"own {len(home.parts)}\nshared {len(release.folder.parts)}\n"
    )


def test_run_foreground_leaves_no_process_in_between(release: Release) -> None:
    (release.folder / "lines").write_text(
        "app_before=\napp_line='exec sh -c \"echo \\$PPID\"'\napp_after=\n"
    )
    assert release.run("run-foreground").stdout == f"{os.getpid()}\n"


def test_a_release_without_a_run_script_says_so(tmp_path: Path, shell: Sequence[str]) -> None:
    said = make_release(tmp_path / "release", shell, run_script="").run("run-foreground")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == (
        "bin/app: this release has no run_script; set it in its release_tarball\n"
    )


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@pytest.mark.parametrize("command", [["stop"], ["health"], ["run", "gone"], ["run-foreground"]])
def test_a_missing_script_is_named(release: Release, command: List[str]) -> None:
    node = release.folder / "node_runtime" / "bin" / "node"
    node.unlink()
    node.symlink_to(shutil.which("node") or "")
    (release.folder / "package.json").write_text('{"scripts": {"start": "x", "lint": "y"}}')
    said = release.run(*command)
    name = {"run": "gone", "run-foreground": "serve"}.get(command[0], command[0])
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == (
        f'bin/app: package.json has no script "{name}" (its scripts: lint, start)\n'
    )


def test_node_is_the_release_s_own(release: Release) -> None:
    said = release.run("node", "-e", "1 + 1", "--", "-x")
    assert said.arguments == ["-e", "1 + 1", "--", "-x"]


def test_the_release_s_node_comes_first_and_what_others_left_is_dropped(release: Release) -> None:
    said = release.run(
        "start",
        env={"NODE_OPTIONS": "--inspect", "NODE_PATH": "/elsewhere", "PORT": "1", "HOME": "/h"},
    )
    own = f"{release.folder}/node_runtime/bin:/usr/bin:/bin"
    assert said.env == {
        "PATH": own,
        "PORT": "1",
        "HOME": "/h",
        "SERVER_ENV": "prod",
        "npm_config_update_notifier": "false",
    }


def test_a_server_env_that_is_set_counts_and_an_empty_one_does_not(release: Release) -> None:
    assert release.run("start", env={"SERVER_ENV": "sit"}).env["SERVER_ENV"] == "sit"
    assert release.run("start", env={"SERVER_ENV": ""}).env["SERVER_ENV"] == "prod"


def test_what_shells_take_from_their_environment_changes_nothing(release: Release) -> None:
    (release.folder.parent / "rc").write_text("echo spoiled; exit 9\n")
    spoiled = str(release.folder.parent / "rc")
    env = {"CDPATH": "/tmp:/usr", "IFS": "/ab", "BASH_ENV": spoiled}
    said = release.run("start", "a b", app="bin/app", cwd=release.folder, env=env)
    if release.shell == ["bash"]:
        assert said.stdout == "spoiled\n", "bash reads BASH_ENV before any script's first line"
        return
    assert (said.folder, said.arguments[-1]) == (str(release.folder), "a b")
    assert "CDPATH" not in said.env


def test_variables_of_the_host_keep_their_values(release: Release) -> None:
    """The script's own variables must not shine through to the application."""
    host = dict.fromkeys(
        ("release", "command", "script", "name", "line", "env_file", "target"), "host"
    )
    said = release.run("start", env=host)
    assert {name: said.env.get(name) for name in host} == host


@pytest.mark.parametrize(
    "name", ["with space", "it's", 'quo"te', "*star", "-dash", "ünï", "$HOME", "a\\b"]
)
def test_the_release_may_be_anywhere(tmp_path: Path, shell: Sequence[str], name: str) -> None:
    release = make_release(tmp_path / name, shell)
    assert release.run("start").folder == str(tmp_path / name)
    relative = release.run("start", app="./bin/app", cwd=release.folder)
    assert relative.folder == str(tmp_path / name)
    inside = release.run("start", app="app", cwd=release.folder / "bin")
    assert inside.folder == str(tmp_path / name)


LINKS = {
    "an absolute link": ("{release}/bin/app", "links/app"),
    "a relative link": ("../release/bin/app", "links/app"),
    "a link to a link": ("other", "links/app"),
    "a link without a folder in its name": ("../release/bin/app", "app"),
}


@pytest.mark.parametrize(("target", "called"), LINKS.values(), ids=LINKS)
def test_it_can_be_called_through_links(release: Release, target: str, called: str) -> None:
    links = release.folder.parent / "links"
    links.mkdir()
    (links / "other").symlink_to("../release/bin/app")
    (links / "app").symlink_to(target.format(release=release.folder))
    cwd = links if "/" not in called else links.parent
    assert release.run("start", app=called, cwd=cwd).folder == str(release.folder)


def test_a_folder_that_is_a_link_is_followed_to_the_release(release: Release) -> None:
    current = release.folder.parent / "current"
    current.symlink_to("release")
    assert release.run("start", app=str(current / "bin" / "app")).folder == str(release.folder)


@pytest.mark.parametrize("command", ["-h", "--help", "help"])
def test_help_goes_to_the_output(release: Release, command: str) -> None:
    said = release.run(command)
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.startswith("usage: bin/app start | stop | restart | health\n")


@pytest.mark.parametrize("arguments", [[], ["strat"], [""], ["--version"]])
def test_an_unknown_command_prints_the_usage(release: Release, arguments: List[str]) -> None:
    said = release.run(*arguments)
    assert (said.code, said.stdout) == (2, "")
    assert "usage: bin/app start" in said.stderr
    assert "bin/app run SCRIPT [ARGUMENT...]" in said.stderr


def test_run_without_a_script_says_what_is_missing(release: Release) -> None:
    said = release.run("run")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == "bin/app: run needs the name of a script of package.json\n"


def test_a_posix_shell_is_enough(tmp_path: Path) -> None:
    release = make_release(tmp_path / "release", [])
    assert release.run("start").folder == str(release.folder)


# --- The environment file.


def with_env_file(tmp_path: Path, shell: Sequence[str], content: bytes) -> Release:
    (tmp_path / "env file").write_bytes(content)
    return make_release(tmp_path / "release", shell, env_file=str(tmp_path / "env file"))


GOOD_LINES = {
    "plain": (b"TOKEN=abc\n", {"TOKEN": "abc"}),
    "no last line break": (b"A=1\nB=2", {"A": "1", "B": "2"}),
    "comments and empty lines": (b"# A=0\n\nA=1\n#\n", {"A": "1"}),
    "equals signs": (b"URL=https://h.example/?a=b&c=d\n", {"URL": "https://h.example/?a=b&c=d"}),
    "an empty value": (b"A=\n", {"A": ""}),
    "written on Windows": (b"# x\r\n\r\nPORT=3000\r\nB=1\r", {"PORT": "3000", "B": "1"}),
    "quotes stay": (b"A=\"x\" 'y'\n", {"A": "\"x\" 'y'"}),
    "nothing is run": (b"A=$(touch /tmp/x) `id` $HOME ${X}\n", {"A": "$(touch /tmp/x) `id` $HOME ${X}"}),
    "spaces and backslashes": (b"A=  b\\n c  \n", {"A": "  b\\n c  "}),
    "names of the script itself": (b"release=r\nline=l\nname=n\nIFS=x\n", {"release": "r", "line": "l", "name": "n"}),
    "the last of two counts": (b"A=1\nA=2\n", {"A": "2"}),
    "the environment": (b"SERVER_ENV=sit\n", {"SERVER_ENV": "sit"}),
    "options of node": (b"NODE_OPTIONS=--max-old-space-size=512\n", {"NODE_OPTIONS": "--max-old-space-size=512"}),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), GOOD_LINES.values(), ids=GOOD_LINES)
def test_lines_of_the_environment_file_reach_the_application(
    tmp_path: Path, shell: Sequence[str], content: bytes, expected: Dict[str, str]
) -> None:
    said = with_env_file(tmp_path, shell, content).run("start", "a b", env={"A": "from outside"})
    assert {name: said.env.get(name) for name in expected} == expected
    assert said.arguments[-1] == "a b"


BAD_LINES = {
    "no equals sign": b"A=1\nsecret\n",
    "no name": b"A=1\n=secret\n",
    "a space before the sign": b"A=1\nB =secret\n",
    "an export": b"A=1\nexport B=secret\n",
    "a digit first": b"A=1\n1B=secret\n",
    "a dash": b"A=1\nB-C=secret\n",
    "a command": b"A=1\n$(secret)=x\n",
}


@pytest.mark.parametrize("content", BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_reported_by_its_number_and_not_shown(
    tmp_path: Path, shell: Sequence[str], content: bytes
) -> None:
    said = with_env_file(tmp_path, shell, content).run("start")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr.startswith(f"bin/app: {tmp_path}/env file:2: no NAME=value line; write ")
    assert "secret" not in said.stderr


def test_a_missing_environment_file_stops_the_start(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", shell, env_file="/nowhere/env")
    said = release.run("start")
    assert (said.code, said.stdout) == (1, "")
    assert said.stderr == (
        "bin/app: the environment file /nowhere/env cannot be read; create it or check its rights\n"
    )


def test_a_folder_is_not_an_environment_file(tmp_path: Path, shell: Sequence[str]) -> None:
    release = make_release(tmp_path / "release", shell, env_file=str(tmp_path))
    said = release.run("start")
    assert (said.code, said.stdout) == (1, "")
    assert f"the environment file {tmp_path} cannot be read" in said.stderr


def test_half_a_file_does_nothing(tmp_path: Path) -> None:
    release = make_release(tmp_path / "release", ["sh"])
    whole = release.app.read_text()
    assert whole.rstrip().splitlines()[-1] == 'main "$@"'
    release.app.write_text(whole[: whole.rindex("main ")])
    said = release.run("start")
    assert (said.code, said.stdout, said.stderr) == (0, "", "")
