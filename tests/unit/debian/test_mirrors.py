"""A package from the first mirror that has it, and an error if no mirror has it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple
from urllib.parse import quote

import pytest

from slipway.debian.apt_config import AptConfig, Login
from slipway.debian.mirrors import DebianMirrors
from slipway.fetch.download import Content, ContentCache
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.http_transport import Patience
from tests.unit.fetch.loopback import Page, cut_off, endless, first_fails, redirect, serve, stalled

FILE = "pool/main/t/tool/tool_1.0+b1~2_amd64.deb"
PATH = "/debian/" + FILE
DATA = b"a package" * 1000
QUICK = Patience(connect=2, stall=0.3, tries=2, backoff=0.01, body=2.0)


def nobody_listens() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def mirrors(*addresses: str, **config: Any) -> DebianMirrors:
    return DebianMirrors(AptConfig(addresses, "apt", **config), QUICK)


def fetch(top: Path, source: DebianMirrors, data: bytes = DATA) -> bytes:
    """Fetches the package whose content should be `data`, and reads it."""
    cache = ContentCache(str(top / "cache"))
    content = Content(sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    source.fetch("tool", FILE, content, cache)
    target = top / "tool.deb"
    assert cache.copy_to(content, str(target))
    return target.read_bytes()


def fault(top: Path, source: DebianMirrors) -> FetchFault:
    with pytest.raises(FetchFailed) as caught:
        fetch(top, source)
    left = [name for _, _, names in os.walk(top / "cache") for name in names]
    assert left == []  # nothing half-written stays
    return caught.value.fault


def test_a_package_is_fetched(tmp_path: Path) -> None:
    with serve({PATH: DATA}) as server:
        assert fetch(tmp_path, mirrors(server.address + "/debian")) == DATA


def test_a_busy_mirror_is_asked_again(tmp_path: Path) -> None:
    with serve({PATH: first_fails(DATA)}) as server:
        assert fetch(tmp_path, mirrors(server.address + "/debian")) == DATA
        assert server.paths == [PATH, PATH]


FAILING: Dict[str, Tuple[Callable[[], Page], str]] = {
    "not there": (lambda: 404, "HTTP 404"),
    "forbidden": (lambda: 403, "HTTP 403"),
    "broken": (lambda: 500, "HTTP 500"),
    "an error page": (lambda: b"<html>log in first</html>", "wrong size"),
    "other content": (lambda: DATA.replace(b"a", b"b"), "wrong SHA-256"),
    "too long": (lambda: DATA + b"x", "9001 bytes, more than 9000"),
    "endless": (lambda: endless, "more than 9000 bytes"),
    "cut off": (lambda: cut_off(DATA), "truncated after 4500 of 9000"),
    "stalled": (lambda: stalled(1.0), "timed out"),
    "going round": (lambda: redirect(PATH), "redirects"),
}


@pytest.mark.parametrize("case", FAILING)
def test_the_next_mirror_is_asked_when_one_fails(case: str, tmp_path: Path) -> None:
    make, _ = FAILING[case]
    with serve({PATH: make()}) as bad, serve({PATH: DATA}) as good:
        both = mirrors(bad.address + "/debian", good.address + "/debian")
        assert fetch(tmp_path, both) == DATA
        assert PATH in bad.paths


@pytest.mark.parametrize("case", FAILING)
def test_a_failure_of_all_is_told_with_the_address(case: str, tmp_path: Path) -> None:
    make, text = FAILING[case]
    with serve({PATH: make()}) as bad:
        found = fault(tmp_path, mirrors(bad.address + "/debian"))
    assert found.subject == "tool"
    assert text in found.reason
    assert f"{bad.address}/debian" in found.reason
    assert found.next


def test_every_mirrors_answer_is_told(tmp_path: Path) -> None:
    down = nobody_listens()
    with serve({}) as one, serve({PATH: 500}) as two:
        found = fault(tmp_path, mirrors(one.address + "/debian", down, two.address + "/debian"))
    assert [part.split(": ")[-1][:8] for part in found.reason.split("; ")][::2] == [
        "HTTP 404",
        "HTTP 500",
    ]
    assert down in found.reason
    assert not found.shared


def test_an_archive_has_what_the_mirrors_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "kept packages"
    package = folder / FILE
    package.parent.mkdir(parents=True)
    package.write_bytes(DATA)
    with serve({}) as dropped, serve({PATH: DATA}) as other:
        archives = (f"file://{quote(str(folder))}", other.address + "/debian")
        source = mirrors(dropped.address + "/debian", archives=archives)
        assert fetch(tmp_path, source) == DATA
        assert dropped.paths == [PATH]
        assert other.paths == []


def test_mirrors_are_asked_before_archives(tmp_path: Path) -> None:
    with serve({PATH: DATA}) as mirror, serve({PATH: DATA}) as archive:
        source = mirrors(mirror.address + "/debian", archives=(archive.address + "/debian",))
        assert fetch(tmp_path, source) == DATA
        assert archive.paths == []


@pytest.mark.parametrize("case", FAILING)
def test_a_wrong_file_of_an_archive_is_never_taken(case: str, tmp_path: Path) -> None:
    make, text = FAILING[case]
    with serve({}) as mirror, serve({PATH: make()}) as archive:
        source = mirrors(mirror.address + "/debian", archives=(archive.address + "/debian",))
        assert text in fault(tmp_path, source).reason


def test_an_archive_has_no_index() -> None:
    with serve({}) as mirror, serve({"/d/InRelease": b"text"}) as archive:
        source = mirrors(mirror.address, archives=(archive.address,))
        with pytest.raises(FetchFailed):
            source.read("d/InRelease", 4)
        assert archive.paths == []


WAYS_OUT: Dict[str, Tuple[Dict[str, Page], str]] = {
    "dropped by the mirror": ({}, "set a mirror that still has it; in pants.toml: [slipway]"),
    "login wanted": ({PATH: 401}, "add a login to /etc/apt/auth.conf.d"),
    "busy": ({PATH: 503}, "run the same command again"),
}


@pytest.mark.parametrize("case", WAYS_OUT)
def test_the_way_out_fits_the_answer(case: str, tmp_path: Path) -> None:
    pages, way_out = WAYS_OUT[case]
    with serve(pages) as server:
        assert way_out in fault(tmp_path, mirrors(server.address + "/debian")).next


def test_mirrors_that_are_down_are_told_once_for_all_files(tmp_path: Path) -> None:
    found = fault(tmp_path, mirrors(nobody_listens()))
    assert found.shared
    assert found.next.startswith("check the mirrors of apt, or set one; in pants.toml: [slipway]")


def test_a_login_goes_to_its_host_and_not_where_that_redirects(tmp_path: Path) -> None:
    with serve({"/elsewhere": DATA}) as other:
        with serve({PATH: redirect(other.address + "/elsewhere")}) as server:
            login = Login(("http",), server.address[7:] + "/debian", "Basic c2VjcmV0")
            fetch(tmp_path, mirrors(server.address + "/debian", logins=(login,)))
            assert server.requests[0][1]["Authorization"] == "Basic c2VjcmV0"
        assert "Authorization" not in other.requests[0][1]


def test_apts_proxy_is_used(tmp_path: Path) -> None:
    address = "http://mirror.example/debian"
    with serve({f"{address}/{FILE}": DATA}) as proxy:
        settings = {"acquire::http::proxy": proxy.address}
        assert fetch(tmp_path, mirrors(address, settings=settings)) == DATA


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not on this machine")
def test_a_mirror_under_a_companys_own_authority(tmp_path: Path) -> None:
    pem = tmp_path / "own.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=own",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    trusted = {"acquire::https::cainfo": str(pem)}
    with serve({PATH: DATA}, certificate=str(pem)) as server:
        address = server.address + "/debian"
        found = fault(tmp_path, mirrors(address))
        assert "its certificate is not trusted" in found.reason
        assert found.next == (
            'set its CA file in /etc/apt/apt.conf.d: Acquire::https::CaInfo "FILE";'
        )
        assert fetch(tmp_path, mirrors(address, settings=trusted)) == DATA


def local(top: Path, content: bytes) -> str:
    path = top / "srv mirror" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return f"file://{top!s}/srv%20mirror"


def test_a_local_mirror_is_read(tmp_path: Path) -> None:
    assert fetch(tmp_path, mirrors(local(tmp_path, DATA))) == DATA


@pytest.mark.parametrize(
    ("content", "text"), [(DATA + b"x", "9001 bytes, more than 9000"), (b"x" * 9000, "SHA-256")]
)
def test_a_local_mirror_with_another_file_is_told(
    content: bytes, text: str, tmp_path: Path
) -> None:
    assert text in fault(tmp_path, mirrors(local(tmp_path, content))).reason


def test_a_local_mirror_without_the_file_is_told(tmp_path: Path) -> None:
    found = fault(tmp_path, mirrors(f"file://{tmp_path}"))
    assert "No such file" in found.reason
    assert "set a mirror that still has it" in found.next


def test_small_files_are_read_up_to_a_limit() -> None:
    with serve({"/d/InRelease": b"text", "/e/InRelease": endless}) as server:
        source = mirrors(server.address)
        assert source.read("d/InRelease", 4) == b"text"
        for path, most in (("d/InRelease", 3), ("e/InRelease", 1000)):
            with pytest.raises(FetchFailed, match=f"{most}"):
                source.read(path, most)


def test_many_threads_may_share_it(tmp_path: Path) -> None:
    import threading  # noqa: PLC0415

    with serve({PATH: DATA}) as server:
        source = mirrors(server.address + "/debian")
        failed: List[BaseException] = []

        def run(number: int) -> None:
            try:
                (tmp_path / str(number)).mkdir()
                fetch(tmp_path / str(number), source)
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
