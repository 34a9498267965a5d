"""Fetches the parts of an image from a registry, and checks their digests.

Sources: the OCI distribution specification, and the token flow of registries. In this flow, the
registry names a host that exchanges the user's login for a token, and the login is sent there.
"""

from __future__ import annotations

import hashlib
import re
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import urlencode, urlsplit

from slipway.core import json_text
from slipway.core.errors import SlipwayError
from slipway.core.json_fields import Field, read_json
from slipway.fetch.download import Content, ContentCache, Sink, Stored, WrongContent
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.http_transport import HttpProblem, Transport, is_loopback, shown, usable_address
from slipway.oci import login as docker_login
from slipway.oci.lock import Blob, ImageLock, ImageReference

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_SHA256 = r"sha256:[0-9a-f]{64}"
_LARGEST_MANIFEST = 4 << 20
_LARGEST_TOKEN = 1 << 20
_PLATFORM = ("linux", "amd64")
_GONE = (404, 410)


class ImageRegistry:
    """A repository of a registry, with the login of `docker login`; many threads share it."""

    def __init__(
        self, reference: ImageReference, transport: Transport, env: Mapping[str, str]
    ) -> None:
        self._reference = reference
        self._transport = transport
        self._env = env
        self._lock = threading.Lock()
        self._header: Optional[str] = None
        self._no_token: Optional[HttpProblem] = None  # why there is no token, for all threads

    def read_lock(self) -> ImageLock:
        """The parts of the image; for an index, of its image for linux/amd64.

        Raises SlipwayError.
        """
        manifest = self._manifest(self._reference.digest)
        if "manifests" in manifest.mapping():
            manifest = self._manifest(_fitting(manifest))
        fields = manifest.mapping()
        if "config" not in fields or "layers" not in fields:
            raise manifest.fault('the fields "config" and "layers"')
        return ImageLock(
            str(self._reference),
            _blob(fields["config"]),
            tuple(_blob(layer) for layer in fields["layers"].items()),
        )

    def fetch(self, subject: str, content: Content, cache: ContentCache) -> Stored:
        """Stores the blob with this SHA-256 in `cache`; raises FetchFailed."""
        url = f"{self._base()}/blobs/sha256:{content.sha256}"

        def fill(sink: Sink) -> None:
            self._get(url, sink.write, sink.restart, content.most)

        try:
            return cache.store(content, fill)
        except HttpProblem as problem:
            raise FetchFailed(self._fault(subject, problem)) from None
        except WrongContent as wrong:
            text = f"the file from {shown(url)} does not match the lock: {wrong}"
            raise FetchFailed(
                FetchFault(subject, text, "restore the lock from version control")
            ) from None

    def _manifest(self, digest: str) -> Field:
        url = f"{self._base()}/manifests/{digest}"
        parts: List[bytes] = []
        accept = ", ".join((*_MANIFESTS, *_INDEXES))
        try:
            self._get(url, parts.append, parts.clear, _LARGEST_MANIFEST, accept)
        except HttpProblem as problem:
            fault = self._fault(str(self._reference), problem)
            raise SlipwayError(
                f'cannot read the image "{self._reference}"',
                found=fault.reason,
                next=fault.next,
            ) from None
        raw = b"".join(parts)
        actual = "sha256:" + hashlib.sha256(raw).hexdigest()
        if actual != digest:
            raise SlipwayError(
                f'the registry returned another manifest for "{self._reference}"',
                where=shown(url),
                found=actual,
                next="ask the administrator of the registry, or of a proxy in front of it",
            )
        return read_json(raw.decode("utf-8", "replace"), shown(url))

    def _base(self) -> str:
        host = urlsplit(f"//{self._reference.registry}").hostname or ""
        scheme = "http" if is_loopback(host) else "https"
        return f"{scheme}://{self._reference.registry}/v2/{self._reference.repository}"

    def _get(
        self,
        url: str,
        write: Callable[[bytes], Any],
        restart: Callable[[], None],
        most: int,
        accept: str = "*/*",
    ) -> None:
        for _ in range(2):
            header = self._header
            try:
                self._transport.get(
                    url,
                    write,
                    limit=most,
                    restart=restart,
                    login=lambda _, header=header: header,  # type: ignore[misc]
                    accept=accept,
                )
                return
            except HttpProblem as problem:
                if problem.status != 401 or not self._log_in(problem.challenge, header):
                    raise
        raise HttpProblem("status", f"{shown(url)}: HTTP 401 although a login was sent", 401)

    def _log_in(self, challenge: str, used: Optional[str]) -> bool:
        """Gets a new header for a challenge, unless another thread has; False without a login."""
        with self._lock:
            if self._header != used:
                return True
            if self._no_token:
                raise self._no_token
            kind, wanted = _parse_challenge(challenge)
            own = docker_login.basic_login(self._reference.registry, self._env)
            header = own if kind == "basic" else None
            if kind == "bearer" and wanted.get("realm"):
                try:
                    header = self._ask_for_token(wanted, own)
                except HttpProblem as problem:
                    self._no_token = problem
                    raise
            self._header = header
            return header is not None and header != used

    def _ask_for_token(self, wanted: Mapping[str, str], login: Optional[str]) -> Optional[str]:
        realm = usable_address(wanted["realm"])
        parts = urlsplit(realm)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise HttpProblem("refused", f"the login would be sent unencrypted to {shown(realm)}")
        scope = wanted.get("scope") or f"repository:{self._reference.repository}:pull"
        query = {"service": wanted.get("service", ""), "scope": scope}
        answer: List[bytes] = []
        self._transport.get(
            f"{realm}{'&' if parts.query else '?'}{urlencode(query)}",
            answer.append,
            limit=_LARGEST_TOKEN,
            restart=answer.clear,
            login=lambda _: login,
        )
        try:
            document = json_text.loads(b"".join(answer))
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError):
            token = None
        usable = isinstance(token, str) and token.isascii() and token.isprintable()
        return f"Bearer {token}" if usable else None

    def _fault(self, subject: str, problem: HttpProblem) -> FetchFault:
        registry = self._reference.registry
        if problem.kind in ("unreachable", "untrusted"):
            way_out = f"check the network connection to {registry}"
            if problem.kind == "untrusted":
                way_out = "add to ~/.npmrc: cafile=<file with the registry's CA in PEM form>"
            return FetchFault(subject, problem.text, way_out, shared=True)
        if problem.status in (401, 403):
            return FetchFault(subject, problem.text, f"docker login {registry}", shared=True)
        if problem.status in _GONE:
            way_out = f"push the image again; or, if it is private: docker login {registry}"
            return FetchFault(subject, problem.text, way_out)
        return FetchFault(subject, problem.text, "run the same command again")


def _parse_challenge(header: str) -> Tuple[str, Dict[str, str]]:
    kind, _, rest = header.strip().partition(" ")
    return kind.lower(), dict(re.findall(r'(\w+)="([^"]*)"', rest))


def _fitting(index: Field) -> str:
    """The digest of the index's manifest for this platform; raises SlipwayError."""
    fitting = []
    for item in index.mapping()["manifests"].items():
        fields = item.mapping()
        platform = fields["platform"].mapping() if "platform" in fields else {}
        names = tuple(platform[key].value for key in ("os", "architecture") if key in platform)
        if names == _PLATFORM and "digest" in fields:
            fitting.append(fields["digest"].text(_SHA256, "a SHA-256 digest"))
    if len(fitting) != 1:
        raise index.fault(f"exactly one image for {'/'.join(_PLATFORM)}, not {len(fitting)}")
    return fitting[0]


def _blob(descriptor: Field) -> Blob:
    fields = descriptor.mapping()
    for key in ("digest", "size"):
        if key not in fields:
            raise descriptor.fault(f'the field "{key}"')
    digest = fields["digest"].text(_SHA256, "a SHA-256 digest")
    return Blob(digest[len("sha256:") :], fields["size"].number(1))
