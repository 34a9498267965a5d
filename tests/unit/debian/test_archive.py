"""The index of an archive: signature, hashes and dates, and an error for each mismatch."""

from __future__ import annotations

import fnmatch
import hashlib
import lzma
import os
import tracemalloc
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.debian import archive as debian_archive
from slipway.debian import signature
from slipway.debian.apt_config import AptConfig
from slipway.debian.archive import Suite, Trust, Untrusted, read_suite
from slipway.debian.lock import read_lock
from slipway.debian.mirrors import DebianMirrors
from slipway.fetch import openpgp
from slipway.fetch.openpgp import Verifier
from tests.places import SOURCES
from tests.unit.debian.real_packages import fetch_packages
from tests.unit.openpgp_signers import Signer, signers

LIST = "main/binary-amd64/Packages.xz"
PACKAGES = "Package: tool\nVersion: 1.0\n\nPackage: other\nVersion: 2\n"
PACKED = lzma.compress(PACKAGES.encode())
BLIND = Trust(None, blind=True)


def release_text(packed: bytes, **changed: Optional[str]) -> str:
    fields: Dict[str, Optional[str]] = {
        "Origin": "Debian",
        "Suite": "oldoldstable",
        "Version": "11.11",
        "Codename": "bullseye",
        "Date": "Sat, 31 Aug 2024 09:32:03 UTC",
        "SHA256": f"\n {'0' * 64} 10 main/Contents\n {hashlib.sha256(packed).hexdigest()} "
        f"{len(packed)} {LIST}",
        **changed,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value is not None)


def armoured(text: str) -> str:
    """The format of a clear signature of gpg, without a valid signature."""
    return (
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}"
        "-----BEGIN PGP SIGNATURE-----\n\nabc=\n-----END PGP SIGNATURE-----\n"
    )


def write_mirror(top: Path, release: str, packed: bytes) -> DebianMirrors:
    folder = top / "mirror" / "dists" / "bullseye"
    (folder / LIST).parent.mkdir(parents=True)
    (folder / "InRelease").write_text(release)
    (folder / LIST).write_bytes(packed)
    return DebianMirrors(AptConfig((f"file://{top}/mirror",), "apt"))


def read(
    top: Path,
    sign: Callable[[str], str] = armoured,
    trust: Trust = BLIND,
    packed: bytes = PACKED,
    **changed: Any,
) -> Suite:
    mirrors = write_mirror(top, sign(release_text(packed, **changed)), packed)
    return read_suite(mirrors, "bullseye", "main", "amd64", trust)


def test_release_date_and_packages_are_read(tmp_path: Path) -> None:
    suite = read(tmp_path)
    assert (suite.release, suite.date) == ("11.11", "2024-08-31")
    assert [stanza["Package"] for stanza in suite.packages] == ["tool", "other"]


def test_a_suite_without_a_version_is_called_by_its_name(tmp_path: Path) -> None:
    assert read(tmp_path, Version=None).release == "bullseye"


def test_a_suite_may_be_asked_for_by_its_other_name(tmp_path: Path) -> None:
    assert read(tmp_path, Codename="forky", Suite="bullseye").date == "2024-08-31"


def test_a_signature_that_nobody_can_check_ends_it(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="cannot check the signature") as caught:
        read(tmp_path, trust=Trust(None))
    assert caught.value.found == "no gpgv program, or no Debian keys"
    assert caught.value.next == "apt-get install gpgv debian-archive-keyring"


def test_what_nobody_has_signed_is_not_even_read(tmp_path: Path) -> None:
    with pytest.raises(Untrusted, match="cannot check the signature"):
        read(tmp_path, lambda text: "<html>", Trust(None))


def test_a_suite_that_is_trusted_all_the_same_has_its_doubts_told(tmp_path: Path) -> None:
    trust = Trust(None, not_before="2024-09-01", blind=True)
    until: Dict[str, Any] = {"Valid-Until": "Sat, 7 Sep 2024 09:32:03 UTC"}
    suite = read(tmp_path, trust=trust, **until)
    assert [stanza["Package"] for stanza in suite.packages] == ["tool", "other"]
    unchecked, expired, older = suite.doubts
    assert "cannot check the signature" in unchecked
    assert "has expired" in expired
    assert "2024-08-31; the lock was made from 2024-09-01" in older


BAD: Dict[str, Tuple[Dict[str, Any], str]] = {
    "no signed text": ({"sign": lambda text: text}, "is not a signed text"),
    "an error page": ({"sign": lambda text: "<html>"}, "is not a signed text"),
    "half a signature": (
        {"sign": lambda text: armoured(text).split("-----BEGIN PGP SIGNATURE")[0]},
        "is not a signed text",
    ),
    "another suite": (
        {"Codename": "sid", "Suite": "unstable"},
        'another suite instead of "bullseye"',
    ),
    "no list of that kind": ({"SHA256": "\n a 1 main/x"}, "has no such package index"),
    "a list with another hash": (
        {"SHA256": f"\n {'0' * 64} 120 {LIST}"},
        "does not match the hash in InRelease",
    ),
    "a list that is too long": (
        {"SHA256": f"\n {'0' * 64} 1 {LIST}"},
        "cannot fetch the package index",
    ),
    "no date": ({"Date": None}, "has no valid date"),
    "a date of no calendar": ({"Date": "Sat, 99 Aug 2024 09:32:03 UTC"}, "has no valid date"),
    "no date of its end": ({"Valid-Until": "soon"}, 'has no valid date as "Valid-Until"'),
    "a size that is not a number": (
        {"SHA256": f"\n {'0' * 64} \u00b2 {LIST}"},
        "has no such package index",
    ),
    "a size beyond all bounds": ({"SHA256": f"\n {'0' * 64} {10**13} {LIST}"}, "is too large"),
    "a damaged list": ({"packed": b"\xfd7zXZ\0" + b"x" * 50}, "is damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_together_is_told(case: str, tmp_path: Path) -> None:
    changed, text = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, **changed)
    assert text in caught.value.what
    assert caught.value.next


def test_of_a_package_only_what_a_resolver_needs_is_kept(tmp_path: Path) -> None:
    stanza = "Package: tool\nVersion: 1\nDescription: a tool\n of ours\nDepends: libc6\nTag: x::y\n"
    suite = read(tmp_path, packed=lzma.compress(f"{stanza}\n\n\n".encode()))
    assert suite.packages == ({"Package": "tool", "Version": "1", "Depends": "libc6"},)


@pytest.mark.parametrize(
    "stanza",
    [
        "Version: 1",
        "Package: tool",
        "Package: ../x\nVersion: 1",
        "Package: tool\nVersion:",
        "Package: tool\nVersion: :::",
        pytest.param(f"Package: tool\nVersion: {'9' * 100000}", id="a long version"),
    ],
)
def test_a_package_without_a_usable_name_or_version_is_told(stanza: str, tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="without a usable name or version") as caught:
        read(tmp_path, packed=lzma.compress(f"{PACKAGES}\n{stanza}\n".encode()))
    assert len(str(caught.value)) < 600
    assert "use another mirror" in caught.value.next


@pytest.mark.parametrize("name", ["_LARGEST_LIST", "_LARGEST_PACKED_LIST", "_MOST_PACKAGES"])
def test_a_list_without_end_is_not_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian_archive, name, 1)
    with pytest.raises(SlipwayError, match=r"is too large|is too long|more than 1 packages"):
        read(tmp_path)


def test_a_package_without_end_takes_no_more_memory_than_one(tmp_path: Path) -> None:
    """As a text with a wide character, 64 MB would need about 600 MB with all objects from it."""
    endless = lzma.compress(f"Package: tool\nX: \U0001f600{'a' * (1 << 26)}".encode(), preset=0)
    tracemalloc.start()
    try:
        with pytest.raises(SlipwayError, match="has a package with a too long entry"):
            read(tmp_path, packed=endless)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 25


def test_a_suite_that_the_mirror_has_no_more_is_told_with_the_way_out(tmp_path: Path) -> None:
    mirrors = write_mirror(tmp_path, "", b"")
    with pytest.raises(SlipwayError, match='cannot fetch the package index of "buzz"') as caught:
        read_suite(mirrors, "buzz", "main", "amd64", BLIND)
    assert "dists/buzz/InRelease" in caught.value.found
    assert "set a mirror that still has it; in pants.toml: [slipway]" in caught.value.next


@pytest.fixture(scope="module")
def archive() -> Iterator[Signer]:
    with signers() as make:
        yield make("archive")


@pytest.fixture(scope="module", params=["the machine's gpgv", "gpgv of locked packages"])
def command(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The two ways to start gpgv, which must agree on every signature."""
    found = signature.of_machine(os.environ)
    assert found is not None, "apt-get install gpgv debian-archive-keyring"
    if request.param == "the machine's gpgv":
        return found.command
    text = (SOURCES / "slipway" / "data" / "archive_verifier.lock").read_text()
    lock = read_lock(text, "archive_verifier.lock")
    files = map(str, fetch_packages(tmp_path_factory.mktemp("debs"), lock=lock).values())
    unpacked = signature.of_packages([*files], str(tmp_path_factory.mktemp("v")))
    assert any("bookworm" in ring for ring in unpacked.keyrings)
    assert not any("removed" in ring for ring in unpacked.keyrings)
    return unpacked.command


def trusting(command: Any, *signers: Signer, **settings: Any) -> Trust:
    return Trust(Verifier(tuple(command), tuple(one.keyring for one in signers)), **settings)


def test_a_good_signature(command: Any, archive: Signer, tmp_path: Path) -> None:
    suite = read(tmp_path, archive.sign, trusting(command, archive))
    assert (suite.release, suite.doubts) == ("11.11", ())


def test_only_the_signed_text_counts(command: Any, archive: Signer, tmp_path: Path) -> None:
    def sign(text: str) -> str:
        return archive.sign(text) + "\nVersion: 98\n"

    assert read(tmp_path, sign, trusting(command, archive)).release == "11.11"


@pytest.mark.parametrize("form", ["text before it", "a message that is not clear text"])
def test_what_does_not_begin_as_a_signed_text_is_given_to_no_gpgv(
    form: str, archive: Signer, tmp_path: Path
) -> None:
    def sign(text: str) -> str:
        if form == "text before it":
            return "Version: 99\n\n" + archive.sign(text)
        return archive.gpg("--armor", "--sign", text=text).decode()

    trust = trusting([str(tmp_path / "no such program")], archive)
    with pytest.raises(Untrusted, match=r"is not a signed text") as caught:
        read(tmp_path, sign, trust)
    assert caught.value.next == "use another mirror"


def test_what_gpgv_writes_is_never_longer_than_what_was_signed(tmp_path: Path) -> None:
    signed = armoured(release_text(PACKED))
    unpacking = 'head -c 10000000 /dev/zero > "$3"; stat -c "%s bytes" "$3" >&2'
    with pytest.raises(Untrusted, match="is not valid") as caught:
        read(tmp_path, trust=Trust(Verifier(("/bin/sh", "-c", unpacking), ())))
    assert f"{len(signed)} bytes" in caught.value.found


Make = Callable[..., Signer]
NOT_GOOD: Dict[str, Tuple[Callable[[Make, Signer], Tuple[Signer, Callable[[str], str]]], str]] = {
    "another text": (
        lambda make, archive: (archive, lambda text: archive.sign(text).replace("11.11", "11.12")),
        "the text was changed after it was signed",
    ),
    "an unknown key": (
        lambda make, archive: (archive, make("somebody").sign),
        "its key is not among the Debian keys",
    ),
    "nothing": (lambda make, archive: (archive, armoured), ""),
    "a SHA-1 digest": (
        lambda make, archive: (
            archive,
            lambda text: archive.sign(text, "--digest-algo=SHA1", "--allow-weak-digest-algos"),
        ),
        "it uses a SHA-1 digest",
    ),
    "a DSA key": (
        lambda make, archive: signing_by(make("dsa", kind="dsa2048")),
        "its key has an algorithm that Debian does not use",
    ),
    "a short key": (
        lambda make, archive: signing_by(make("short", kind="rsa1024")),
        "its key has 1024 bits, fewer than 2048",
    ),
    "an expired key": (lambda make, archive: expired(make), "its key has expired"),
    "a revoked key": (lambda make, archive: revoked(make), "its key was revoked"),
    "an expired signature": (lambda make, archive: briefly_signed(make), "the signature has expired"),
}  # fmt: skip


def signing_by(signer: Signer) -> Tuple[Signer, Callable[[str], str]]:
    return signer, lambda text: signer.sign(text, "--digest-algo=SHA256")


def expired(make: Make) -> Tuple[Signer, Callable[[str], str]]:
    signer = make("old", ends="20210101T000000", since="20200601T000000")
    return signer, signer.sign


def briefly_signed(make: Make) -> Tuple[Signer, Callable[[str], str]]:
    signer = make("brief", since="20200601T000000")
    return signer, lambda text: signer.sign(text, "--default-sig-expire=seconds=60")


def revoked(make: Make) -> Tuple[Signer, Callable[[str], str]]:
    signer = make("lost")

    def sign(text: str) -> str:
        signed = signer.sign(text)
        signer.revoke()
        return signed

    return signer, sign


@pytest.mark.parametrize("case", NOT_GOOD)
def test_a_signature_that_does_not_count_ends_it(
    case: str, command: Any, archive: Signer, tmp_path: Path
) -> None:
    signer_of, why = NOT_GOOD[case]
    with signers() as make:
        signer, sign = signer_of(make, archive)
        # The keyring as it is when the signature is checked.
        signed = sign(release_text(PACKED))
        with pytest.raises(Untrusted, match=r'the signature of ".*" is not valid') as caught:
            read(tmp_path, lambda text: signed, trusting(command, signer))
    assert why in caught.value.found
    way_out = "apt-get install debian-archive-keyring" if why else "use another mirror"
    assert way_out in caught.value.next


def test_one_good_signature_beside_one_of_an_unknown_key_is_enough(
    command: Any, archive: Signer, tmp_path: Path
) -> None:
    """As Debian signs: with the keys of this release and of the next release."""
    with signers() as make:
        secret = make("next").gpg("--export-secret-keys", "--armor").decode()
    archive.gpg("--import", text=secret)
    suite = read(
        tmp_path,
        lambda text: archive.sign(text, "--local-user=archive", "--local-user=next"),
        trusting(command, archive),
    )
    assert suite.doubts == ()


def test_what_has_expired_ends_it(command: Any, archive: Signer, tmp_path: Path) -> None:
    until: Dict[str, Any] = {"Valid-Until": "Sat, 7 Sep 2024 09:32:03 UTC"}
    ends = 1725701523.0
    assert read(tmp_path / "1", archive.sign, trusting(command, archive, now=ends), **until)
    with pytest.raises(Untrusted, match='"bullseye" has expired') as caught:
        read(tmp_path / "2", archive.sign, trusting(command, archive, now=ends + 1), **until)
    assert caught.value.found == "Valid-Until: Sat, 7 Sep 2024 09:32:03 UTC"
    # In upper or lower case, as apt reads it.
    until = {"valid-until": until["Valid-Until"]}
    with pytest.raises(Untrusted, match='"bullseye" has expired'):
        read(tmp_path / "3", archive.sign, trusting(command, archive, now=ends + 1), **until)


def test_what_is_of_a_day_to_come_ends_it(command: Any, archive: Signer, tmp_path: Path) -> None:
    """A lock with that date would reject every later archive."""
    date: Dict[str, Any] = {"Date": "Wed, 10 Jun 2099 09:32:03 UTC"}
    with pytest.raises(Untrusted, match="a date in the future") as caught:
        read(tmp_path, archive.sign, trusting(command, archive), **date)
    assert caught.value.found == "Date: Wed, 10 Jun 2099 09:32:03 UTC"


def test_what_is_older_than_the_lock_ends_it(command: Any, archive: Signer, tmp_path: Path) -> None:
    """A mirror that replays an old archive would withhold security updates."""
    same = trusting(command, archive, not_before="2024-08-31")
    assert read(tmp_path / "1", archive.sign, same)
    newer = trusting(command, archive, not_before="2024-09-01")
    with pytest.raises(
        Untrusted, match="is older than the index that the lock was made from"
    ) as caught:
        read(tmp_path / "2", archive.sign, newer)
    assert caught.value.found == "2024-08-31; the lock was made from 2024-09-01"


def test_a_machine_without_gpgv_or_without_keys_has_no_verifier(tmp_path: Path) -> None:
    assert signature.of_machine({"PATH": "/nowhere"}) is None
    assert signature.of_machine(os.environ, (f"{tmp_path}/none-*.gpg",)) is None


@pytest.mark.parametrize("kind", ["rsa2048", "rsa4096", "ed25519", "nistp256"])
def test_kinds_of_keys_that_count(kind: str, command: Any, tmp_path: Path) -> None:
    with signers() as make:
        signer = make("debian", kind=kind)
        assert read(tmp_path, signer.sign, trusting(command, signer)).doubts == ()


def test_keys_of_others_on_this_machine_do_not_count() -> None:
    """apt's folder has the keys of every archive that the machine uses."""
    for pattern in signature.KEYRINGS:
        assert fnmatch.fnmatch(f"{os.path.dirname(pattern)}/debian-archive-trixie.gpg", pattern)
        assert not fnmatch.fnmatch(f"{os.path.dirname(pattern)}/docker.gpg", pattern)


def test_keys_that_debian_has_removed_do_not_count(tmp_path: Path) -> None:
    for name in ("bookworm-stable", "removed-keys"):
        (tmp_path / f"debian-archive-{name}.gpg").touch()
    verifier = signature.of_machine(os.environ, (f"{tmp_path}/debian-archive-*.gpg",))
    assert verifier is not None
    assert verifier.keyrings == (f"{tmp_path}/debian-archive-bookworm-stable.gpg",)


def test_a_gpgv_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openpgp, "_SECONDS", 0.2)
    hanging = Verifier(("/bin/sh", "-c", "sleep 30"), ())
    with pytest.raises(Untrusted, match=r"the check of the signature of .* timed out"):
        read(tmp_path, trust=Trust(hanging))
