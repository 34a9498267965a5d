"""The step that runs a package's install scripts: what it takes along, and what it tells."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core.errors import SlipwayError
from slipway.npm.programs import compile as compile_package
from slipway.npm.programs.compile import Arguments, Report
from slipway.npm.scripts import native_packages
from slipway.runtime import node_process
from slipway.step import left_files
from tests.unit.archive.own_archives import read_entries

PATH = "node_modules/addon"
Script = Callable[[], None]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in" / "closure").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_closure(*files: str, **manifest: Any) -> None:
    """The addon beside a package that it needs; `manifest` replaces its scripts."""
    own = {"name": "addon", "version": "1.0.0", "scripts": {"install": "make"}, **manifest}
    texts = {
        f"{PATH}/package.json": json.dumps(own),
        "node_modules/nan/nan.h": "",
        **dict.fromkeys(files, ""),
    }
    layers.write_tar(
        "in/closure/addon-addon.tar",
        [
            native_packages.listing([PATH, "node_modules/nan"]),
            *(Entry(name, "file", content=text.encode()) for name, text in texts.items()),
        ],
    )


def compile_it(
    monkeypatch: pytest.MonkeyPatch,
    written: Mapping[str, bytes],
    status: int = 0,
    drop_foreign: bool = False,
    decision: str = "source",
    links: Optional[Mapping[str, str]] = None,
    npm: Optional[Callable[..., Any]] = None,
) -> Dict[str, str]:
    """Runs the step with an npm that writes files; gives the environment that npm had."""
    seen: Dict[str, str] = {}

    def writing_npm(
        arguments: List[str], cwd: str, extra: Dict[str, str], **_: object
    ) -> Tuple[int, List[str]]:
        assert (arguments, cwd) == (["rebuild", "addon@1.0.0"], "app")
        seen.update(extra)
        for name, content in written.items():
            path = Path(cwd, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for name, target in (links or {}).items():
            Path(cwd, name).symlink_to(target)
        return status, ["gyp ERR! not ok"]

    monkeypatch.setattr(node_process, "npm", npm or writing_npm)
    compile_package.compile_package(
        Arguments(
            path=PATH,
            layer="addon-addon",
            name="addon",
            version="1.0.0",
            node="16.20.2",
            python="python3",
            from_source=decision == "source",
            takes_binary=decision == "prebuilt",
            drop_foreign=drop_foreign,
        )
    )
    return seen


def report() -> Report:
    left = compile_package.outputs_of("addon-addon").report
    return left.read(Path(left.path).read_text())


def members(path: str) -> List[str]:
    return [info.name for info, _ in read_entries(path) if info.isreg()]


def test_the_package_s_own_folder_is_kept_without_by_products(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure(f"{PATH}/build/Makefile", f"{PATH}/node_modules/bundled/index.js")
    written = {
        f"{PATH}/build/Release/addon.node": b"1",
        f"{PATH}/build/Release/obj.target/a.o": b"2",
        f"{PATH}/build/config.gypi": b"3",
    }
    compile_it(monkeypatch, written)
    kept = [
        f"{PATH}/build/Makefile",  # the package's own, there before
        f"{PATH}/build/Release/addon.node",
        f"{PATH}/node_modules/bundled/index.js",
        f"{PATH}/package.json",
    ]
    assert members("out/addon-addon.tar") == kept
    assert members("out/addon-addon.layer") == [*kept, ".release/addon-addon.sha256"]
    assert report().elsewhere == ()


def test_files_that_a_script_writes_elsewhere_are_reported_and_left_out(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure()
    elsewhere = {"node_modules/nan/cache": b"1", "top": b"2", "node_modules/.bin/x": b"3"}
    compile_it(monkeypatch, elsewhere)
    assert members("out/addon-addon.tar") == [f"{PATH}/package.json"]
    assert sorted(report().elsewhere) == ["node_modules/nan/cache", "top"]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../x"])
def test_a_link_out_of_the_release_is_refused_with_the_package(
    step: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    write_closure()
    with pytest.raises(SlipwayError) as caught:
        compile_it(monkeypatch, {}, links={f"{PATH}/out": target})
    assert (
        caught.value.what == '"addon@1.0.0" has files that its layer of a release must not contain'
    )
    assert f'"{PATH}/out": a symlink out of the release: "{target}"' in caught.value.found
    assert not Path("out/addon-addon.layer").exists()


def test_packages_that_would_fetch_a_binary_get_build_from_source(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure()
    env = compile_it(monkeypatch, {})
    assert env["npm_config_build_from_source"] == "true"
    assert env["npm_config_python"] == "python3"
    assert int(env["JOBS"]) >= 1
    write_closure()
    shutil.rmtree("app")
    assert "npm_config_build_from_source" not in compile_it(monkeypatch, {}, decision="run")


def test_a_binary_without_a_known_mirror_variable_is_an_error(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure()
    with pytest.raises(SlipwayError) as raised:
        compile_it(monkeypatch, {}, decision="prebuilt")
    assert raised.value.what.startswith("no variable is known that names the mirror")
    assert '[install-scripts] variables = {"addon" = ["NAME_OF_THE_VARIABLE"]}' in raised.value.next


def test_binaries_for_other_systems_are_dropped_on_request(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mac = {f"{PATH}/prebuilds/darwin/addon.node": b"\xcf\xfa\xed\xfe" + bytes(60)}
    write_closure()
    compile_it(monkeypatch, mac, drop_foreign=True)
    assert members("out/addon-addon.tar") == [f"{PATH}/package.json", *mac]
    assert members("out/addon-addon.layer")[:-1] == [f"{PATH}/package.json"]
    assert report().foreign == tuple(mac)


def test_a_failing_script_shows_its_last_lines(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_closure()
    with pytest.raises(SlipwayError) as raised:
        compile_it(monkeypatch, {}, status=1)
    error = raised.value
    assert error.what == 'the install script of "addon@1.0.0" failed with exit status 1'
    assert error.found == "gyp ERR! not ok"


def test_a_package_without_install_script_is_an_error(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure(scripts={"test": "x"})
    with pytest.raises(SlipwayError, match=r'"addon@1\.0\.0" has no install script'):
        compile_it(monkeypatch, {})


def test_a_tree_that_is_too_deep_names_the_package(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_closure()

    def npm(arguments: List[str], cwd: str, extra: Dict[str, str], **_: object) -> Any:
        script = f"cd {PATH} && for i in $(seq 400); do mkdir d && cd d || exit; done"
        subprocess.run(["sh", "-c", script], cwd=cwd, check=True)
        return 0, []

    with pytest.raises(SlipwayError, match=r'the install script of "addon@1\.0\.0"'):
        compile_it(monkeypatch, {}, npm=npm)
    subprocess.run(["rm", "-rf", "app"], cwd=step, check=True)


def test_left_files_are_named_with_what_left_them() -> None:
    with pytest.raises(SlipwayError) as raised, left_files.collecting("the script", "a:b"):
        raise PermissionError(13, "Permission denied", "app/locked")
    assert str(raised.value).splitlines() == [
        "the script left files that a build step cannot read",
        "  in:    a:b",
        "  found: app/locked: Permission denied",
        "  next:  change the script, so that it removes these files or makes them readable",
    ]


@pytest.mark.parametrize("with_what", ["a link", "a file", "nothing"])
def test_a_script_that_replaces_the_whole_application_is_named(
    step: Path, monkeypatch: pytest.MonkeyPatch, with_what: str
) -> None:
    """Where the user of scripts is that of the step, nothing keeps one from it."""

    def npm(*_: object, **__: object) -> Any:
        shutil.rmtree("app")
        if with_what == "a link":
            Path("app").symlink_to("/")
        elif with_what == "a file":
            Path("app").touch()
        return 0, []

    write_closure()
    with pytest.raises(SlipwayError, match="left files that a build step cannot read") as raised:
        compile_it(monkeypatch, {}, npm=npm)
    assert 'the install script of "addon@1.0.0"' in raised.value.what
    assert raised.value.found == "app: the folder was replaced"
