"""The user's own apt configuration, as far as fetching goes: mirrors, proxies, logins, CAs.

Slipway has no mirror of its own.  It asks where apt on this machine would ask, so that a machine on
which apt works needs nothing more.  apt's tools answer where they are there, since they know every
file and option; the files themselves are read where they are not.  Values may be secrets: they
leave this module only as request headers and TLS settings, never in a text.
"""

from __future__ import annotations

import base64
import glob
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from typing import Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple
from urllib.parse import unquote, urlsplit, urlunsplit

from slipway.core.errors import SlipwayError
from slipway.debian.control import parse_stanzas
from slipway.fetch import configured_address, http_proxy
from slipway.fetch.http_transport import NetworkSettings, read_ca_file, without_port

FOLDER = "/etc/apt"
OPTION = '[slipway] debian_mirror = "https://mirror.example/debian"'
"""The line of pants.toml that stands in for apt's configuration, with a made-up host."""

_PROXY = 'Acquire::http::Proxy "http://<proxy>:<port>/";'
_COMPONENT = "main"
_DEBIAN_SUITES = frozenset(
    [
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "stable",
        "testing",
        "unstable",
        "oldstable",
        "oldoldstable",
    ]
)
_TOOL_SECONDS = 30
# Of any number of slashes but two, after which a host would stand.
_LOCAL = re.compile(r"file:/(//)?[^/]")


class Source(NamedTuple):
    """One suite of one archive; `origin` is who apt says made it, "" if it does not know."""

    uri: str
    suite: str
    component: str
    origin: str = ""


@dataclass(frozen=True)
class Login:
    """Goes with every address below `prefix`, a host and the beginning of a path."""

    schemes: Tuple[str, ...]
    prefix: str
    header: str = field(repr=False)

    def fits(self, url: str) -> bool:
        parts = urlsplit(url)
        return parts.scheme in self.schemes and f"{parts.netloc}{parts.path}/".startswith(
            self.prefix + "/"
        )


@dataclass(frozen=True)
class AptConfig(NetworkSettings):
    """`mirrors` are base addresses without login and last slash, in the order to be tried.

    `settings` are those of `apt-config`, their names in lower case.
    """

    mirrors: Tuple[str, ...]
    origin: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    logins: Tuple[Login, ...] = ()

    def with_mirror(self, address: str, origin: str) -> AptConfig:
        """The same proxies, logins and CAs, with one mirror that was set by name."""
        plain, login = _without_login(address.rstrip("/"), origin)
        logins = (login, *self.logins) if login else self.logins
        return replace(self, mirrors=(plain,), origin=origin, logins=logins)

    def login(self, url: str) -> Optional[str]:
        """The Authorization header for an address."""
        return next((login.header for login in self.logins if login.fits(url)), None)

    def proxy_for(self, url: str) -> Optional[str]:
        """The proxy for an address: apt's own settings count more than the environment."""
        parts = urlsplit(url)
        schemes = ("https", "http") if parts.scheme == "https" else ("http",)
        for scheme in schemes:
            base = f"acquire::{scheme}::proxy"
            for key in (f"{base}::{parts.hostname}", base):
                value = self.settings.get(key, "")
                if value:
                    return (
                        None
                        if value.upper() == "DIRECT"
                        else http_proxy.parse(value, f"apt's {key}", _PROXY)
                    )
        if self._bypasses_proxy(parts.hostname or ""):
            return None
        for name in (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper()):
            if self.env.get(name):
                return http_proxy.parse(self.env[name], f"environment: {name}", _PROXY)
        return None

    def _bypasses_proxy(self, host: str) -> bool:
        listed = self.env.get("no_proxy") or self.env.get("NO_PROXY") or ""
        names = [without_port(name.strip()).lstrip(".") for name in listed.split(",")]
        return any(name in ("*", host) or host.endswith("." + name) for name in names if name)

    @property
    def strict_ssl(self) -> bool:
        value = self.settings.get("acquire::https::verify-peer", "true")
        return value.lower() not in ("false", "no", "0", "off", "without", "disable")

    def ca_texts(self) -> Tuple[List[str], bool]:
        """Certificates in PEM form, and whether they stand in for the system's own."""
        path = self.settings.get("acquire::https::cainfo", "")
        if not path:
            return [], False
        try:
            return [read_ca_file(path)], True
        except (OSError, ValueError) as error:
            raise SlipwayError(
                "the certificates that apt is told to trust cannot be read",
                where="apt's setting Acquire::https::CaInfo",
                found=f"{path}: {getattr(error, 'strerror', 'it is no path')}",
                next=f"ls -l {path}",
            ) from None


def read_apt_config(
    env: Mapping[str, str], mirror: Optional[str] = None, folder: str = FOLDER
) -> AptConfig:
    """What apt on this machine is set up for; `mirror` is the option that stands in for its list.

    `env` is the user's environment; `folder` is where apt's files are.
    """
    settings = dict(_settings(env))
    config = AptConfig((), "apt", settings, dict(env), tuple(_auth_logins(folder)))
    if mirror:
        return config.with_mirror(mirror, "the option `[slipway] debian_mirror`")
    sources = _told_sources(env)
    if sources is None:
        sources = list(_written_sources(folder))
    mirrors: List[str] = []
    logins: List[Login] = []
    for address in _mirror_addresses(sources):
        plain, login = _without_login(address, folder)
        logins += [login] if login else []
        if plain not in mirrors:
            mirrors.append(plain)
    if not mirrors:
        shown = {configured_address.shown(source.uri) for source in sources}
        raise SlipwayError(
            "no Debian mirror is known: apt on this machine is not set up for one",
            where=folder,
            found=", ".join(sorted(shown - {""})) or "-",
            next=f"add to pants.toml: {OPTION}",
        )
    return replace(config, mirrors=tuple(mirrors), logins=(*logins, *config.logins))


def _mirror_addresses(sources: Iterable[Source]) -> Iterator[str]:
    """Base addresses of archives that hold Debian's own pool of `main`."""
    for source in sources:
        suite = re.split(r"[-/]", source.suite)[0]
        debian = source.origin == "Debian" if source.origin else suite in _DEBIAN_SUITES
        # Security updates have a pool of their own.
        security = source.suite.endswith(("-security", "/updates"))
        if debian and source.component == _COMPONENT and not security:
            yield from _addresses(source.uri)


def _addresses(uri: str) -> Iterator[str]:
    """apt knows several kinds of addresses; some only say where the address stands."""
    scheme, _, rest = uri.partition(":")
    if scheme in ("http", "https"):
        yield uri.rstrip("/")
    elif scheme in ("file", "copy"):
        yield "file:///" + rest.strip("/")
    elif scheme == "mirror+file":
        try:
            with open("/" + rest.lstrip("/"), encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file]
        except OSError:
            return
        for words in lines:
            if words and not words[0].startswith("#"):
                yield from _addresses(words[0])


def _told_sources(env: Mapping[str, str]) -> Optional[List[Source]]:
    """What apt itself says, after all its files, options and defaults; None without apt."""
    text = _ask(
        env,
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)",
        "Created-By: Packages",
    )
    if text is None:
        return None
    lines = [line.split("|") for line in text.splitlines()]
    return [Source(*words) for words in lines if len(words) == 4]


def _written_sources(folder: str) -> Iterator[Source]:
    """What stands in `sources.list` and `sources.list.d`, in both of apt's forms."""
    parts = os.path.join(folder, "sources.list.d")
    for path in [
        os.path.join(folder, "sources.list"),
        *sorted(glob.glob(os.path.join(glob.escape(parts), "*.list"))),
    ]:
        for line in _read(path).splitlines():
            match = re.match(r"\s*deb\s+(?:\[[^]]*\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
            if match:
                for component in match[3].split():
                    yield Source(match[1], match[2], component)
    for path in sorted(glob.glob(os.path.join(glob.escape(parts), "*.sources"))):
        for stanza in parse_stanzas(_read(path)):
            fields = {name.lower(): value for name, value in stanza.items()}
            off = fields.get("enabled", "yes").lower() in ("no", "false", "0", "off")
            if off or "deb" not in fields.get("types", "").split():
                continue
            for uri in fields.get("uris", "").split():
                for suite in fields.get("suites", "").split():
                    for component in fields.get("components", "").split():
                        yield Source(uri, suite, component)


def _settings(env: Mapping[str, str]) -> Iterator[Tuple[str, str]]:
    text = _ask(env, "apt-config", "dump", "--no-empty", "--format", "%f=%v%n")
    for line in (text or "").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            yield name.lower(), value


def _ask(env: Mapping[str, str], program: str, *arguments: str) -> Optional[str]:
    found = shutil.which(program, path=env.get("PATH"))
    if not found:
        return None
    try:
        done = subprocess.run(
            [found, *arguments],
            env={**env, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TOOL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _auth_logins(folder: str) -> Iterator[Login]:
    """The logins of apt_auth.conf(5); a file that this user may not read has none for him."""
    parts = os.path.join(folder, "auth.conf.d")
    for path in [
        os.path.join(folder, "auth.conf"),
        *sorted(glob.glob(os.path.join(glob.escape(parts), "*.conf"))),
    ]:
        words = [
            word for line in _read(path).splitlines() for word in line.split("#", 1)[0].split()
        ]
        yield from _parse_auth(words)


def _parse_auth(words: Sequence[str]) -> Iterator[Login]:
    machine = user = ""
    for key, value in zip(words, words[1:]):
        if key == "machine":
            machine, user = value, ""
        elif key == "login":
            user = value
        elif key == "password" and machine:
            scheme, found, rest = machine.rpartition("://")
            # Without a scheme, apt sends a login over TLS alone.
            schemes = (scheme,) if found else ("https",)
            yield Login(schemes, rest.rstrip("/"), _basic(user, value))


def _without_login(address: str, source: str) -> Tuple[str, Optional[Login]]:
    """The address of a mirror; `source` is where it stands."""
    if _LOCAL.match(address):
        return address, None
    parts = configured_address.parse(address)
    if parts is None or parts.scheme not in ("http", "https"):
        raise SlipwayError(
            "what is set as a Debian mirror is not the address of a mirror",
            where=source,
            found=configured_address.shown(address),
            next=f"{OPTION}\n{configured_address.ESCAPES}",
        )
    if parts.username is None:
        return address, None
    host = configured_address.host_of(parts)
    plain = urlunsplit((parts.scheme, host, parts.path, "", ""))
    prefix = host + parts.path.rstrip("/")
    login = _basic(unquote(parts.username), unquote(parts.password or ""))
    return plain, Login((parts.scheme,), prefix, login)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
