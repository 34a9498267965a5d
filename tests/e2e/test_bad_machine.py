"""Disks that are full while a release is made, and packages that would fill any.

Each command runs in a mount namespace where one folder is on a disk of a few megabytes; the same
command without it shows that nothing was spoiled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import os
import tarfile
import zlib
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from tests.e2e.bad_input import assert_told, differences, state_of
from tests.e2e.harness import Caches, Workspace
from tests.e2e.tiny_app import TinyApp, make_package, member
from tests.unit.registry_stub import Registry

_ON_SMALL_DISK = 'mount -t tmpfs -o size=$1 none "$2" && shift 2 && exec "$@"'


@pytest.fixture(scope="module")
def workspace(make_workspace: Callable[..., Workspace], caches: Caches) -> Iterator[Workspace]:
    # With a runner's folder of its own, where no other session makes sandboxes: they are measured.
    made = make_workspace("machine", caches=dataclasses.replace(caches, shared_runner=None))
    app = TinyApp(made, "apps/warm")
    app.write()
    made.pants("package", app.release).ok()
    yield made
    made.close()


def small_disk(place: Path, size: str) -> List[str]:
    """The words before a command that has a small disk at `place`."""
    place.mkdir(exist_ok=True)
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", "sh", "-c", _ON_SMALL_DISK, "sh", size, str(place)]


# The variable of Pants that names the folder, the disk's size, and texts of the message.
DISKS: Dict[str, Tuple[str, str, Tuple[str, ...]]] = {
    "the execution root": (
        "PANTS_LOCAL_EXECUTION_ROOT_DIR",
        "4m",
        (
            "no space left on a disk that Pants uses",
            "No space left on device (os error 28)",
            "next:  df -h ",
        ),
    ),
    "the named caches": (
        "PANTS_NAMED_CACHES_DIR",
        "4m",
        (
            'cannot unpack the root file system of the step: "No space left on device"',
            "in:    {disk}/slipway_trees",
            "next:  free space there, or set [GLOBAL] named_caches_dir to a folder on another disk",
        ),
    ),
    "the store": (
        "PANTS_LOCAL_STORE_DIR",
        "4m",
        (
            "no space left on a disk that Pants uses",
            "No space left on device (os error 28)",
            "next:  df -h {disk} ",
        ),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", DISKS)
def test_a_full_disk(workspace: Workspace, scratch: Path, name: str) -> None:
    variable, size, told = DISKS[name]
    app = TinyApp(workspace, f"apps/{name.replace(' ', '-')}")
    app.scripts = {"build": f"mkdir dist; head -c 9000000 /dev/urandom >dist/{app.path.name}; :"}
    app.write()
    disk = scratch / "disk"
    before = state_of(workspace)
    result = workspace.pants(
        "package", app.release, env={variable: str(disk)}, before=small_disk(disk, size)
    ).failed()
    assert_told(result, tuple(text.format(disk=disk) for text in told))
    assert differences(before, state_of(workspace)) == {}
    workspace.pants("package", app.release).ok()


@pytest.mark.long
def test_a_full_disk_under_dist_is_told_and_costs_no_second_build(workspace: Workspace) -> None:
    app = TinyApp(workspace, "apps/dist")
    app.scripts = {"build": "mkdir dist; head -c 9000000 /dev/urandom >dist/big; :"}
    app.write()
    result = workspace.pants(
        "package", app.release, before=small_disk(workspace.dist(), "4m")
    ).failed()
    assert_told(result, (f"{workspace.dist('apps.dist')}", "No space left on device"))
    again = workspace.pants("package", app.release).ok()
    assert again.counts.ran == []


def bomb(path: Path) -> bytes:
    """Ten gigabytes of zeros in one file of a package; ten megabytes as they travel."""
    header = member("package/big", size=10 << 30)[0].tobuf(tarfile.GNU_FORMAT)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        file.write(packer.compress(header))
        zeros = bytes(1 << 24)
        # Blocks of one stream that were flushed alike can be repeated: the whole takes no time.
        file.write(packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH))
        block = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
        for _ in range(10 << 30 >> 24):
            file.write(block)
    return path.read_bytes()


def million(path: Path) -> bytes:
    """A million entries, of which npm would make a million files."""
    entries = b"".join(member(f"package/{n}")[0].tobuf(tarfile.USTAR_FORMAT) for n in range(10_000))
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(100):
            file.write(entries)
        file.write(bytes(1024))
    return path.read_bytes()


def used(workspace: Workspace) -> int:
    """The bytes that the folders of a user's caches take: others may work on the same disk."""
    total = 0
    for top in {workspace.caches.folder, workspace.caches.runner}:
        for folder, folders, files in os.walk(top):
            for name in folders + files:
                with contextlib.suppress(FileNotFoundError):
                    total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


EXCESSIVE: Dict[str, Tuple[Callable[[Path], bytes], str]] = {
    "bomb": (bomb, f"more than {1 << 30} bytes after decompression"),
    "million": (million, "more than 100000 entries"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", EXCESSIVE)
def test_a_package_that_would_fill_the_machine(
    workspace: Workspace, scratch: Path, name: str
) -> None:
    make, found = EXCESSIVE[name]
    content = make(scratch / "package.tgz")
    app = TinyApp(workspace, f"apps/{name}", {name: content})
    app.write()
    npmrc = workspace.home / ".npmrc"
    text = npmrc.read_text()
    with Registry({name: {"1.0.0": content}}) as registry:
        workspace.write_npmrc(registry=registry.url)
        before = state_of(workspace)
        held = used(workspace)
        result = workspace.pants("package", app.release, timeout=300).failed()
        told = (
            *(f'"{name}@1.0.0" is too large', f"found: {found}"),
            "next:  use another version of the package",
        )
        assert_told(result, told)
        assert differences(before, state_of(workspace)) == {}
        assert used(workspace) - held < 500 << 20
        sound = make_package(name)
        registry.packages = {name: {"1.0.0": sound}}
        app.packages = {name: sound}
        app.write()
        workspace.pants("package", app.release).ok()
    npmrc.write_text(text)
