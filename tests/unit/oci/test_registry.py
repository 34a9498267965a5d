"""Parts of images from a registry: the logins of registries, and the check of every digest."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
from pathlib import Path
from typing import Any, Dict, Optional
from urllib.parse import parse_qs, urlsplit

import pytest

from slipway.core.errors import SlipwayError
from slipway.fetch.download import Content, ContentCache
from slipway.fetch.faults import FetchFailed
from slipway.fetch.http_transport import Patience, Transport
from slipway.npm_registry import config as npm_config
from slipway.oci.lock import Blob, ImageLock, parse_reference
from slipway.oci.registry import ImageRegistry
from tests.unit.registry_stub import Server

CONFIG, LAYER = b'{"os": "linux"}', b"layer"
PAIR = base64.b64encode(b"robot:pass").decode()
TOKEN = "a.token"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def descriptor(content: bytes, **more: object) -> Dict[str, object]:
    return {"digest": f"sha256:{sha256(content)}", "size": len(content), **more}


MANIFEST = json.dumps({"config": descriptor(CONFIG), "layers": [descriptor(LAYER)]}).encode()


class Images(Server):
    """Blobs and manifests of `team/image` by digest; `login` is the kind of login it requires."""

    def __init__(self, login: str = "") -> None:
        super().__init__(Handler)
        self.login = login
        self.contents = {sha256(one): one for one in (CONFIG, LAYER, MANIFEST)}
        self.realm = f"{self.url}token"
        self.token = json.dumps({"token": TOKEN}).encode()
        self.token_status = 200

    @property
    def challenge(self) -> Optional[str]:
        if self.login == "bearer":
            return f'Bearer realm="{self.realm}",service="images",scope="repository:x:pull"'
        return 'Basic realm="images"' if self.login == "basic" else None


class Handler(http.server.BaseHTTPRequestHandler):
    stub: Images
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.stub.requests.append((self.path, headers))
        sent = headers.get("authorization", "")
        path = urlsplit(self.path).path
        wanted = {"bearer": f"Bearer {TOKEN}", "basic": f"Basic {PAIR}"}.get(self.stub.login, "")
        if path == "/token":
            assert parse_qs(urlsplit(self.path).query)["scope"] == ["repository:x:pull"]
            status = self.stub.token_status if sent == f"Basic {PAIR}" else 401
            self._answer(status, self.stub.token)
        elif sent != wanted:
            self._answer(401, b"", self.stub.challenge)
        else:
            content = self.stub.contents.get(path.rpartition(":")[2])
            self._answer(404 if content is None else 200, content or b"")

    def _answer(self, status: int, body: bytes, challenge: Optional[str] = None) -> None:
        self.send_response(status)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def registry(images: Images, home: Path, manifest: bytes = MANIFEST) -> ImageRegistry:
    env = {"HOME": str(home), "PATH": str(home)}
    config = npm_config.load(option_registry=None, project_npmrc=None, home=str(home), env=env)
    reference = parse_reference(f"{images.host}/team/image@sha256:{sha256(manifest)}", "here")
    return ImageRegistry(reference, Transport(config, Patience(tries=1)), env)


def log_in(home: Path, images: Images, pair: str = PAIR) -> None:
    (home / ".docker").mkdir()
    config = {"auths": {images.host: {"auth": pair}}}
    (home / ".docker" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("login", ["", "basic", "bearer"])
def test_the_parts_of_an_image(login: str, tmp_path: Path) -> None:
    with Images(login) as images:
        log_in(tmp_path, images)
        found = registry(images, tmp_path)
        lock = found.read_lock()
        assert lock == ImageLock(
            f"{images.host}/team/image@sha256:{sha256(MANIFEST)}",
            Blob(sha256(CONFIG), len(CONFIG)),
            (Blob(sha256(LAYER), len(LAYER)),),
        )
        cache = ContentCache(str(tmp_path / "cache"))
        stored = found.fetch("layer-0", Content(sha256(LAYER), len(LAYER)), cache)
        assert stored.sha256 == sha256(LAYER)
        # After the first login, no request fails with 401.
        assert sum("token" in path for path in images.paths()) == (login == "bearer")


def add_helper(home: Path, images: Images, answer: str) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "ours"}')
    helper = home / "docker-credential-ours"
    helper.write_text(
        "#!/bin/sh\n"
        f'read -r host; [ "$1 $host" = "get {images.host}" ] || exit 1\n'
        f"echo '{answer}'\n"
    )
    helper.chmod(0o755)


def test_a_login_may_come_from_a_credential_helper(tmp_path: Path) -> None:
    with Images("basic") as images:
        add_helper(tmp_path, images, '{"Username": "robot", "Secret": "pass"}')
        assert registry(images, tmp_path).read_lock().layers


def test_a_helper_s_login_that_is_no_text_is_none(tmp_path: Path) -> None:
    with Images("basic") as images:
        add_helper(tmp_path, images, r'{"Username": "robot", "Secret": "\ud800"}')
        assert_wants_login(images, tmp_path)


@pytest.mark.parametrize("pair", ["a\u0430b", "a\u0661b=", "a\u00fcb", "a\r\nX-Header: b"])
def test_a_stored_login_that_no_header_carries_is_none(pair: str, tmp_path: Path) -> None:
    with Images("basic") as images:
        log_in(tmp_path, images, pair)
        assert_wants_login(images, tmp_path)
        assert images.headers("Authorization") == [None]


@pytest.mark.parametrize("token", ["a\u2192b", "a\u00fcb", "a\r\nX-Header: b", "\ud800"])
def test_a_token_that_no_header_carries_is_none(token: str, tmp_path: Path) -> None:
    with Images("bearer") as images:
        log_in(tmp_path, images)
        images.token = json.dumps({"token": token}).encode()
        assert_wants_login(images, tmp_path)


@pytest.mark.parametrize("login", ["basic", "bearer"])
def test_without_a_login_the_way_to_one_is_told(login: str, tmp_path: Path) -> None:
    with Images(login) as images:
        assert_wants_login(images, tmp_path)


def assert_wants_login(images: Images, home: Path) -> None:
    with pytest.raises(SlipwayError) as error:
        registry(images, home).read_lock()
    assert f"docker login {images.host}" in str(error.value)


@pytest.mark.parametrize("answer", ["", "[]", "[" * 200_000, '{"token": %s}' % ("9" * 21)])
def test_an_answer_without_a_token_is_no_login(answer: str, tmp_path: Path) -> None:
    with Images("bearer") as images:
        log_in(tmp_path, images)
        images.token = answer.encode()
        assert_wants_login(images, tmp_path)


def test_a_token_that_cannot_be_had_is_asked_for_once(tmp_path: Path) -> None:
    """Otherwise each part of an image would wait for its own timeout."""
    with Images("bearer") as images:
        log_in(tmp_path, images)
        images.token_status = 503
        found, cache = registry(images, tmp_path), ContentCache(str(tmp_path / "cache"))
        for _ in range(3):
            with pytest.raises(FetchFailed, match="/token: HTTP 503"):
                found.fetch("layer-0", Content(sha256(LAYER), len(LAYER)), cache)
        assert sum("token" in path for path in images.paths()) == 1


def test_the_registry_says_which_host_gets_the_login_for_a_token(tmp_path: Path) -> None:
    """As in docker's protocol."""
    with Images("bearer") as images, Images("bearer") as tokens:
        log_in(tmp_path, images)
        images.realm = tokens.realm
        assert registry(images, tmp_path).read_lock().layers
        assert tokens.headers("Authorization") == [f"Basic {PAIR}"]
        assert f"Basic {PAIR}" not in images.headers("Authorization")


def test_a_login_is_not_sent_unencrypted_to_elsewhere(tmp_path: Path) -> None:
    with Images("bearer") as images:
        log_in(tmp_path, images)
        images.realm = "http://elsewhere.example/token"
        with pytest.raises(SlipwayError) as error:
            registry(images, tmp_path).read_lock()
        assert "the login would be sent unencrypted" in str(error.value)


def test_of_an_index_the_image_for_this_platform_counts(tmp_path: Path) -> None:
    arm = {"os": "linux", "architecture": "arm64"}
    amd = {"os": "linux", "architecture": "amd64"}
    entries = [descriptor(b"other", platform=arm), descriptor(MANIFEST, platform=amd)]
    index = json.dumps({"manifests": entries}).encode()
    alone = json.dumps({"manifests": entries[:1]}).encode()
    with Images() as images:
        images.contents.update({sha256(one): one for one in (index, alone)})
        lock = registry(images, tmp_path, index).read_lock()
        assert lock.layers == (Blob(sha256(LAYER), len(LAYER)),)
        assert lock.image.endswith(sha256(index))
        with pytest.raises(SlipwayError, match="exactly one image for linux/amd64, not 0"):
            registry(images, tmp_path, alone).read_lock()


def test_another_manifest_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    with Images() as images:
        images.contents[sha256(MANIFEST)] = MANIFEST + b" "
        with pytest.raises(SlipwayError, match="returned another manifest"):
            registry(images, tmp_path).read_lock()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"LAYER", "does not match the lock: wrong SHA-256"),
        (b"layer and more", "more than 5"),
        (None, "HTTP 404"),
    ],
)
def test_a_part_that_is_wrong_or_gone_is_told(
    content: Optional[bytes], told: str, tmp_path: Path
) -> None:
    with Images() as images:
        images.contents.pop(sha256(LAYER))
        if content is not None:
            images.contents[sha256(LAYER)] = content
        cache = ContentCache(str(tmp_path / "cache"))
        found = registry(images, tmp_path)
        with pytest.raises(FetchFailed) as error:
            found.fetch("layer-0", Content(sha256(LAYER), len(LAYER)), cache)
        assert told in error.value.fault.reason


def test_a_registry_that_is_down_is_told(tmp_path: Path) -> None:
    with Images() as images:
        pass
    with pytest.raises(SlipwayError) as error:
        registry(images, tmp_path).read_lock()
    assert f"check the network connection to {images.host}" in str(error.value)
