"""Keyrings from a folder of public keys, with an error for each file that is not one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.fetch import keyring
from slipway.fetch.keyring import parse_keys, read_key_folder, read_keys
from slipway.fetch.openpgp_packets import Malformed
from tests.unit.openpgp_signers import Signer, signers


@pytest.fixture(scope="module")
def pair() -> Iterator[Tuple[Signer, Signer]]:
    with signers() as make:
        yield make("first"), make("second", kind="ed25519")


def armored(signer: Signer) -> bytes:
    return signer.gpg("--armor", "--export")


def test_a_folder_of_keys(pair: Tuple[Signer, Signer], tmp_path: Path) -> None:
    first, second = pair
    (tmp_path / "first.asc").write_bytes(b"From its owner:\n\n" + armored(first))
    (tmp_path / f"{second.fingerprint}.gpg").write_bytes(second.gpg("--export"))
    (tmp_path / "README.md").write_text("not a key")
    keys = read_key_folder(str(tmp_path))
    assert sorted(keys.fingerprints) == sorted(signer.fingerprint for signer in pair)
    written = keys.write(str(tmp_path))
    assert sorted(Path(written).read_bytes()) == sorted(
        first.gpg("--export") + second.gpg("--export")
    )


@pytest.mark.parametrize("form", ["two blocks", "one block", "binary"])
def test_several_keys_in_a_file(form: str, pair: Tuple[Signer, Signer], tmp_path: Path) -> None:
    first, second = pair
    content = armored(first) + armored(second)
    if form != "two blocks":
        content = first.gpg("--export") + second.gpg("--export")
    if form == "one block":
        content = first.gpg("--enarmor", text=content).replace(b"ARMORED FILE", b"PUBLIC KEY BLOCK")
    keys = parse_keys(content, "keys.asc")
    assert [key.fingerprint for key in keys] == [first.fingerprint, second.fingerprint]


def test_a_key_in_two_files_is_one_key(pair: Tuple[Signer, Signer]) -> None:
    key = armored(pair[0])
    keys = read_keys([("a.asc", key), ("b.asc", key)])
    assert [key.file for key in keys.keys] == ["a.asc"]


def test_two_different_copies_of_a_key_are_a_fault() -> None:
    with signers() as make:
        signer = make("owner")
        old = armored(signer)
        signer.gpg("--passphrase", "", "--quick-add-uid", "owner", "other name")
        with pytest.raises(SlipwayErrors) as caught:
            read_keys([("a.asc", old), ("b.asc", armored(signer))])
        assert caught.value.faults == (
            f"b.asc: another copy of the key {signer.fingerprint} in a.asc",
        )


Build = Callable[[Signer], bytes]
NOT_KEYS: Dict[str, Tuple[str, Build, str]] = {
    "empty": ("x.asc", lambda signer: b"\n", "is empty"),
    "a web page": ("x.asc", lambda signer: b"<html>", "has no block PUBLIC KEY BLOCK"),
    "a secret key": (
        "x.asc",
        lambda signer: signer.gpg("--armor", "--export-secret-keys"),
        "has a block PRIVATE KEY BLOCK, and must have only PUBLIC KEY BLOCK",
    ),
    "a binary secret key": (
        "x.gpg",
        lambda signer: signer.gpg("--export-secret-keys"),
        "has a secret key; keep secret keys out of the workspace",
    ),
    "a signed text": (
        "x.asc",
        lambda signer: signer.sign("text\n").encode() + armored(signer),
        "has a block SIGNED MESSAGE",
    ),
    "a message": (
        "x.gpg",
        lambda signer: signer.gpg("--sign", "--compress-algo=none", text="text"),
        "has a packet of type 4, which does not belong to a key",
    ),
    "a key and a message": (
        "x.gpg",
        lambda signer: signer.gpg("--export") + signer.gpg("--sign", text="text"),
        "the packet of type 8 at byte ",
    ),
    "a keybox": (
        "x.gpg",
        lambda signer: (signer.home / "pubring.kbx").read_bytes(),
        "is a keybox of gpg",
    ),
    "half a key": ("x.asc", lambda signer: armored(signer)[:300], "is cut off"),
    "half a binary key": ("x.gpg", lambda signer: signer.gpg("--export")[:-9], "is cut off"),
    "a changed key": (
        "x.asc",
        lambda signer: armored(signer).replace(b"\n\nm", b"\n\nn"),
        "does not match its checksum",
    ),
    "an old version": ("x.gpg", lambda signer: b"\x98\x01\x03", "has a key of version 3"),
    "no version": ("x.gpg", lambda signer: b"\x98\x00", "has a key of version ?"),
    "only a marker": ("x.gpg", lambda signer: b"\xca\x03PGP", "has no key"),
    "another name": (
        f"{'0' * 40}.asc",
        armored,
        "has another key than its name says: ",
    ),
    "very long": ("x.asc", lambda signer: b" " * (keyring.LARGEST_FILE + 9), "has more than"),
}


@pytest.mark.parametrize("case", NOT_KEYS)
def test_a_file_that_is_not_a_public_key_is_named(
    case: str, pair: Tuple[Signer, Signer], tmp_path: Path
) -> None:
    name, build, why = NOT_KEYS[case]
    (tmp_path / name).write_bytes(build(pair[0]))
    (tmp_path / "good.asc").write_bytes(armored(pair[1]))
    with pytest.raises(SlipwayErrors, match="some files are not usable") as caught:
        read_key_folder(str(tmp_path))
    (fault,) = caught.value.faults
    assert fault.startswith(f"{tmp_path}/{name}: ")
    assert why in fault
    assert "gpg --armor --export" in caught.value.next


def test_files_that_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "folder.asc").mkdir()
    (tmp_path / "lost.asc").symlink_to("nothing")
    os.mkfifo(str(tmp_path / "pipe.asc"))
    with pytest.raises(SlipwayErrors) as caught:
        read_key_folder(str(tmp_path))
    assert caught.value.faults == (
        f"{tmp_path}/folder.asc: Is a directory",
        f"{tmp_path}/lost.asc: No such file or directory",
        f"{tmp_path}/pipe.asc: not a regular file",
    )


def test_a_folder_without_keys(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("no keys")
    with pytest.raises(SlipwayError, match="has no keys") as caught:
        read_key_folder(str(tmp_path))
    assert "<fingerprint>.asc" in caught.value.next
    with pytest.raises(SlipwayError, match="cannot read the folder of keys") as caught:
        read_key_folder(str(tmp_path / "missing"))
    assert caught.value.found == "No such file or directory"


def test_a_folder_with_too_many_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_MOST_FILES", 1)
    for name in ("a.asc", "b.asc"):
        (tmp_path / name).touch()
    with pytest.raises(SlipwayError, match="has too many keys"):
        read_key_folder(str(tmp_path))


def test_gpg_reads_the_written_keyring(pair: Tuple[Signer, Signer], tmp_path: Path) -> None:
    keys = read_keys([(signer.name, armored(signer)) for signer in pair])
    done = subprocess.run(
        ["gpg", "--homedir", str(tmp_path), "--show-keys", keys.write(str(tmp_path))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.strip() for line in done.stdout.split("\n") if line.startswith("      ")] == list(
        keys.fingerprints
    )


@given(st.binary())
def test_any_content_is_keys_or_malformed(content: bytes) -> None:
    for start in (b"", b"\x98\x01\x04", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"):
        try:
            parse_keys(start + content, "x")
        except Malformed:
            pass


@pytest.mark.parametrize(("kind", "bits"), [("rsa1024", 1024), ("rsa2048", 2048), ("ed25519", 0)])
def test_the_size_of_an_rsa_key(kind: str, bits: int) -> None:
    with signers() as make:
        signer = make("owner", kind=kind)
        assert keyring.rsa_bits(signer.keyring, signer.fingerprint) == bits
        assert keyring.rsa_bits(signer.keyring, "0" * 40) == 0
        assert keyring.rsa_bits(signer.keyring + ".missing", signer.fingerprint) == 0


def test_the_revocation_of_a_key_is_found(pair: Tuple[Signer, Signer], tmp_path: Path) -> None:
    with signers() as make:
        lost = make("lost")
        assert not keyring.has_revocation(lost.keyring, lost.fingerprint)
        lost.revoke()
        ring = tmp_path / "ring.gpg"
        ring.write_bytes(pair[0].exported + lost.exported + pair[1].exported)
    assert keyring.has_revocation(str(ring), lost.fingerprint)
    for signer in pair:
        assert not keyring.has_revocation(str(ring), signer.fingerprint)
