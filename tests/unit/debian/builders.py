"""Builders for the tests of images: packages, specs, locks and archives with defaults.

A test shows only what differs.  What is built here is built by the standard library's own tar, so
that the project's reader and writer are not only tested with each other.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from slipway.debian.lock import DebianLock, LockedPackage, write_lock
from slipway.toolchain.image_spec import ImageSpec, read_image_spec

COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".zst": lambda data: b"\x28\xb5\x2f\xfd" + data,
}

File = Union[bytes, tarfile.TarInfo]


def folder(mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.mode = tarfile.DIRTYPE, mode
    return info


def program(mode: int = 0o755) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.mode = mode
    return info


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type = kind
    return info


def make_tar(entries: Sequence[Tuple[str, File]], format: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, entry in entries:
            info = tarfile.TarInfo() if isinstance(entry, bytes) else entry
            info.name = name
            if isinstance(entry, bytes):
                info.size = len(entry)
                tar.addfile(info, io.BytesIO(entry))
            else:
                tar.addfile(info)
    return out.getvalue()


def make_ar(members: Sequence[Tuple[str, bytes]]) -> bytes:
    out = b"!<arch>\n"
    for name, content in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        out += header.encode() + content + b"\n" * (len(content) % 2)
    return out


def make_deb(
    entries: Sequence[Tuple[str, File]] = (("./usr/bin/tool", b"#!/bin/sh\n"),),
    *,
    name: str = "tool",
    version: str = "1.0-1",
    architecture: str = "amd64",
    compression: str = ".xz",
) -> bytes:
    control = f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n".encode()
    postinst = b"#!/bin/sh\nexit 99  # must never run\n"
    compress = COMPRESS[compression]
    return make_ar(
        [
            ("debian-binary", b"2.0\n"),
            (
                "control.tar" + compression,
                compress(make_tar([("./control", control), ("./postinst", postinst)])),
            ),
            ("data.tar" + compression, compress(make_tar([("./", folder()), *entries]))),
        ]
    )


def locked(deb: bytes, name: str = "tool", version: str = "1.0-1") -> LockedPackage:
    return LockedPackage(
        name=name,
        version=version,
        architecture="amd64",
        filename=f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb",
        size=len(deb),
        sha256=hashlib.sha256(deb).hexdigest(),
    )


def make_lock(
    packages: Sequence[LockedPackage],
    wanted: Optional[Sequence[str]] = None,
    cut: Sequence[str] = (),
) -> DebianLock:
    return DebianLock(
        suite="bullseye",
        component="main",
        architecture="amd64",
        release="11.11",
        date="2024-08-31",
        wanted=tuple([p.name for p in packages] if wanted is None else wanted),
        cut=tuple(cut),
        packages=tuple(packages),
    )


def spec_fields(**changed: Any) -> Dict[str, Any]:
    fields: Dict[str, Any] = {
        "format": 1,
        "name": "base",
        "suite": "bullseye",
        "component": "main",
        "architecture": "amd64",
        "wanted": {"tool": "the tool that this is about"},
    }
    fields.update(changed)
    return {key: value for key, value in fields.items() if value is not None}


def make_spec(**changed: Any) -> ImageSpec:
    return read_image_spec(json.dumps(spec_fields(**changed)), "image.json")


def write_inputs(
    top: Path, debs: Mapping[str, bytes], **changed: Any
) -> Tuple[ImageSpec, DebianLock]:
    """Writes `image.json`, `packages.lock` and `debs/` for packages of version 1.0-1."""
    changed.setdefault("wanted", dict.fromkeys(debs, "wanted by the test"))
    fields = spec_fields(**changed)
    (top / "image.json").write_text(json.dumps(fields))
    lock = make_lock(
        [locked(deb, name) for name, deb in debs.items()],
        list(fields["wanted"]),
        list(fields.get("cut", {})),
    )
    (top / "packages.lock").write_text(write_lock(lock))
    (top / "debs").mkdir()
    for deb in debs.values():
        (top / "debs" / (hashlib.sha256(deb).hexdigest() + ".deb")).write_bytes(deb)
    return read_image_spec(json.dumps(fields), "image.json"), lock


BASE_LAYER: Sequence[Tuple[str, File]] = (
    ("bin/sh", b"shell"),
    ("usr/bin/python3", b"python"),
    ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
)
"""What a ready image needs at least."""


def make_docker_archive(
    layers: Sequence[bytes],
    *,
    diff_ids: Optional[Sequence[str]] = None,
    compression: str = "",
    config: Optional[Mapping[str, Any]] = None,
    leave_out: Sequence[str] = (),
) -> bytes:
    """An archive as `docker save` writes it; `layers` are plain tars."""
    files = _config_and_layers(layers, diff_ids, config)
    names = [f"layer{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["t:1"], "Layers": names}]
    entries = [("config.json", files), ("manifest.json", json.dumps(manifest).encode())]
    entries += [(name, COMPRESS[compression](data)) for name, data in zip(names, layers)]
    return make_tar([entry for entry in entries if entry[0] not in leave_out])


def make_oci_archive(
    layers: Sequence[bytes], *, compression: str = ".gz", nested: bool = False
) -> bytes:
    """An archive as OCI tools write it; with `nested`, the image is below an index of platforms."""
    blobs: List[Tuple[str, bytes]] = []

    def blob(content: bytes, **more: Any) -> Dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs.append(("blobs/sha256/" + digest, content))
        return {"digest": "sha256:" + digest, "size": len(content), **more}

    config = blob(_config_and_layers(layers, None, None))
    parts = [blob(COMPRESS[compression](layer)) for layer in layers]
    platform = {"os": "linux", "architecture": "amd64"}
    manifest = blob(json.dumps({"config": config, "layers": parts}).encode(), platform=platform)
    manifests = [manifest]
    if nested:
        other = blob(b"{}", platform={"os": "linux", "architecture": "arm64"})
        manifests = [blob(json.dumps({"manifests": [other, manifest]}).encode())]
    index = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    return make_tar([*blobs, ("index.json", index), ("oci-layout", b"{}")])


def _config_and_layers(
    layers: Sequence[bytes],
    diff_ids: Optional[Sequence[str]],
    config: Optional[Mapping[str, Any]],
) -> bytes:
    if diff_ids is None:
        diff_ids = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]
    fields = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        **(config or {}),
    }
    return json.dumps(fields).encode()
