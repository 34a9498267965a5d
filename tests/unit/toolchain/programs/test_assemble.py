"""The program that creates layers: its files, its messages, and reproducible bytes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from slipway.step.interface import ARGUMENTS
from slipway.toolchain.programs import assemble
from slipway.toolchain.programs.assemble import PROGRAM, Archive, Arguments, Layer, Root
from tests.places import LAUNCHER, NO_VARIABLES, SOURCES
from tests.unit.debian.builders import (
    BASE_LAYER,
    folder,
    link,
    make_deb,
    make_docker_archive,
    make_tar,
    program,
    write_inputs,
)

STARTED = (LAUNCHER, assemble.__name__)
LAYER = Arguments(layer=Layer())
ARCHIVE = Arguments(archive=Archive(below=("made/base.tar",), output="image.tar"))
ROOT = Arguments(root=Root(archive="made/image.tar"))

DEBS = {
    "shell": make_deb([("./bin/dash", program(0o4711)), ("./bin/sh", link("dash"))], name="shell"),
    "tool": make_deb(
        [
            ("./usr/bin/python3", b"python"),
            ("./usr/bin/py", link("./usr/bin/python3", tarfile.LNKTYPE)),
            ("./usr/lib/ä" + "x" * 120, b"long"),
            ("./var/spool", folder(0o2770)),
        ],
        name="tool",
        compression=".gz",
    ),
}


def prepare(top: Path, debs: Dict[str, bytes] = DEBS, **spec: Any) -> Path:
    """A folder as in a build step: the program, its inputs, an empty `out`."""
    top.mkdir(parents=True, exist_ok=True)
    shutil.copytree(SOURCES / "slipway", top / "slipway")
    spec.setdefault("folders", {"tmp": "1777"})
    spec.setdefault("files", {"etc/passwd": ["root:x:0:0:root:/root:/bin/sh"]})
    write_inputs(top, debs, **spec)
    (top / "out").mkdir()
    return top


def run(
    top: Path, arguments: Arguments, python: str = sys.executable, umask: int = 0o022
) -> subprocess.CompletedProcess[str]:
    """One step in the folder; what a success leaves is then in `made`."""
    (top / ARGUMENTS).write_text(PROGRAM(arguments).arguments)
    done = subprocess.run(
        [python, "-I", "-S", "-B", *STARTED],
        cwd=top,
        env=NO_VARIABLES,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.umask(umask) and None,
    )
    if done.returncode == 0:
        keep_outputs(top, arguments)
    return done


def keep_outputs(top: Path, arguments: Arguments) -> None:
    stem = "base" if arguments.layer else "image" if arguments.archive else "root"
    (top / "made").mkdir(exist_ok=True)
    for path in (top / "out").iterdir():
        path.replace(top / "made" / f"{stem}{path.suffix}")


def facts(top: Path, name: str) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads((top / "made" / name).read_text())
    return found


def listing(path: Path) -> List[str]:
    with tarfile.open(path) as tar:
        return [f"{oct(m.mode)[2:]:>4} {m.name} {m.linkname}".rstrip() for m in tar]


def test_a_layer_holds_what_packages_and_spec_say(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    done = run(top, LAYER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert listing(top / "made" / "base.tar") == [
        " 755 bin",
        " 755 bin/dash",
        " 777 bin/sh dash",
        " 755 build",
        " 755 dev",
        " 755 etc",
        " 644 etc/passwd",
        " 755 home",
        " 755 proc",
        " 755 run",
        " 755 sys",
        "1777 tmp",
        " 755 usr",
        " 755 usr/bin",
        " 644 usr/bin/py",
        " 644 usr/bin/python3 usr/bin/py",
        " 755 usr/lib",
        " 644 usr/lib/ä" + "x" * 120,
        " 755 var",
        " 755 var/spool",
        " 755 var/tmp",
    ]


def test_facts_of_a_layer(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    run(top, LAYER)
    layer = (top / "made" / "base.tar").read_bytes()
    found = facts(top, "base.json")
    assert found["format"] == 1
    assert found["layer_sha256"] == hashlib.sha256(layer).hexdigest()
    assert found["layer_bytes"] == len(layer)
    assert found["entries"] == len(listing(top / "made" / "base.tar"))


def test_the_image_id_is_known_before_the_archive_is_written(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    assert [run(top, arguments).returncode for arguments in (LAYER, ARCHIVE)] == [0, 0]
    layer, image = facts(top, "base.json"), facts(top, "image.json")
    assert image["name"] == "base:11.11"
    for key in ("image_id", "manifest_digest"):
        assert layer[key] == image[key]
    with tarfile.open(top / "made" / "image.tar") as tar:
        assert "blobs/sha256/" + layer["layer_sha256"] in tar.getnames()
        assert "blobs/sha256/" + layer["image_id"][7:] in tar.getnames()


def test_an_archive_that_was_written_is_read_as_the_same_root(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    for arguments in (LAYER, ARCHIVE, ROOT):
        done = run(top, arguments)
        assert done.returncode == 0, done.stderr
    assert facts(top, "root.json")["image_id"] == facts(top, "base.json")["image_id"]
    added = "build:x:1000:1000:build:/home/build:/bin/sh\n"
    with tarfile.open(top / "made" / "root.tar") as tar:
        passwd = tar.extractfile("etc/passwd")
        assert passwd
        assert passwd.read().decode().endswith(added)
    assert listing(top / "made" / "root.tar") == listing(top / "made" / "base.tar")
    assert sorted(path.name for path in (top / "made").iterdir()) == [
        "base.json",
        "base.tar",
        "image.json",
        "image.tar",
        "root.json",
        "root.tar",
    ]


def test_a_further_layer_holds_only_what_is_new(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    run(top, LAYER)
    more = prepare(
        tmp_path / "more",
        {**DEBS, "extra": make_deb([("./usr/bin/extra", b"1")], name="extra")},
        links={"usr/bin/cc": "extra"},
    )
    shutil.copy(top / "made" / "base.tar", more / "base.tar")
    done = run(more, Arguments(layer=Layer(below=("base.tar",))))
    assert done.returncode == 0, done.stderr
    assert listing(more / "made" / "base.tar") == [
        " 777 usr/bin/cc extra",
        " 644 usr/bin/extra",
    ]
    both = Archive(below=("base.tar", "made/base.tar"), output="image.tar")
    assert run(more, Arguments(archive=both)).returncode == 0
    assert facts(more, "image.json")["image_id"] == facts(more, "base.json")["image_id"]
    with tarfile.open(more / "made" / "image.tar") as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest
        assert len(json.loads(manifest.read())[0]["Layers"]) == 2


def test_a_ready_image_becomes_a_root(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    archive = make_docker_archive([make_tar(BASE_LAYER)], compression=".gz")
    (top / "made").mkdir()
    (top / "made" / "image.tar").write_bytes(archive)
    assert run(top, ROOT).returncode == 0
    assert facts(top, "root.json")["left_out"] == {"devices": 0, "set_id_bits": 0}
    assert " 644 bin/sh" in listing(top / "made" / "root.tar")


FAULTS: Dict[str, Tuple[Callable[[Path], Any], str]] = {
    "no lock": (lambda top: (top / "packages.lock").unlink(), "packages.lock"),
    "no spec": (lambda top: (top / "image.json").unlink(), "image.json"),
    "spec no JSON": (lambda top: (top / "image.json").write_text("{"), '"image.json" is not JSON'),
    "lock stale": (
        lambda top: (top / "image.json").write_text(
            (top / "image.json").read_text().replace('"shell"', '"bash"')
        ),
        '"packages.lock" is out of date',
    ),
    "package missing": (
        lambda top: next((top / "debs").iterdir()).unlink(),
        "cannot read the package",
    ),
    "no folder for the result": (lambda top: (top / "out").rmdir(), "out/base.tar"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_told_without_a_traceback(case: str, tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    change, text = FAULTS[case]
    change(top)
    done = run(top, LAYER)
    assert done.returncode == 1
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert not (top / "out" / "base.json").exists()


def test_a_full_disk_is_told_without_a_traceback(tmp_path: Path) -> None:
    top = prepare(tmp_path / "step")
    os.symlink("/dev/full", top / "out" / "base.tar")
    done = run(top, LAYER)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert f"next:  df -h {top}/out" in done.stderr
    assert "Traceback" not in done.stderr


def pythons() -> List[str]:
    """Every CPython 3.7 to 3.9 of this machine: those that the runner may take."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python3.{minor}") or "" for minor in (7, 8, 9)]
    found += [
        str(path) for minor in (7, 8, 9) for path in versions.glob(f"3.{minor}.*/bin/python3")
    ]
    return [path for path in found if path and works(path)]


def works(python: str) -> bool:
    command = [python, "-I", "-c", "import lzma"]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


def results(top: Path) -> Dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((top / "made").iterdir())
    }


def test_every_python_folder_and_umask_gives_the_same_bytes(tmp_path: Path) -> None:
    expected: Dict[str, str] = {}
    # Not every Python with every umask: what one of them changes shows in one of these pairs.
    for number, python in enumerate([sys.executable, *pythons()]):
        for umask in (0o022, 0o077)[:1] if number else (0o022, 0o077):
            top = prepare(tmp_path / f"{number}-{umask} ä" / ("deep/" * number) / "step")
            for arguments in (LAYER, ARCHIVE, ROOT):
                done = run(top, arguments, python, umask)
                assert done.returncode == 0, done.stderr
            expected = expected or results(top)
            assert results(top) == expected, (python, oct(umask))
    assert len(expected) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gives_the_same_bytes(tmp_path: Path) -> None:
    python = shutil.which("python3", path="/usr/bin:/bin")
    if not python:
        pytest.skip("no Python that another user can reach")
    ours = prepare(tmp_path / "ours")
    theirs = prepare(tmp_path / "theirs")
    os.chown(theirs / "out", 65534, 65534)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path.name:
            path.chmod(path.stat().st_mode | 0o011)

    def become_nobody() -> None:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    for arguments in (LAYER, ARCHIVE, ROOT):
        assert run(ours, arguments).returncode == 0
        (theirs / ARGUMENTS).write_text(PROGRAM(arguments).arguments)
        done = subprocess.run(
            [python, "-I", "-S", "-B", *STARTED],
            cwd=theirs,
            env=NO_VARIABLES,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=become_nobody,
        )
        assert done.returncode == 0, done.stderr
        keep_outputs(theirs, arguments)
    assert results(ours) == results(theirs)
