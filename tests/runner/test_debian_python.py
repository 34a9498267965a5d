"""Making a CPython 3.9 from packages of Debian 11, on a machine with only a newer version."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import urllib.request
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple
from urllib.parse import urlsplit

import pytest

from slipway.runner import debian_python
from slipway.runner.messages import RunnerError
from tests.installed_pants import PYTHON
from tests.runner.test_environment import assert_whole_and_alone, small_disk
from tests.runner.workbench import (
    REPOSITORY,
    Bench,
    find_pip_wheel,
    kill_group,
    newer_python,
    wait_until,
)
from tests.tiers import long_except

LIBRARIES = "./lib/x86_64-linux-gnu"


def make_deb(files: Dict[str, Tuple[bytes, int]], links: Dict[str, str]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, (content, mode) in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            archive.addfile(member, io.BytesIO(content))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    deb = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("data.tar.xz", data.getvalue())):
        deb += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        deb += b"\n" * (len(content) % 2)
    return deb


@pytest.fixture
def mirror(bench: Bench) -> Path:
    return write_mirror(bench)


@functools.lru_cache(maxsize=None)
def make_package() -> bytes:
    """Compressed once for all tests: pip's wheel takes a second."""
    pip = find_pip_wheel()
    return make_deb(
        {
            "./usr/bin/python3.9": (f'#!/bin/sh\nexec "{PYTHON}" "$@"\n'.encode(), 0o755),
            "./usr/bin/patchelf": (b"#!/bin/sh\nexit 0\n", 0o755),
            "./usr/lib/python3.9/os.py": (b"", 0o644),
            f"./usr/share/python-wheels/{pip.name}": (pip.read_bytes(), 0o644),
            f"{LIBRARIES}/libone.so.1.0": (b"\x7fELF", 0o644),
            "./usr/share/doc/one/copyright": (b"free", 0o644),
            "./usr/share/doc/one/changelog.gz": (b"long", 0o644),
            "./etc/one.conf": (b"", 0o644),
        },
        {
            f"{LIBRARIES}/libone.so.1": "libone.so.1.0",
            "./usr/lib/python3.9/sitecustomize.py": "/etc/python3.9/sitecustomize.py",
        },
    )


def write_mirror(bench: Bench) -> Path:
    """A mirror with one package, whose interpreter is the one of these tests; and its lock."""
    package = make_package()
    folder = bench.folder / "debian"
    file = folder / "pool/main/o/one/one_1.0_amd64.deb"
    file.parent.mkdir(parents=True)
    file.write_bytes(package)
    entry = {
        "name": "one",
        "version": "1.0",
        "architecture": "amd64",
        "filename": str(file.relative_to(folder)),
        "size": len(package),
        "sha256": hashlib.sha256(package).hexdigest(),
    }
    lock = bench.repository / "3rdparty/debian/cpython39.lock"
    lock.write_text(json.dumps({"format": 1, "packages": [entry]}))
    for path in bench.programs.iterdir():
        path.unlink()
    (bench.programs / "python3").symlink_to(newer_python())
    return folder


def made(bench: Bench) -> Path:
    (folder,) = (bench.cache / "slipway/python").glob("cpython-*")
    return folder


def assert_made(bench: Bench) -> None:
    assert_whole_and_alone(bench)
    folder = made(bench)
    assert (folder / "usr/lib/x86_64-linux-gnu/libone.so.1").read_bytes() == b"\x7fELF"
    (environment,) = bench.environments
    assert os.path.realpath(str(environment / "bin/python")) in (
        PYTHON,
        str(folder / "usr/bin/python3.9"),
    )


def make_only(bench: Bench, **environ: str) -> bool:
    """Makes the interpreter, and stops at the missing lock of Pants, which is much faster."""
    bench.lock.unlink()
    bench.environ.update(environ)
    result = bench.run()
    assert f"cannot use a file that the runner needs\n  in:    {bench.lock}\n" in result.err
    return (made(bench) / "usr/bin/python3.9").exists()


def assert_nothing_was_made(bench: Bench) -> None:
    assert list((bench.cache / "slipway").glob("*/*")) == []


def test_with_only_a_newer_python_one_is_made(bench: Bench, mirror: Path) -> None:
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=str(mirror.as_uri()))
    assert result.ok
    making, installing, _installed = result.err.splitlines()
    size = next(mirror.rglob("*.deb")).stat().st_size / 1e6
    assert making == (
        f"pants: making a CPython 3.9 from packages of Debian 11 (once, {size:.1f} MB) …"
    )
    assert installing == "pants: installing Pants 2.17.1 (once) …"
    assert_made(bench)
    folder = made(bench)
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    assert {path for path in kept if not path.startswith("usr/share/python-wheels/")} == {
        "usr/bin/python3",
        "usr/bin/python3.9",
        "usr/lib/python3.9/os.py",
        "usr/lib/python3.9/sitecustomize.py",
        "usr/lib/x86_64-linux-gnu/libone.so.1",
        "usr/lib/x86_64-linux-gnu/libone.so.1.0",
        "usr/share/doc/one/copyright",
    }
    # The next lock of Pants finds it there.
    shutil.rmtree(str(bench.environments[0]))
    assert "making a CPython" not in bench.run(SLIPWAY_DEBIAN_MIRROR="file:///nowhere").err


@pytest.mark.long
@pytest.mark.parametrize("version", long_except(["3.6"], ["3.6", "3.11", "3.13"]))
def test_any_python_can_make_it(bench: Bench, mirror: Path, version: str) -> None:
    found = [
        *Path("/usr/bin").glob(f"python{version}"),
        *Path(PYTHON).parents[2].glob(f"{version}.*/bin/python{version}"),
    ]
    if not found:
        pytest.skip(f"needs a CPython {version} in /usr/bin, or beside the Python of the tests")
    (bench.programs / "python3").unlink()
    (bench.programs / f"python{version}").symlink_to(found[0])
    assert bench.run(SLIPWAY_DEBIAN_MIRROR=mirror.as_uri()).ok
    assert_made(bench)


def test_fakes_of_tools_are_not_used(bench: Bench, mirror: Path) -> None:
    fakes = bench.folder / "fakes"
    fakes.mkdir()
    for name in ("python3", "tar", "gzip", "sed", "find", "ar", "xz", "dpkg-deb", "curl", "wget"):
        (fakes / name).write_text("#!/bin/sh\nexit 1\n")
        (fakes / name).chmod(0o755)
    bench.environ["PATH"] = f"{fakes}:{bench.environ['PATH']}"
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())


# Where the packages come from


class Mirror(http.server.BaseHTTPRequestHandler):
    """Answers from a folder, with a chosen status or body, and notes each request's target."""

    folder: Path
    asked: List[str]
    status: Optional[int] = None
    body: Optional[bytes] = None
    lacking = "-"
    authorization = ""
    redirect = ""
    logins: List[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        for name in ("Authorization", "Proxy-Authorization"):
            if self.headers.get(name):
                self.logins.append(self.headers[name])
        if self.redirect:
            self.send_response(302)
            self.send_header("Location", self.redirect + urlsplit(self.path).path)
            self.end_headers()
            return
        path = self.folder / ("pool/" + self.path.partition("/pool/")[2])
        if self.status is not None or not path.is_file() or self.lacking in self.path:
            self.send_error(self.status or 404)
            return
        if self.authorization and self.headers.get("Authorization") != self.authorization:
            self.send_error(401)
            return
        body = path.read_bytes() if self.body is None else self.body
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Served:
    def __init__(self, folder: Path) -> None:
        fields = {"folder": folder, "asked": [], "logins": []}
        self.handler = type("Handler", (Mirror,), fields)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def asked(self) -> List[str]:
        asked: List[str] = self.handler.asked  # type: ignore[attr-defined]
        return asked


@contextlib.contextmanager
def serving(mirror: Path) -> Iterator[Served]:
    served = Served(mirror)
    thread = threading.Thread(target=served.server.serve_forever)
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


@pytest.fixture
def served(mirror: Path) -> Iterator[Served]:
    with serving(mirror) as served:
        yield served


def use_apt(bench: Bench, sources: Dict[str, str], settings: str = "") -> None:
    """Gives the machine's apt a configuration of the test's own."""
    if shutil.which("apt-get") is None:
        pytest.skip("needs apt-get")
    etc = bench.folder / "etc"
    for name, text in {**sources, "apt.conf.d/none": ""}.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text(text)
    conf = bench.folder / "apt.conf"
    conf.write_text(f'Dir::Etc "{etc}";\nDir::State::lists "{etc}";\n{settings}\n')
    bench.environ["APT_CONFIG"] = str(conf)


FORMS: Dict[str, Dict[str, str]] = {
    "one line": {"sources.list": "deb {0}/debian bookworm main contrib\n"},
    "one line with options": {
        "sources.list": "# deb http://off.example/debian bookworm main\n"
        "deb-src http://source.example/debian bookworm main\n"
        "deb [arch=amd64 trusted=yes] {0}/debian/ bookworm main\n"
    },
    "paragraphs": {
        "sources.list.d/debian.sources": "Types: deb\nURIs: {0}/debian\nSuites: bookworm\n"
        "Components: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    },
    "after others": {
        "sources.list.d/a.sources": "Types: deb\nURIs: http://off.example/debian\n"
        "Suites: x\nComponents: main\nEnabled: no\n",
        "sources.list": "deb {0}/other stable main\ndeb {0}/debian bookworm-updates main\n",
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_the_mirror_is_that_of_apt(bench: Bench, served: Served, form: str) -> None:
    use_apt(bench, {name: text.format(served.address) for name, text in FORMS[form].items()})
    assert make_only(bench)
    assert served.asked == ["/debian/pool/main/o/one/one_1.0_amd64.deb"]


def test_the_next_mirror_is_asked_for_what_the_first_lacks(bench: Bench, served: Served) -> None:
    served.handler.lacking = "/debian/"  # type: ignore[attr-defined]
    sources = f"deb {served.address}/more stable main\ndeb {served.address}/debian bookworm main\n"
    use_apt(bench, {"sources.list": sources})
    assert make_only(bench)
    assert served.asked == [
        "/debian/pool/main/o/one/one_1.0_amd64.deb",
        "/more/pool/main/o/one/one_1.0_amd64.deb",
    ]


def test_the_variable_goes_before_apt(bench: Bench, served: Served) -> None:
    use_apt(bench, {"sources.list": "deb http://off.example/debian bookworm main\n"})
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=served.address + "/mine/")
    assert served.asked == ["/mine/pool/main/o/one/one_1.0_amd64.deb"]


@pytest.mark.long
@pytest.mark.parametrize("place", ["environment", "apt"])
def test_a_proxy_is_used(bench: Bench, served: Served, place: str) -> None:
    sources = {"sources.list": "deb http://debian.example/debian bookworm main\n"}
    if place == "apt":
        use_apt(bench, sources, f'Acquire::http::Proxy "{served.address}";')
    else:
        use_apt(bench, sources)
        bench.environ["http_proxy"] = served.address
    assert make_only(bench)
    assert served.asked == ["http://debian.example/debian/pool/main/o/one/one_1.0_amd64.deb"]


def test_a_login_in_the_address_is_sent_and_not_shown(bench: Bench, served: Served) -> None:
    expected = base64.b64encode(b"user:pass@word").decode()
    served.handler.authorization = f"Basic {expected}"  # type: ignore[attr-defined]
    address = served.address.replace("//", "//user:{}@")
    wrong = bench.run(SLIPWAY_DEBIAN_MIRROR=address.format("secret-word"))
    assert wrong.status == 1
    assert "HTTP Error 401" in wrong.err
    assert "secret-word" not in wrong.err
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=address.format("pass%40word"))


# Faults


def test_a_mirror_without_debian_11(bench: Bench, served: Served) -> None:
    served.handler.status = 404  # type: ignore[attr-defined]
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=served.address)
    assert result.status == 1
    assert result.out == b""
    assert result.err.partition("\n")[2] == (
        "pants: the mirror does not have Debian 11, which is needed for a CPython 3.9\n"
        f"  in:    {served.address}/pool/main/o/one/one_1.0_amd64.deb\n"
        "  found: 404\n"
        "  next:  export SLIPWAY_DEBIAN_MIRROR=<address of a mirror or archive that has it>\n"
        "         uv python install 3.9   (or pyenv install 3.9; any CPython 3.9, 3.8 or 3.7 works)\n"
    )
    assert_nothing_was_made(bench)
    served.handler.status = None  # type: ignore[attr-defined]
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=served.address)


def test_a_login_does_not_go_to_where_the_mirror_redirects(
    bench: Bench, served: Served, mirror: Path
) -> None:
    address = served.address.replace("//", "//user:secret-word@")
    with serving(mirror) as other:
        served.handler.redirect = other.address  # type: ignore[attr-defined]
        assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=address)
    assert served.handler.logins  # type: ignore[attr-defined]
    assert other.asked
    assert other.handler.logins == []  # type: ignore[attr-defined]


def test_the_login_of_a_proxy_does_not_go_to_where_it_redirects(
    bench: Bench, served: Served, mirror: Path
) -> None:
    """The proxy answers for the mirror, with a redirect to a host that is asked without a proxy."""
    bench.environ["http_proxy"] = served.address.replace("//", "//user:secret-word@")
    bench.environ["no_proxy"] = "127.0.0.1"
    with serving(mirror) as other:
        served.handler.redirect = other.address  # type: ignore[attr-defined]
        assert make_only(bench, SLIPWAY_DEBIAN_MIRROR="http://debian.example/debian")
    assert served.handler.logins  # type: ignore[attr-defined]
    assert other.asked
    assert other.handler.logins == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("password", ["secret/word", "secret#word", "secret?word"])
def test_a_password_that_ends_the_host_is_not_shown(
    bench: Bench, served: Served, password: str
) -> None:
    address = served.address.replace("//", f"//user:{password}@")
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=address)
    assert result.status == 1
    assert "the address of the Debian mirror is not valid" in result.err
    assert "secret" not in result.err
    assert served.asked == []


@pytest.mark.long
@pytest.mark.parametrize("left", [99, 0])
def test_a_package_that_is_cut_off_is_tried_again(
    bench: Bench, served: Served, mirror: Path, left: int
) -> None:
    good = next(mirror.rglob("*.deb")).read_bytes()
    served.handler.body = good[:left]  # type: ignore[attr-defined]
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=served.address)
    assert result.status == 1
    assert f"found: truncated after {left} of {len(good)} bytes" in result.err
    assert len(served.asked) == 3
    assert_nothing_was_made(bench)


@pytest.mark.long
@pytest.mark.parametrize("change", ["cut off", "other"])
def test_the_next_mirror_is_asked_where_the_first_gives_something_else(
    bench: Bench, served: Served, mirror: Path, change: str
) -> None:
    good = next(mirror.rglob("*.deb")).read_bytes()
    with serving(mirror) as bad:
        body = good[:99] if change == "cut off" else good[:-1] + b"x"
        bad.handler.body = body  # type: ignore[attr-defined]
        lines = f"deb {bad.address}/debian bookworm main\ndeb {served.address}/debian sid main\n"
        use_apt(bench, {"sources.list": lines})
        assert make_only(bench)
    assert bad.asked
    assert served.asked


@pytest.mark.parametrize("change", ["other", "longer"])
def test_another_content(bench: Bench, served: Served, mirror: Path, change: str) -> None:
    good = next(mirror.rglob("*.deb")).read_bytes()
    bodies = {
        "other": good[:-1] + b"x",
        "longer": good + b"x",
    }
    served.handler.body = bodies[change]  # type: ignore[attr-defined]
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=served.address.replace("//", "//user:secret-word@"))
    assert result.status == 1
    assert "pants: a package of Debian 11 does not match the lock\n" in result.err
    assert f"expected {hashlib.sha256(good).hexdigest()}\n" in result.err
    assert "SLIPWAY_DEBIAN_MIRROR=<address of another mirror>" in result.err
    assert "secret-word" not in result.err
    assert_nothing_was_made(bench)


def test_a_mirror_that_does_not_answer(bench: Bench, mirror: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = bench.run(SLIPWAY_DEBIAN_MIRROR=address)
    assert result.status == 1
    assert "pants: cannot fetch a package of Debian 11, which is needed" in result.err
    assert "Connection refused" in result.err
    assert "export http_proxy=…" in result.err
    assert "Traceback" not in result.err
    assert_nothing_was_made(bench)
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())


@pytest.mark.parametrize("status", [403, 500])
def test_a_mirror_that_refuses(bench: Bench, served: Served, status: int) -> None:
    served.handler.status = status  # type: ignore[attr-defined]
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=served.address)
    assert result.status == 1
    assert f"HTTP Error {status}" in result.err
    assert_nothing_was_made(bench)


def test_what_a_mirror_says_does_not_reach_the_terminal_as_it_is(
    bench: Bench, served: Served
) -> None:
    def refuse(handler: Mirror) -> None:
        handler.send_response(403, "\x1bc\x1b[31mRED\x07")
        handler.end_headers()

    served.handler.do_GET = refuse  # type: ignore[attr-defined]
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=served.address)
    assert r"found: HTTP Error 403: \x1bc\x1b[31mRED\x07" in result.err
    assert "\x1b" not in result.err


@pytest.mark.parametrize("of", ["head", "body"])
def test_a_mirror_that_answers_byte_by_byte_is_left_for_the_next(
    bench: Bench, mirror: Path, served: Served, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    ended = threading.Event()

    def drip(handler: Mirror) -> None:
        if of == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        with contextlib.suppress(OSError):
            while not ended.wait(0.05):
                handler.wfile.write(b"x")

    monkeypatch.setattr(debian_python, "PATIENCE", 3.0)
    monkeypatch.setattr(debian_python, "LEAST_RATE", 1e9)
    (package,) = debian_python.read_lock(str(bench.repository / "3rdparty/debian/cpython39.lock"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with serving(mirror) as slow:
        slow.handler.do_GET = drip  # type: ignore[attr-defined]
        try:
            content = debian_python.fetch(package, [slow.address, served.address], opener)
            with pytest.raises(RunnerError, match=f"less than {package.size} bytes in"):
                debian_python.fetch(package, [slow.address], opener)
        finally:
            ended.set()
    assert hashlib.sha256(content).hexdigest() == package.sha256


def test_no_mirror_is_known(bench: Bench, mirror: Path) -> None:
    use_apt(bench, {"sources.list": "deb cdrom:[x]/ bookworm main\n"})
    result = bench.run()
    assert result.status == 1
    assert result.err.partition("\n")[2] == (
        "pants: found no CPython 3.9, 3.8 or 3.7, and no Debian mirror with packages to make it\n"
        "  found: apt has no mirror with a 'main' component\n"
        "  next:  export SLIPWAY_DEBIAN_MIRROR=<address of a Debian mirror>\n"
        "         uv python install 3.9   (or pyenv install 3.9; any CPython 3.9, 3.8 or 3.7 works)\n"
    )
    assert_nothing_was_made(bench)
    # The command that it names.
    assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())


def test_an_interpreter_that_does_not_run_here(bench: Bench, mirror: Path) -> None:
    package = make_deb(
        {
            "./usr/bin/python3.9": (b"#!/bin/sh\necho GLIBC_2.29 not found; exit 1\n", 0o755),
            "./usr/bin/patchelf": (b"#!/bin/sh\nexit 0\n", 0o755),
            "./usr/lib/python3.9/os.py": (b"", 0o644),
        },
        {},
    )
    next(mirror.rglob("*.deb")).write_bytes(package)
    lock = bench.repository / "3rdparty/debian/cpython39.lock"
    entries = json.loads(lock.read_text())
    entries["packages"][0].update(size=len(package), sha256=hashlib.sha256(package).hexdigest())
    lock.write_text(json.dumps(entries))
    result = bench.run(SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())
    assert result.status == 1
    assert "from packages of Debian 11 does not run on this machine\n" in result.err
    assert "  found: GLIBC_2.29 not found\n" in result.err
    assert "needs glibc 2.29 or newer" in result.err
    assert_nothing_was_made(bench)


def test_killed_while_it_is_made(bench: Bench, served: Served) -> None:
    waiting = threading.Event()
    go_on = threading.Event()
    answer = served.handler.do_GET  # type: ignore[attr-defined]

    def wait(handler: Mirror) -> None:
        waiting.set()
        go_on.wait(30)
        answer(handler)

    served.handler.do_GET = wait  # type: ignore[attr-defined]
    run = bench.start(SLIPWAY_DEBIAN_MIRROR=served.address)
    wait_until(waiting.is_set)
    kill_group(run)
    go_on.set()
    assert len(bench.unfinished) == 1
    assert bench.run(SLIPWAY_DEBIAN_MIRROR=served.address).ok
    assert_made(bench)


def test_a_full_disk_while_it_is_made(bench: Bench, mirror: Path) -> None:
    with small_disk(bench.cache, "1m"):
        result = bench.run(SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())
        assert result.status == 1
        assert "pants: the disk is full\n" in result.err
        assert "Traceback" not in result.err
        assert_nothing_was_made(bench)
        subprocess.run(["mount", "-o", "remount,size=200m", str(bench.cache)], check=True)
        assert make_only(bench, SLIPWAY_DEBIAN_MIRROR=mirror.as_uri())


@pytest.mark.long
def test_two_at_once_make_one(bench: Bench, served: Served) -> None:
    runs = [bench.start(SLIPWAY_DEBIAN_MIRROR=served.address) for _ in range(2)]
    for run in runs:
        run.communicate(timeout=120)
    assert [run.returncode for run in runs] == [0, 0]
    assert len(served.asked) == 1


# The lock


def test_the_lock_names_what_is_needed_and_no_host() -> None:
    text = (REPOSITORY / "3rdparty/debian/cpython39.lock").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert sorted(package["name"] for package in packages) == json.loads(text)["wanted"]
    for package in packages:
        assert package["filename"].startswith("pool/main/")
        assert len(package["sha256"]) == 64
        assert package["architecture"] in ("all", "amd64")
