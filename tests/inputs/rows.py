"""The rows of the page: each kind of input, and a strike that shows what happens at each moment."""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

from slipway.core.errors import SlipwayError
from slipway.debian.archive import Untrusted
from tests.inputs import kinds, strikes
from tests.inputs.page import CACHED, FETCHED
from tests.runner.test_debian_python import write_mirror
from tests.runner.workbench import Bench, make_packages
from tests.unit.debian import test_archive as archives
from tests.unit.openpgp_signers import signers
from tests.unit.registry_stub import CA_FILE, TLS

Strike = Callable[[Path], str]


@dataclass(frozen=True)
class Row:
    """`strikes` give the cell of each moment; each strike gets an empty folder."""

    name: str
    locked_by: str
    strikes: Dict[str, Strike]


def _row(kind: kinds.Kind) -> Row:
    return Row(
        kind.name,
        kind.locked_by,
        {
            FETCHED: functools.partial(strikes.when_fetched, kind),
            CACHED: functools.partial(strikes.when_cached, kind),
        },
    )


def index_when_fetched(folder: Path) -> str:
    """The index of an archive: each single doubt is enough to refuse it."""
    held: List[str] = []
    with signers() as make:
        debian, stranger = make("archive"), make("stranger")
        trust = archives.trusting(("gpgv",), debian, now=1725701524.0)
        until: Dict[str, Any] = {"Valid-Until": "Sat, 7 Sep 2024 09:32:03 UTC"}
        assert archives.read(folder / "sound", debian.sign, trust).doubts == ()
        with pytest.raises(Untrusted):
            archives.read(folder / "signature", stranger.sign, trust)
        held.append("signature")
        with pytest.raises(Untrusted):
            archives.read(folder / "expired", debian.sign, trust, **until)
        held.append("Valid-Until")
        newer = archives.trusting(("gpgv",), debian, not_before="2024-09-01")
        with pytest.raises(Untrusted):
            archives.read(folder / "older", debian.sign, newer)
        held.append("date of the lock")
        listed: Dict[str, Any] = {"SHA256": f"\n {'0' * 64} {len(archives.PACKED)} {archives.LIST}"}
        with pytest.raises(SlipwayError, match="does not match the hash in InRelease"):
            archives.read(folder / "list", debian.sign, trust, **listed)
        held.append("SHA-256 of its lists")
    return ", ".join(held)


def wheel_when_fetched(folder: Path) -> str:
    """A wheel with the name and version of the lock, and other code."""
    bench = _bench(folder)
    with _wheel(bench).open("ab") as wheel:
        wheel.write(b"other")
    return _not_installed(bench)


def wheel_when_cached(folder: Path) -> str:
    """pip's own cache, which it fills from an index by TLS."""
    bench = _bench(folder)
    wheel = _wheel(bench).read_bytes()
    with python_index(bench):
        assert bench.run().ok
        (cached,) = (
            path
            for path in (bench.cache / "pip").rglob("*")
            if path.is_file() and wheel in path.read_bytes()
        )
        cached.write_bytes(cached.read_bytes().replace(wheel, wheel[:-1] + b"x"))
        shutil.rmtree(bench.environments[0])
        return _not_installed(bench)


def _bench(folder: Path) -> Bench:
    (folder / "wheels").mkdir(parents=True)
    return Bench.make(folder / "bench", make_packages(folder / "wheels"))


def _wheel(bench: Bench) -> Path:
    return bench.packages.folder / "pex-2.1.137-py3-none-any.whl"


def _not_installed(bench: Bench) -> str:
    result = bench.run()
    assert result.status == 1
    assert "DO NOT MATCH THE HASHES" in result.err
    assert bench.environments == []
    return "SHA-256"


class _Index(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "max-age=1000")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def python_index(bench: Bench) -> Iterator[None]:
    """The packages of `bench`, from where pip keeps what it fetched."""
    site = bench.folder / "site"
    for wheel in bench.packages.folder.glob("*.whl"):
        project = site / wheel.name.partition("-")[0].replace(".", "-")
        project.mkdir(parents=True)
        shutil.copy(str(wheel), str(project))
        (project / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    handler = functools.partial(_Index, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(TLS / "server.pem"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        del bench.environ[name]
    bench.environ["PIP_INDEX_URL"] = f"https://127.0.0.1:{server.server_address[1]}"
    bench.environ["PIP_CERT"] = str(CA_FILE)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def interpreter_when_fetched(folder: Path) -> str:
    """A package of Debian that the runner makes its CPython of."""
    held: List[str] = []
    for check, change in (("size", b"longer"), ("SHA-256", b"")):
        bench = _bench(folder / check)
        mirror = write_mirror(bench)
        package = next(mirror.rglob("*.deb"))
        content = package.read_bytes()
        package.write_bytes(content[:-1] + b"x" + change)
        result = bench.run(SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())
        assert result.status == 1
        assert "a package of Debian 11 does not match the lock" in result.err
        assert not list((bench.cache / "slipway").glob("*/*"))
        held.append(check)
    return ", ".join(held)


ROWS = (
    *map(_row, kinds.KINDS),
    Row("index of a Debian archive", "keys of Debian", {FETCHED: index_when_fetched}),
    Row(
        "Pants and its Python packages",
        "`3rdparty/python/pants.lock`",
        {FETCHED: wheel_when_fetched, CACHED: wheel_when_cached},
    ),
    Row(
        "Debian package of the runner's CPython",
        "`3rdparty/debian/cpython39.lock`",
        {FETCHED: interpreter_when_fetched},
    ),
)

# What the end-to-end tests strike with a real remote cache.
RESULT = ("result of a step", "the step's inputs, by SHA-256")
INPUTS = (*((row.name, row.locked_by) for row in ROWS), RESULT)
