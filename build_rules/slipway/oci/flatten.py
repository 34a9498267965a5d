"""A team's own image as a root, as one tree: from an archive of an engine, or from its parts.

Trusted is nothing but what hashes say: each layer is held against the configuration's list, blobs
against their digests.  Layers are laid one above the other with whiteouts taken into account; then
the tree gets what every build step counts on.
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
    """`left_out` counts what the root cannot have: devices, set-uid and set-gid bits."""

    tree: Tree
    image_id: str
    left_out: Dict[str, int]


@dataclass(frozen=True)
class _Layer:
    """An uncompressed layer: a part of the file `path`."""

    path: str
    start: int
    end: int
    label: str


def read_ready_image(path: str, scratch: str) -> ReadyImage:
    """`scratch` is a folder for unpacked layers; it must live as long as the tree is used."""
    with suggesting(f"make the archive anew, for example: {_SAVE}", where=path):
        return _read(path, scratch)


def read_image_parts(config: str, layers: Sequence[str], label: str, scratch: str) -> ReadyImage:
    """From files that were held against their digests: `layers`, lowest first; `label` is for
    messages, `scratch` as for an archive."""
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
    """Writes the parts of an archive to `folder`: the configuration, and the layers uncompressed.

    Returns their paths, the layers' lowest first, and the digests by which engines know the image:
    the configuration's, and the manifest's where the archive has one.
    """
    with suggesting(f"make the archive anew, for example: {_SAVE}", where=path):
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
    """`layers` give each layer, unpacked to the given file if it is compressed."""
    diff_ids = _diff_ids(_parsed(config, f"{path}: configuration"))
    if len(diff_ids) != len(layers):
        raise SlipwayError(
            f'"{path}" has {len(layers)} layers, but its configuration lists {len(diff_ids)}'
        )
    tree = Tree()
    left_out = {"devices": 0, "set_id_bits": 0}
    for number, (unpacked, diff_id) in enumerate(zip(layers, diff_ids)):
        layer = unpacked(os.path.join(scratch, f"layer-{number}.tar"))
        found = "sha256:" + _sha256_of_part(layer)
        if found != diff_id:
            raise SlipwayError(
                f'"{layer.label}" is not the layer that the configuration lists',
                found=f"{found}; listed is {diff_id}",
            )
        _apply(tree, layer, left_out)
    _complete(tree, path)
    return ReadyImage(tree, "sha256:" + hashlib.sha256(config).hexdigest(), left_out)


class _Archive:
    """The files of an image archive by name; both formats name blobs of their own accord."""

    def __init__(self, tar: str, label: str) -> None:
        self._tar = tar
        self._label = label
        self.manifests: List[str] = []
        """The digests of the index and the manifest that lead to the image, of an OCI layout."""
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
            found="neither manifest.json nor index.json is in it",
        )

    def _docker_image(self) -> Tuple[bytes, List[str]]:
        images = self._json("manifest.json").items()
        if len(images) != 1:
            raise SlipwayError(
                f'"{self._label}" must hold one image', found=f"{len(images)} images"
            )
        fields = images[0].mapping()
        for key in ("Config", "Layers"):
            if key not in fields:
                raise images[0].fault(f'the field "{key}"')
        config = self._read(fields["Config"].text())
        return config, [item.text() for item in fields["Layers"].items()]

    def _oci_image(self) -> Tuple[bytes, List[str]]:
        index = self._json("index.json")
        for _ in range(2):  # an index for platforms may stand below the outer one
            manifests = _field(index, "manifests").items()
            fitting = [item for item in manifests if _fits(item)]
            if len(fitting) != 1:
                raise SlipwayError(
                    f'"{self._label}" must hold one image for linux/amd64',
                    found=f"{len(fitting)} of {len(manifests)} manifests fit",
                )
            name = self._blob_name(fitting[0])
            self.manifests.append("sha256:" + posixpath.basename(name))
            index = self._json(name)
            if "manifests" not in index.mapping():
                break
        config = self._read(self._blob_name(_field(index, "config")))
        return config, [self._blob_name(item) for item in _field(index, "layers").items()]

    def _blob_name(self, descriptor: Field) -> str:
        """The file that a descriptor names, once it is held against the digest."""
        digest = _field(descriptor, "digest").text(r"sha256:[0-9a-f]{64}", "a SHA-256 digest")
        size = _field(descriptor, "size").number()
        name = "blobs/sha256/" + digest[7:]
        member = self._find(name)
        part = _Layer(self._tar, member.offset, member.offset + member.size, name)
        if member.size != size or "sha256:" + _sha256_of_part(part) != digest:
            raise SlipwayError(
                f'"{self._label}" holds a blob that is not what its name says', found=name
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
        if member and member.kind is Kind.SYMLINK:  # old engines link equal layers
            target = posixpath.join(posixpath.dirname(name), member.target)
            member = self._members.get(posixpath.normpath(target))
        if member is None or member.kind is not Kind.FILE:
            raise SlipwayError(f'"{self._label}" lacks a file that it names itself', found=name)
        return member

    def layer(self, name: str, scratch: str) -> _Layer:
        """The layer of that name, unpacked to the file `scratch` if it is compressed."""
        member = self._find(name)
        return _layer(self._tar, member.offset, member.size, scratch, f"{self._label}: {name}")


def _layer(path: str, offset: int, size: int, scratch: str, label: str) -> _Layer:
    """The part of the file `path` that is a layer, unpacked to `scratch` if it is compressed."""
    content = Content(size, offset, path=path)
    if not is_compressed(content.head(8)):
        return _Layer(path, offset, offset + size, label)
    size = _write(scratch, unpacked_chunks(content.chunks(), label, _LARGEST_UNPACKED))
    return _Layer(scratch, 0, size, label)


def _plain_tar(path: str, scratch: str) -> str:
    """`path`, or `scratch` with its unpacked content."""
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
    found = platform.mapping()
    return [found[key].value for key in ("os", "architecture") if key in found] == [
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
    """Lays `layer` over the tree; its whiteouts hide what is below, never what it brings itself."""
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
    """What every build step counts on: programs, the ordinary user, and places for mounts."""
    missing = [
        f"{purpose}: /{' or /'.join(paths)}"
        for purpose, paths in _NEEDED_PROGRAMS.items()
        if not any((tree.follow(path) or FOLDER).kind is Kind.FILE for path in paths)
    ]
    if missing:
        raise SlipwayErrors(
            f'"{label}" lacks what every build step needs',
            missing,
            next="install them in the image, and make its archive anew",
        )
    passwd = tree.follow("etc/passwd")
    users = passwd.content.read().decode("utf-8", "replace") if passwd and passwd.content else ""
    if not re.search(r"^[^:\n]*:[^:\n]*:1000:", users, re.MULTILINE):
        tree.put("etc/passwd", text_entry(users + _BUILD_USER))
    add_mount_points(tree)


def _sha256_of_part(part: _Layer) -> str:
    return Content(part.end - part.start, part.start, path=part.path).sha256()
