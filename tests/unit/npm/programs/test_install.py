"""The install's own part: tarballs are looked into, and no failure beside npm goes unseen."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Tuple

import pytest

from slipway.archive import layers, package_tarball
from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.fetch import integrity as sri
from slipway.npm.install_report import InstallReport, ScriptedPackage
from slipway.npm.installed_tree import LockedPackage
from slipway.npm.programs import install as install_packages
from slipway.npm.programs.install import OUTPUTS, Arguments, Tarball
from slipway.runtime import node_process
from tests.unit.archive.own_archives import read_entries

KOA = "node_modules/koa"
TARBALL = "in/cache/_cacache/content-v2/sha512/aa/bb/cc"


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in" / "install").mkdir(parents=True)
    (tmp_path / "in" / "install" / "package.json").write_text("{}")
    (tmp_path / TARBALL).parent.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_tarball(**facts: Any) -> None:
    with tarfile.open(TARBALL, "w:gz") as tar:
        info = tarfile.TarInfo("package/package.json")
        for name, value in facts.items():
            setattr(info, name, value)
        tar.addfile(info, io.BytesIO())


def tarball() -> Tarball:
    """What the step is told of koa's tarball."""
    integrity = str(sri.of_bytes("sha512", Path(TARBALL).read_bytes()))
    return Tarball(TARBALL, "koa@1.0.0", (integrity,))


def arguments(*tarballs: Tarball) -> Arguments:
    return Arguments(
        packages={KOA: LockedPackage("koa", "1.0.0")},
        production=(KOA,),
        native=(),
        tarballs=tarballs,
        npm_major=8,
        drop_foreign=False,
    )


def install(
    monkeypatch: pytest.MonkeyPatch,
    status: int = 0,
    native: Tuple[str, ...] = (),
    drop_foreign: bool = False,
    files: Mapping[str, bytes] = types.MappingProxyType({}),
    **manifest: Any,
) -> InstallReport:
    """Installs one package; `manifest` is added to its package.json, `files` lie beside it."""

    def npm(
        arguments: List[str],
        cwd: str,
        extra: Dict[str, str],
        *,
        app: str,
        started: Callable[..., None],
    ) -> Tuple[int, List[str]]:
        started(lambda: None)
        assert (arguments, cwd) == (["ci", "--ignore-scripts"], "app")
        folder = Path(cwd, KOA)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(
            json.dumps({"name": "koa", "version": "1.0.0", **manifest})
        )
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return status, ["npm ERR! code EUSAGE"]

    monkeypatch.setattr(node_process, "npm", npm)
    install_packages.install(
        replace(arguments(tarball()), native=native, drop_foreign=drop_foreign)
    )
    return OUTPUTS.report.read(Path(OUTPUTS.report.path).read_text())


def test_packages_with_install_scripts_are_listed(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tarball()
    report = install(monkeypatch, scripts={"postinstall": "node x", "test": "y"})
    assert report.install_scripts == (
        ScriptedPackage(
            path="node_modules/koa",
            name="koa",
            version="1.0.0",
            scripts={"postinstall": "node x"},
            production=True,
            variables=(),
        ),
    )
    assert [package.name for package in report.packages] == ["koa"]


def test_commands_without_a_link_and_absent_packages_are_reported(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tarball()
    report = install(monkeypatch, bin="cli.js", files={"cli.js": b"x"})
    assert report.unlinked == {KOA: {"koa": "cli.js"}}
    assert report.absent == ()


def members(path: str) -> List[str]:
    return [info.name for info, _ in read_entries(path) if not info.isdir()]


def test_a_package_whose_script_will_run_is_in_a_separate_archive(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tarball()
    report = install(monkeypatch, native=(KOA, "node_modules/absent"), scripts={"install": "x"})
    assert report.native == {KOA: "1.0.0"}
    assert members("out/installed.tar") == []
    assert members("out/dependencies.layer") == [".release/dependencies.sha256"]
    assert members("out/addon-koa.tar") == ["closure.json", f"{KOA}/package.json"]
    assert members("out/addon-absent.tar") == ["closure.json"]


MAC = {"addon.node": b"\xcf\xfa\xed\xfe" + bytes(60)}


def test_binaries_for_other_systems_are_dropped_only_from_the_release(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tarball()
    report = install(monkeypatch, drop_foreign=True, files=MAC)
    assert report.foreign == (f"{KOA}/addon.node",)
    assert f"{KOA}/addon.node" in members("out/installed.tar")
    assert f"{KOA}/addon.node" not in members("out/dependencies.layer")
    assert json.loads(Path("out/dependencies.elf.json").read_text()) == []


def test_binaries_for_other_systems_stay_by_default(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tarball()
    assert install(monkeypatch, files=MAC).foreign == ()
    (fact,) = json.loads(Path("out/dependencies.elf.json").read_text())
    assert fact == {"path": f"{KOA}/addon.node", "system": "macOS"}


def test_a_failing_npm_shows_its_last_lines(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tarball()
    with pytest.raises(SlipwayError) as caught:
        install(monkeypatch, status=1)
    assert caught.value.what == "npm ci failed with exit status 1"
    assert caught.value.found == "npm ERR! code EUSAGE"


@pytest.mark.parametrize("status", [0, 1])
def test_an_invalid_tarball_is_reported_instead_of_npms_error(
    step: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    write_tarball(type=tarfile.FIFOTYPE)
    with pytest.raises(SlipwayErrors, match=r'the package "koa@1\.0\.0" contains entries'):
        install(monkeypatch, status=status)
    assert not Path("out/install.json").exists()


def test_a_check_that_cannot_run_is_not_a_success(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        install(monkeypatch)


def test_a_disk_that_fills_in_the_second_thread_is_not_a_success(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, entries: object) -> None:
        raise OSError(28, "No space left on device", path)

    write_tarball()
    monkeypatch.setattr(layers, "write_tar", full)
    with pytest.raises(OSError, match="No space left on device"):
        install(monkeypatch)


def test_npm_is_ended_as_soon_as_a_tarball_is_invalid(
    step: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on to unpack the ten gigabytes that were just found."""
    ended = threading.Event()

    def npm(
        arguments: List[str],
        cwd: str,
        extra: Dict[str, str],
        *,
        app: str,
        started: Callable[..., None],
    ) -> Tuple[int, List[str]]:
        started(ended.set)
        assert ended.wait(timeout=30)
        return -9, []

    write_tarball(type=tarfile.FIFOTYPE)
    monkeypatch.setattr(node_process, "npm", npm)
    with pytest.raises(SlipwayErrors, match="contains entries"):
        install_packages.install(arguments(tarball()))


def test_the_largest_tarball_is_checked_first(step: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[str] = []
    monkeypatch.setattr(package_tarball, "check", lambda path, label: seen.append(label))
    for name, size in (("a", 10), ("b", 3000), ("c", 200)):
        Path(name).write_bytes(bytes(size))
    install_packages._check_tarballs(
        [Tarball(path=name, package=name, integrities=()) for name in "abc"]
    )
    assert seen == ["b", "c", "a"]


@pytest.mark.parametrize("algorithm", ["sha1", "sha512"])
def test_a_tarball_of_another_content_than_the_lock_names_is_refused(
    step: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    """Its SHA-256 is the fetch lock's, so that it was found in the store, and nothing fetched."""
    write_tarball()
    good, other = tarball().integrities[0], str(sri.of_bytes(algorithm, b"the locked one"))
    wanted = replace(tarball(), integrities=(good, other))
    monkeypatch.setattr(node_process, "npm", lambda *args, **more: (0, []))
    with pytest.raises(SlipwayError) as caught:
        install_packages.install(arguments(wanted))
    assert "hash mismatch: the fetch lock has another content for koa@1.0.0 than" in str(
        caught.value
    )
    assert f"not {other}" in caught.value.found


@pytest.mark.parametrize("order", [1, -1])
def test_one_content_of_two_packages_must_match_both(
    step: Path, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    write_tarball()
    weak = str(sri.of_bytes("sha1", b"what package-lock.json names"))
    other = replace(tarball(), package="old@1.0.0", integrities=(weak,))
    monkeypatch.setattr(node_process, "npm", lambda *args, **more: (0, []))
    with pytest.raises(SlipwayError, match=r"another content for old@1\.0\.0 than"):
        install_packages.install(arguments(*[tarball(), other][::order]))
