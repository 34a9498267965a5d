"""Steps as processes: what is part of their cache keys, and what must not be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from pants.core.goals.export import ExportResults
from pants.core.goals.tailor import AllOwnedSources, PutativeTargets
from pants.engine.fs import CreateDigest, Digest, DigestContents, FileContent, FileDigest, Snapshot
from pants.engine.internals.native_engine import EMPTY_DIGEST, IntrinsicError
from pants.engine.process import Process
from pants.util.frozendict import FrozenDict

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.bundle.programs import export as export_program
from slipway.bundle.rules import export
from slipway.bundle.rules.export import ExportNodeApps
from slipway.core.errors import SlipwayError
from slipway.release.rules.tailor import PutativeNodeAppsRequest
from slipway.step.interface import Call
from slipway.step.rules.build_step import HostStep, Step, StepResult, Tree
from slipway.step.rules.host_settings import HostSettings
from slipway.step.rules.locked_files import LockedFile, LockedFiles, LockedFilesDigest
from slipway.step.rules.program import LAUNCHER, Program, ProgramRequest, path_of
from tests import places
from tests.places import REPOSITORY, SOURCES
from tests.rules.workspace import SHA256, Workspace, make_lock
from tests.unit.archive import own_archives

PROGRAMS = sorted(
    ".".join(path.relative_to(SOURCES).with_suffix("").parts)
    for path in SOURCES.glob("slipway/*/programs/*.py")
    if path.stem != "__init__"
)
STARTED = ("-I", "-S", "-B", places.LAUNCHER)
MANY = LockedFile("cache/x", SHA256, 99, FrozenDict(kind="npm", name="x", version="1.0.0"))


def make_step(**more: Any) -> Step:
    values: Dict[str, Any] = {
        "call": Call("slipway.bundle.programs.pack_app", '{"static_dir":"dist"}'),
        "trees": (Tree("base.tar", EMPTY_DIGEST, FileDigest(SHA256, 1), "/"),),
        "outputs": ("app.layer",),
        "description": "Pack app",
        "origin": "app:bundle",
        **more,
    }
    return Step(**values)


def key(process: Process) -> Dict[str, Any]:
    """What a cache key is made of; names of named caches follow from what must stay out."""
    return {
        "argv": process.argv,
        "env": process.env,
        "inputs": process.input_digest,
        "immutable": process.immutable_input_digests,
        "outputs": (process.output_files, process.output_directories),
        "caches": sorted(process.append_only_caches.values()),
        "limit": process.timeout_seconds,
        "folder": process.working_directory,
    }


# --- What a process holds.


def test_a_step_is_started_by_relative_names_alone(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(processes=True)
    workspace.request(StepResult, make_step())
    (process,) = workspace.processes()
    assert process.argv == ("host/python", *STARTED, "slipway.step.programs.enter")
    assert not process.env
    assert process.output_files == ("out/app.layer", "network.json")
    assert process.timeout_seconds is None or process.timeout_seconds < 0
    assert sorted(process.append_only_caches.values()) == ["host", "trees_cache"]
    contents = workspace.request(DigestContents, process.input_digest)
    texts = {file.path: file.content.decode() for file in contents}
    step = json.loads(texts["step.json"])
    assert step["argv"] == [
        *("/usr/bin/python3", "-I", "-S", "-B", f"/build/slipway/{places.LAUNCHER}"),
        "slipway.bundle.programs.pack_app",
    ]
    assert step["trees"] == [{"layer": "0/base.tar", "sha256": SHA256, "target": "/"}]
    assert json.loads(texts["in/arguments.json"]) == {"static_dir": "dist"}
    for text in (texts["step.json"], texts["in/arguments.json"]):
        for place in (
            str(workspace.folder),
            str(REPOSITORY),
            os.path.expanduser("~"),
            sys.executable,
        ):
            assert place not in text


def test_a_host_step_is_started_by_relative_names_alone(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace(processes=True)
    call = Call("slipway.toolchain.programs.assemble", '{"root":{"archive":"image.tar"}}')
    workspace.request(StepResult, HostStep(call, ("base.tar",), "Assemble", "t:t"))
    (process,) = workspace.processes()
    assert process.argv == ("host/python", *STARTED, "slipway.toolchain.programs.assemble")
    contents = workspace.contents(process.input_digest)
    assert contents["arguments.json"] == call.arguments
    assert not [word for word in process.argv if word.startswith("/")]
    assert not process.env


def process_of(make_workspace: Callable[..., Workspace], step: Step, *options: str) -> Process:
    workspace = make_workspace(*options, processes=True)
    workspace.request(StepResult, step)
    return workspace.processes()[0]


def test_options_and_places_that_should_not_matter_are_in_no_key(
    make_workspace: Callable[..., Workspace],
) -> None:
    plain = process_of(make_workspace, make_step())
    other = process_of(
        make_workspace,
        make_step(),
        "--slipway-step-time-limit=7",
        "--slipway-step-memory-limit=3GB",
        "--slipway-step-process-limit=77",
        "--slipway-step-space-limit=5GB",
        "--slipway-step-inode-limit=88888",
        "--slipway-npm-registry=https://r.example/",
        "--slipway-debian-mirror=https://d.example/",
        "--process-execution-local-parallelism=1",
        "--level=warn",
    )
    assert key(plain) == key(other)


@pytest.mark.parametrize(
    "words",
    [
        {"description": "something else"},
        {"origin": "other:target"},
        {"words": FrozenDict(package_json="other/package.json")},
    ],
    ids=lambda words: next(iter(words)),
)
def test_texts_for_people_are_in_no_key(
    make_workspace: Callable[..., Workspace], words: Dict[str, Any]
) -> None:
    assert make_step() == make_step(**words)
    plain = process_of(make_workspace, make_step())
    assert key(plain) == key(process_of(make_workspace, make_step(**words)))


MATTERS: Dict[str, Dict[str, Any]] = {
    "arguments": {"call": Call("slipway.bundle.programs.pack_app", '{"static_dir":"public"}')},
    "outputs": {"outputs": ("app.layer", "more")},
    "the program": {"call": Call("slipway.release.programs.tarball", '{"static_dir":"dist"}')},
    "the root": {"trees": (Tree("base.tar", EMPTY_DIGEST, FileDigest(SHA256[::-1], 1), "/"),)},
    "locked files": {"locked": LockedFiles((MANY,))},
}


@pytest.mark.parametrize("change", MATTERS.values(), ids=MATTERS)
def test_what_matters_is_in_the_key(
    make_workspace: Callable[..., Workspace], change: Dict[str, Any]
) -> None:
    plain = process_of(make_workspace, make_step())
    assert key(plain) != key(process_of(make_workspace, make_step(**change)))


# --- Programs.


def loaded_modules(program: str) -> List[str]:
    """The modules of this package that a program imports, but for the packages that they are in."""
    code = (
        f"import importlib, sys; sys.path.insert(0, {str(SOURCES)!r});"
        f"importlib.import_module({program!r});"
        "print(*sorted(name for name, module in sys.modules.items()"
        " if name.startswith('slipway.') and not hasattr(module, '__path__')))"
    )
    argv = [sys.executable, "-I", "-S", "-B", "-c", code]
    return subprocess.check_output(argv, text=True).split()


@pytest.fixture(scope="module")
def reader() -> Iterator[Workspace]:
    """One workspace for tests that ask for programs alone."""
    workspace = Workspace()
    yield workspace
    workspace.close()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_holds_exactly_what_it_imports(reader: Workspace, program: str) -> None:
    digest = reader.request(Program, ProgramRequest((program,))).digest
    modules = (LAUNCHER, program, *loaded_modules(program))
    expected = {path_of(module) for module in modules}
    found = set(reader.files(digest))
    assert expected <= found
    for path in found - expected:
        # An import inside of a function, or what that one imports in turn.
        name = Path(path).stem
        assert any(name in (SOURCES / one).read_text() for one in found - {path}), path


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_starts_with_its_own_files_alone(
    reader: Workspace, tmp_path: Path, program: str
) -> None:
    request = ProgramRequest((program,))
    digest = reader.request(Program, request).digest
    for file in reader.request(DigestContents, digest):
        place = tmp_path / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.content)
    # The launcher runs it as the main module; here, it is imported in place of that.
    code = (
        "import importlib, runpy, sys; sys.argv.pop(0);"
        "runpy.run_module = lambda name, **_: importlib.import_module(name);"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    launcher = str(tmp_path / places.LAUNCHER)
    argv = [sys.executable, "-I", "-S", "-B", "-c", code, launcher, program]
    assert subprocess.run(argv, cwd="/", check=False).returncode == 0


def test_an_unknown_program_is_no_silent_nothing(reader: Workspace) -> None:
    with pytest.raises(Exception, match=r"slipway\.step\.programs\.nothing"):
        reader.request(Program, ProgramRequest(("slipway.step.programs.nothing",)))


# --- Locked files.


def test_the_digest_of_locked_files_is_known_without_their_contents(workspace: Workspace) -> None:
    content = FileContent("cache/x", b"the content")
    here = workspace.request(Digest, CreateDigest([content]))
    files = workspace.request(Snapshot, here)
    sha256 = "cd2d1b6aa11f8ef8ba5f2bbbbe7a46f2f0ec1fd23a4ab2e0dfb3b1b2e5b6e3d8"
    absent = LockedFile("cache/x", sha256, 12345, FrozenDict(kind="npm", name="x"))
    digest = workspace.request(LockedFilesDigest, LockedFiles((absent,))).digest
    assert digest != here
    assert files.files == ("cache/x",)
    own = hashlib.sha256(b"the content").hexdigest()
    same = LockedFile("cache/x", own, 11, FrozenDict(kind="npm", name="x"))
    assert workspace.request(LockedFilesDigest, LockedFiles((same,))).digest == here


def test_where_a_locked_file_comes_from_is_not_in_its_digest(workspace: Workspace) -> None:
    npm = LockedFile("x", SHA256, 9, FrozenDict(kind="npm", name="x"))
    url = LockedFile("x", SHA256, 9, FrozenDict(kind="url", url="https://m.example/x"))
    digests = [
        workspace.request(LockedFilesDigest, LockedFiles((one,), project=project)).digest
        for one, project in ((npm, "app"), (url, None))
    ]
    assert digests[0] == digests[1]
    both = LockedFiles((npm, url))
    assert workspace.request(LockedFilesDigest, both).digest == digests[0]


# --- Settings of the host.


def test_settings_have_a_name_that_follows_from_their_content(
    make_workspace: Callable[..., Workspace],
) -> None:
    one, same = make_workspace().request(HostSettings), make_workspace().request(HostSettings)
    other = make_workspace("--slipway-step-time-limit=5").request(HostSettings)
    assert one.cache_name == same.cache_name != other.cache_name
    assert set(one.cache_name) <= set("abcdefghijklmnopqrstuvwxyz_")
    assert json.loads(other.text)["time_limit"] == 5


def test_the_limits_of_a_step_are_in_the_settings_as_the_options_spell_them(
    make_workspace: Callable[..., Workspace],
) -> None:
    limits = json.loads(make_workspace().request(HostSettings).text)["limits"]
    assert limits == {"memory": "80%", "processes": 4096, "space": "16GB", "inodes": 1_000_000}
    options = ("--slipway-step-memory-limit=12GB", "--slipway-step-process-limit=50")
    limits = json.loads(make_workspace(*options).request(HostSettings).text)["limits"]
    assert (limits["memory"], limits["processes"]) == ("12GB", 50)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("step-memory-limit", "lots"),
        ("step-space-limit", "50%"),
        ("step-process-limit", "0"),
        ("step-inode-limit", "-1"),
    ],
)
def test_an_invalid_limit_fails_before_any_step_runs(
    option: str, value: str, make_workspace: Callable[..., Workspace]
) -> None:
    workspace = make_workspace(f"--slipway-{option}={value}", processes=True)
    with pytest.raises(Exception, match="the option") as caught:
        workspace.request(StepResult, make_step())
    text = str(caught.value)
    assert f'the option "{option.replace("-", "_")}" is ' in text
    assert f"[slipway] {option.replace('-', '_')}" in text
    assert f'found: "{value}"' in text
    assert f"next:  --slipway-{option}=" in text
    assert workspace.processes() == []


def test_the_isolators_to_try_and_the_user_s_docker_are_in_the_settings_alone(
    make_workspace: Callable[..., Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\n")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = json.loads(make_workspace().request(HostSettings).text)
    assert settings["isolators"] == ["namespaces", "docker", "chroot", "inside"]
    assert settings["docker"]["program"] == str(client)
    assert settings["docker"]["env"]["PATH"].startswith(f"{tmp_path}:")
    chosen = json.loads(make_workspace("--slipway-isolator=chroot").request(HostSettings).text)
    assert (chosen["isolators"], chosen["docker"]) == (["chroot"], None)


def test_settings_are_written_again_when_somebody_removed_them(workspace: Workspace) -> None:
    settings = workspace.request(HostSettings)
    settings.ensure_written()
    folder = Path(settings.folder)
    assert json.loads((folder / "settings.json").read_text())["time_limit"] == 3600
    (folder / "python").unlink()
    settings.ensure_written()
    assert os.readlink(folder / "python") == settings.python
    assert sorted(path.name for path in folder.iterdir()) == ["python", "settings.json"]


def test_steps_that_start_at_once_write_the_settings_side_by_side(workspace: Workspace) -> None:
    settings = workspace.request(HostSettings)
    for _ in range(50):
        shutil.rmtree(settings.folder, ignore_errors=True)
        start = threading.Barrier(8)

        def write(start: threading.Barrier = start) -> None:
            start.wait()
            settings.ensure_written()

        with ThreadPoolExecutor(8) as pool:
            for written in [pool.submit(write) for _ in range(8)]:
                written.result()
        assert sorted(os.listdir(settings.folder)) == ["python", "settings.json"]


def test_settings_that_no_run_used_for_long_are_removed(workspace: Workspace) -> None:
    settings = workspace.request(HostSettings)
    old = Path(settings.named_caches) / "slipway_host_old"
    other = Path(settings.named_caches) / "somebody_elses"
    for folder in (old, other):
        folder.mkdir(parents=True)
        (folder / "python").symlink_to("/nowhere")
        (folder / "settings.json").write_text("{}")
        os.utime(folder / "settings.json", (1, 1))
    settings.ensure_written()
    assert list(old.iterdir()) == []
    assert len(list(other.iterdir())) == 2


# --- tailor and export.


def test_tailor_proposes_a_bundle_and_a_release_that_package_as_they_stand(
    workspace: Workspace,
) -> None:
    workspace.write_app("owned")
    workspace.write_app("new", BUILD=None)
    workspace.write({"new/node_modules/koa/package-lock.json": make_lock()})
    request = PutativeNodeAppsRequest(("owned", "new", "new/node_modules/koa"))
    found = workspace.request(PutativeTargets, request, AllOwnedSources([]))
    assert [(one.path, one.name, one.type_alias, dict(one.kwargs)) for one in found] == [
        ("new", "bundle", "node_app_bundle", {}),
        ("new", "release", "release_tarball", {"bundle": ":bundle"}),
    ]
    blocks = "\n".join(one.generate_build_file_stanza("    ") for one in found)
    both = '"runtime": "//toolchains/node", "toolchain": "//toolchains/gcc48"'
    defaults = f"__defaults__({{node_app_bundle: {{{both}}}}})\n"
    workspace.write({"BUILD": defaults, "new/BUILD": blocks})
    assert workspace.package("new:release").artifacts


def test_tailor_and_export_do_not_list_the_files_of_other_applications(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--export-resolve=['npm:apps/two']")
    workspace.write_app("apps/one", BUILD="node_app_bundle(lockfile=1)")
    workspace.write_app("apps/two")
    workspace.write({"BUILD": 'files(name="files", sources=["apps/**"])\n'})
    os.symlink("/etc/passwd", workspace.folder / "apps/one/service/pw")
    (result,) = workspace.request(ExportResults, ExportNodeApps(()))
    assert result.reldir == "node/apps.two"
    (workspace.folder / "apps/one/service/pw").unlink()
    workspace.write_app("apps/one", **{"service/[x]*.js": ""})
    request = PutativeNodeAppsRequest(("apps/two",))
    assert not workspace.request(PutativeTargets, request, AllOwnedSources([]))


def test_export_gives_each_wanted_application_its_own_folder(
    make_workspace: Callable[..., Workspace],
) -> None:
    workspace = make_workspace("--export-resolve=['npm:apps/two']")
    two = (
        'node_app_bundle(name="{}", runtime="//toolchains/node", toolchain="//toolchains/gcc48")\n'
    )
    workspace.write_app("apps/one")
    workspace.write_app("apps/two", BUILD=two.format("a") + two.format("b"))
    (result,) = workspace.request(ExportResults, ExportNodeApps(()))
    assert (result.reldir, result.resolve) == ("node/apps.two", "npm:apps/two")
    program, *modules, installed, runtime = sorted(
        workspace.files(result.digest),
        key=lambda path: (not path.endswith("/export.py"), path),
    )
    assert program == f"{export._FOLDER}/slipway/bundle/programs/export.py"
    assert {path.split("/")[0] for path in modules} == {export._FOLDER}
    assert (installed, runtime) == ("installed.tar", "runtime.tar")


def test_export_without_a_resolve_says_what_to_type(
    make_workspace: Callable[..., Workspace], caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make_workspace()
    workspace.write_app("apps/one")
    targets = tuple(workspace.target(f"apps/one:{name}") for name in ("bundle", "release"))
    assert not workspace.request(ExportResults, ExportNodeApps(targets))
    (said,) = [text for text in caplog.messages if "export" in text]
    assert said.endswith(": ./pants export --resolve=npm:apps/one")


def test_export_of_another_resolve_says_nothing(
    make_workspace: Callable[..., Workspace], caplog: pytest.LogCaptureFixture
) -> None:
    workspace = make_workspace("--export-resolve=['python-default']")
    workspace.write_app("apps/one")
    workspace.request(ExportResults, ExportNodeApps((workspace.target("apps/one:bundle"),)))
    assert not [text for text in caplog.messages if "export" in text]


def unpack_export(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs the program of an export as Pants lays it out, beside a runtime."""
    launcher = folder / export._FOLDER / places.LAUNCHER
    shutil.copytree(SOURCES / "slipway", folder / export._FOLDER / "slipway")
    layers.write_tar(str(folder / "runtime.tar"), [Entry("bin/node", "file", True, content=b"2")])
    argv = [sys.executable, *STARTED[:-1], str(launcher), export_program.__name__, str(folder)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_an_export_is_not_written_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "installed.tar").write_bytes(
        own_archives.own_tar([own_archives.file("../outside")])
    )
    done = unpack_export(tmp_path / "export")
    assert done.returncode == 1
    assert '"../outside": its name leaves the archive' in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outside").exists()


def test_export_unpacks_the_runtime_and_the_packages(tmp_path: Path) -> None:
    layers.write_tar(
        str(tmp_path / "installed.tar"), [Entry("node_modules/a", "file", content=b"1")]
    )
    assert unpack_export(tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["node_modules", "node_runtime"]
    assert os.access(tmp_path / "node_runtime" / "bin" / "node", os.X_OK)


# --- Full disks.


def test_a_full_disk_that_pants_meets_is_told_with_what_to_look_at(workspace: Workspace) -> None:
    settings = workspace.request(HostSettings)
    said = "Failed to execute: Process {\n  argv: []\n}\n\nFailed: No space left on device (os error 28)"
    error = settings.explained(IntrinsicError(said))
    assert isinstance(error, SlipwayError)
    assert error.found == "Failed: No space left on device (os error 28)"
    assert error.next.startswith("df -h /")
    assert settings.named_caches in error.next


@pytest.mark.parametrize("said", ["Missing digest: x", ""])
def test_other_troubles_of_pants_are_passed_on(workspace: Workspace, said: str) -> None:
    error = IntrinsicError(said)
    assert workspace.request(HostSettings).explained(error) is error
