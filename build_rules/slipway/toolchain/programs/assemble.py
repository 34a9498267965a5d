"""Makes the layers of a toolchain image, as one build step on the runner's own CPython.

This runs before there is any root file system to run in, so it uses the standard library alone and
writes nothing compressed: the same lock gives the same bytes under CPython 3.7, 3.8 and 3.9, as any
user, in any folder.

    layer    packages of a lock, above other layers  -> one layer tar
    archive  layer tars                              -> an image archive for engines
    flatten  somebody's ready image, as an archive
             or as its parts                         -> one layer tar, the whole root

Each writes facts about its result as JSON.
"""

from __future__ import annotations

import argparse
import calendar
import errno
import hashlib
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Mapping, NamedTuple, Optional, Sequence

from slipway.abi import policy as abi_policy
from slipway.archive.rootfs import MTIME, merge, read_layer, write_layer
from slipway.core.errors import SlipwayError
from slipway.debian.lock import DebianLock, read_lock
from slipway.oci.flatten import read_image_parts, read_ready_image
from slipway.oci.image import LayerBlob, make_image, write_archive
from slipway.step import records
from slipway.step.interface import Output, ReportFile
from slipway.toolchain.image_spec import ImageSpec, check_lock_is_current, read_image_spec
from slipway.toolchain.package_tree import build_tree

_CHUNK = 1 << 20
_FORMAT = 1
_RENEW = "./pants generate-lockfiles --resolve=toolchain:NAME, with the name of the target"


@dataclass(frozen=True)
class Facts:
    """About what was made, a layer or an archive.

    `layer_bytes` and `entries` are those of the layer, `name` is what an engine calls an archive's
    image, and `left_out` counts what is in a ready image but not in its root.
    """

    image_id: str
    format: int = _FORMAT
    layer_sha256: Optional[str] = None
    layer_bytes: Optional[int] = None
    entries: Optional[int] = None
    manifest_digest: Optional[str] = None
    name: Optional[str] = None
    left_out: Optional[Mapping[str, int]] = None


class Outputs(NamedTuple):
    """What is left of a root."""

    layer: Output = Output("base.tar")
    facts: ReportFile[Facts] = ReportFile("base.json", Facts)


OUTPUTS = Outputs()


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        facts: Facts = options.run(options)
    except SlipwayError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        place = os.path.abspath(error.filename or os.path.dirname(options.facts))
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        failed = SlipwayError(
            "the image cannot be made",
            where=place,
            found=str(error.strerror),
            next=f"{'df -h' if full else 'ls -ld'} {place}",
        )
        print(failed, file=sys.stderr)
        return 1
    _write_text(options.facts, records.as_json(facts))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    layer = commands.add_parser("layer")
    layer.add_argument("--debs", required=True, help="folder of the packages, as <sha256>.deb")
    layer.add_argument("--layer", required=True, help="the tar to write")
    layer.add_argument("--policy", help="the ABI policy of the link surface, as JSON")
    layer.set_defaults(run=_layer)

    archive = commands.add_parser("archive")
    archive.add_argument("--archive", required=True, help="the archive to write")
    archive.set_defaults(run=_archive)

    for command in (layer, archive):
        command.add_argument("--spec", required=True)
        command.add_argument("--lock", required=True)
        command.add_argument(
            "--below", action="append", default=[], help="a layer tar, lowest first; repeatable"
        )

    flatten = commands.add_parser("flatten")
    flatten.add_argument("--archive", help="the archive to read")
    flatten.add_argument("--image", default="", help="what messages call the image of the parts")
    flatten.add_argument("--config", help="instead of an archive, the image's configuration")
    flatten.add_argument(
        "--part", action="append", default=[], help="and its layers, lowest first; repeatable"
    )
    flatten.add_argument("--layer", required=True, help="the tar to write")
    flatten.set_defaults(run=_flatten)

    for command in (layer, archive, flatten):
        command.add_argument("--facts", required=True, help="the JSON file to write")
    return parser.parse_args(arguments)


def _layer(options: argparse.Namespace) -> Facts:
    spec, lock = _read_inputs(options)
    lower = merge(read_layer(path) for path in options.below)
    policy = None
    if options.policy:
        policy = abi_policy.read(json.loads(_read_text(options.policy)), options.policy)
    tree = build_tree(spec, lock, options.debs, lower, policy)
    written = write_layer(tree.without(lower), options.layer, _epoch(lock.date))
    image = make_image(
        [*map(_blob, options.below), LayerBlob(written.sha256, written.size)],
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


def _archive(options: argparse.Namespace) -> Facts:
    spec, lock = _read_inputs(options)
    image = make_image([*map(_blob, options.below)], spec.environment, lock.date)
    write_archive(image, options.below, f"{spec.name}:{lock.release}", options.archive)
    return Facts(
        image.image_id,
        manifest_digest=image.manifest_digest,
        name=f"{spec.name}:{lock.release}",
    )


def _flatten(options: argparse.Namespace) -> Facts:
    # Beside the result: a layer may be too large for the folder of temporary files.
    folder = os.path.dirname(options.layer) or "."
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=folder) as scratch:
        if options.archive:
            image = read_ready_image(options.archive, scratch)
        else:
            image = read_image_parts(options.config, options.part, options.image, scratch)
        written = write_layer(image.tree, options.layer, MTIME)
    return Facts(
        image.image_id,
        layer_sha256=written.sha256,
        layer_bytes=written.size,
        entries=written.entries,
        left_out=image.left_out,
    )


def _read_inputs(options: argparse.Namespace) -> tuple[ImageSpec, DebianLock]:
    spec = read_image_spec(_read_text(options.spec), options.spec)
    lock = read_lock(_read_text(options.lock), options.lock)
    check_lock_is_current(spec, lock, options.lock, next=_RENEW)
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


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
