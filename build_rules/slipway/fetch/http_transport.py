"""HTTP over kept-open connections, with what company networks need: own CAs, proxies, logins.

The standard library's urllib opens a connection per request and follows redirects with the login
still attached; a thousand tarballs want neither. Texts made here show addresses without login and
query, since both can carry secrets.
"""

from __future__ import annotations

import base64
import errno
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Tuple
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

# The first that exists is taken where the interpreter's own OpenSSL knows no certificate.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MOST_CERTIFICATES = 16 << 20  # bytes; a system's own bundle has a quarter of one
_IGNORE_UNEXPECTED_EOF = ssl.Options(1 << 7)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_PROXY_LOGIN = 407
_CHUNK = 1 << 17
# What stays as it is in an address; "%", for what is escaped already.
_PLAIN = "!#$%&'()*+,/:;=?@[]~"
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_LONGEST_HOST = 255
# What sending a request or reading its answer raises; ValueError, for text that HTTP cannot carry.
_FAULTS = (http.client.HTTPException, OSError, ValueError)

Login = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again."""

    connect: float = 15.0
    stall: float = 30.0
    tries: int = 4
    backoff: float = 0.5
    # From the first packet to the end of an answer's head, by a proxy and TLS too.
    head: float = 90.0
    # A body that drips in is cut off: this many seconds, and more by what has come.
    body: float = 120.0
    least_bytes_per_second: float = 16384.0


class NetworkSettings:
    """What a client's configuration has to answer for its requests."""

    def proxy_for(self, url: str) -> Optional[str]:
        """The http address of the proxy for `url`, with the login that may stand in it."""
        raise NotImplementedError

    def shown_proxy(self, url: str) -> str:
        """The proxy for `url`, as messages call it."""
        return _origin(self.proxy_for(url))

    def ca_texts(self) -> Tuple[List[str], bool]:
        """Certificates in PEM form, and whether they stand in for the system's own."""
        raise NotImplementedError

    @property
    def strict_ssl(self) -> bool:
        """Whether certificates are checked at all."""
        raise NotImplementedError


class Strict(NetworkSettings):
    """The same proxies and CAs, with certificates checked whatever `settings` say.

    As Docker's engine, it asks this machine itself without a proxy, which would read the logins
    that may go there without TLS.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        self._settings = settings

    def proxy_for(self, url: str) -> Optional[str]:
        host = urlsplit(url).hostname or ""
        return None if is_loopback(host) else self._settings.proxy_for(url)

    def shown_proxy(self, url: str) -> str:
        return self._settings.shown_proxy(url)

    def ca_texts(self) -> Tuple[List[str], bool]:
        return self._settings.ca_texts()

    @property
    def strict_ssl(self) -> bool:
        return True


_KINDS = {
    "unreachable": "cannot be reached",
    "untrusted": "its certificate is not trusted",
    "broken": "the answer was cut off or too slow",
    "too-long": "the answer has more bytes than the lock says",
    "refused": "no usable answer: its address, a redirect or the CA file is wrong",
}


class HttpProblem(Exception):
    """A request that gave no usable answer. `kind` is what a caller decides on.

    unreachable: no connection; untrusted: its certificate (both hold for all requests to a host);
    broken: cut off or stalled; status: an answer with `status`; too-long: more bytes than allowed;
    refused: anything else that another try will not change. `challenge` is what an answer asks for
    in its WWW-Authenticate header.
    """

    def __init__(
        self, kind: str, text: str, status: int = 0, wait: float = 0.0, challenge: str = ""
    ) -> None:
        self.kind, self.text, self.status, self.wait = kind, text, status, wait
        self.challenge = challenge
        super().__init__(text)

    @property
    def without_address(self) -> str:
        """What is wrong, where not even a part of the address may be shown."""
        return f"HTTP {self.status}" if self.kind == "status" else _KINDS[self.kind]

    @property
    def worth_another_try(self) -> bool:
        if self.kind == "status":
            return self.status in (408, 425, 429) or self.status >= 500
        return self.kind in ("unreachable", "broken")


@dataclass(frozen=True)
class Answer:
    """A body that was read whole."""

    url: str
    size: int


def shown(url: str) -> str:
    """An address fit for people and logs."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # Between brackets is no IPv6 address: where a login would end is not known either.
        return f"{url.split(':', 1)[0]}://…"
    host = parts.netloc.rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}"


def without_port(host: str) -> str:
    """The host of a list of hosts, where an IPv6 address may stand in brackets or without."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, whatever a resolver says."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usable_address(url: str) -> str:
    """The http or https address `url` in ASCII: its host by IDNA, what else is not, escaped.

    Raises HttpProblem for what is no such address: servers send any text as one.
    """
    try:
        parts = urlsplit(url)
        login, at, place = parts.netloc.rpartition("@")
        # Alone: IDNA would make a digit of any script in the port part of a name.
        host = re.sub(r":[0-9]*\Z", "", place)
        # Raises for a name with an empty or too long label too; later, a socket would.
        name = host.encode("idna").decode("ascii") if len(host) <= _LONGEST_HOST else ""
        usable = parts.scheme in ("http", "https") and _HOST.fullmatch(name) and parts.port != 0
        login, path, query = (quote(part, safe=_PLAIN) for part in (login, parts.path, parts.query))
    except ValueError:
        usable = False
    if not usable:
        raise HttpProblem("refused", f"{shown(url)} is no http or https address")
    return urlunsplit((parts.scheme, login + at + name + place[len(host) :], path, query, ""))


class _Waiting(threading.local):
    """How long a thread's request may still wait."""

    until = 0.0  # by time.monotonic()
    stall = 0.0

    def left(self) -> float:
        left = min(self.stall, self.until - time.monotonic())
        if left <= 0:
            raise socket.timeout
        return left


_waiting = _Waiting()


class _TimedSocket(socket.socket):
    """Its waits end with the request: a socket's own timeout begins anew with every byte.

    http.client lets go of the socket of an answer that closes its connection, so that the time is
    kept here, where that answer's body is still read.
    """

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.end_in_time()
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any) -> None:
        self.end_in_time()
        super().sendall(*arguments)

    def end_in_time(self) -> None:
        left = _waiting.left()
        # A system call each time, at which another of the threads would run first.
        if left != self.gettimeout():
            self.settimeout(left)


class _TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        # An end without TLS's own goodbye is a fault: the connection was cut.
        self.suppress_ragged_eofs = False
        self.end_in_time()
        super().do_handshake(block)


def _timed_connection(*arguments: Any) -> socket.socket:
    plain = socket.create_connection(*arguments)
    return _TimedSocket(plain.family, plain.type, plain.proto, plain.detach())


class Transport:
    """Sends GET requests; one of it serves many threads, each with connections of its own."""

    def __init__(self, config: NetworkSettings, patience: Optional[Patience] = None) -> None:
        self.patience = patience or Patience()
        self._config = config
        self._local = threading.local()
        self._context: Optional[ssl.SSLContext] = None
        self._lock = threading.Lock()
        self._down: Dict[str, HttpProblem] = {}

    def get(
        self,
        url: str,
        write: Callable[[bytes], None],
        *,
        limit: int,
        restart: Callable[[], None],
        login: Optional[Login] = None,
        accept: str = "*/*",
    ) -> Answer:
        """Reads `url` into `write`, at most `limit` bytes; tries again where that may help.

        `restart` is called before each try, to throw away what a broken one wrote. `login` gives
        the Authorization header for an address; after a redirect to another host none is sent.
        """
        url = usable_address(url)
        origin = _origin(url)
        for attempt in range(1, self.patience.tries + 1):
            known = self._down.get(origin)
            if known:
                raise known
            restart()
            try:
                return self._follow(url, write, limit, login, accept)
            except HttpProblem as problem:
                if attempt == self.patience.tries or not problem.worth_another_try:
                    if problem.kind in ("unreachable", "untrusted"):
                        # Others that wait for the same host need not find out one by one.
                        self._down[origin] = problem
                    raise
                time.sleep(max(problem.wait, self.patience.backoff * 2 ** (attempt - 1)))
        raise AssertionError("no try was made")

    def _follow(
        self,
        url: str,
        write: Callable[[bytes], None],
        limit: int,
        login: Optional[Login],
        accept: str,
    ) -> Answer:
        first = url
        until = time.monotonic() + self.patience.head
        for _ in range(_MOST_REDIRECTS + 1):
            headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "slipway"}
            header = login(url) if login and _origin(url) == _origin(first) else None
            if header:
                headers["Authorization"] = header
            response = self._request(url, headers, until)
            if response.status in _REDIRECTS and response.getheader("Location"):
                self._drain(response, url, until)
                url = _target(url, str(response.getheader("Location")))
                continue
            return self._read(url, response, write, limit)
        raise HttpProblem("refused", f"{shown(first)}: more than {_MOST_REDIRECTS} redirects")

    def _request(self, url: str, headers: Dict[str, str], until: float) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        proxy = self._config.proxy_for(url)
        path = parts.path or "/"
        path += f"?{parts.query}" if parts.query else ""
        if proxy and parts.scheme == "http":
            path = url.split("#", maxsplit=1)[0]
            answer = proxy_login(proxy)
            headers = dict(headers, **({"Proxy-Authorization": answer} if answer else {}))
        connections = self._connections()
        key = (_origin(url), proxy)
        connection = connections.get(key)
        if connection is not None:
            try:
                return self._ask(connection, path, headers, until)
            except _FAULTS:
                # The other side closed an idle connection; that is no failure yet.
                self._forget(url)
        connection = self._connect(url, proxy, until)
        connections[key] = connection
        try:
            return self._ask(connection, path, headers, until)
        except _FAULTS as error:
            self._forget(url)
            if isinstance(error, ValueError):
                text = f"{shown(url)}: its login or address holds what HTTP cannot carry"
                raise HttpProblem("refused", text) from None
            raise HttpProblem("broken", f"{shown(url)}: {_reason(error, until)}") from None

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        headers: Dict[str, str],
        until: float,
    ) -> http.client.HTTPResponse:
        self._wait_until(until)
        connection.request("GET", path, headers=headers)
        return connection.getresponse()

    def _connect(self, url: str, proxy: Optional[str], until: float) -> http.client.HTTPConnection:
        try:
            connection = self._new_connection(url, proxy)
            self._wait_until(until)
            connection.connect()
        except ssl.SSLCertVerificationError as error:
            # verify_message is OpenSSL's own text and names no secret.
            raise HttpProblem(
                "untrusted",
                f"{_origin(url)}: its certificate is not trusted ({error.verify_message})",
            ) from None
        except _FAULTS as error:
            by = f" by the proxy {self._config.shown_proxy(url)}" if proxy else ""
            whom = f"{_origin(url)}{by}"
            reason = _reason(error, until)
            if proxy and f" {_PROXY_LOGIN} " in reason:
                raise HttpProblem("status", f"{whom}: {reason}", _PROXY_LOGIN) from None
            raise HttpProblem("unreachable", f"{whom}: {reason}") from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _new_connection(self, url: str, proxy: Optional[str]) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        # Always with a port: http.client would take the end of an IPv6 address for one.
        host, port = parts.hostname or "", parts.port or (443 if is_tls else 80)
        via = urlsplit(proxy) if proxy else None
        place = (via.hostname or "", via.port or 80) if via else (host, port)
        timeout = self.patience.connect
        connection: http.client.HTTPConnection
        if is_tls:
            connection = _Tunnel(*place, timeout=timeout, context=self._tls())
            if proxy:
                answer = proxy_login(proxy)
                headers = {"Proxy-Authorization": answer} if answer else {}
                connection.set_tunnel(host, port, headers)
        else:
            connection = http.client.HTTPConnection(*place, timeout=timeout)
        connection._create_connection = _timed_connection  # type: ignore[attr-defined]
        return connection

    def _read(
        self,
        url: str,
        response: http.client.HTTPResponse,
        write: Callable[[bytes], None],
        limit: int,
    ) -> Answer:
        if response.status != 200:
            wait = _retry_after(response.getheader("Retry-After"))
            challenge = response.getheader("WWW-Authenticate") or ""
            text = f"{shown(url)}: HTTP {response.status} {response.reason}".rstrip()
            self._drain(response, url, time.monotonic() + self.patience.stall)
            raise HttpProblem("status", text, response.status, wait, challenge)
        promised = response.length
        if promised is not None and promised > limit:
            self._forget(url)
            raise HttpProblem("too-long", f"{shown(url)}: {promised} bytes, not {limit} or less")
        begin = time.monotonic()
        size = 0
        while True:
            until = begin + self.patience.body + size / self.patience.least_bytes_per_second
            self._wait_until(until)
            try:
                chunk = _some(response)
            except _FAULTS as error:
                self._forget(url)
                slow = f"too slow, {size} bytes came" if time.monotonic() >= until else ""
                raise HttpProblem("broken", f"{shown(url)}: {slow or _reason(error)}") from None
            if not chunk:
                break
            size += len(chunk)
            if size > limit:
                self._forget(url)
                raise HttpProblem("too-long", f"{shown(url)}: more than {limit} bytes")
            write(chunk)
        if promised is not None and size < promised:
            self._forget(url)
            raise HttpProblem("broken", f"{shown(url)}: cut off after {size} of {promised} bytes")
        if response.will_close:
            self._forget(url)
        return Answer(url, size)

    def _drain(
        self,
        response: http.client.HTTPResponse,
        url: str,
        until: float,
    ) -> None:
        """Reads the rest of an answer that nobody wants, so that its connection can be used on."""
        length = response.length
        self._wait_until(until)
        try:
            if length is not None and length <= _CHUNK and not response.will_close:
                response.read()
                return
        except _FAULTS:
            pass
        self._forget(url)

    def _wait_until(self, until: float) -> None:
        _waiting.until, _waiting.stall = until, self.patience.stall

    def _connections(self) -> Dict[Tuple[str, Optional[str]], http.client.HTTPConnection]:
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        found: Dict[Tuple[str, Optional[str]], http.client.HTTPConnection]
        found = self._local.connections
        return found

    def _forget(self, url: str) -> None:
        connections = self._connections()
        for key in [one for one in connections if one[0] == _origin(url)]:
            connections.pop(key).close()

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = _tls_context(self._config)
            return self._context


class _Tunnel(http.client.HTTPSConnection):
    """Asks a proxy for an IPv6 address in brackets, and the host's certificate without."""

    def _tunnel(self) -> None:
        host: str = self._tunnel_host  # type: ignore[has-type]
        self._tunnel_host = f"[{host}]" if ":" in host else host
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self._tunnel_host = host


def read_ca_file(path: str) -> str:
    """The certificates of a file; between them is whatever people write there."""
    with open(path, "rb") as file:
        content = file.read(_MOST_CERTIFICATES + 1)
    if len(content) > _MOST_CERTIFICATES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content.decode("ascii", "ignore")


def _tls_context(config: NetworkSettings) -> ssl.SSLContext:
    certificates, alone = config.ca_texts()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TimedTlsSocket
    # CPython has OpenSSL 3 take a cut for an end; the flag has no name before CPython 3.10.
    context.options &= ~_IGNORE_UNEXPECTED_EOF
    if not config.strict_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for text in certificates:
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", "it is empty")
            raise HttpProblem(
                "refused", f"a configured CA file holds no certificates ({reason})"
            ) from None
    if not alone:
        context.load_default_certs()
        if not context.cert_store_stats()["x509"]:
            for path in _SYSTEM_BUNDLES:
                if os.path.exists(path):
                    context.load_verify_locations(cafile=path)
                    break
    return context


def _target(url: str, location: str) -> str:
    """Where an answer from `url` redirects to."""
    try:
        # http.client reads headers as Latin-1; servers write addresses as UTF-8.
        location = location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    try:
        target = usable_address(urljoin(url, location))
    except (HttpProblem, ValueError):
        raise HttpProblem("refused", f"{shown(url)} redirects to no http address") from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise HttpProblem(
            "refused",
            f"{shown(url)} redirects to {shown(target)}, whose content anyone on the way can change",
        )
    return target


def _origin(url: Optional[str]) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}"


def proxy_login(proxy: str) -> Optional[str]:
    """The Proxy-Authorization header of a proxy's address."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")


def _retry_after(header: Optional[str]) -> float:
    # A date is allowed too, but no registry was seen to send one.
    digits = header.strip() if header else ""
    return min(float(digits), 30.0) if digits.isascii() and digits.isdigit() else 0.0


def _some(response: http.client.HTTPResponse) -> bytes:
    """What has arrived of a body, without waiting for more; empty at its end."""
    before = response.length
    if before == 0:
        # Lets go of the connection, so that the next request may use it.
        response.read()
        return b""
    chunk = response.read1(_CHUNK)
    # Up to CPython 3.9 read1 does not count, and would wait for bytes after the last one.
    if before is not None and response.length == before:
        response.length = before - len(chunk)
    return chunk


def _reason(error: BaseException, until: Optional[float] = None) -> str:
    if until is not None and time.monotonic() >= until:
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be resolved ({error.strerror})"
    for kind, text in (
        (socket.timeout, "no answer in time"),
        (ConnectionRefusedError, "connection refused"),
        (http.client.IncompleteRead, "cut off"),
        (http.client.RemoteDisconnected, "closed without an answer"),
    ):
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError):
        # What a proxy says to CONNECT is a text without a number.
        return error.strerror or str(error)
    # A ValueError or HTTPException may quote what was received; only its kind is told.
    return type(error).__name__
