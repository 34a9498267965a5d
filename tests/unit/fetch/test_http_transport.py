"""Servers that delay a response, cut it off, or do not send HTTP: each raises an HttpProblem."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from slipway.fetch.http_transport import (
    HttpProblem,
    NetworkSettings,
    Patience,
    Strict,
    Transport,
    usable_address,
    without_port,
)
from tests.unit.registry_stub import CA_FILE, TLS

QUICK = Patience(connect=5, stall=5, tries=1, head=0.6, body=0.6, least_bytes_per_second=1e9)
SLOWEST = 3.0  # seconds that a request may last with these settings, on a busy machine
Serve = Callable[[socket.socket], None]


class Direct(NetworkSettings):
    def __init__(self, proxy: Optional[str] = None, ca: Optional[str] = None) -> None:
        self._proxy, self._ca = proxy, ca

    def proxy_for(self, url: str) -> Optional[str]:
        return self._proxy

    def ca_texts(self) -> Tuple[List[str], bool]:
        return [CA_FILE.read_text() if self._ca is None else self._ca], True

    @property
    def strict_ssl(self) -> bool:
        return True


@contextlib.contextmanager
def serving(
    serve: Serve, *, tls: bool = False, host: str = "127.0.0.1"
) -> Iterator[Tuple[str, List[bytes]]]:
    """The server's address, and the headers of its requests."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((host, 0))
    listener.listen(20)
    heads: List[bytes] = []

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(str(TLS / "server.pem"))
                connection = context.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                more = connection.recv(65536)
                if not more:
                    return
                head += more
            heads.append(head)
            serve(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"{'https' if tls else 'http'}://{shown}:{listener.getsockname()[1]}", heads
    finally:
        listener.close()


def send(text: str) -> Serve:
    return lambda connection: connection.sendall(text.encode("utf-8"))


def drip(before: str, again: str) -> Serve:
    """Sends `before`, and then a byte again and again while a client listens."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(before.encode())
        for _ in range(200):
            time.sleep(0.05)
            connection.sendall(again.encode())

    return serve


def get(url: str, settings: Optional[NetworkSettings] = None, limit: int = 1 << 20) -> bytes:
    parts: List[bytes] = []
    transport = Transport(settings or Direct(), QUICK)
    transport.get(url, parts.append, limit=limit, restart=parts.clear)
    return b"".join(parts)


def problem_of(url: str, settings: Optional[NetworkSettings] = None) -> HttpProblem:
    began = time.monotonic()
    with pytest.raises(HttpProblem) as caught:
        get(url, settings)
    assert time.monotonic() - began < SLOWEST
    return caught.value


HEAD = "HTTP/1.1 200 OK\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
CLOSING = HEAD + "Connection: close\r\n" + CHUNKED
DRAGGED: Dict[str, Serve] = {
    "the head": drip(HEAD, "X-More: 1\r\n"),
    "one header": drip(HEAD + "X-More: ", "1"),
    "the status line": drip("HTTP/1.1 200 ", "O"),
    "100 Continue": drip("", "HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": drip(HEAD + "Content-Length: 100000\r\n\r\n", "x"),
    "a body without a length": drip(HEAD + "Connection: close\r\n\r\n", "x"),
    "a chunk's size": drip(HEAD + CHUNKED, "0"),
    "a chunk's extension": drip(HEAD + CHUNKED + "1;", "x"),
    "trailers": drip(HEAD + CHUNKED + "1\r\nx\r\n0\r\n", "X-More: 1\r\n"),
    "a chunk's size before closing": drip(CLOSING, "0"),
    "a chunk's extension before closing": drip(CLOSING + "1;", "x"),
    "trailers before closing": drip(CLOSING + "1\r\nx\r\n0\r\n", "X-More: 1\r\n"),
    "a chunk's size by HTTP/1.0": drip("HTTP/1.0 200 OK\r\n" + CHUNKED, "0"),
    "a redirect's body": drip(
        "HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 1000\r\n\r\n", "x"
    ),
}


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("what", DRAGGED)
def test_no_phase_of_an_answer_lasts_as_long_as_the_server_likes(what: str, tls: bool) -> None:
    with serving(DRAGGED[what], tls=tls) as (address, _):
        problem = problem_of(address + "/x")
    assert problem.kind in ("broken", "refused", "unreachable")


def test_an_error_s_body_does_not_hold_it_up() -> None:
    page = drip("HTTP/1.1 404 Not Found\r\nContent-Length: 1000\r\n\r\n", "x")
    patience = Patience(connect=5, stall=0.6, tries=1)
    with serving(page) as (address, _):
        began = time.monotonic()
        with pytest.raises(HttpProblem, match="HTTP 404 Not Found"):
            Transport(Direct(), patience).get(address, print, limit=9, restart=lambda: None)
        assert time.monotonic() - began < SLOWEST


def test_a_handshake_and_a_proxy_s_answer_count_too() -> None:
    with serving(drip("HTTP/1.1 200 ", "O")) as (proxy, _):
        assert problem_of("https://127.0.0.1:9/x", Direct(proxy)).kind == "unreachable"
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen(1)
    with contextlib.closing(silent):
        problem = problem_of(f"https://127.0.0.1:{silent.getsockname()[1]}/x")
    assert "timed out" in problem.text


def test_a_slow_answer_that_is_fast_enough_comes_whole() -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall((HEAD + "Content-Length: 6\r\n\r\n").encode())
        for letter in b"abcdef":
            time.sleep(0.02)
            connection.sendall(bytes([letter]))

    with serving(serve) as (address, _):
        assert get(address) == b"abcdef"


def test_a_tls_connection_that_is_cut_is_no_whole_answer() -> None:
    """Without a length, only TLS close_notify distinguishes the end from a cut connection."""

    def cut(connection: socket.socket) -> None:
        connection.sendall((HEAD + "Connection: close\r\n\r\nhalf of the fi").encode())
        socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def end(connection: socket.socket) -> None:
        connection.sendall((HEAD + "Connection: close\r\n\r\nthe whole").encode())
        assert isinstance(connection, ssl.SSLSocket)
        connection.unwrap()

    with serving(cut, tls=True) as (address, _):
        assert problem_of(address).kind == "broken"
    with serving(end, tls=True) as (address, _):
        assert get(address) == b"the whole"


def test_a_redirect_from_https_to_http_is_refused() -> None:
    with serving(send(HEAD + "Content-Length: 1\r\n\r\nx")) as (plain, heads):
        redirect = send(f"HTTP/1.1 302 F\r\nLocation: {plain}/x\r\nContent-Length: 0\r\n\r\n")
        with serving(redirect, tls=True) as (address, _):
            problem = problem_of(address + "/x")
    assert problem.kind == "refused"
    assert f"redirects from https to {plain}/x, which is not encrypted" in problem.text
    assert heads == []


def test_a_login_does_not_go_to_where_its_host_redirects() -> None:
    """Whatever the address: the login of an image registry is not looked up by address."""
    parts: List[bytes] = []
    with serving(send(HEAD + "Content-Length: 1\r\n\r\nx")) as (other, asked):
        redirect = send(f"HTTP/1.1 302 F\r\nLocation: {other}/x\r\nContent-Length: 0\r\n\r\n")
        with serving(redirect) as (address, heads):
            Transport(Direct(), QUICK).get(
                address + "/x",
                parts.append,
                limit=9,
                restart=parts.clear,
                login=lambda _: "Bearer secret",
            )
    assert parts == [b"x"]
    assert b"Authorization: Bearer secret\r\n" in heads[0]
    assert b"secret" not in asked[0]


ODD_LOCATIONS = [
    *("http://[bad/", "http://127.0.0.1:99999/", "http://127.0.0.1:port/", "ftp://h.example/x"),
    *("file:///etc/passwd", "http://[::1%eth0/", "http://h.example:0/", "mailto:x", "http://a..b/"),
    *("http://.example/", f"http://{'a' * 64}.example/", f"http://{'a.' * 200}example/"),
    *("http://a b/", "http://a\0b/", 'http://a"b/', "http://127.0.0.1:\u0661/", "http://h:+1/"),
    *("http://[::1]x/", "http://a[::1]/", "http://[v1.x]/", "http://h.example:1_0/"),
]


@pytest.mark.parametrize("location", ODD_LOCATIONS)
def test_an_odd_redirect_is_refused(location: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    with serving(send(answer)) as (address, _):
        problem = problem_of(address)
    assert (problem.kind, problem.text) == (
        "refused",
        f"{address} redirects to an address that is not http or https",
    )


def test_a_redirect_to_a_name_in_any_script_is_followed() -> None:
    def serve(connection: socket.socket) -> None:
        length = "Content-Length: 0\r\n\r\n"
        connection.sendall(f"HTTP/1.1 302 F\r\nLocation: /é 包?q=ü\r\n{length}".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        path = answer.split()[1]
        connection.sendall((HEAD + f"Content-Length: {len(path)}\r\n\r\n").encode() + path)

    with serving(serve) as (address, _):
        assert get(address) == b"/%C3%A9%20%E5%8C%85?q=%C3%BC"


@pytest.mark.parametrize("value", ["²", "٣", "-1", "1e9", "soon", "", "9" * 400])
def test_an_odd_retry_after_is_not_waited_for_long(value: str) -> None:
    answer = f"HTTP/1.1 503 Busy\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n"
    with serving(send(answer)) as (address, _):
        problem = problem_of(address)
    assert problem.status == 503
    assert 0.0 <= problem.wait <= 30.0


@pytest.mark.parametrize("text", ["", "no certificate", "\n"])
def test_a_ca_file_without_certificates_is_told(text: str) -> None:
    problem = problem_of("https://127.0.0.1:9/", Direct(ca=text))
    assert problem.text.startswith("a configured CA file has no valid certificates")


def test_ipv6_addresses() -> None:
    with serving(send(HEAD + "Content-Length: 3\r\n\r\nsix"), host="::1") as (address, heads):
        assert get(address + "/x") == b"six"
        assert f"Host: {address[7:]}".encode() in heads[0]
    with serving(send("HTTP/1.1 502 No\r\n\r\n")) as (proxy, heads):
        problem_of("https://[::1]:8443/x", Direct(proxy))
        assert heads[0].startswith(b"CONNECT [::1]:8443 HTTP/1.0\r\n")


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("h.example", "h.example"),
        ("h.example:80", "h.example"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:80", "::1"),
        ("127.0.0.1:80", "127.0.0.1"),
    ],
)
def test_a_host_in_a_list_of_hosts(written: str, host: str) -> None:
    assert without_port(written) == host


@pytest.mark.parametrize(
    "url", ["http://[bad/", "https://h:99999/", "http:/x", "x", "", "//h/x", "https://a..b/x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(HttpProblem, match="is not an http or https address") as caught:
        usable_address(url)
    assert caught.value.kind == "refused"


def test_a_host_that_is_not_ascii_is_encoded_without_its_port() -> None:
    assert (
        usable_address("https://b\u00fccher.example:8443/x")
        == "https://xn--bcher-kva.example:8443/x"
    )
    assert usable_address("http://\u00fc:p@h.example/") == "http://%C3%BC:p@h.example/"


def test_an_ipv6_address_without_a_port_is_asked_at_the_usual_one() -> None:
    """The last group of an address must not become a port."""
    with pytest.raises(HttpProblem) as caught:
        Transport(Direct(), Patience(connect=1, tries=1)).get(
            "http://[100::cafe]/", print, limit=9, restart=lambda: None
        )
    assert caught.value.kind == "unreachable"
    assert "InvalidURL" not in caught.value.text


@pytest.mark.parametrize("header", ["Bearer a\u2192b", "Bearer a\r\nX-Header: b"])
def test_a_login_that_http_cannot_carry_is_told_without_it(header: str) -> None:
    transport = Transport(Direct(), QUICK)
    answer = serving(send(HEAD + "Content-Length: 1\r\n\r\nx"))
    with answer as (address, heads), pytest.raises(HttpProblem) as caught:
        transport.get(address, print, limit=9, restart=lambda: None, login=lambda _: header)
    assert caught.value.kind == "refused"
    assert (
        caught.value.text == f"{address}: its login or address has characters that HTTP cannot send"
    )
    assert heads == []


def test_a_proxy_that_is_no_host_is_told() -> None:
    for proxy in ("http://a b:80", "http://a..b:80", "http://h:port"):
        problem = problem_of("http://h.example/x", Direct(proxy))
        assert problem.kind == "unreachable"
        assert problem.text.startswith(f"http://h.example through the proxy {proxy}: ")


def test_a_usable_address_stays_as_it_is() -> None:
    for url in ("http://u:p@h.example:80/a%20b/@x?q=1&r=%2F", "https://[::1]:8/x~y!z"):
        assert usable_address(url) == url


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_strict_settings_ask_this_machine_without_a_proxy(host: str) -> None:
    class Proxied(Direct):
        def proxy_for(self, url: str) -> Optional[str]:
            return "http://proxy.example:3128"

    assert Strict(Proxied()).proxy_for(f"http://{host}:5000/token") is None
    assert Strict(Proxied()).proxy_for("http://localhost.example/") is not None


def test_strict_settings_check_certificates_whatever_npm_says() -> None:
    class Lax(Direct):
        @property
        def strict_ssl(self) -> bool:
            return False

        def ca_texts(self) -> Tuple[List[str], bool]:
            return [], False

    with serving(send(HEAD + "Content-Length: 1\r\n\r\nx"), tls=True) as (address, heads):
        assert get(address, Lax()) == b"x"
        problem = problem_of(address, Strict(Lax()))
    assert problem.kind == "untrusted"
    assert len(heads) == 1
