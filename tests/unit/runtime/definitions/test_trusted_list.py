"""What makes a checksum list trusted, and the message for each list that is not."""

from __future__ import annotations

import hashlib
import shutil
from typing import Any, Callable, Iterator, Optional, Tuple

import pytest

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.fetch import openpgp
from slipway.fetch.keyring import Keyring, read_keys
from slipway.fetch.openpgp import Cause, Fault, NotVerified
from slipway.runtime.definitions import trusted_list
from slipway.runtime.definitions.trusted_list import FetchedFile, TrustedList, read_trusted_list
from tests.unit.openpgp_signers import Signer, signers

A, B = "a" * 64, "b" * 64
ARCHIVE = "node-v16.20.2-linux-x64.tar.gz"
TEXT = f"{A}  {ARCHIVE}\n{B}  win-x64/node.exe\n"
HASHES = {ARCHIVE: A, "win-x64/node.exe": B}
GPGV = (shutil.which("gpgv") or "gpgv",)
LIST, ASC, SIG = "SHASUMS256.txt", "SHASUMS256.txt.asc", "SHASUMS256.txt.sig"
HASH = "give the hash of the archive, from a source that you trust: --sha256=<hash>"


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with signers() as make:
        yield make("releaser", kind="ed25519")


def keyring(*trusted: Signer) -> Keyring:
    return read_keys([(signer.name, signer.exported) for signer in trusted])


def clear_signed(signer: Signer, *options: str, text: str = TEXT) -> FetchedFile:
    return FetchedFile(ASC, signer.sign(text, *options).encode())


def detached(signer: Signer, *options: str, text: str = TEXT) -> FetchedFile:
    return FetchedFile(SIG, signer.gpg(*signer.clock, *options, "--detach-sign", text=text))


def plain(text: str = TEXT) -> FetchedFile:
    return FetchedFile(LIST, text.encode())


def read(
    listed: FetchedFile, signature: Optional[FetchedFile], *trusted: Signer, **settings: Any
) -> TrustedList:
    return read_trusted_list(listed, signature, keyring(*trusted), GPGV, **settings)


def refused(*arguments: Any, **settings: Any) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught:
        read(*arguments, **settings)
    return caught.value


def test_a_clear_signed_list(signer: Signer) -> None:
    trusted = read(clear_signed(signer), None, signer)
    assert (dict(trusted.checksums.hashes), trusted.checksums.path) == (HASHES, ASC)
    assert trusted.reason == f"signed by {signer.fingerprint}"


@pytest.mark.parametrize("options", [(), ("--armor",)])
def test_a_list_with_a_detached_signature(options: Tuple[str, ...], signer: Signer) -> None:
    trusted = read(plain(), detached(signer, *options), signer)
    assert (dict(trusted.checksums.hashes), trusted.checksums.path) == (HASHES, LIST)


def test_a_list_with_its_clear_signed_copy(signer: Signer) -> None:
    assert dict(read(plain(), clear_signed(signer), signer).checksums.hashes) == HASHES
    error = refused(plain(TEXT.replace(A, B)), clear_signed(signer), signer)
    assert error.what == 'the checksum list "SHASUMS256.txt" differs from its signed text'
    assert error.found == "other names or hashes in SHASUMS256.txt.asc"


def test_an_unknown_key_is_named_with_the_way_to_add_it(signer: Signer) -> None:
    with signers() as make:
        stranger = make("stranger")
        for listed, signature, where in (
            (clear_signed(stranger), None, ""),
            (plain(), detached(stranger), SIG),
        ):
            error = refused(listed, signature, signer)
            assert error.what == (
                f'the checksum list "{listed.name}" is signed with an unknown key'
            )
            assert error.found == f"key {stranger.fingerprint}"
            assert error.where == where
            assert error.next == (
                "check the fingerprint of the key with its owner, and add the key as\n"
                f"  toolchains/node/keys/{stranger.fingerprint}.asc\n"
                f"or {HASH}"
            )


def test_a_key_that_is_known_only_by_its_id() -> None:
    """Signatures of GnuPG 1 and early 2 do not name the fingerprint."""
    error = trusted_list._rejected(
        plain(),
        plain(),
        NotVerified([Fault(Cause.UNKNOWN_KEY, "B0A78B0A6C481CF6", "")], []),
    )
    assert error.found == "key B0A78B0A6C481CF6"
    assert "  toolchains/node/keys/<fingerprint>.asc\n" in error.next


def test_a_list_that_was_changed(signer: Signer) -> None:
    changed = clear_signed(signer).content.replace(A.encode(), B.encode())
    for listed, signature in (
        (FetchedFile(ASC, changed), None),
        (plain(TEXT.replace(A, B)), detached(signer)),
        (plain(TEXT.split("\n", maxsplit=1)[0] + "\n"), detached(signer)),
        (plain(TEXT.replace("\n", "\r\n")), detached(signer)),
    ):
        error = refused(listed, signature, signer)
        assert error.what == (f'the signature of the checksum list "{listed.name}" is not valid')
        assert error.found == (
            f"key {signer.fingerprint[-16:]}: the text was changed after it was signed"
        )
        assert error.next == f"fetch the list and its signature again, or {HASH}"


def test_line_ends_do_not_change_a_clear_signed_list(signer: Signer) -> None:
    listed = FetchedFile(ASC, clear_signed(signer).content.replace(b"\n", b"\r\n"))
    assert dict(read(listed, None, signer).checksums.hashes) == HASHES


def test_an_unsigned_list(signer: Signer) -> None:
    error = refused(plain(), None, signer)
    assert error.what == 'the checksum list "SHASUMS256.txt" is not signed'
    assert error.next == (
        f"add SHASUMS256.txt.sig or SHASUMS256.txt.asc of the same release, or {HASH}"
    )


@pytest.mark.parametrize("signature", [None, FetchedFile(SIG, b"x")])
def test_an_empty_list(signature: Optional[FetchedFile], signer: Signer) -> None:
    assert refused(plain("\n"), signature, signer).what == (
        'the checksum list "SHASUMS256.txt" is empty'
    )
    assert refused(clear_signed(signer, text=""), None, signer).what == (
        'the checksum list "SHASUMS256.txt.asc" is empty'
    )


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-30],
        lambda content: content[:150],
        lambda content: content + f"{B}  other\n".encode(),
        lambda content: content.replace(b"\n\n", b"\n\n\n-----BEGIN PGP\n", 1),
    ],
)
def test_a_clear_signed_list_that_is_not_whole_or_not_alone(change: Change, signer: Signer) -> None:
    error = refused(FetchedFile(ASC, change(clear_signed(signer).content)), None, signer)
    assert error.what == '"SHASUMS256.txt.asc" has no usable signature'
    assert error.found == "is not exactly one clear-signed text without anything around it"
    assert error.next == f"fetch the file again, or {HASH}"


@pytest.mark.parametrize("signature", [b"", b"<html>", b"\x88\x09abc", b"\xa3\x01"])
def test_what_is_not_a_signature(signature: bytes, signer: Signer) -> None:
    error = refused(plain(), FetchedFile(SIG, signature), signer)
    assert error.what == '"SHASUMS256.txt.sig" has no usable signature'


@pytest.mark.parametrize("digest", ["MD5", "SHA1"])
def test_a_weak_digest(digest: str) -> None:
    with signers() as make:
        # gpg signs these digests only with RSA keys.
        signer = make("releaser")
        weak = (f"--digest-algo={digest}", "--allow-weak-digest-algos")
        error = refused(plain(), detached(signer, *weak), signer)
    name = {"MD5": "MD5", "SHA1": "SHA-1"}[digest]
    assert f": it uses a {name} digest, which is broken" in error.found
    assert signer.fingerprint[-16:] in error.found
    assert error.next == HASH


def test_an_expired_key() -> None:
    with signers() as make:
        old = make("old", ends="20210101T000000", since="20200601T000000")
        signature = detached(old)
        error = refused(plain(), signature, old)
        assert error.found == f"key {old.fingerprint}: its key has expired"
        assert error.next.startswith("if its owner has extended the key, replace its file in ")
        in_time = read(plain(), signature, old, signed_in_time=True)
        assert in_time.reason == f"signed by {old.fingerprint}"
        old.revoke()
        error = refused(plain(), signature, old, signed_in_time=True)
        # gpgv does not report the revocation of an expired key.
        assert error.found == f"key {old.fingerprint}: its key has expired"


def test_a_short_key() -> None:
    with signers() as make:
        short = make("short", kind="rsa1024")
        error = refused(plain(), detached(short, "--digest-algo=SHA256"), short)
    assert error.found == f"key {short.fingerprint}: its key has 1024 bits, fewer than 2048"


def test_one_of_two_signatures_is_enough(signer: Signer) -> None:
    with signers() as make:
        stranger = make("stranger")
        both = FetchedFile(SIG, detached(stranger).content + detached(signer).content)
        assert read(plain(), both, signer).reason == f"signed by {signer.fingerprint}"
        secret = stranger.gpg("--export-secret-keys", "--armor")
        with signers() as make_again:
            pair = make_again("other")
            pair.gpg("--import", text=secret)
            listed = clear_signed(pair, "--local-user=stranger", "--local-user=other")
            assert read(listed, None, pair).reason == f"signed by {pair.fingerprint}"
            error = refused(listed, None, signer)
            assert error.found == f"key {stranger.fingerprint}\nkey {pair.fingerprint}"


def test_a_signed_list_with_invalid_lines(signer: Signer) -> None:
    """A good signature does not make a list readable."""
    with pytest.raises(SlipwayErrors, match="has invalid lines") as caught:
        read(clear_signed(signer, text=f"{A}  ../x\n{A[:32]}  y\n"), None, signer)
    assert len(caught.value.faults) == 2


def test_a_machine_without_gpgv(signer: Signer) -> None:
    with pytest.raises(SlipwayError) as caught:
        read_trusted_list(clear_signed(signer), None, keyring(signer), None)
    assert caught.value.what == 'cannot check the signature of "SHASUMS256.txt.asc"'
    assert caught.value.next == f"apt-get install gpgv, or {HASH}"


def test_a_gpgv_that_hangs(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openpgp, "_SECONDS", 0.2)
    hanging = ("/bin/sh", "-c", "sleep 30")
    with pytest.raises(SlipwayError, match="timed out after"):
        read_trusted_list(clear_signed(signer), None, keyring(signer), hanging)


def test_a_file_that_is_too_long(signer: Signer) -> None:
    long = FetchedFile(SIG, b"x" * (trusted_list.LARGEST + 1))
    assert refused(plain(), long, signer).what == '"SHASUMS256.txt.sig" is too long'
    assert refused(FetchedFile(LIST, long.content), None, signer).what == (
        '"SHASUMS256.txt" is too long'
    )


class TestHash:
    """The hash from the user, without any key."""

    def read(self, listed: FetchedFile, sha256: str, archive: Optional[str] = None) -> TrustedList:
        return read_trusted_list(listed, None, Keyring(()), None, sha256=sha256, archive=archive)

    @pytest.mark.parametrize("upper", [False, True])
    def test_of_the_list(self, upper: bool) -> None:
        sha256 = hashlib.sha256(TEXT.encode()).hexdigest()
        trusted = self.read(plain(), sha256.upper() if upper else sha256)
        assert dict(trusted.checksums.hashes) == HASHES
        assert trusted.reason == "the user's hash of the list"

    def test_of_the_archive(self) -> None:
        """The other lines of such a list are not trusted."""
        trusted = self.read(plain(), A, ARCHIVE)
        assert dict(trusted.checksums.hashes) == {ARCHIVE: A}
        assert trusted.reason == "the user's hash of the archive"

    def test_of_a_clear_signed_list(self, signer: Signer) -> None:
        listed = clear_signed(signer)
        assert self.read(listed, A, ARCHIVE).checksums.hash_of(ARCHIVE) == A
        sha256 = hashlib.sha256(listed.content).hexdigest()
        assert dict(self.read(listed, sha256).checksums.hashes) == HASHES
        with pytest.raises(SlipwayError, match="has no usable signature"):
            self.read(FetchedFile(ASC, listed.content[:-30]), A, ARCHIVE)

    def test_that_does_not_match(self, signer: Signer) -> None:
        """Even if the signature is good: the user expects another list."""
        sha256 = "c" * 64
        error = refused(clear_signed(signer), None, signer, sha256=sha256, archive=ARCHIVE)
        assert error.what == (
            'the given hash does not match the checksum list "SHASUMS256.txt.asc"'
        )
        assert error.where == f"--sha256={sha256}"
        assert f"\nSHA-256 of {ARCHIVE} in the list: {A}" in error.found
        with pytest.raises(SlipwayError) as caught:
            self.read(plain(), A)
        assert caught.value.found == (
            f"SHA-256 of the list: {hashlib.sha256(TEXT.encode()).hexdigest()}"
        )

    def test_of_an_archive_that_the_list_does_not_have(self) -> None:
        with pytest.raises(SlipwayError, match="has no file") as caught:
            self.read(plain(), A, "node-v16.20.2-linux-x86.tar.gz")
        assert caught.value.found == ARCHIVE

    @pytest.mark.parametrize(
        ("sha256", "what"),
        [
            (A[:32], "the hash is an MD5 hash, which is broken"),
            (A[:40], "the hash is a SHA-1 hash, which is broken"),
            (A[1:], "the hash is not a SHA-256"),
            ("x" * 64, "the hash is not a SHA-256"),
            ("", "the hash is not a SHA-256"),
        ],
    )
    def test_that_is_not_a_sha256(self, sha256: str, what: str) -> None:
        with pytest.raises(SlipwayError) as caught:
            self.read(plain(), sha256)
        assert (caught.value.what, caught.value.where) == (what, "--sha256")
        assert "64 hexadecimal digits" in caught.value.next
