"""Writes image archives for `docker load` and OCI tools, and computes the image's ID.

A single tar file is both a Docker archive and an OCI layout, because both formats can name the same
blobs. Classic engines use the SHA-256 of the configuration as the image's ID; engines with the
image store of containerd use the digest of the manifest. Both depend only on the layers and the
spec.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, BinaryIO, Dict, Iterator, Mapping, Sequence, Tuple

from slipway.archive import tar_writing, unpacking

_OCI = "application/vnd.oci.image"
_BLOBS = "blobs/sha256"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class LayerBlob:
    """An uncompressed layer, so its digest is also its diff ID."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Image:
    config: bytes
    manifest: bytes
    layers: Tuple[LayerBlob, ...]

    @property
    def image_id(self) -> str:
        return "sha256:" + _sha256(self.config)

    @property
    def manifest_digest(self) -> str:
        return "sha256:" + _sha256(self.manifest)


def make_image(layers: Sequence[LayerBlob], environment: Mapping[str, str], date: str) -> Image:
    """The image with these layers, lowest first; `date` is a day such as 2024-08-31."""
    created = date + "T00:00:00Z"
    config = _canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": {
                "Cmd": ["/bin/sh"],
                "Env": [f"{name}={environment[name]}" for name in sorted(environment)],
                "WorkingDir": "/",
            },
            "history": [{"created": created, "created_by": "slipway"} for _ in layers],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + blob.sha256 for blob in layers]},
        }
    )
    manifest = _canonical(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", _sha256(config), len(config)),
            "layers": [
                _descriptor(f"{_OCI}.layer.v1.tar", blob.sha256, blob.size) for blob in layers
            ],
        }
    )
    return Image(config, manifest, tuple(layers))


def write_archive(image: Image, layer_paths: Sequence[str], name: str, path: str) -> None:
    with open(path, "wb") as out:
        stream_archive(image, layer_paths, name, out)


def stream_archive(image: Image, layer_paths: Sequence[str], name: str, out: BinaryIO) -> None:
    """Writes an image archive; `layer_paths` are the files of `image.layers`.

    `name` is the image's name and tag, such as base:11.11. Engines unpack layers as root, so all
    layers are checked before anything is written. Raises SlipwayError.
    """
    unpacking.check(layer_paths, rules=unpacking.ROOT)
    small = _small_files(image, name)
    blobs = {
        f"{_BLOBS}/{blob.sha256}": (file, blob.size)
        for file, blob in zip(layer_paths, image.layers)
    }
    writer = tar_writing.TarWriter(out, mtime=0)
    for folder in ("blobs", _BLOBS):
        writer.add(folder, tar_writing.FOLDER, 0o755)
    for member in sorted({*small, *blobs}):
        if member in small:
            content = small[member]
            writer.add(member, tar_writing.FILE, 0o644, size=len(content), chunks=iter([content]))
        else:
            file, size = blobs[member]
            writer.add(member, tar_writing.FILE, 0o644, size=size, chunks=_chunks(file))
    writer.close()


def _small_files(image: Image, name: str) -> Dict[str, bytes]:
    config_file = f"{_BLOBS}/{_sha256(image.config)}"
    index_entry = {
        **_descriptor(f"{_OCI}.manifest.v1+json", _sha256(image.manifest), len(image.manifest)),
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    docker = {
        "Config": config_file,
        "RepoTags": [name],
        "Layers": [f"{_BLOBS}/{blob.sha256}" for blob in image.layers],
    }
    return {
        config_file: image.config,
        f"{_BLOBS}/{_sha256(image.manifest)}": image.manifest,
        "index.json": _canonical({"schemaVersion": 2, "manifests": [index_entry]}),
        "manifest.json": _canonical([docker]),
        "oci-layout": _canonical({"imageLayoutVersion": "1.0.0"}),
    }


def _descriptor(media_type: str, sha256: str, size: int) -> Dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + sha256, "size": size}


def _chunks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from iter(lambda: file.read(_CHUNK), b"")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
