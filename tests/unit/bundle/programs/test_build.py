"""The build step's own part: what a script may leave, and what is said of the rest.

npm is replaced by a function that does what a build script would do.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.bundle.programs import build as build_client
from slipway.bundle.programs.build import OUTPUTS, Arguments
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.runtime import node_process
from tests.unit.archive.own_archives import read_entries

Script = Callable[[Path], Any]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a step, with a source file and one installed package."""
    (tmp_path / "in" / "sources" / "src").mkdir(parents=True)
    (tmp_path / "in" / "sources" / "src" / "a.js").write_text("1\n")
    (tmp_path / "in" / "sources" / "package.json").write_text("{}")
    (tmp_path / "in" / "installed").mkdir()
    layers.write_tar(
        str(tmp_path / "in" / "installed" / "installed.tar"),
        [
            Entry("node_modules/lib/a.js", "file", content=b"1"),
            Entry("node_modules/lib/b.js", "file", content=b"1"),
            Entry("node_modules/tool/cli.js", "file", content=b""),
        ],
    )
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Npm:
    """Notes each call, and does in the application's folder what `script` does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Script, status: int = 0) -> None:
        self.calls: List[Tuple[List[str], Dict[str, str]]] = []
        self._script, self._status = script, status
        monkeypatch.setattr(node_process, "npm", self)

    def __call__(
        self, arguments: Sequence[str], cwd: str, extra: Mapping[str, str], **_: object
    ) -> Tuple[int, List[str]]:
        self.calls.append((list(arguments), dict(extra)))
        self._script(Path(cwd))
        return self._status, ["first line", "last line"]


def build(*outputs: str, **more: Any) -> List[str]:
    """Builds with these outputs declared; the undeclared files."""
    arguments = Arguments(
        script="build",
        script_arguments=("sit",),
        lifecycle_scripts=(),
        server_env="sit",
        env={"MODE": "x"},
        outputs=outputs or ("dist",),
        executables=(),
        production={"node_modules/lib": "lib@1.0.0"},
    )
    build_client.build(replace(arguments, **more))
    return list(OUTPUTS.report.read(Path(OUTPUTS.report.path).read_text()).undeclared)


def built() -> List[str]:
    return [info.name for info, _ in read_entries("out/built.tar")]


def write(path: str, text: str = "x") -> Script:
    def script(app: Path) -> None:
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        (app / path).write_text(text)

    return script


def test_the_declared_outputs_are_taken_with_the_folders_above(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/js/a.js")(app)
        write("service/views/index.html")(app)
        write("service/other.js")(app)

    Npm(monkeypatch, script)
    assert build("dist", "service/views") == ["service/other.js"]
    assert built() == [
        *("dist", "dist/js", "dist/js/a.js", "service", "service/views"),
        "service/views/index.html",
    ]


def test_a_script_gets_its_arguments_and_the_environment_s_name_as_a_variable(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = Npm(monkeypatch, write("dist/a"))
    build(lifecycle_scripts=("postinstall",))
    extra = {"SERVER_ENV": "sit", "MODE": "x"}
    assert npm.calls == [
        (["run", "postinstall"], extra),
        (["run", "build", "--", "sit"], extra),
    ]


def test_a_script_without_arguments_gets_none(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = Npm(monkeypatch, write("dist/a"))
    build(script_arguments=())
    assert [arguments for arguments, _ in npm.calls] == [["run", "build"]]


def test_a_file_that_the_script_changed_is_reported_too(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/a")(app)
        write("src/a.js", "22\n")(app)
        write("node_modules/.cache/x")(app)

    Npm(monkeypatch, script)
    assert build() == ["src/a.js"]
    assert (step / "in" / "sources" / "src" / "a.js").read_text() == "1\n"


# --- Installed packages, which a release takes from the install.


def test_changed_and_removed_files_of_production_packages_are_refused(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/a")(app)
        write("node_modules/lib/a.js", "patched")(app)
        (app / "node_modules/lib/b.js").unlink()

    Npm(monkeypatch, script)
    with pytest.raises(SlipwayErrors) as caught:
        build()
    assert caught.value.what.startswith("the scripts of the build changed production packages")
    assert caught.value.faults == ("lib@1.0.0: node_modules/lib/a.js, node_modules/lib/b.js",)
    assert (
        "npm ci && npm run build && npm pack --ignore-scripts ./node_modules/lib && "
        "npm install ./lib-1.0.0.tgz"
    ) in caught.value.next


def test_the_build_may_change_packages_that_a_release_does_not_have(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/a")(app)
        write("node_modules/tool/cli.js", "patched")(app)
        write("node_modules/tool/new.js")(app)

    Npm(monkeypatch, script)
    assert build() == []


def test_a_file_that_is_written_again_with_the_same_content_is_no_change(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/a")(app)
        write("node_modules/lib/a.js", "1")(app)

    Npm(monkeypatch, script)
    assert build() == []


def test_new_files_beside_production_packages_are_reported_but_not_caches(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/a")(app)
        write("node_modules/.cache/x")(app)
        write("node_modules/.prisma/client/index.js")(app)
        write("node_modules/lib/made.js")(app)

    Npm(monkeypatch, script)
    assert build() == ["node_modules/.prisma/client/index.js", "node_modules/lib/made.js"]


def test_a_failing_script_shows_its_last_lines_and_how_to_try_it(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Npm(monkeypatch, lambda app: None, status=2)
    with pytest.raises(SlipwayError) as caught:
        build()
    assert caught.value.what == 'the script "build" failed with exit status 2'
    assert caught.value.found.splitlines() == [
        *("last lines of npm run build -- sit:", "first line", "last line")
    ]
    assert caught.value.next.startswith("run the script by hand: ./pants export --resolve=")


def _link(path: str, target: str) -> Script:
    def script(app: Path) -> None:
        write("dist/real.js")(app)
        (app / path).symlink_to(target)

    return script


BAD: Dict[str, Tuple[Script, str]] = {
    "nothing": (lambda app: None, '"dist" does not exist'),
    "another folder": (
        write("disk/a"),
        '"dist" does not exist; did you mean disk, disk/a?',
    ),
    "a link outwards": (
        _link("dist/out", "../../../etc/passwd"),
        '"dist/out" is a symlink to "../../../etc/passwd", outside the application folder',
    ),
    "an absolute link outwards": (
        _link("dist/out", "/etc/passwd"),
        '"dist/out" is a symlink to "/etc/passwd", outside the application folder',
    ),
    "the output itself a link": (
        lambda app: (app / "dist").symlink_to("/tmp"),
        '"dist" is a symlink to "/tmp", outside the application folder',
    ),
}


@pytest.mark.parametrize(("script", "fault"), BAD.values(), ids=BAD)
def test_missing_outputs_and_links_that_lead_outside_are_refused(
    step: Path, monkeypatch: pytest.MonkeyPatch, script: Script, fault: str
) -> None:
    Npm(monkeypatch, script)
    with pytest.raises(SlipwayErrors) as caught:
        build()
    assert caught.value.what == 'the script "build" did not write the declared outputs'
    assert caught.value.faults == (fault,)
    assert caught.value.where.endswith(", field build_outputs")
    assert not os.path.exists("out/built.tar")


def test_an_absolute_link_inside_would_lead_nowhere_on_a_host(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        _link("dist/link", str((app / "dist" / "real.js").resolve()))(app)

    Npm(monkeypatch, script)
    with pytest.raises(SlipwayErrors, match="which must be relative"):
        build()


def test_a_relative_link_inside_is_kept(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Npm(monkeypatch, _link("dist/link.js", "real.js"))
    assert build() == []
    assert built() == ["dist", "dist/link.js", "dist/real.js"]


@pytest.mark.parametrize("name", [b"dist/\xff.js", b"dist/a\nb.js"])
def test_an_output_s_name_that_no_list_could_hold_is_refused(
    step: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    def script(app: Path) -> None:
        (app / "dist").mkdir()
        (app / os.fsdecode(name)).write_text("x")

    Npm(monkeypatch, script)
    with pytest.raises(
        SlipwayError, match=r"a file name (is not UTF-8|contains a control character)"
    ):
        build()


def test_names_that_differ_in_case_only_are_both_kept(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(app: Path) -> None:
        write("dist/A.js")(app)
        write("dist/a.js")(app)

    Npm(monkeypatch, script)
    build()
    assert built() == ["dist", "dist/A.js", "dist/a.js"]


def test_modes_of_sources_are_those_of_a_checkout(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large inputs come as links to read-only, executable files; small ones by the user's umask."""
    large, small, tool = (step / "in" / "sources" / name for name in ("large", "small", "tool"))
    for path, mode in ((large, 0o555), (small, 0o600), (tool, 0o600)):
        path.write_text("")
        path.chmod(mode)
    seen: Dict[str, int] = {}

    def script(app: Path) -> None:
        seen.update((path.name, path.stat().st_mode & 0o777) for path in app.iterdir())
        (app / "dist").mkdir()

    Npm(monkeypatch, script)
    build(executables=("tool",))
    assert (seen["large"], seen["small"], seen["tool"]) == (0o644, 0o644, 0o755)
