"""Every kind of content that comes from outside, as the fetch program is asked for it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Callable, ContextManager, Dict, Iterator, Mapping, Tuple

from slipway.fetch import integrity as sri
from tests.unit.oci.test_registry import Images, descriptor, sha256
from tests.unit.registry_stub import Registry
from tests.unit.step.programs.fetching import Run

RIGHT = b"the content that the lock names\n" * 200
OTHER = bytes(reversed(RIGHT))
USUAL = "/left/-/left-1.0.0.tgz"
BINARY_HOST = "npm_config_bcrypt_binary_host"

Serving = ContextManager[Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """`serve` starts who has the content, and gives the fields of a request for it."""

    name: str
    locked_by: str
    serve: Callable[[Run, bytes], Serving]
    integrity: str = ""
    checks: Tuple[str, ...] = field(default=("size", "SHA-256"))


def ask(run: Run, fields: Mapping[str, Any], integrity: str) -> None:
    """One request for the right content."""
    request: Dict[str, Any] = {
        "name": "left",
        "version": "1.0.0",
        "sha256": hashlib.sha256(RIGHT).hexdigest(),
        "size": len(RIGHT),
        "path": "content",
        **fields,
    }
    if integrity:
        request["integrity"] = integrity
    run.requests.append(request)


@contextlib.contextmanager
def of_registry(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    with Registry({"left": {"1.0.0": content}}) as registry:
        run.npmrc(f"registry={registry.url}")
        yield {"kind": "npm"}


@contextlib.contextmanager
def at_address(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    with Registry({}) as server:
        server.files["/content"] = content
        run.npmrc(f"registry={server.url}")
        yield {"kind": "url", "url": f"{server.url}content"}


@contextlib.contextmanager
def of_binary_mirror(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    with Registry({}) as server:
        server.files["/v5/bcrypt.tar.gz"] = content
        run.npmrc(f"registry={server.url}")
        run.settings["env"] = {**run.settings["env"], BINARY_HOST: server.url}
        file = "v5/bcrypt.tar.gz"
        yield {"kind": "binary", "name": "bcrypt", "variable": BINARY_HOST, "file": file}


@contextlib.contextmanager
def of_debian_mirror(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    with Registry({}) as server:
        server.files["/debian/pool/t/tool.deb"] = content
        run.settings["debian_mirror"] = f"{server.url}debian"
        yield {"kind": "debian", "name": "tool", "filename": "pool/t/tool.deb"}


@contextlib.contextmanager
def of_image_registry(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    with Images() as images:
        config = b"{}"
        manifest = json.dumps(
            {"config": descriptor(config), "layers": [descriptor(RIGHT)]}
        ).encode()
        # Whatever part is asked for: a registry that gives what it likes.
        images.contents = {
            sha256(manifest): manifest,
            sha256(RIGHT): content,
            sha256(OTHER): content,
        }
        run.npmrc(f"registry={images.url}")
        image = f"{images.host}/team/image@sha256:{sha256(manifest)}"
        yield {"kind": "image", "image": image}


@contextlib.contextmanager
def of_this_machine(run: Run, content: bytes) -> Iterator[Mapping[str, Any]]:
    (run.folder / "archive").write_bytes(content)
    yield {"kind": "url", "url": f"file://{run.folder}/archive"}


def integrity_of(algorithm: str) -> str:
    return str(sri.of_bytes(algorithm, RIGHT))


def other_than(integrity: str) -> str:
    algorithm, _, digest = integrity.partition("-")
    return f"{algorithm}-{base64.b64encode(bytes(len(base64.b64decode(digest)))).decode()}"


KINDS = (
    Kind(
        "npm tarball",
        "`package-lock.json`, `npm-fetch.lock`",
        of_registry,
        integrity_of("sha512"),
    ),
    Kind(
        "npm tarball that `package-lock.json` names by sha1 alone",
        "`package-lock.json`, `npm-fetch.lock`",
        of_registry,
        integrity_of("sha1"),
    ),
    Kind(
        "npm package at an address",
        "`package-lock.json`, `npm-fetch.lock`",
        at_address,
        integrity_of("sha512"),
    ),
    Kind("binary that an install script takes", "`npm-fetch.lock`", of_binary_mirror),
    Kind("Node.js and npm as npm packages", "node definition", of_registry, integrity_of("sha512")),
    Kind("Node.js source or headers at an address", "node definition", at_address),
    Kind("file of this machine", "node definition, image target", of_this_machine),
    Kind("Debian package", "`packages.lock`", of_debian_mirror),
    Kind("part of an image of a registry", "image's lock, its digest in BUILD", of_image_registry),
)
