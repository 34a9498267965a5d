"""Signatures of texts: clear-signed without anything around them, and detached.

The tests of Debian's archives check the requirements for keys and digests with clear-signed texts.
"""

from __future__ import annotations

import shutil
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest

from slipway.fetch import openpgp
from slipway.fetch.openpgp import (
    Cause,
    NotSigned,
    NotVerified,
    Verifier,
    verify_clear_signed,
    verify_detached,
)
from tests.unit.openpgp_signers import Signer, signers

TEXT = "first line\n- second line\n"
GPGV = shutil.which("gpgv") or "gpgv"


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    with signers() as make:
        yield make("owner")


def trusting(*signers: Signer) -> Verifier:
    return Verifier((GPGV,), tuple(signer.keyring for signer in signers))


def detached(signer: Signer, *options: str, text: str = TEXT) -> bytes:
    return signer.gpg(*signer.clock, *options, "--detach-sign", text=text)


def test_a_text_alone(signer: Signer) -> None:
    signed = signer.sign(TEXT).encode()
    verified = verify_clear_signed(signed, trusting(signer), alone=True)
    assert verified.text == TEXT.encode()
    assert verified.signers == (signer.fingerprint,)
    assert openpgp.read_frame(signed) == TEXT.encode()
    assert openpgp.is_clear_signed(signed)


def test_line_ends_of_a_clear_signed_text_are_not_signed(signer: Signer) -> None:
    """A signature of a text covers its lines, however they end: RFC 9580, 7.2."""
    signed = signer.sign(TEXT).replace("\n", "\r\n").encode()
    verified = verify_clear_signed(signed, trusting(signer), alone=True)
    assert verified.text == TEXT.replace("\n", "\r\n").encode()


Change = Callable[[bytes, Signer], bytes]
NOT_ALONE: Dict[str, Tuple[Change, str]] = {
    "text before": (lambda signed, signer: b"text\n" + signed, "not exactly one"),
    "a line before": (lambda signed, signer: b"\n" + signed, "not exactly one"),
    "text after": (lambda signed, signer: signed + b"text\n", "not exactly one"),
    "two texts": (lambda signed, signer: signed + signed, "not exactly one"),
    "another header": (
        lambda signed, signer: signed.replace(b"\nHash:", b"\nNotDashEscaped: yes\nHash:", 1),
        "not exactly one",
    ),
    "text before the empty line": (
        lambda signed, signer: signed.replace(b"\nHash:", b"\ntext\nHash:", 1),
        "not exactly one",
    ),
    "no end": (lambda signed, signer: signed[:-20], "not exactly one"),
    "no signature": (
        lambda signed, signer: signed.split(b"-----BEGIN PGP SIGNATURE")[0],
        "not exactly one",
    ),
    "a NUL byte": (lambda signed, signer: signed.replace(b"first", b"fi\0st"), "a NUL byte"),
    "a long line": (
        lambda signed, signer: signed.replace(b"first", b"first" * 4096),
        "a line with more than 4096 bytes",
    ),
    "a damaged signature": (
        lambda signed, signer: signed.replace(b"SIGNATURE-----\n\ni", b"SIGNATURE-----\n\n%"),
        "is not valid base64",
    ),
    "a message in place of the signature": (
        lambda signed, signer: (
            signed.split(b"-----BEGIN PGP SIGNATURE")[0]
            + signer.gpg("--armor", "--sign", text="x").replace(b"MESSAGE", b"SIGNATURE")
        ),
        "the packet of type 8 at byte 0",
    ),
    "a compressed message": (
        lambda signed, signer: signer.gpg("--armor", "--sign", text="x"),
        "not exactly one",
    ),
    "nothing": (lambda signed, signer: b"", "not exactly one"),
    "very long": (lambda signed, signer: signed + b"\n" * openpgp.LARGEST, "more than 4194304"),
}


@pytest.mark.parametrize("case", NOT_ALONE)
def test_what_is_not_alone_is_not_given_to_gpgv(case: str, signer: Signer) -> None:
    change, why = NOT_ALONE[case]
    signed = change(signer.sign(TEXT).encode(), signer)
    with pytest.raises(NotSigned, match=why):
        verify_clear_signed(signed, Verifier(("/no/such/program",), ()), alone=True)


@pytest.mark.parametrize("options", [(), ("--armor",), ("--textmode",)])
def test_a_detached_signature(options: Tuple[str, ...], signer: Signer) -> None:
    verified = verify_detached(TEXT.encode(), detached(signer, *options), trusting(signer))
    assert (verified.text, verified.signers) == (TEXT.encode(), (signer.fingerprint,))


def test_a_binary_signature_covers_the_line_ends(signer: Signer) -> None:
    changed = TEXT.replace("\n", "\r\n").encode()
    with pytest.raises(NotVerified) as caught:
        verify_detached(changed, detached(signer), trusting(signer))
    assert [fault.cause for fault in caught.value.faults] == [Cause.CHANGED]
    assert verify_detached(changed, detached(signer, "--textmode"), trusting(signer)).signers


NO_SIGNATURE: Dict[str, Tuple[Callable[[Signer], bytes], str]] = {
    "nothing": (lambda signer: b"", "has 0 blocks SIGNATURE"),
    "a web page": (lambda signer: b"<html>", "has 0 blocks SIGNATURE"),
    "a signed message": (
        lambda signer: signer.gpg("--sign", "--compress-algo=none", text=TEXT),
        "other OpenPGP packets",
    ),
    "a compressed message": (lambda signer: signer.gpg("--sign", text=TEXT), "packet of type 8"),
    "an encrypted message": (
        lambda signer: signer.gpg("--symmetric", "--passphrase=x", text=TEXT),
        "other OpenPGP packets",
    ),
    "a clear-signed text": (
        lambda signer: signer.sign(TEXT).encode(),
        "has a block SIGNED MESSAGE",
    ),
    "a key": (lambda signer: signer.gpg("--export"), "other OpenPGP packets"),
    "an armored key": (
        lambda signer: signer.gpg("--armor", "--export"),
        "has a block PUBLIC KEY BLOCK",
    ),
    "two blocks": (lambda signer: detached(signer, "--armor") * 2, "has 2 blocks SIGNATURE"),
    "half": (lambda signer: detached(signer)[:-1], "is cut off"),
    "half of armor": (lambda signer: detached(signer, "--armor")[:-30], "is cut off"),
    "very long": (lambda signer: b"\n" * (openpgp.LARGEST + 1), "more than 4194304"),
}


@pytest.mark.parametrize("case", NO_SIGNATURE)
def test_what_is_not_a_signature_is_not_given_to_gpgv(case: str, signer: Signer) -> None:
    build, why = NO_SIGNATURE[case]
    with pytest.raises(NotSigned, match=why):
        verify_detached(TEXT.encode(), build(signer), Verifier(("/no/such/program",), ()))


def causes_of(content: bytes, signature: bytes, *trusted: Signer, **settings: Any) -> Any:
    with pytest.raises(NotVerified) as caught:
        verify_detached(content, signature, trusting(*trusted), **settings)
    return [(fault.cause, fault.key) for fault in caught.value.faults]


def test_faults_name_the_key(signer: Signer) -> None:
    content = TEXT.encode()
    weak = ("--digest-algo=SHA1", "--allow-weak-digest-algos")
    with signers() as make:
        other, short = make("other"), make("short", kind="rsa1024")
        unknown = causes_of(content, detached(other), signer)
        assert unknown == [(Cause.UNKNOWN_KEY, other.fingerprint)]
        assert causes_of(content, detached(short, "--digest-algo=SHA256"), short) == [
            (Cause.SHORT_KEY, short.fingerprint)
        ]
        assert causes_of(content, detached(signer, *weak), signer) == [
            (Cause.WEAK_DIGEST, signer.fingerprint)
        ]
        ((cause, key),) = causes_of(content + b"x", detached(signer), signer)
        assert (cause, signer.fingerprint.endswith(key)) == (Cause.CHANGED, True)
        revoked = detached(other)
        other.revoke()
        assert causes_of(content, revoked, other) == [(Cause.REVOKED_KEY, other.fingerprint)]


def test_an_md5_digest_is_weak(signer: Signer) -> None:
    md5 = detached(signer, "--digest-algo=MD5", "--allow-weak-digest-algos")
    with pytest.raises(NotVerified) as caught:
        verify_detached(TEXT.encode(), md5, trusting(signer))
    assert [(fault.cause, fault.reason) for fault in caught.value.faults] == [
        (Cause.WEAK_DIGEST, "it uses a MD5 digest, which is broken")
    ]


def test_one_good_signature_beside_one_by_a_stranger_is_enough(signer: Signer) -> None:
    with signers() as make:
        stranger = make("stranger")
        both = detached(stranger) + detached(signer)
        assert verify_detached(TEXT.encode(), both, trusting(signer)).signers == (
            signer.fingerprint,
        )
        two = verify_detached(TEXT.encode(), both, trusting(signer, stranger))
        assert two.signers == (stranger.fingerprint, signer.fingerprint)


def test_a_signature_of_another_text_beside_a_good_one_is_a_fault(signer: Signer) -> None:
    both = detached(signer) + detached(signer, text="another text")
    assert [cause for cause, _ in causes_of(TEXT.encode(), both, signer)] == [Cause.CHANGED]


def test_a_key_that_expired_after_it_signed_counts_only_if_the_caller_says_so() -> None:
    with signers() as make:
        # gpg cannot sign with an expired key, so the clock of a second home is wrong.
        signer = make("old", ends="20210101T000000", since="20200601T000000")
        signature = detached(signer)
    content = TEXT.encode()
    with signers() as make:
        other = make("other")
        ring = other.home / "old.gpg"
        ring.write_bytes(signer.exported)
        verifier = Verifier((GPGV,), (str(ring),))
        with pytest.raises(NotVerified) as caught:
            verify_detached(content, signature, verifier)
        assert [fault.cause for fault in caught.value.faults] == [Cause.EXPIRED_KEY]
        in_time = verify_detached(content, signature, verifier, signed_in_time=True)
        assert in_time.signers == (signer.fingerprint,)


@pytest.mark.parametrize(
    ("made", "ends", "counts"),
    [("99", "100", True), ("100", "100", False), ("99", "0", False), ("99", "", False)],
)
def test_only_a_signature_older_than_the_expiry_date_counts(
    made: str, ends: str, counts: bool
) -> None:
    key = "A" * 40
    status = (
        f"[GNUPG:] NEWSIG\n[GNUPG:] KEYEXPIRED {ends}\n[GNUPG:] EXPKEYSIG {key[:16]} name\n"
        f"[GNUPG:] VALIDSIG {key} 1970-01-01 {made} 0 4 0 22 8 00 {key}\n"
    )
    faults, signers = openpgp._judge(status.encode(), (), True)
    assert signers == ((key,) if counts else ())
    assert [fault.cause for fault in faults] == ([] if counts else [Cause.EXPIRED_KEY])


def test_a_gpgv_that_fails_has_its_errors(signer: Signer) -> None:
    failing = Verifier(("/bin/sh", "-c", "echo broken >&2; echo broken >&2"), ())
    with pytest.raises(NotVerified) as caught:
        verify_detached(TEXT.encode(), detached(signer), failing)
    assert (caught.value.faults, caught.value.errors) == ((), ("broken",))


def test_keys_have_other_algorithms_than_rsa() -> None:
    with signers() as make:
        signer = make("owner", kind="ed25519")
        assert verify_detached(TEXT.encode(), detached(signer), trusting(signer)).signers
