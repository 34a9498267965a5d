"""Node's release keys, which Slipway brings as data in `data/node/keys`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

from slipway.core import json_text
from slipway.data import bundled
from slipway.fetch.keyring import Keyring, read_keys

_FOLDER = "node/keys"


@dataclass(frozen=True)
class ReleaseKey:
    """The key of a releaser of Node.js; the keys that are not `active` signed earlier releases."""

    fingerprint: str
    owner: str
    active: bool


def bundled_release_keys() -> Tuple[ReleaseKey, ...]:
    """The bundled keys: the active ones first, and each group in the order of Node's list."""
    index = json_text.loads(_read("keys.json"))
    return tuple(ReleaseKey(**entry) for entry in index["keys"])


@dataclass(frozen=True)
class KeyFile:
    """The armored key with this fingerprint."""

    fingerprint: str
    content: bytes


def bundled_key_files() -> Tuple[KeyFile, ...]:
    """The files of the bundled keys."""
    keys = bundled_release_keys()
    return tuple(KeyFile(one.fingerprint, _read(f"{one.fingerprint}.asc")) for one in keys)


def bundled_keyring() -> Keyring:
    """The bundled keys as a keyring; `slipway:…` names their files in messages."""
    files = bundled_key_files()
    return read_keys([(f"slipway:{_FOLDER}/{one.fingerprint}.asc", one.content) for one in files])


def _read(name: str) -> bytes:
    content = bundled.read(f"{_FOLDER}/{name}")
    assert content is not None, f"slipway:{_FOLDER}/{name} is missing"
    return content
