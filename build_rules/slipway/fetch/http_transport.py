"""HTTP with persistent connections, and with the CAs, proxies and logins of company networks.

urllib of the standard library opens a new connection for each request, and sends the login along
when it follows a redirect. The first is too slow for a thousand tarballs, the second leaks the
login. Messages from this module show addresses without login and query, which can be secret.
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

# Where Linux distributions keep the CA certificates. A CPython from elsewhere brings an OpenSSL
# that looks in another place and finds none; then the first of these files is used.
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MOST_CERTIFICATES = 16 << 20  # bytes; the bundle of a distribution has about 250 kB
_IGNORE_UNEXPECTED_EOF = ssl.Options(1 << 7)
_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 5
_PROXY_LOGIN = 407
_CHUNK = 1 << 17
# Characters of an address that are not escaped. "%" is among them, because it begins an escape.
_PLAIN = "!#$%&'()*+,/:;=?@[]~"
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_LONGEST_HOST = 255
# Exceptions of http.client while it sends a request or reads an answer. It raises ValueError for
# text that cannot be sent, such as a line break in a header.
_FAULTS = (http.client.HTTPException, OSError, ValueError)

Login = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds, and how often to try."""

    connect: float = 15.0
    stall: float = 30.0
    tries: int = 4
    backoff: float = 0.5
    # From the start of a connection to the end of the response headers, proxy and TLS included.
    head: float = 90.0
    # A body that arrives too slowly is aborted after this time, plus the time for the bytes so far.
    body: float = 120.0
    least_bytes_per_second: float = 16384.0


class NetworkSettings:
    """The settings that Transport reads from the configuration of a client such as npm."""

    def proxy_for(self, url: str) -> Optional[str]:
        """The http address of the proxy for `url`, with any login in it; None for no proxy."""
        raise NotImplementedError

    def shown_proxy(self, url: str) -> str:
        """The proxy for `url`, for messages."""
        return _origin(self.proxy_for(url))

    def ca_texts(self) -> Tuple[List[str], bool]:
        """CA certificates in PEM form, and whether they replace the CAs of the system."""
        raise NotImplementedError

    @property
    def strict_ssl(self) -> bool:
        """Whether Slipway checks certificates."""
        raise NotImplementedError


class Strict(NetworkSettings):
    """The proxies and CAs of `settings`, but certificates are always checked.

    It connects to loopback addresses without a proxy, as the Docker engine does. Logins go there
    without TLS, so a proxy could read them.
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
    "broken": "the response was cut off or too slow",
    "too-long": "the response has more bytes than the lock says",
    "refused": "the address, a redirect or the CA file is not usable",
}


class HttpProblem(Exception):
    """A request without a usable response. Callers decide by `kind`:

    unreachable: no connection; untrusted: the certificate (both hold for all requests to a host);
    broken: cut off or stalled; status: a response with `status`; too-long: more bytes than allowed;
    refused: any other fault that a retry cannot change. `challenge` is the WWW-Authenticate header.
    """

    def __init__(
        self, kind: str, text: str, status: int = 0, wait: float = 0.0, challenge: str = ""
    ) -> None:
        self.kind, self.text, self.status, self.wait = kind, text, status, wait
        self.challenge = challenge
        super().__init__(text)

    @property
    def without_address(self) -> str:
        """The problem for messages that must not show any part of the address."""
        return f"HTTP {self.status}" if self.kind == "status" else _KINDS[self.kind]

    @property
    def worth_another_try(self) -> bool:
        if self.kind == "status":
            return self.status in (408, 425, 429) or self.status >= 500
        return self.kind in ("unreachable", "broken")


@dataclass(frozen=True)
class Answer:
    """A response whose body was read completely; `url` is its address after redirects."""

    url: str
    size: int


def shown(url: str) -> str:
    """An address for messages and logs, without login and query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        # The text in brackets is not an IPv6 address, so the end of a login is unknown too.
        return f"{url.split(':', 1)[0]}://…"
    host = parts.netloc.rsplit("@", 1)[-1]
    return f"{parts.scheme}://{host}{parts.path}"


def without_port(host: str) -> str:
    """The host without port; an IPv6 address may be in brackets or not."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, without asking a resolver."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def usable_address(url: str) -> str:
    """The http or https address `url` in ASCII, with an IDNA host and escaped characters.

    Raises HttpProblem if `url` is not such an address. Servers can send any text in a redirect.
    """
    try:
        parts = urlsplit(url)
        login, at, place = parts.netloc.rpartition("@")
        # Without the port, because IDNA converts digits of any script to ASCII digits. A port in
        # such digits would become valid.
        host = re.sub(r":[0-9]*\Z", "", place)
        # encode() also raises for an empty or too long label. Otherwise the socket would, later,
        # and outside of any handler.
        name = host.encode("idna").decode("ascii") if len(host) <= _LONGEST_HOST else ""
        usable = parts.scheme in ("http", "https") and _HOST.fullmatch(name) and parts.port != 0
        login, path, query = (quote(part, safe=_PLAIN) for part in (login, parts.path, parts.query))
    except ValueError:
        usable = False
    if not usable:
        raise HttpProblem("refused", f"{shown(url)} is not an http or https address")
    return urlunsplit((parts.scheme, login + at + name + place[len(host) :], path, query, ""))


class _Waiting(threading.local):
    """How long the request of a thread may still wait."""

    until = 0.0  # by time.monotonic()
    stall = 0.0

    def left(self) -> float:
        left = min(self.stall, self.until - time.monotonic())
        if left <= 0:
            raise socket.timeout
        return left


_waiting = _Waiting()


class _TimedSocket(socket.socket):
    """A socket whose waits end at the deadline of the request.

    The timeout of a plain socket restarts with every byte. The deadline must be in the socket:
    for a response that closes its connection, http.client drops its reference to the socket, and
    only the response still reads from it.
    """

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.end_in_time()
        return super().recv_into(*arguments, **options)

    def sendall(self, *arguments: Any) -> None:
        self.end_in_time()
        super().sendall(*arguments)

    def end_in_time(self) -> None:
        left = _waiting.left()
        # settimeout() is a system call, and each one lets CPython switch to another thread. So it
        # is only called when the value changes.
        if left != self.gettimeout():
            self.settimeout(left)


class _TimedTlsSocket(_TimedSocket, ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        # Without a TLS close_notify, the connection was cut: the body may be truncated.
        self.suppress_ragged_eofs = False
        self.end_in_time()
        super().do_handshake(block)


def _timed_connection(*arguments: Any) -> socket.socket:
    plain = socket.create_connection(*arguments)
    return _TimedSocket(plain.family, plain.type, plain.proto, plain.detach())


class Transport:
    """Sends GET requests; many threads share it, and each has its own connections."""

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
        """Passes the body of `url` to `write`, at most `limit` bytes; retries where that may help.

        `restart` is called before each try, to discard what a failed try wrote. `login` returns the
        Authorization header for an address; after a redirect to another host, none is sent.
        Raises HttpProblem.
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
                        # Other requests to this host fail at once, instead of one timeout each.
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
                # Servers close idle connections. So a failure on a reused connection is expected,
                # and the request is sent again on a new one.
                self._forget(url)
        connection = self._connect(url, proxy, until)
        connections[key] = connection
        try:
            return self._ask(connection, path, headers, until)
        except _FAULTS as error:
            self._forget(url)
            if isinstance(error, ValueError):
                text = f"{shown(url)}: its login or address has characters that HTTP cannot send"
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
            # verify_message is a fixed text of OpenSSL, which contains no secret.
            raise HttpProblem(
                "untrusted",
                f"{_origin(url)}: its certificate is not trusted ({error.verify_message})",
            ) from None
        except _FAULTS as error:
            way = f" through the proxy {self._config.shown_proxy(url)}" if proxy else ""
            peer = f"{_origin(url)}{way}"
            reason = _reason(error, until)
            if proxy and f" {_PROXY_LOGIN} " in reason:
                raise HttpProblem("status", f"{peer}: {reason}", _PROXY_LOGIN) from None
            raise HttpProblem("unreachable", f"{peer}: {reason}") from None
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _new_connection(self, url: str, proxy: Optional[str]) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        # Always with a port, because http.client takes the last group of an IPv6 address for a
        # port.
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
            raise HttpProblem("too-long", f"{shown(url)}: {promised} bytes, more than {limit}")
        begin = time.monotonic()
        size = 0
        while True:
            until = begin + self.patience.body + size / self.patience.least_bytes_per_second
            self._wait_until(until)
            try:
                chunk = _some(response)
            except _FAULTS as error:
                self._forget(url)
                slow = f"too slow, {size} bytes received" if time.monotonic() >= until else ""
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
            raise HttpProblem("broken", f"{shown(url)}: truncated after {size} of {promised} bytes")
        if response.will_close:
            self._forget(url)
        return Answer(url, size)

    def _drain(
        self,
        response: http.client.HTTPResponse,
        url: str,
        until: float,
    ) -> None:
        """Reads and discards the rest of a short response, so that its connection can be reused."""
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
        connections: Dict[Tuple[str, Optional[str]], http.client.HTTPConnection]
        connections = self._local.connections
        return connections

    def _forget(self, url: str) -> None:
        connections = self._connections()
        for key in [key for key in connections if key[0] == _origin(url)]:
            connections.pop(key).close()

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = _tls_context(self._config)
            return self._context


class _Tunnel(http.client.HTTPSConnection):
    """A CONNECT tunnel that also works for IPv6 addresses.

    A proxy expects an IPv6 address in brackets, but http.client sends it as it is. The check of the
    host's certificate needs it without brackets, so they are added only for the CONNECT request.
    """

    def _tunnel(self) -> None:
        host: str = self._tunnel_host  # type: ignore[has-type]
        self._tunnel_host = f"[{host}]" if ":" in host else host
        try:
            super()._tunnel()  # type: ignore[misc]
        finally:
            self._tunnel_host = host


def read_ca_file(path: str) -> str:
    """The text of a CA file; OpenSSL ignores what is between the certificates."""
    with open(path, "rb") as file:
        content = file.read(_MOST_CERTIFICATES + 1)
    if len(content) > _MOST_CERTIFICATES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return content.decode("ascii", "ignore")


def _tls_context(config: NetworkSettings) -> ssl.SSLContext:
    certificates, alone = config.ca_texts()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _TimedTlsSocket
    # CPython makes OpenSSL 3 accept a connection that ends without close_notify, which hides a
    # truncated body. So this flag is cleared. CPython has no name for it before 3.10.
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
                "refused", f"a configured CA file has no valid certificates ({reason})"
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
    """The address that a response from `url` redirects to; raises HttpProblem if not usable."""
    try:
        # http.client decodes headers as Latin-1, but servers write addresses as UTF-8.
        location = location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        pass
    try:
        target = usable_address(urljoin(url, location))
    except (HttpProblem, ValueError):
        raise HttpProblem(
            "refused", f"{shown(url)} redirects to an address that is not http or https"
        ) from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise HttpProblem(
            "refused",
            f"{shown(url)} redirects from https to {shown(target)}, which is not encrypted",
        )
    return target


def _origin(url: Optional[str]) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}"


def proxy_login(proxy: str) -> Optional[str]:
    """The Proxy-Authorization header for a proxy's address; None if it has no login."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode("utf-8")).decode("ascii")


def _retry_after(header: Optional[str]) -> float:
    # HTTP also allows a date here. It is ignored: the backoff between the tries applies.
    digits = header.strip() if header else ""
    return min(float(digits), 30.0) if digits.isascii() and digits.isdigit() else 0.0


def _some(response: http.client.HTTPResponse) -> bytes:
    """The bytes of a body that have arrived, without waiting for more; empty at its end."""
    before = response.length
    if before == 0:
        # read() at the end releases the connection, so that the next request can reuse it.
        response.read()
        return b""
    chunk = response.read1(_CHUNK)
    # Up to CPython 3.9, read1() does not update `length`, and would wait for bytes after the end.
    if before is not None and response.length == before:
        response.length = before - len(chunk)
    return chunk


def _reason(error: BaseException, until: Optional[float] = None) -> str:
    if until is not None and time.monotonic() >= until:
        return "timed out"
    if isinstance(error, socket.gaierror):
        return f"cannot resolve the host name ({error.strerror})"
    for kind, text in (
        (socket.timeout, "timed out"),
        (ConnectionRefusedError, "connection refused"),
        (http.client.IncompleteRead, "cut off"),
        (http.client.RemoteDisconnected, "connection closed without a response"),
    ):
        if isinstance(error, kind):
            return text
    if isinstance(error, OSError):
        # http.client raises OSError with only a text, if a proxy rejects CONNECT.
        return error.strerror or str(error)
    # The text of a ValueError or HTTPException may quote received data, which can be secret.
    return type(error).__name__
