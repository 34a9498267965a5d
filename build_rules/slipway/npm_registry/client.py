"""Fetches tarballs from npm registries by name and version.

Registries agree on most of npm's protocol, but not on the addresses of tarballs. Most registries
use `<name>/-/<name>-<version>.tgz`; for the others, the address is in the packument, the
registry's description of a package.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Set, Tuple
from urllib.parse import quote, urlsplit

from slipway.core import json_text
from slipway.fetch.download import Content, ContentCache, Sink, Stored, WrongContent
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.http_transport import HttpProblem, Transport, shown
from slipway.npm_registry.config import NpmConfig, Registry, packument_url
from slipway.npm_registry.names import tarball_path

# Large packuments have tens of megabytes, and need more as Python objects. So only one is read at a
# time.
_PACKUMENT_LIMIT = 64 << 20
# Parameters of mallopt(3) and their values in bytes.
_M_MMAP_THRESHOLD, _LARGE = -3, 4 << 20
_M_TRIM_THRESHOLD, _KEPT = -1, 16 << 20
_LONGEST_ADDRESS = 8192
_RELEASE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){2}", re.ASCII)
_RELEASE_KEYS = frozenset(("versions", "dist", "integrity", "engines", "node"))
_NOT_THERE = (404, 405, 410)
_PACKUMENT = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*"


@dataclass(frozen=True)
class Release:
    """A version in a registry: its integrity and the range of `engines.node`, or empty texts."""

    integrity: str
    engines: str


class RegistryClient:
    """Fetches tarballs into a cache with the user's npm configuration; many threads share it.

    `wanted` lists the names and versions that callers will fetch. Packuments can be large, so only
    the addresses of these versions are kept.
    """

    def __init__(
        self,
        config: NpmConfig,
        transport: Transport,
        cache: ContentCache,
        wanted: Iterable[Tuple[str, str]],
    ) -> None:
        self._config = config
        self._transport = transport
        self._cache = cache
        self._wanted: Dict[str, Set[str]] = {}
        for name, version in wanted:
            self._wanted.setdefault(name, set()).add(version)
        # Address of a packument -> version -> address of its tarball.
        self._addresses: Dict[str, Dict[str, Optional[str]]] = {}
        # Registries whose packuments could not be read, by address. Further requests fail at once,
        # instead of one timeout each.
        self._down: Dict[str, HttpProblem] = {}
        self._describing = threading.Lock()

    def fetch(self, name: str, version: str, content: Content, renew: str) -> Stored:
        """Fetches the tarball of `name@version`; `renew` is the command that updates the lock.

        Without `renew`, the hashes in `content` are the registry's own. Raises FetchFailed.
        """
        registry = self._config.registry_for(name)
        subject = f"{name}@{version}"
        usual = registry.url + quote(tarball_path(name, version), safe="@/~!*'()")
        try:
            try:
                return self._store(usual, registry, content)
            except HttpProblem as problem:
                if problem.kind != "status" or problem.status not in _NOT_THERE:
                    raise
            return self._from_packument(name, version, registry, content, usual)
        except HttpProblem as problem:
            raise FetchFailed(self._fault(subject, problem, registry)) from None
        except WrongContent as wrong:
            if not renew:
                reason = f"the file from {registry.shown} does not match its packument: {wrong}"
                way_out = "run the same command again, or report it to the owner of the registry"
                raise FetchFailed(FetchFault(subject, reason, way_out)) from None
            raise FetchFailed(
                FetchFault(
                    subject,
                    f"the file from {registry.shown} does not match the lock: {wrong}",
                    "restore the lock from version control; or, to accept the new content, remove its "
                    f"line from the lock and run: {renew}",
                )
            ) from None

    def releases(self, name: str) -> Dict[str, Release]:
        """All versions of a package in the registry, without prereleases. Raises FetchFailed."""
        registry = self._config.registry_for(name)
        url = packument_url(registry, name)
        try:
            versions = self._read_packument(url, registry, _is_of_releases).get("versions")
        except HttpProblem as problem:
            raise FetchFailed(self._fault(name, problem, registry)) from None
        found = {}
        for version, one in versions.items() if isinstance(versions, dict) else ():
            if isinstance(one, dict) and _RELEASE.fullmatch(version):
                dist, engines = one.get("dist"), one.get("engines")
                found[version] = Release(_text(dist, "integrity"), _text(engines, "node"))
        return found

    def fetch_address(
        self, subject: str, url: str, content: Content, renew: str, name: str = ""
    ) -> Stored:
        """Fetches a file from an address of the user; if it is secret, messages show `name`.

        Raises FetchFailed.
        """
        try:
            return self._store(url, None, content)
        except HttpProblem as problem:
            reason = f"{name}: {problem.without_address}" if name else problem.text
            way_out = f"check the address {name or shown(url)}"
            absent = problem.status in _NOT_THERE
            raise FetchFailed(FetchFault(subject, reason, way_out, absent=absent)) from None
        except WrongContent as wrong:
            raise FetchFailed(
                FetchFault(
                    subject,
                    f"the file from {name or shown(url)} does not match the lock: {wrong}",
                    "correct the hash; or, to accept the new content, remove its line from the lock "
                    f"and run: {renew}",
                )
            ) from None

    def _from_packument(
        self, name: str, version: str, registry: Registry, content: Content, usual: str
    ) -> Stored:
        address = self._tarball_address(name, version, registry)
        last = HttpProblem("status", f"{shown(usual)}: HTTP 404", 404)
        for url in _candidates(address, registry):
            if url == usual:
                continue
            try:
                return self._store(url, registry, content)
            except HttpProblem as problem:
                if problem.kind != "status" or problem.status not in _NOT_THERE:
                    raise
                last = problem
        raise last

    def _tarball_address(self, name: str, version: str, registry: Registry) -> str:
        url = packument_url(registry, name)
        with self._describing:
            known = self._addresses.setdefault(url, {})
            if version not in known:
                if registry.url in self._down:
                    raise self._down[registry.url]
                versions = self._wanted.get(name, {version}) | {version}
                _give_large_memory_back()
                try:
                    keys = frozenset(("versions", *versions, "dist", "tarball"))
                    packument = self._read_packument(url, registry, keys.__contains__)
                except HttpProblem as problem:
                    if problem.worth_another_try:
                        self._down[registry.url] = HttpProblem("unreachable", problem.text)
                    raise
                known.update((item, _address(packument, item)) for item in versions)
        address = known[version]
        if address is None:
            raise HttpProblem("status", f"{shown(url)} has no version {version}", 404)
        return address

    def _read_packument(
        self, url: str, registry: Registry, wanted: Callable[[str], bool]
    ) -> Mapping[str, Any]:
        """The packument, reduced to the `wanted` keys to save memory."""

        def gather(pairs: Iterable[Tuple[str, Any]]) -> Dict[str, Any]:
            return {key: value for key, value in pairs if wanted(key) and not _is_long(value)}

        body = bytearray()
        self._transport.get(
            url,
            body.extend,
            limit=_PACKUMENT_LIMIT,
            restart=body.clear,
            login=self._login(registry),
            accept=_PACKUMENT,
        )
        try:
            text = body.decode("utf-8")
            del body
            packument = json_text.loads(text, object_pairs_hook=gather)
        except ValueError:
            packument = None
        if not isinstance(packument, dict):
            raise HttpProblem("refused", f"the response of {shown(url)} is not JSON")
        return packument

    def _store(self, url: str, registry: Optional[Registry], content: Content) -> Stored:
        def fill(sink: Sink) -> None:
            self._transport.get(
                url,
                sink.write,
                limit=content.most,
                restart=sink.restart,
                login=self._login(registry),
            )

        return self._cache.store(content, fill)

    def _login(self, registry: Optional[Registry]) -> Callable[[str], Optional[str]]:
        return lambda url: self._config.login(url, registry)

    def _fault(self, subject: str, problem: HttpProblem, registry: Registry) -> FetchFault:
        problem = registry.without_values(problem)
        if problem.kind in ("unreachable", "untrusted"):
            way_out = f"check the registry address in {registry.source}: {registry.shown}"
            if problem.kind == "untrusted":
                way_out = "add to ~/.npmrc: cafile=<file with the registry's CA in PEM form>"
            return FetchFault(
                subject, f"the registry cannot be reached: {problem.text}", way_out, shared=True
            )
        if problem.status in (401, 403):
            return self._login_fault(subject, problem, registry)
        if problem.status in _NOT_THERE:
            way_out = (
                f"publish it to {registry.shown}, or set another registry "
                f"(this one is from {registry.source})"
            )
            if self._config.login(registry.url, registry) is None:
                # Some registries answer 404 for a private package to clients without a login.
                way_out += f"\nor, if it is private, {_login_line(registry)}"
            reason = f"the registry does not have it: {problem.text}"
            return FetchFault(subject, reason, way_out, absent=True)
        if problem.kind == "too-long":
            return FetchFault(
                subject,
                f"the file from the registry does not match the lock: {problem.text}",
                "restore the lock from version control",
            )
        if problem.status == 407:
            way_out = "add the login to the proxy's address: https-proxy=http://<user>:<password>@…"
            return FetchFault(subject, problem.text, way_out, shared=True)
        return FetchFault(subject, problem.text, "run the same command again")

    def _login_fault(self, subject: str, problem: HttpProblem, registry: Registry) -> FetchFault:
        unset = self._config.unset_login_variable(registry)
        if unset:
            return FetchFault(
                subject,
                f"the registry {registry.shown} requires a login: {problem.text}; {unset[1]} "
                f"reads it from ${{{unset[0]}}}, which is not set",
                f"export {unset[0]}=<token>",
                shared=True,
            )
        return FetchFault(
            subject,
            f"the registry {registry.shown} requires a login: {problem.text}",
            _login_line(registry),
            shared=True,
        )


def _give_large_memory_back() -> None:
    """Makes glibc return large blocks of memory to the system when they are freed.

    By default, glibc raises its mmap threshold when a large block is freed. Later large blocks then
    come from the heap of a thread, which keeps them.
    """
    with contextlib.suppress(AttributeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        # Setting one threshold stops glibc from adjusting the other. With a low trim threshold it
        # would return and request small blocks again and again.
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def _address(packument: Mapping[str, Any], version: str) -> Optional[str]:
    """The address of a version's tarball in a packument; None if it has no such version."""
    value: Any = packument
    for key in ("versions", version, "dist", "tarball"):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _is_of_releases(key: str) -> bool:
    return key in _RELEASE_KEYS or _RELEASE.fullmatch(key) is not None


def _text(table: Any, key: str) -> str:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, str) else ""


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONGEST_ADDRESS


def _login_line(registry: Registry) -> str:
    return f"add to ~/.npmrc: {registry.key}:_authToken=<token>"


def _candidates(address: str, registry: Registry) -> Tuple[str, ...]:
    """Addresses to try for a tarball with this `address` in the packument, in order.

    A mirror often passes on the packument of the registry that it mirrors, with the address of that
    registry. The tarball is then at the same path on the mirror.
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return ()  # not an address
    if parts.scheme not in ("http", "https"):
        return (registry.url.rstrip("/") + "/" + address.lstrip("/"),)
    path = parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else "")
    own = urlsplit(registry.url)
    # A registry behind a reverse proxy often writes the wrong scheme or an internal host.
    here = f"{own.scheme}://{own.netloc}/{path}"
    if parts.hostname == own.hostname:
        return tuple(dict.fromkeys((here, address)))
    return tuple(dict.fromkeys((registry.url + path, here, address)))
