"""Makes a CPython 3.9 from packages of Debian 11, for machines with only newer versions.

Pants 2.17.1 runs on CPython 3.7 to 3.9. The packages are pinned by hash, and come from the mirror
of the machine's apt. They are unpacked into the user's cache and not installed, and their
maintainer scripts do not run. Each binary finds its libraries with a relative run path, so that
neither root nor an environment variable is needed.
"""

import base64
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from slipway.runner.messages import RunnerError, say

MIRROR_VARIABLE = "SLIPWAY_DEBIAN_MIRROR"

BINARY = "usr/bin/python3.9"
LIBRARIES = "usr/lib/x86_64-linux-gnu/"
MODULES = "usr/lib/python3.9/"
PIP_WHEELS = "usr/share/python-wheels/"
PATCHELF = "usr/bin/patchelf"
PATCHELF_FOLDER = "patchelf/"
# Libraries that only patchelf needs; they are removed at the end.
PATCHELF_LIBRARIES = re.compile(LIBRARIES + r"lib(stdc\+\+|gcc_s)\.so.*")
LICENCES = re.compile(r"usr/share/doc/[^/]+/copyright")
KEPT = (BINARY, PATCHELF, LIBRARIES, MODULES, PIP_WHEELS)

# The run path of each kind of binary, relative to its folder.
RUN_PATHS = (
    (BINARY, "$ORIGIN/../lib/x86_64-linux-gnu"),
    (MODULES + "lib-dynload/", "$ORIGIN/../../x86_64-linux-gnu"),
    (LIBRARIES, "$ORIGIN"),
)

# The CA certificates of Linux distributions; the first path is Debian's.
CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

# Debian's OpenSSL looks for certificates only in Debian's folder. On other distributions, this
# module sets the path.
SITE_CUSTOMIZE = f"""\
import os

if "SSL_CERT_FILE" not in os.environ and not os.path.isdir("/usr/lib/ssl/certs"):
    for bundle in {CERTIFICATES!r}:
        if os.path.exists(bundle):
            os.environ["SSL_CERT_FILE"] = bundle
            break
"""

OTHER_WAY = "uv python install 3.9   (or pyenv install 3.9; any CPython 3.9, 3.8 or 3.7 works)"


FAULTS = (OSError, ValueError, http.client.HTTPException)


# The time limit for a response of a mirror: 60 seconds, and one more for each 20 kB.
PATIENCE = 60.0
LEAST_RATE = 20_000


class TooSlow(OSError):
    """A mirror sends so slowly that the time limit is exceeded, although no pause is long."""


class OtherContent(Exception):
    """A mirror's file is complete, but does not match the lock."""


class Package(NamedTuple):
    name: str
    version: str
    filename: str
    size: int
    sha256: str


def read_lock(path: str) -> List[Package]:
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["packages"]
    return [Package(**{key: entry[key] for key in Package._fields}) for entry in entries]


def make(folder: str, lock_file: str) -> None:
    """Makes a CPython 3.9 in `folder`, which is empty and may be moved afterwards."""
    packages = read_lock(lock_file)
    size = sum(package.size for package in packages) / 1e6
    say(f"making a CPython 3.9 from packages of Debian 11 (once, {size:.1f} MB) …")
    apt = Apt()
    mirrors = apt.mirrors()
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(apt.proxies()), SafeRedirects()
    )
    with ThreadPoolExecutor(4) as pool:
        for content in pool.map(lambda package: fetch(package, mirrors, opener), packages):
            unpack(content, folder)
    set_run_paths(folder)
    # Tools such as pex search a folder for an interpreter with this name.
    os.symlink(os.path.basename(BINARY), os.path.join(folder, os.path.dirname(BINARY), "python3"))
    with open(os.path.join(folder, MODULES, "sitecustomize.py"), "w") as file:
        file.write(SITE_CUSTOMIZE)
    check(folder)


class SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects without logins, and from https only to https.

    urllib would send the Proxy-Authorization header to the new host.
    """

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        followed = super().redirect_request(req, fp, code, msg, headers, newurl)
        if followed is None:
            return None
        # For a request through a CONNECT tunnel, `type` is the scheme of its target.
        if req.type == "https" and followed.type != "https":
            raise urllib.error.URLError("the mirror redirects from https to http")
        followed.remove_header("Proxy-authorization")
        return followed


class Apt:
    """The configuration of the machine's apt; empty without apt."""

    def __init__(self) -> None:
        # System folders come first, because the first folder of PATH can contain anything.
        self._path = "/usr/bin:/bin:" + os.environ.get("PATH", "")

    def mirrors(self) -> List[str]:
        given = os.environ.get(MIRROR_VARIABLE)
        if given:
            if not has_plain_host(given):
                raise RunnerError(
                    "the address of the Debian mirror is not valid",
                    where=f"the variable {MIRROR_VARIABLE}",
                    found='an address with "@" after its host',
                    next='in a password, write "#" as %23, "/" as %2F, "?" as %3F and "@" as %40',
                )
            return [given.rstrip("/")]
        # apt reads both formats of its lists, their options and its settings. With
        # --no-release-info it needs no downloaded index, which a fresh container lacks.
        listing = self._ask(
            "apt-get",
            "indextargets",
            "--no-release-info",
            "--format",
            "$(REPO_URI)|$(COMPONENT)",
            "Created-By: Packages",
        )
        mirrors: List[str] = []
        for line in listing.splitlines():
            address, _, component = line.rpartition("|")
            address = address.rstrip("/")
            known = address.startswith(("http://", "https://", "file:", "copy:"))
            known = known and has_plain_host(address)
            if known and component == "main" and address not in mirrors:
                mirrors.append(address)
        if not mirrors:
            raise RunnerError(
                "found no CPython 3.9, 3.8 or 3.7, and no Debian mirror with packages to make it",
                found="apt has no mirror with a 'main' component",
                next=f"export {MIRROR_VARIABLE}=<address of a Debian mirror>\n{OTHER_WAY}",
            )
        # The main archive comes before security updates and third parties.
        return sorted(mirrors, key=lambda address: not address.endswith("/debian"))

    def proxies(self) -> Dict[str, str]:
        chosen = dict(urllib.request.getproxies())
        dump = re.findall(r'^(\S+) "(.*)";$', self._ask("apt-config", "dump"), re.MULTILINE)
        settings = {name.lower(): value for name, value in dump}
        for_http = settings.get("acquire::http::proxy", "")
        for scheme, proxy in (
            ("http", for_http),
            ("https", settings.get("acquire::https::proxy", for_http)),
        ):
            if proxy.upper() == "DIRECT":
                chosen.pop(scheme, None)
            elif proxy:
                chosen[scheme] = proxy
        return chosen

    def _ask(self, tool: str, *args: str) -> str:
        program = shutil.which(tool, path=self._path)
        if program is None:
            return ""
        return output_of([program, *args], stderr=subprocess.DEVNULL)[1]


def fetch(package: Package, mirrors: List[str], opener: Any) -> bytes:
    """The content of a package from the first mirror that has it; raises RunnerError."""
    faults: List[Tuple[str, BaseException]] = []
    for mirror in mirrors:
        address = "{}/{}".format(re.sub("^copy:", "file:", mirror), package.filename)
        try:
            content = download(address, package.size, opener)
        except FAULTS as fault:
            faults.append((without_login(address), fault))
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest == package.sha256:
            return content
        other = OtherContent(f"SHA-256 {digest}, expected {package.sha256}")
        faults.append((without_login(address), other))
    if all(isinstance(fault, OtherContent) for _, fault in faults):
        raise RunnerError(
            "a package of Debian 11 does not match the lock",
            where="\n".join(address for address, _ in faults),
            found="\n".join(str(fault) for _, fault in faults),
            next=f"export {MIRROR_VARIABLE}=<address of another mirror>\n{OTHER_WAY}",
        )
    if all(is_missing(fault) for _, fault in faults):
        raise RunnerError(
            "the mirror does not have Debian 11, which is needed for a CPython 3.9",
            where="\n".join(address for address, _ in faults),
            found="404",
            next=f"export {MIRROR_VARIABLE}=<address of a mirror or archive that has it>\n{OTHER_WAY}",
        )
    raise RunnerError(
        "cannot fetch a package of Debian 11, which is needed for a CPython 3.9",
        where="\n".join(address for address, _ in faults),
        found="\n".join(str(fault) for _, fault in faults),
        next=f"export http_proxy=…, or {MIRROR_VARIABLE}=<address of another mirror>\n{OTHER_WAY}",
    )


def download(address: str, size: int, opener: Any) -> bytes:
    request = urllib.request.Request(without_login(address))
    login = login_of(address)
    if login:
        # Unredirected, because another host must not get the login.
        basic = "Basic " + base64.b64encode(login).decode("ascii")
        request.add_unredirected_header("Authorization", basic)
    for attempt in (1, 2, 3):
        try:
            content = read_in_time(request, size, opener)
            if len(content) < size:
                raise OSError(f"truncated after {len(content)} of {size} bytes")
            return content
        except FAULTS as fault:
            if attempt == 3 or is_missing(fault) or isinstance(fault, TooSlow):
                raise
            time.sleep(attempt)
    raise AssertionError


def read_in_time(request: urllib.request.Request, size: int, opener: Any) -> bytes:
    """The first `size` + 1 bytes of the response, so that a too long response is noticed.

    Raises TooSlow after the time limit.
    """
    answer: Future[bytes] = Future()

    def read() -> None:
        try:
            with opener.open(request, timeout=PATIENCE) as reply:
                answer.set_result(bytes(reply.read(size + 1)))
        except BaseException as fault:
            answer.set_exception(fault)

    # A daemon thread, so that Python does not wait for it at exit.
    threading.Thread(target=read, daemon=True).start()
    seconds = PATIENCE + size / LEAST_RATE
    if not futures.wait([answer], seconds).done:
        raise TooSlow(f"less than {size} bytes in {seconds:.0f} seconds")
    return answer.result()


def is_missing(fault: BaseException) -> bool:
    if isinstance(fault, urllib.error.HTTPError):
        return fault.code in (404, 410)
    # A missing file at a `file:` address.
    return isinstance(getattr(fault, "reason", None), FileNotFoundError)


def login_of(address: str) -> bytes:
    """The user and password in an address from apt's lists; empty without login."""
    login, at, _ = urllib.parse.urlsplit(address).netloc.rpartition("@")
    return urllib.parse.unquote(login).encode("utf-8") if at else b""


def without_login(address: str) -> str:
    return re.sub(r"//[^/]*@", "//", address)


def has_plain_host(address: str) -> bool:
    """Whether no part of the login is parsed as path or port.

    Otherwise the password contains an unescaped "/", "#" or "?", and messages must not show any
    part of the address.
    """
    try:
        parts = urllib.parse.urlsplit(address)
        return "@" not in parts.path + parts.query + parts.fragment and parts.port != 0
    except ValueError:
        return False


def unpack(deb: bytes, folder: str) -> None:
    """Unpacks the needed files of a package into `folder`; /lib becomes /usr/lib."""
    data = next(content for name, content in members(deb) if name.startswith("data.tar"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = os.path.normpath(member.name)
            if name.startswith("lib/"):
                name = "usr/" + name
            if not name.startswith(KEPT) and not LICENCES.fullmatch(name):
                continue
            if name == PATCHELF or PATCHELF_LIBRARIES.fullmatch(name):
                name = PATCHELF_FOLDER + os.path.basename(name)
            target = os.path.join(folder, name)
            if member.issym():
                # Absolute symlinks are skipped, because they lead to files of the machine.
                if not member.linkname.startswith("/"):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.symlink(member.linkname, target)
            elif member.isfile():
                os.makedirs(os.path.dirname(target), exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with open(target, "wb") as file:
                    shutil.copyfileobj(source, file)
                os.chmod(target, 0o755 if member.mode & 0o100 else 0o644)


def members(deb: bytes) -> Iterator[Tuple[str, bytes]]:
    """The members of an `ar` archive: 60 bytes of header, then content with even length."""
    position = len(b"!<arch>\n")
    while position + 60 <= len(deb):
        header = deb[position : position + 60]
        size = int(header[48:58])
        position += 60
        yield header[:16].decode("ascii").rstrip("/ "), deb[position : position + size]
        position += size + size % 2


def set_run_paths(folder: str) -> None:
    tool = os.path.join(folder, PATCHELF_FOLDER)
    environment = dict(os.environ, LD_LIBRARY_PATH=tool)
    for place, run_path in RUN_PATHS:
        files = [
            path
            for path in files_under(os.path.join(folder, place))
            if is_elf(path) and not os.path.islink(path)
        ]
        patchelf = [os.path.join(tool, "patchelf"), "--set-rpath", run_path]
        status, output = output_of(patchelf + files, env=environment)
        if status != 0:
            raise RunnerError(
                "patchelf failed on the CPython 3.9 from packages of Debian 11",
                where=folder,
                found=output,
                next=OTHER_WAY,
            )
    shutil.rmtree(tool)


def certificates() -> Dict[str, str]:
    """The setting that Debian's pip needs on other distributions."""
    for bundle in CERTIFICATES:
        if os.path.exists(bundle):
            return {"cert": bundle}
    return {}


def files_under(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
    for parent, _, names in os.walk(path):
        for name in sorted(names):
            yield os.path.join(parent, name)


def is_elf(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def check(folder: str) -> None:
    modules = "bz2, ctypes, decimal, hashlib, lzma, sqlite3, ssl, uuid, venv, zlib"
    status, output = output_of([os.path.join(folder, BINARY), "-I", "-c", "import " + modules])
    if status != 0:
        raise RunnerError(
            "the CPython 3.9 from packages of Debian 11 does not run on this machine",
            where=folder,
            found=output or f"exit status {status}",
            next=OTHER_WAY + "\n(the CPython of Debian 11 needs glibc 2.29 or newer)",
        )


def output_of(
    command: List[str], env: Optional[Dict[str, str]] = None, stderr: int = subprocess.STDOUT
) -> Tuple[int, str]:
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=env,
        encoding="utf-8",
        errors="replace",
    )
    return done.returncode, done.stdout
