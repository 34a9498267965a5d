"""References to images in a registry or an engine, and the lock of their parts.

A reference pins the image with a digest, but does not list its parts and their sizes. The lock
lists them, so that Slipway knows the cache key of a step without any network access.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Tuple

from slipway.core.errors import SlipwayError
from slipway.core.json_fields import Field, read_json

FORMAT = 1
_LARGEST_CONFIG = 16 << 20
_LARGEST_LAYER = 32 << 30
_SHA256 = r"[0-9a-f]{64}"
_ENGINE_ID = re.compile(rf"sha256:{_SHA256}")
# Registry, repository and digest as in the OCI distribution specification, without a tag.
_REFERENCE = re.compile(
    r"(?P<registry>[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?)"
    r"/(?P<repository>[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*)"
    rf"@(?P<digest>sha256:{_SHA256})"
)


@dataclass(frozen=True)
class ImageReference:
    """A reference; `registry` is a host with any port, or "" for an image of the local engine.

    `digest` is the digest of the manifest, or the ID that the local engine shows for the image.
    """

    registry: str
    repository: str
    digest: str

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}@{self.digest}" if self.registry else self.digest


@dataclass(frozen=True)
class Blob:
    """A part of an image: its SHA-256, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class ImageLock:
    """The configuration and the layers of `image`, lowest first, as its source stores them."""

    image: str
    config: Blob
    layers: Tuple[Blob, ...]


def is_reference(value: str) -> bool:
    """Whether a field is meant as an image reference (valid or not) instead of a file."""
    return "@" in value or value.startswith("sha256:")


def parse_reference(value: str, where: str) -> ImageReference:
    if _ENGINE_ID.fullmatch(value):
        return ImageReference("", "", value)
    match = _REFERENCE.fullmatch(value)
    # Docker reads a first part without "." or ":" as a part of the repository, and adds its default
    # registry. Then the reference would depend on the engine.
    if match and re.search(r"[.:]|^localhost$", match["registry"]):
        return ImageReference(match["registry"], match["repository"], match["digest"])
    raise SlipwayError(
        "the image reference is incomplete",
        where=where,
        found=value,
        next='image="registry.example/team/image@sha256:…"   (with the registry, without a tag)\n'
        'or image="sha256:…"   (the ID of an image in the local engine)',
    )


def read_image_lock(content: str, file: str, next: str = "") -> ImageLock:
    """Parses a lock; raises SlipwayError with `next`, the command that writes a valid lock."""
    top = read_json(content, file, next)
    format_ = top.mapping().get("format")
    if format_ is None or format_.value != FORMAT:
        raise (format_ or top).fault(f'"format": {FORMAT}', next)
    fields = top.record(["format", "image", "config", "layers"])
    layers = tuple(_blob(item, _LARGEST_LAYER) for item in fields["layers"].items())
    if not layers:
        raise fields["layers"].fault("one layer or more", next)
    return ImageLock(fields["image"].text(), _blob(fields["config"], _LARGEST_CONFIG), layers)


def _blob(field: Field, most: int) -> Blob:
    fields = field.record(["sha256", "size"])
    return Blob(
        fields["sha256"].text(_SHA256, "64 hexadecimal digits"), fields["size"].number(1, most)
    )


def write_image_lock(lock: ImageLock) -> str:
    lines = [f"  {json.dumps(asdict(layer))}" for layer in lock.layers]
    return "\n".join(
        [
            "{",
            f' "format": {FORMAT},',
            f' "image": {json.dumps(lock.image)},',
            f' "config": {json.dumps(asdict(lock.config))},',
            ' "layers": [',
            ",\n".join(lines),
            " ]",
            "}",
            "",
        ]
    )
