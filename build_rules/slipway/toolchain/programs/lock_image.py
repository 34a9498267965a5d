"""Writes the lock of an image that a registry or the local engine has: its parts by hash and size.

    lock_image.py --image registry.example/x@sha256:… --where toolchains/x:x --settings s.json --out lock

It runs on the runner's CPython with the network, and reads the logins of docker's configuration.
"""

from __future__ import annotations

import argparse
import sys
from typing import Sequence

from slipway.fetch.download import ContentCache
from slipway.fetch.program import guarded, write_text
from slipway.fetch.settings import Settings, read_settings
from slipway.npm_registry.lazy_client import LazyClient
from slipway.oci.engine import SavedImage
from slipway.oci.lock import ImageLock, ImageReference, parse_reference, write_image_lock
from slipway.oci.registry import ImageRegistry


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the reference")
    parser.add_argument("--where", required=True, help="the field that has it, for messages")
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    parser.add_argument("--out", required=True, help="the lock to write")
    options = parser.parse_args(arguments)
    settings = read_settings(options.settings)
    return guarded(lambda: _run(options.image, options.where, settings, options.out))


def _run(image: str, where: str, settings: Settings, out: str) -> int:
    reference = parse_reference(image, where)
    lock = (
        _from_registry(reference, settings) if reference.registry else _saved(reference, settings)
    )
    write_text(out, write_image_lock(lock))
    size = sum(layer.size for layer in lock.layers) / 1e6
    print(f"{len(lock.layers)} layers, {size:.1f} MB")
    return 0


def _from_registry(reference: ImageReference, settings: Settings) -> ImageLock:
    client = LazyClient(settings, ContentCache(settings.cache_dir))
    return ImageRegistry(reference, client.strict_transport(), settings.env).read_lock()


def _saved(reference: ImageReference, settings: Settings) -> ImageLock:
    saved = SavedImage(reference, settings.env, ContentCache(settings.cache_dir).folder)
    saved.remove()
    return saved.lock


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
