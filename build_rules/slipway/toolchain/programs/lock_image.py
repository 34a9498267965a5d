"""Writes the lock of an image in a registry or in the local engine: hashes and sizes of its parts.

The program runs on the runner's CPython with network access, and reads logins from docker's
configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway.fetch.download import ContentCache
from slipway.fetch.program import write_text
from slipway.fetch.settings import Settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.oci.engine import SavedImage
from slipway.oci.lock import ImageLock, ImageReference, parse_reference, write_image_lock
from slipway.oci.registry import ImageRegistry
from slipway.step.interface import Output, StepProgram
from slipway.step.network_frame import run


@dataclass(frozen=True)
class Arguments:
    """The reference of the image, and the field that contains it, for messages."""

    image: str
    where: str


PROGRAM = StepProgram(__name__, Arguments)
LOCK = Output("image.lock")


def lock_image(arguments: Arguments, settings: Settings) -> None:
    reference = parse_reference(arguments.image, arguments.where)
    lock = (
        _from_registry(reference, settings) if reference.registry else _saved(reference, settings)
    )
    write_text(LOCK.path, write_image_lock(lock))
    size = sum(layer.size for layer in lock.layers) / 1e6
    print(f"{len(lock.layers)} layers, {size:.1f} MB")


def _from_registry(reference: ImageReference, settings: Settings) -> ImageLock:
    client = LazyClient(settings, ContentCache(settings.cache_dir))
    return ImageRegistry(reference, client.strict_transport(), settings.env).read_lock()


def _saved(reference: ImageReference, settings: Settings) -> ImageLock:
    saved = SavedImage(reference, settings.env, ContentCache(settings.cache_dir).folder)
    saved.remove()
    return saved.lock


if __name__ == "__main__":
    run(PROGRAM, lock_image)
