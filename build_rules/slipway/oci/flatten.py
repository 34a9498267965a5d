"""Flattens a ready image to a root: from an image archive, or from its parts.

Only hashes are trusted: each layer must match the list in the configuration, and each blob its
digest. The layers are stacked, and their whiteouts are applied. Then the tree gets what every build
step needs.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Sequence, Set, Tuple

from slipway.archive.decompression import is_compressed, unpacked_chunks
from slipway.archive.rootfs import (
    FOLDER,
    Content,
    Tree,
    add_mount_points,
    linked_entry,
    member_entry,
    member_path,
    text_entry,
)
from slipway.archive.tar_reading import Kind, Member, read_members
from slipway.core.errors import SlipwayError, SlipwayErrors, suggesting
from slipway.core.json_fields import Field
from slipway.core.json_text import loads

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_WHITEOUT_PART = re.compile(r"(^|/)\.wh\.")
_LARGEST_JSON = 16 << 20
_LARGEST_UNPACKED = 32 << 30
_SAVE = "docker save --output image.tar IMAGE"

_NEEDED_PROGRAMS = {
    "a shell": ("bin/sh",),
}
_BUILD_USER = "build:x:1000:1000:build:/home/build:/bin/sh\n"


@dataclass(frozen=True)
class ReadyImage:
    """A flattened image; `left_out` counts dropped devices and set-uid or set-gid bits."""

    tree: Tree
    image_id: str
    left_out: Dict[str, int]


@dataclass(frozen=True)
class _Layer:
    """An uncompressed layer: the bytes from `start` to `end` of the file `path`."""

    path: str
    start: int
    end: int
    label: str


def read_ready_image(path: str, scratch: str) -> ReadyImage:
    """Reads an image archive; raises SlipwayError.

    `scratch` is a folder for decompressed layers, which must exist as long as the tree is used.
    """
    with suggesting(f"create the archive again, for example: {_SAVE}", where=path):
        return _read(path, scratch)


def read_image_parts(config: str, layers: Sequence[str], label: str, scratch: str) -> ReadyImage:
    """Reads an image from files that match their digests; `layers` are lowest first.

    `label` is the image's name in messages, `scratch` is as for read_ready_image(). Raises
    SlipwayError.
    """
    with open(config, "rb") as file:
        content = file.read()
    return _stack(
        content,
        [
            lambda place, path=path: _layer(  # type: ignore[misc]
                path, 0, os.path.getsize(path), place, f"{label}: {path}"
            )
            for path in layers
        ],
        label,
        scratch,
    )


def split_archive(path: str, folder: str) -> Tuple[str, List[str], List[str]]:
    """Writes the parts of an archive to `folder`: the configuration and uncompressed layers.

    Returns the path of the configuration, the paths of the layers (lowest first), and the digests
    that engines use as the image's ID: of the configuration, and of any manifest in the archive.
    """
    with suggesting(f"create the archive again, for example: {_SAVE}", where=path):
        archive = _Archive(_plain_tar(path, os.path.join(folder, "archive.tar")), path)
        config, blobs = archive.image()
        place = os.path.join(folder, "config.json")
        _write(place, [config])
        layers = []
        for number, blob in enumerate(blobs):
            layers.append(os.path.join(folder, f"layer-{number}.tar"))
            layer = archive.layer(blob, layers[-1])
            if layer.path != layers[-1]:
                content = Content(layer.end - layer.start, layer.start, path=layer.path)
                _write(layers[-1], content.chunks())
        return place, layers, ["sha256:" + hashlib.sha256(config).hexdigest(), *archive.manifests]


def _read(path: str, scratch: str) -> ReadyImage:
    archive = _Archive(_plain_tar(path, os.path.join(scratch, "archive.tar")), path)
    config, blobs = archive.image()
    layers = [lambda place, blob=blob: archive.layer(blob, place) for blob in blobs]
    return _stack(config, layers, path, scratch)


def _stack(
    config: bytes, layers: Sequence[Callable[[str], _Layer]], path: str, scratch: str
) -> ReadyImage:
    """Stacks layers; each function in `layers` decompresses its layer to the given file."""
    diff_ids = _diff_ids(_parsed(config, f"{path}: configuration"))
    if len(diff_ids) != len(layers):
        raise SlipwayError(
            f'"{path}" has {len(layers)} layers, but its configuration lists {len(diff_ids)}'
        )
    tree = Tree()
    left_out = {"devices": 0, "set_id_bits": 0}
    for number, (unpacked, diff_id) in enumerate(zip(layers, diff_ids)):
        layer = unpacked(os.path.join(scratch, f"layer-{number}.tar"))
        actual = "sha256:" + _sha256_of_part(layer)
        if actual != diff_id:
            raise SlipwayError(
                f'"{layer.label}" does not match the hash in the configuration',
                found=f"{actual}, not {diff_id}",
            )
        _apply(tree, layer, left_out)
    _complete(tree, path)
    return ReadyImage(tree, "sha256:" + hashlib.sha256(config).hexdigest(), left_out)


class _Archive:
    """The files of an image archive by name, for the Docker format and the OCI layout."""

    def __init__(self, tar: str, label: str) -> None:
        self._tar = tar
        self._label = label
        self.manifests: List[str] = []
        """In an OCI layout: the digests of the index and the manifest of the image."""
        with open(tar, "rb") as file:
            self._members: Dict[str, Member] = {
                posixpath.normpath(member.name): member for member in read_members(file, label)
            }

    def image(self) -> Tuple[bytes, List[str]]:
        """The configuration, and the names of the layers' files, lowest first."""
        if "manifest.json" in self._members:
            return self._docker_image()
        if "index.json" in self._members:
            return self._oci_image()
        raise SlipwayError(
            f'"{self._label}" is not an image archive',
            found="no manifest.json and no index.json",
        )

    def _docker_image(self) -> Tuple[bytes, List[str]]:
        images = self._json("manifest.json").items()
        if len(images) != 1:
            raise SlipwayError(
                f'"{self._label}" must contain exactly one image', found=f"{len(images)} images"
            )
        fields = images[0].mapping()
        for key in ("Config", "Layers"):
            if key not in fields:
                raise images[0].fault(f'the field "{key}"')
        config = self._read(fields["Config"].text())
        return config, [item.text() for item in fields["Layers"].items()]

    def _oci_image(self) -> Tuple[bytes, List[str]]:
        index = self._json("index.json")
        for _ in range(2):  # index.json may point to a second index, with a manifest per platform
            manifests = _field(index, "manifests").items()
            fitting = [item for item in manifests if _fits(item)]
            if len(fitting) != 1:
                raise SlipwayError(
                    f'"{self._label}" must contain exactly one image for linux/amd64',
                    found=f"{len(fitting)} of {len(manifests)} manifests match",
                )
            name = self._blob_name(fitting[0])
            self.manifests.append("sha256:" + posixpath.basename(name))
            index = self._json(name)
            if "manifests" not in index.mapping():
                break
        config = self._read(self._blob_name(_field(index, "config")))
        return config, [self._blob_name(item) for item in _field(index, "layers").items()]

    def _blob_name(self, descriptor: Field) -> str:
        """The name of a descriptor's file; raises SlipwayError if its digest does not match."""
        digest = _field(descriptor, "digest").text(r"sha256:[0-9a-f]{64}", "a SHA-256 digest")
        size = _field(descriptor, "size").number()
        name = "blobs/sha256/" + digest[7:]
        member = self._find(name)
        part = _Layer(self._tar, member.offset, member.offset + member.size, name)
        if member.size != size or "sha256:" + _sha256_of_part(part) != digest:
            raise SlipwayError(
                f'"{self._label}" has a blob that does not match its digest', found=name
            )
        return name

    def _json(self, name: str) -> Field:
        return _parsed(self._read(name), f"{self._label}: {name}")

    def _read(self, name: str) -> bytes:
        member = self._find(name)
        if member.size > _LARGEST_JSON:
            raise SlipwayError(
                f'"{self._label}: {name}" is too large', found=f"{member.size} bytes"
            )
        with open(self._tar, "rb") as file:
            file.seek(member.offset)
            return file.read(member.size)

    def _find(self, name: str) -> Member:
        member = self._members.get(posixpath.normpath(name))
        # `docker save` of old engines stores a layer that occurs again as a symlink.
        if member and member.kind is Kind.SYMLINK:
            target = posixpath.join(posixpath.dirname(name), member.target)
            member = self._members.get(posixpath.normpath(target))
        if member is None or member.kind is not Kind.FILE:
            raise SlipwayError(f'"{self._label}" names a file that it does not contain', found=name)
        return member

    def layer(self, name: str, scratch: str) -> _Layer:
        """The layer of that name; decompresses it to the file `scratch` if necessary."""
        member = self._find(name)
        return _layer(self._tar, member.offset, member.size, scratch, f"{self._label}: {name}")


def _layer(path: str, offset: int, size: int, scratch: str, label: str) -> _Layer:
    """The layer at `offset` of the file `path`; decompresses it to `scratch` if necessary."""
    content = Content(size, offset, path=path)
    if not is_compressed(content.head(8)):
        return _Layer(path, offset, offset + size, label)
    size = _write(scratch, unpacked_chunks(content.chunks(), label, _LARGEST_UNPACKED))
    return _Layer(scratch, 0, size, label)


def _plain_tar(path: str, scratch: str) -> str:
    """`path` if it is not compressed, or `scratch` with its decompressed content."""
    content = Content(os.path.getsize(path), path=path)
    if not is_compressed(content.head(8)):
        return path
    _write(scratch, unpacked_chunks(content.chunks(), path, _LARGEST_UNPACKED))
    return scratch


def _write(path: str, chunks: Iterable[bytes]) -> int:
    size = 0
    with open(path, "wb") as file:
        for chunk in chunks:
            size += file.write(chunk)
    return size


def _parsed(raw: bytes, label: str) -> Field:
    try:
        return Field(loads(raw.decode("utf-8", "replace")), label)
    except ValueError:
        raise SlipwayError(f'"{label}" is not JSON') from None


def _fits(manifest: Field) -> bool:
    platform = manifest.mapping().get("platform")
    if platform is None:
        return True
    fields = platform.mapping()
    return [fields[key].value for key in ("os", "architecture") if key in fields] == [
        "linux",
        "amd64",
    ]


def _field(record: Field, key: str) -> Field:
    fields = record.mapping()
    if key not in fields:
        raise record.fault(f'the field "{key}"')
    return fields[key]


def _diff_ids(config: Field) -> List[str]:
    for key, expected in (("os", "linux"), ("architecture", "amd64")):
        _field(config, key).text(expected, f'"{expected}"')
    return [
        item.text(r"sha256:[0-9a-f]{64}", "a SHA-256 digest")
        for item in _field(_field(config, "rootfs"), "diff_ids").items()
    ]


def _apply(tree: Tree, layer: _Layer, left_out: Dict[str, int]) -> None:
    """Adds `layer` on top of the tree; its whiteouts hide only entries of the layers below."""
    with open(layer.path, "rb") as file:
        members = [
            (member_path(member, layer.label), member)
            for member in read_members(file, layer.label, layer.start, layer.end)
        ]
    removed: Set[str] = set()
    emptied: Set[str] = set()
    for path, _ in members:
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            emptied.add(tree.real_place(posixpath.join(folder, "."), make_parents=False))
        elif name.startswith(_WHITEOUT):
            hidden = name[len(_WHITEOUT) :]
            if hidden in ("", ".", ".."):
                raise SlipwayError(f'"{layer.label}" has a whiteout without a name', found=path)
            removed.add(tree.real_place(posixpath.join(folder, hidden), make_parents=False))
    tree.remove(removed, emptied)
    for path, member in members:
        if _WHITEOUT_PART.search(path):
            continue
        if member.kind is Kind.DEVICE:
            left_out["devices"] += 1
            continue
        if member.kind is Kind.FILE and member.mode & 0o6000:
            left_out["set_id_bits"] += 1
        if not path:
            if member.kind is not Kind.FOLDER:
                raise SlipwayError(f'"{layer.label}" has a root that is a {member.kind.value}')
        elif member.kind is Kind.HARD_LINK:
            tree.put(path, linked_entry(tree.get, member, layer.label))
        else:
            content = Content(member.size, member.offset, path=layer.path)
            tree.put(path, member_entry(member, content))


def _complete(tree: Tree, label: str) -> None:
    """Adds what every build step needs: the user `build`, and folders for mounts.

    Raises SlipwayErrors if a program is missing that every step needs.
    """
    missing = [
        f"{purpose}: /{' or /'.join(paths)}"
        for purpose, paths in _NEEDED_PROGRAMS.items()
        if not any((tree.follow(path) or FOLDER).kind is Kind.FILE for path in paths)
    ]
    if missing:
        raise SlipwayErrors(
            f'"{label}" lacks programs that every build step needs',
            missing,
            next="install them in the image, and create its archive again",
        )
    passwd = tree.follow("etc/passwd")
    users = passwd.content.read().decode("utf-8", "replace") if passwd and passwd.content else ""
    if not re.search(r"^[^:\n]*:[^:\n]*:1000:", users, re.MULTILINE):
        tree.put("etc/passwd", text_entry(users + _BUILD_USER))
    add_mount_points(tree)


def _sha256_of_part(part: _Layer) -> str:
    return Content(part.end - part.start, part.start, path=part.path).sha256()
