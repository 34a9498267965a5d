"""Creates the layers of a toolchain image, in a build step on the runner's CPython.

This program runs before a root file system exists, so it uses only the standard library. It writes
no compressed data, so that the same lock gives the same bytes with CPython 3.7, 3.8 and 3.9, for
any user and in any folder.

    layer    packages of a lock, on top of other layers  -> a layer tar
    archive  layer tars                                  -> an image archive for engines
    root     a ready image, as an archive or in parts    -> a layer tar with the whole root

Each command writes facts about its result as JSON.
"""

from __future__ import annotations

import calendar
import errno
import hashlib
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Mapping, NamedTuple, Optional, Tuple

from slipway.abi.policy import AbiPolicy
from slipway.archive.rootfs import MTIME, merge, read_layer, write_layer
from slipway.core.errors import SlipwayError
from slipway.debian.lock import DebianLock, read_lock
from slipway.oci.flatten import read_image_parts, read_ready_image
from slipway.oci.image import LayerBlob, make_image, write_archive
from slipway.step.interface import ARGUMENTS, OUT, Output, ReportFile, StepProgram
from slipway.toolchain.image_spec import ImageSpec, check_lock_is_current, read_image_spec
from slipway.toolchain.package_tree import build_tree

_CHUNK = 1 << 20
_FORMAT = 1
_RENEW = "./pants generate-lockfiles --resolve=toolchain:<the name of the target>"


@dataclass(frozen=True)
class Facts:
    """Facts about the result, a layer or an archive.

    `layer_bytes` and `entries` are the size of a layer and the number of its entries. `name` is the
    image's name in an engine. `left_out` counts entries of a ready image that its root lacks.
    """

    image_id: str
    format: int = _FORMAT
    layer_sha256: Optional[str] = None
    layer_bytes: Optional[int] = None
    entries: Optional[int] = None
    manifest_digest: Optional[str] = None
    name: Optional[str] = None
    left_out: Optional[Mapping[str, int]] = None


@dataclass(frozen=True)
class Layer:
    """Requests a layer from the packages in DEBS; `below` are layer tars, lowest first.

    `policy` is the ABI policy of the link surface, if the spec has one.
    """

    below: Tuple[str, ...] = ()
    policy: Optional[AbiPolicy] = None


@dataclass(frozen=True)
class Archive:
    """Requests an image archive from the layers `below`; `output` is its file name."""

    below: Tuple[str, ...]
    output: str


@dataclass(frozen=True)
class Root:
    """Requests the root of a ready image: the file `archive`, or its `config` and `parts`.

    The layers in `parts` are lowest first. `image` is the name of the image in messages.
    """

    archive: str = ""
    image: str = ""
    config: str = ""
    parts: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Arguments:
    """Exactly one of these fields is set."""

    layer: Optional[Layer] = None
    archive: Optional[Archive] = None
    root: Optional[Root] = None


class Outputs(NamedTuple):
    """The outputs for a root; for an archive, only the facts are written."""

    layer: Output = Output("base.tar")
    facts: ReportFile[Facts] = ReportFile("base.json", Facts)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()
SPEC, LOCK, DEBS = "image.json", "packages.lock", "debs"
"""The inputs: the image's JSON file, the lock, and a folder with packages as <sha256>.deb."""


def main(arguments: Arguments) -> int:
    try:
        facts = _make(arguments)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = os.path.abspath(error.filename or OUT)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        failed = SlipwayError(
            "cannot create the image",
            where=place,
            found=str(error.strerror),
            next=f"{'df -h' if full else 'ls -ld'} {place}",
        )
        print(failed, file=sys.stderr)
        return 1
    OUTPUTS.facts.write(facts)
    return 0


def _make(arguments: Arguments) -> Facts:
    if arguments.layer:
        return _make_layer(arguments.layer)
    if arguments.archive:
        return _make_archive(arguments.archive)
    assert arguments.root
    return _make_root(arguments.root)


def _make_layer(wanted: Layer) -> Facts:
    spec, lock = _read_inputs()
    lower = merge(read_layer(path) for path in wanted.below)
    tree = build_tree(spec, lock, DEBS, lower, wanted.policy)
    written = write_layer(tree.without(lower), OUTPUTS.layer.path, _epoch(lock.date))
    image = make_image(
        [*map(_blob, wanted.below), LayerBlob(written.sha256, written.size)],
        spec.environment,
        lock.date,
    )
    return Facts(
        image.image_id,
        layer_sha256=written.sha256,
        layer_bytes=written.size,
        entries=written.entries,
        manifest_digest=image.manifest_digest,
    )


def _make_archive(wanted: Archive) -> Facts:
    spec, lock = _read_inputs()
    image = make_image([*map(_blob, wanted.below)], spec.environment, lock.date)
    name, output = f"{spec.name}:{lock.release}", Output(wanted.output)
    write_archive(image, wanted.below, name, output.path)
    return Facts(image.image_id, manifest_digest=image.manifest_digest, name=name)


def _make_root(wanted: Root) -> Facts:
    # Beside the result, because a layer can be too large for the file system of /tmp.
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=OUT) as scratch:
        if wanted.archive:
            image = read_ready_image(wanted.archive, scratch)
        else:
            image = read_image_parts(wanted.config, wanted.parts, wanted.image, scratch)
        written = write_layer(image.tree, OUTPUTS.layer.path, MTIME)
    return Facts(
        image.image_id,
        layer_sha256=written.sha256,
        layer_bytes=written.size,
        entries=written.entries,
        left_out=image.left_out,
    )


def _read_inputs() -> Tuple[ImageSpec, DebianLock]:
    spec = read_image_spec(_read_text(SPEC), SPEC)
    lock = read_lock(_read_text(LOCK), LOCK)
    check_lock_is_current(spec, lock, LOCK, next=_RENEW)
    return spec, lock


def _blob(path: str) -> LayerBlob:
    hashed, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            hashed.update(chunk)
            size += len(chunk)
    return LayerBlob(hashed.hexdigest(), size)


def _epoch(date: str) -> int:
    return calendar.timegm(time.strptime(date, "%Y-%m-%d"))


def _read_text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    sys.exit(main(PROGRAM.read_file(ARGUMENTS)))
