"""New OpenPGP keys in folders of their own, and signatures with them, made by gpg."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from typing import Callable, Iterator, List, Union


class Signer:
    """A new key, and signatures with it; `since` is the date of the key for gpg."""

    def __init__(
        self, home: Path, name: str, *, ends: str = "never", since: str = "", kind: str = "rsa2048"
    ) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        self.name, self.clock = name, [f"--faked-system-time={since}!"] if since else []
        # RSA, because gpg signs SHA-1 digests only with RSA keys.
        self.gpg(*self.clock, "--quick-gen-key", "--passphrase", "", name, kind, "sign", ends)
        self.keyring = str(home / "public-key.gpg")
        self.export()

        listed = self.gpg("--list-keys", "--with-colons").decode().split("\n")
        self.fingerprint = next(line.split(":")[9] for line in listed if line.startswith("fpr:"))

    def export(self) -> None:
        self.exported = self.gpg("--export")
        Path(self.keyring).write_bytes(self.exported)

    def gpg(self, *arguments: str, text: Union[str, bytes] = "") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--yes"]
        done = subprocess.run(
            [*command, "--pinentry-mode", "loopback", *arguments],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            check=True,
        )
        return done.stdout

    def sign(self, text: str, *options: str) -> str:
        return self.gpg(*self.clock, *options, "--clearsign", text=text).decode()

    def revoke(self) -> None:
        """With the revocation certificate that gpg creates for every key."""
        (written,) = (self.home / "openpgp-revocs.d").iterdir()
        self.gpg("--import", text=written.read_text().replace(":-----BEGIN", "-----BEGIN"))
        self.export()

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)


@contextlib.contextmanager
def signers() -> Iterator[Callable[..., Signer]]:
    """Creates signers in folders with short paths, and stops gpg's agents in them."""
    made: List[Signer] = []
    with tempfile.TemporaryDirectory(prefix="g") as folder:

        def make(name: str, **settings: str) -> Signer:
            made.append(Signer(Path(folder) / name, name, **settings))
            return made[-1]

        try:
            yield make
        finally:
            for signer in made:
                signer.end()
