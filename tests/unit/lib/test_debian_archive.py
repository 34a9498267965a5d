"""What an archive says it holds: signature, hashes, dates; and words when one does not fit."""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import pytest

from build_rules.lib.apt_config import AptConfig
from build_rules.lib.debian_archive import Suite, read_suite
from build_rules.lib.debian_fetch import DebianMirrors
from build_rules.lib.errors import SlipwayError

LIST = "main/binary-amd64/Packages.xz"
PACKAGES = "Package: tool\nVersion: 1.0\n\nPackage: other\nVersion: 2\n"
NO_GPGV = {"PATH": "/nowhere"}


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
    """As gpg writes a clear signature; nobody can check this one."""
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
    env: Mapping[str, str] = NO_GPGV,
    keyrings: Tuple[str, ...] = (),
    packed: bytes = lzma.compress(PACKAGES.encode()),
    **changed: Any,
) -> Suite:
    mirrors = write_mirror(top, sign(release_text(packed, **changed)), packed)
    return read_suite(mirrors, "bullseye", "main", "amd64", env, keyrings)


def test_release_date_and_packages_are_read(tmp_path: Path) -> None:
    suite = read(tmp_path)
    assert (suite.release, suite.date) == ("11.11", "2024-08-31")
    assert [stanza["Package"] for stanza in suite.packages] == ["tool", "other"]


def test_a_suite_without_a_version_is_called_by_its_name(tmp_path: Path) -> None:
    assert read(tmp_path, Version=None).release == "bullseye"


def test_a_suite_may_be_asked_for_by_its_other_name(tmp_path: Path) -> None:
    assert read(tmp_path, Codename="forky", Suite="bullseye").date == "2024-08-31"


def test_an_unchecked_signature_is_said_to_be(tmp_path: Path) -> None:
    assert read(tmp_path).signature == "not checked: no gpgv on this machine"


def test_a_machine_without_debians_keys_says_so(tmp_path: Path) -> None:
    env = {"PATH": str(write_gpgv(tmp_path, "exit 1"))}
    missing = (str(tmp_path / "none-*.gpg"),)
    suite = read(tmp_path, env=env, keyrings=missing)
    assert suite.signature == "not checked: no Debian archive keys on this machine"


BAD: Dict[str, Tuple[Dict[str, Any], str]] = {
    "no signed text": ({"sign": lambda text: text}, "is not a signed text"),
    "an error page": ({"sign": lambda text: "<html>"}, "is not a signed text"),
    "half a signature": (
        {"sign": lambda text: armoured(text).split("-----BEGIN PGP SIGNATURE")[0]},
        "is not a signed text",
    ),
    "another suite": ({"Codename": "sid", "Suite": "unstable"}, 'another suite than "bullseye"'),
    "no list of that kind": ({"SHA256": "\n a 1 main/x"}, "has no list of packages of that kind"),
    "a list with another hash": (
        {"SHA256": f"\n {'0' * 64} 120 {LIST}"},
        "is not the file that InRelease lists",
    ),
    "a list that is too long": ({"SHA256": f"\n {'0' * 64} 1 {LIST}"}, "cannot be fetched"),
    "no date": ({"Date": None}, "has no date"),
    "a damaged list": ({"packed": b"\xfd7zXZ\0" + b"x" * 50}, "is damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_together_is_told(case: str, tmp_path: Path) -> None:
    changed, text = BAD[case]
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, **changed)
    assert text in caught.value.what
    assert caught.value.next


def test_a_suite_that_the_mirror_has_no_more_is_told_with_the_way_out(tmp_path: Path) -> None:
    mirrors = write_mirror(tmp_path, "", b"")
    with pytest.raises(SlipwayError, match='"buzz" cannot be fetched') as caught:
        read_suite(mirrors, "buzz", "main", "amd64", NO_GPGV)
    assert "dists/buzz/InRelease" in caught.value.found
    assert "name a mirror that still has it; in pants.toml: [slipway]" in caught.value.next


def write_gpgv(top: Path, body: str) -> Path:
    (top / "bin").mkdir(exist_ok=True)
    (top / "bin" / "gpgv").write_text(f"#!/bin/sh\n{body}\n")
    (top / "bin" / "gpgv").chmod(0o755)
    return top / "bin"


@pytest.mark.parametrize(
    "status", ["[GNUPG:] VALIDSIG x\n[GNUPG:] BADSIG y", "[GNUPG:] NO_PUBKEY x", "Good signature"]
)
def test_only_a_valid_signature_and_no_bad_one_counts(status: str, tmp_path: Path) -> None:
    script = f"printf '%s\\n' '{status}'; echo 'why not' >&2"
    env = {"PATH": f"{write_gpgv(tmp_path, script)}:{os.environ['PATH']}"}
    (tmp_path / "keys.gpg").write_bytes(b"")
    with pytest.raises(SlipwayError, match=r"the signature of .* is not good") as caught:
        read(tmp_path, env=env, keyrings=(str(tmp_path / "*.gpg"),))
    assert caught.value.found == "why not"
    assert "apt-get install debian-archive-keyring" in caught.value.next


class Signer:
    """A key of its own, and signatures with it."""

    def __init__(self, home: Path, name: str) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.gpg("--quick-gen-key", "--passphrase", "", name, "ed25519", "sign", "never")
        self.keyring = str(home / "public-key.gpg")
        Path(self.keyring).write_bytes(self.gpg("--export"))

    def gpg(self, *arguments: str, text: str = "") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode"]
        done = subprocess.run(
            [*command, "loopback", *arguments],
            input=text.encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout

    def sign(self, text: str) -> str:
        return self.gpg("--clearsign", text=text).decode()

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)


needs_gpg = pytest.mark.skipif(
    not (shutil.which("gpg") and shutil.which("gpgv")), reason="gpg is not on this machine"
)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Any:
    top = tmp_path_factory.mktemp("g")
    made = [Signer(top / "a", "archive"), Signer(top / "b", "somebody")]
    yield made
    for signer in made:
        signer.end()


@needs_gpg
def test_a_good_signature_is_checked_with_gpgv(signers: Any, tmp_path: Path) -> None:
    archive, _ = signers
    suite = read(tmp_path, archive.sign, os.environ, (archive.keyring,))
    assert suite.signature == "good"
    assert suite.release == "11.11"


@needs_gpg
def test_only_the_signed_text_counts(signers: Any, tmp_path: Path) -> None:
    archive, _ = signers
    suite = read(
        tmp_path,
        lambda text: "Version: 99\n\n" + archive.sign(text) + "\nVersion: 98\n",
        os.environ,
        (archive.keyring,),
    )
    assert suite.release == "11.11"


@needs_gpg
@pytest.mark.parametrize("fault", ["changed", "unknown key", "not signed"])
def test_a_signature_that_is_not_good_ends_it(fault: str, signers: Any, tmp_path: Path) -> None:
    archive, somebody = signers
    sign = {
        "changed": lambda text: archive.sign(text).replace("11.11", "11.12"),
        "unknown key": somebody.sign,
        "not signed": armoured,
    }[fault]
    with pytest.raises(SlipwayError, match=r"the signature of .* is not good"):
        read(tmp_path, sign, os.environ, (archive.keyring,))
