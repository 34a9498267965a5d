"""The apt configuration of this machine for fetching: mirrors, proxies, logins and CAs.

Slipway has no default mirror. It uses the mirrors that apt uses on this machine, so that a machine
with a working apt needs no further configuration. If apt's tools are installed, they report the
configuration, because they know every file and option. Otherwise this module reads apt's files.
Values can be secret. They leave this module only as request headers and TLS settings, and never in
a message.
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
"""The line of pants.toml that replaces apt's list of mirrors, with an example host."""
ARCHIVES_ORIGIN = "the option `[slipway] debian_archives`"
ARCHIVES_OPTION = '[slipway] debian_archives = ["/srv/toolchain-archive"]'
"""The line of pants.toml that names a folder of packages, with an example folder."""

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
# One, three or more slashes after "file:". Two slashes would be followed by a host.
_LOCAL = re.compile(r"file:/(//)?[^/]")


class Source(NamedTuple):
    """A suite of an archive; `origin` is the archive's Origin field, "" if apt does not know it."""

    uri: str
    suite: str
    component: str
    origin: str = ""


@dataclass(frozen=True)
class Login:
    """A login for every address below `prefix`, which is a host and the start of a path."""

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
    """apt's configuration; `mirrors` are base addresses without login and final slash, in order.

    `archives` are such addresses for packages that mirrors no longer have; they have no index. `settings` are the settings that `apt-config` prints, with their names in lower case.
    """

    mirrors: Tuple[str, ...]
    origin: str
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    logins: Tuple[Login, ...] = ()
    archives: Tuple[str, ...] = ()

    def with_archives(self, addresses: Iterable[str]) -> AptConfig:
        """A copy with these archives of packages."""
        split = [_without_login(one.rstrip("/"), ARCHIVES_ORIGIN) for one in addresses]
        logins = tuple(login for _, login in split if login)
        plain = tuple(address for address, _ in split)
        return replace(self, archives=plain, logins=(*logins, *self.logins))

    def with_mirror(self, address: str, origin: str) -> AptConfig:
        """A copy with this mirror only; proxies, logins and CAs stay."""
        plain, login = _without_login(address.rstrip("/"), origin)
        logins = (login, *self.logins) if login else self.logins
        return replace(self, mirrors=(plain,), origin=origin, logins=logins)

    def login(self, url: str) -> Optional[str]:
        """The Authorization header for an address; None without a login."""
        return next((login.header for login in self.logins if login.fits(url)), None)

    def proxy_for(self, url: str) -> Optional[str]:
        """The proxy for an address; apt's settings take precedence over the environment."""
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
        """CA certificates in PEM form, and whether they replace the CAs of the system."""
        path = self.settings.get("acquire::https::cainfo", "")
        if not path:
            return [], False
        try:
            return [read_ca_file(path)], True
        except (OSError, ValueError) as error:
            raise SlipwayError(
                "cannot read the CA file of apt's configuration",
                where="apt's setting Acquire::https::CaInfo",
                found=f"{path}: {getattr(error, 'strerror', 'not a path')}",
                next=f"ls -l {path}",
            ) from None


def read_apt_config(
    env: Mapping[str, str],
    mirror: Optional[str] = None,
    folder: str = FOLDER,
    archives: Sequence[str] = (),
) -> AptConfig:
    """Reads the apt configuration; the option `mirror` replaces apt's list of mirrors.

    `env` is the user's environment, and `folder` has apt's files. Raises SlipwayError if there is
    neither a mirror nor an archive.
    """
    settings = dict(_settings(env))
    config = AptConfig((), "apt", settings, dict(env), tuple(_auth_logins(folder)))
    config = config.with_archives(archives)
    if mirror:
        return config.with_mirror(mirror, "the option `[slipway] debian_mirror`")
    sources = _sources_from_apt(env)
    if sources is None:
        sources = list(_sources_from_files(folder))
    mirrors: List[str] = []
    logins: List[Login] = []
    for address in _mirror_addresses(sources):
        plain, login = _without_login(address, folder)
        logins += [login] if login else []
        if plain not in mirrors:
            mirrors.append(plain)
    if not mirrors and not archives:
        shown = {configured_address.shown(source.uri) for source in sources}
        raise SlipwayError(
            "no Debian mirror is configured: apt on this machine has no source for Debian's main",
            where=folder,
            found=", ".join(sorted(shown - {""})) or "no sources",
            next=f"add to pants.toml: {OPTION}",
        )
    return replace(config, mirrors=tuple(mirrors), logins=(*logins, *config.logins))


def _mirror_addresses(sources: Iterable[Source]) -> Iterator[str]:
    """Base addresses of archives that have Debian's pool of `main`."""
    for source in sources:
        suite = re.split(r"[-/]", source.suite)[0]
        debian = source.origin == "Debian" if source.origin else suite in _DEBIAN_SUITES
        # The archive of security updates has another pool, without most packages.
        security = source.suite.endswith(("-security", "/updates"))
        if debian and source.component == _COMPONENT and not security:
            yield from _addresses(source.uri)


def _addresses(uri: str) -> Iterator[str]:
    """The base addresses of an apt URI; `mirror+file` names a file that lists them."""
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


def _sources_from_apt(env: Mapping[str, str]) -> Optional[List[Source]]:
    """The sources that apt reports, with all its files, options and defaults; None without apt."""
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


def _sources_from_files(folder: str) -> Iterator[Source]:
    """The sources in `sources.list` and `sources.list.d`, in both formats of apt."""
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
    path = shutil.which(program, path=env.get("PATH"))
    if not path:
        return None
    try:
        done = subprocess.run(
            [path, *arguments],
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
    """The logins of apt_auth.conf(5), from the files that this user may read."""
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
            scheme, separator, rest = machine.rpartition("://")
            # apt sends a login without a scheme only over https.
            schemes = (scheme,) if separator else ("https",)
            yield Login(schemes, rest.rstrip("/"), _basic(user, value))


def _without_login(address: str, source: str) -> Tuple[str, Optional[Login]]:
    """The address of a mirror without its login, and the login; `source` says where it is set."""
    if _LOCAL.match(address):
        return address, None
    parts = configured_address.parse(address)
    if parts is None or parts.scheme not in ("http", "https"):
        raise SlipwayError(
            "the Debian mirror is not a valid address",
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
