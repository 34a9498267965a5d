"""Node's release keys as data: complete, unchanged, and usable by gpgv."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from slipway.runtime.definitions.release_keys import bundled_keyring, bundled_release_keys
from tests.places import SOURCES

FOLDER = SOURCES / "slipway" / "data" / "node" / "keys"


def test_the_index_lists_every_key() -> None:
    keys = bundled_release_keys()
    assert sorted(f"{key.fingerprint}.asc" for key in keys) == sorted(
        path.name for path in FOLDER.glob("*.asc")
    )
    assert all(key.owner for key in keys)
    assert [key.active for key in keys] == [True] * 9 + [False] * 20


def test_each_key_has_the_fingerprint_that_its_file_is_named_by(tmp_path: Path) -> None:
    """Slipway computes fingerprints itself, so gpg must agree with each."""
    keyring = bundled_keyring()
    for key in keyring.keys:
        assert key.file == f"slipway:node/keys/{key.fingerprint}.asc"
        listed = subprocess.run(
            ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys"],
            input=(FOLDER / f"{key.fingerprint}.asc").read_bytes(),
            capture_output=True,
            check=True,
        ).stdout.decode()
        first, *subkeys = [line.split(":")[9] for line in listed.split("\n") if "fpr" in line[:3]]
        assert (first, tuple(subkeys)) == (key.fingerprint, key.subkeys)


def test_gpgv_reads_the_bundled_keyring(tmp_path: Path) -> None:
    """gpgv finds the last key of the file, so it has read all before it."""
    last = bundled_keyring().keys[-1].fingerprint
    ring = bundled_keyring().write(str(tmp_path))
    # A signature packet of version 4 that only names its key, in the subpacket "issuer".
    issuer = b"\x09\x10" + bytes.fromhex(last[-16:])
    made = b"\x05\x02\x50\x00\x00\x00"
    body = b"\x04\x00\x11\x08\x00\x06" + made + b"\x00\x0a" + issuer + b"\0\0"
    body += b"\x00\x01\x01" * 2
    (tmp_path / "signature").write_bytes(b"\xc2" + bytes([len(body)]) + body)
    (tmp_path / "content").write_bytes(b"content")
    done = subprocess.run(
        ["gpgv", "--status-fd", "1", "--keyring", ring, "signature", "content"],
        cwd=str(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"BADSIG {last[-16:]} " in done.stdout, done
    assert "NO_PUBKEY" not in done.stdout


def test_the_source_of_the_keys_is_noted() -> None:
    source = json.loads((FOLDER / "keys.json").read_text())["source"]
    assert (source["repository"], source["license"]) == ("nodejs/release-keys", "MIT")
    page = (FOLDER / "README.md").read_text()
    assert source["commit"] in page
    assert source["date"] in page
    assert "Permission is hereby granted" in (FOLDER / "LICENSE.md").read_text()
