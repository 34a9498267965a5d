"""The user's own npm configuration, as far as fetching goes: registries, logins, CAs, proxies.

Slipway has no registry of its own. It asks where npm would ask, by the same files in the same
order, so that a machine on which npm works needs nothing more. Values may be secrets: they leave
this module only as request headers and TLS settings, never in a text.
"""

from __future__ import annotations

import base64
import fnmatch
import functools
import os
import re
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Mapping, Optional, Tuple
from urllib.parse import quote, urlsplit

from slipway.core.errors import SlipwayError
from slipway.fetch import configured_address, http_proxy
from slipway.fetch.http_transport import (
    HttpProblem,
    NetworkSettings,
    read_ca_file,
    shown,
    without_port,
)
from slipway.fetch.settings import PROJECT_VARIABLES
from slipway.npm_registry import npmrc
from slipway.npm_registry.names import CONFIG_PREFIX
from slipway.npm_registry.npmrc import Setting

_PROXY = "https-proxy=http://<proxy>:<port>/"
_CAFILE = "cafile=<file with the registry's CA in PEM form>"
_OFF = ("", "null", "false", "undefined")
_REASONS = {
    "unreachable": "no connection",
    "untrusted": "its certificate is not trusted",
    "broken": "the answer was cut off or too slow",
    "too-long": "the answer is too long",
    "refused": "the answer cannot be used",
}
_LOGIN_KEYS = ("_authToken", "_auth", "username", "_password", "email")
_ASKED_NPM = "npm config get registry"
_OF_THIS_MACHINE = ("ca", "cafile")


@dataclass(frozen=True)
class Registry:
    """A registry's address, with a slash at its end, and where it was configured.

    `written` is how messages show an address that has variables in it: what they hold may be
    secret.
    """

    url: str
    source: str
    written: str = ""

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def shown(self) -> str:
        """The address for messages."""
        return self.written or shown(self.url)

    @property
    def key(self) -> str:
        """How `.npmrc` names it in front of a login."""
        return self.shown.split(":", 1)[1]

    def without_values(self, problem: HttpProblem) -> HttpProblem:
        """The problem of a request to this registry, with no value of a variable in its text."""
        if not self.written:
            return problem
        reason = f"HTTP {problem.status}" if problem.status else _REASONS.get(problem.kind, "")
        return HttpProblem(problem.kind, f"{self.written}: {reason}", problem.status)


@dataclass(frozen=True)
class _Login:
    """The header of a login, and whether the project's .npmrc has all of it."""

    header: str = field(repr=False)
    of_project: bool


@dataclass(frozen=True)
class NpmConfig(NetworkSettings):
    """All settings, the strongest source first. Its repr shows none of them.

    `ask_npm` gives the registry that npm itself would use, if there is an npm.
    """

    layers: Tuple[Mapping[str, Setting], ...] = field(repr=False)
    env: Mapping[str, str] = field(repr=False)
    ask_npm: Callable[[], Optional[Registry]] = field(repr=False, compare=False)
    project: Optional[str] = None  # the path of the project's .npmrc
    project_variables: Tuple[str, ...] = PROJECT_VARIABLES

    def get(self, key: str) -> Optional[Setting]:
        for layer in self.layers:
            if key in layer:
                self._require_known_variables(layer[key], key)
                return layer[key]
        return None

    def _require_known_variables(self, setting: Setting, key: str) -> None:
        """A project must not have any variable of the user sent to the hosts that it names."""
        if key in _OF_THIS_MACHINE or not self._is_of_project(setting):
            return
        known = self.project_variables
        if not _is_for_a_registry(key, setting):
            known = tuple(one for one in known if one not in PROJECT_VARIABLES)
        for name in setting.variables:
            if not any(fnmatch.fnmatchcase(name, one) for one in known):
                raise SlipwayError(
                    f'the project\'s npm setting "{key}" asks for a variable of yours that is not '
                    "known to be for a registry with TLS",
                    where=setting.source,
                    found="${" + name + "}",
                    next=f'if it is, add to pants.toml: [slipway] npmrc_variables.add = ["{name}"]',
                )

    def usable(self, key: str) -> Optional[Setting]:
        """A setting that is on and complete; a variable that it lacks is an error."""
        setting = self.get(key)
        if setting is None or setting.value in _OFF:
            return None
        if setting.unset:
            raise SlipwayError(
                f'the npm setting "{key}" needs a variable that is not set',
                where=setting.source,
                found="${" + setting.unset[0] + "}",
                next=f"export {setting.unset[0]}=…",
            )
        return setting

    def registry_for(self, name: str) -> Registry:
        """The registry of a package: its scope's, else the common one."""
        scope = name.split("/", 1)[0] if name.startswith("@") else None
        setting = self.usable(f"{scope}:registry") if scope else None
        setting = setting or self.usable("registry")
        if setting:
            return _registry(setting)
        known = self.ask_npm()
        if known is None:
            raise no_registry()
        return known

    def login(self, url: str, registry: Optional[Registry]) -> Optional[str]:
        """The Authorization header for `url`; `registry` is the one that is being asked.

        npm's rule: the longest configured prefix of the address; or else, on the registry's own
        host, the registry's login, since tarballs may lie under another path there.  npm's lines
        name no scheme: without TLS, a login goes only to a registry that is configured without.
        """
        login = self._find_login(url, registry)
        if login is None:
            return None
        if urlsplit(url).scheme != "https" and not self._is_plain_registry(url, registry, login):
            if registry is None or not _same_origin(url, registry.url):
                return None
            raise SlipwayError(
                "the project's npm registry has no TLS, and a login of yours would be sent",
                where=registry.source,
                found=registry.shown,
                next="change http: to https: there; if the registry has no TLS, add there: "
                f"{registry.key}:_authToken=${{NPM_TOKEN}}",
            )
        self._require_safe_way(url, login)
        return login.header

    def _find_login(self, url: str, registry: Optional[Registry]) -> Optional[_Login]:
        found = self._login_below(urlsplit(url).netloc, urlsplit(url).path)
        if found or registry is None or not _same_origin(url, registry.url):
            return found
        found = self._login_below(registry.host, urlsplit(registry.url).path)
        if found:
            return found
        common = self.usable("registry")
        is_common = (
            _registry(common).url == registry.url if common else registry.source == _ASKED_NPM
        )
        if not is_common:
            return None
        # Logins without an address, from the time of npm 6, belong to the common registry: to the
        # one of the user, who did not write them for whatever host a project names.
        of_project = common is not None and self._is_of_project(common)
        return self._login("", self._is_of_project if of_project else lambda _: True)

    def _is_plain_registry(self, url: str, registry: Optional[Registry], login: _Login) -> bool:
        """Whether a registry of this address is configured with the scheme of `url`.

        A project can say so for logins of its own alone.
        """
        known = [Setting(registry.url, registry.source)] if registry else []
        for layer in self.layers:
            known += [
                setting
                for key, setting in layer.items()
                if key == "registry" or key.endswith(":registry")
            ]
        return any(
            configured_address.parse(one.value) and _same_origin(url, one.value)
            for one in known
            if login.of_project or not self._is_of_project(one)
        )

    def _require_safe_way(self, url: str, login: _Login) -> None:
        """A project must not have a login read on its way, by its settings of TLS and proxies."""
        checks_off = self.get("strict-ssl")
        if checks_off and not self.strict_ssl and self._is_of_project(checks_off):
            raise SlipwayError(
                "the project switches the checks of TLS off, and a login would be sent",
                where=checks_off.source,
                found="strict-ssl=false",
                next="remove the line; where the registry has a CA of its own, "
                f"add to ~/.npmrc: {_CAFILE}",
            )
        if login.of_project:
            return
        if urlsplit(url).scheme == "https" and self.strict_ssl:
            for setting in (self.usable("cafile"), self.usable("ca")):
                if setting and self._is_of_project(setting):
                    raise SlipwayError(
                        "the project says which CA is trusted, and a login of yours would be sent",
                        where=setting.source,
                        next=f"remove the line; if the CA is right, add to ~/.npmrc: {_CAFILE}",
                    )
            return
        proxy = self._proxy(url)
        if proxy and self._is_of_project(proxy):
            raise SlipwayError(
                "the project names a proxy, which could read a login of yours: "
                "nothing protects it on its way there",
                where=proxy.source,
                next="remove the line; if the proxy is right, add to ~/.npmrc: "
                "proxy=http://<proxy>:<port>/",
            )

    def _is_of_project(self, setting: Setting) -> bool:
        return self.project is not None and setting.source.rpartition(":")[0] == self.project

    def unset_login_variable(self, registry: Registry) -> Optional[Tuple[str, str]]:
        """The variable that a login of this registry lacks, and the line that asks for it."""
        for layer in self.layers:
            for key, setting in layer.items():
                if setting.unset and key.startswith(f"//{registry.host}") and ":_" in key:
                    return setting.unset[0], setting.source
        return None

    def proxy_for(self, url: str) -> Optional[str]:
        """The proxy for an address, with the login that may stand in it."""
        setting = self._proxy(url)
        if setting is None:
            return None
        return http_proxy.parse(setting.value, setting.source, _PROXY, setting.shown)

    def shown_proxy(self, url: str) -> str:
        setting = self._proxy(url)
        if setting and setting.variables:
            return f"of {setting.source}"
        return super().shown_proxy(url)

    def _proxy(self, url: str) -> Optional[Setting]:
        parts = urlsplit(url)
        if self._bypasses_proxy(parts.hostname or ""):
            return None
        keys = ("https-proxy", "proxy") if parts.scheme == "https" else ("proxy",)
        for key in keys:
            setting = self.get(key)
            if setting and setting.value == "false":
                return None
            usable = self.usable(key)
            if usable:
                return usable
        names = ["HTTP_PROXY", "http_proxy", "PROXY", "proxy"]
        if parts.scheme == "https":
            names = ["HTTPS_PROXY", "https_proxy", *names]
        for name in names:
            if self.env.get(name):
                return Setting(self.env[name], f"environment: {name}")
        return None

    def _bypasses_proxy(self, host: str) -> bool:
        setting = self.get("noproxy")
        listed = setting.value if setting and setting.value not in _OFF else None
        if listed is None:
            listed = self.env.get("NO_PROXY") or self.env.get("no_proxy") or ""
        for one in re.split(r"[,\s]+", listed):
            domain = without_port(one.lstrip("*")).strip(".").lower()
            if one == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
                return True
        return False

    @property
    def strict_ssl(self) -> bool:
        setting = self.usable("strict-ssl")
        if setting is None:
            written = self.get("strict-ssl")
            if written is not None and written.value == "false":
                return False
            return self.env.get("NODE_TLS_REJECT_UNAUTHORIZED") != "0"
        return True

    def ca_texts(self) -> Tuple[List[str], bool]:
        """Certificates in PEM form, and whether they stand in for the system's own."""
        own = []
        setting = self.usable("cafile")
        if setting:
            home = self.env.get("HOME", "")
            try:
                own.append(read_ca_file(_beside(setting.value, setting.source, home)))
            except (OSError, ValueError) as error:
                path = _beside(setting.shown, setting.source, home)
                raise SlipwayError(
                    f'cannot read the CA file "{path}": {getattr(error, "strerror", "it is no path")}',
                    where=setting.source,
                    found=setting.shown,
                    next=f"ls -l {path}",
                ) from None
        inline = self.usable("ca")
        if inline:
            own.append(inline.value.replace("\\n", "\n").replace("-----,", "-----\n"))
        extra = []
        for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"):
            try:
                extra.append(read_ca_file(self.env.get(name, "")))
            except OSError:
                pass  # Node and OpenSSL go on without such a file too.
        return (own, True) if own else (extra, False)

    def _login_below(self, host: str, path: str) -> Optional[_Login]:
        key = f"//{host}{path or '/'}"
        while len(key) > 2:
            found = self._login(f"{key}:")
            if found:
                return found
            key = key[:-1] if key.endswith("/") else key[: key.rfind("/") + 1]
        return None

    def _login(
        self, prefix: str, allowed: Callable[[Setting], bool] = lambda _: True
    ) -> Optional[_Login]:
        token, basic, user, password = (
            self._secret(prefix + key, allowed)
            for key in ("_authToken", "_auth", "username", "_password")
        )
        if token:
            return _Login(f"Bearer {token.value}", self._is_of_project(token))
        if basic:
            return _Login(f"Basic {basic.value}", self._is_of_project(basic))
        if user and password:
            try:
                clear = base64.b64decode(password.value)
            except ValueError:
                return None
            pair = base64.b64encode(user.value.encode() + b":" + clear).decode("ascii")
            of_project = self._is_of_project(user) and self._is_of_project(password)
            return _Login(f"Basic {pair}", of_project)
        return None

    def _secret(self, key: str, allowed: Callable[[Setting], bool]) -> Optional[Setting]:
        setting = self.get(key)
        # npm goes on without a login whose variable is not set, and so do developers' machines.
        if setting is None or setting.unset or setting.value in _OFF or not allowed(setting):
            return None
        # A line break in a value would be a header of its own, and headers are ASCII.
        plain = setting.value.isascii() and setting.value.isprintable()
        return setting if plain else None


def load(
    *,
    option_registry: Optional[str],
    project_npmrc: Optional[str],
    home: Optional[str],
    env: Mapping[str, str],
    project_variables: Tuple[str, ...] = PROJECT_VARIABLES,
) -> NpmConfig:
    """The configuration from option, environment, project, user and npm itself, in this order."""
    layers: List[Mapping[str, Setting]] = []
    if option_registry:
        layers.append({"registry": Setting(option_registry, "[slipway].npm_registry")})
    from_env = _environment(env)
    layers.append(from_env)
    user = from_env.get("userconfig")
    files = [project_npmrc]
    files.append(user.value if user else os.path.join(home, ".npmrc") if home else None)
    node = _on_path("node", env)
    given_global = from_env.get("globalconfig")
    if given_global:
        files.append(given_global.value)
    elif node:
        files.append(os.path.join(os.path.dirname(os.path.dirname(node)), "etc", "npmrc"))
    for path in files:
        text = _read_npmrc(path) if path else None
        if path and text is not None:
            layers.append(npmrc.parse(text, path, env))
    return NpmConfig(tuple(layers), env, AskNpm(env, home), project_npmrc, project_variables)


def no_registry() -> SlipwayError:
    return SlipwayError(
        "no npm registry is configured",
        where="option, environment, the project's .npmrc, ~/.npmrc, `npm config get registry`",
        found="nothing",
        next="echo 'registry=https://<your registry>/' >> ~/.npmrc",
    )


def _environment(env: Mapping[str, str]) -> Dict[str, Setting]:
    """npm_config_* variables, whose names npm reads without regard to case."""
    found: Dict[str, Setting] = {}
    for name, value in sorted(env.items()):
        if not name.lower().startswith(CONFIG_PREFIX) or not value:
            continue
        key = name[len(CONFIG_PREFIX) :]
        if not key.startswith("//") and not key.startswith("@"):
            key = key[:1].lower() + key[1:].lower().replace("_", "-")
        found[key] = Setting(value, f"environment: {name}")
    return found


def _read_npmrc(path: str) -> Optional[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SlipwayError(
            f'cannot read "{path}": {error.strerror}', where=path, next=f"ls -l {path}"
        ) from None


def _beside(path: str, source: str, home: str) -> str:
    """A path in a setting; a relative one is meant from the folder of its .npmrc."""
    if path.startswith("~/"):
        return os.path.join(home, path[2:])
    return os.path.join(os.path.dirname(source.rpartition(":")[0]), path)


# For each of a thousand tarballs it is asked for twice.
@functools.lru_cache(maxsize=None)
def _registry(setting: Setting) -> Registry:
    url = setting.value.strip()
    parts, found = configured_address.parse(url), configured_address.shown(setting.shown.strip())
    if parts is None or parts.scheme not in ("http", "https"):
        raise SlipwayError(
            "the npm registry is no http or https address",
            where=setting.source,
            found=found,
            next="registry=https://<your registry>/",
        )
    if "@" in parts.netloc:
        raise SlipwayError(
            "the npm registry's address holds a login, which npm does not use",
            where=setting.source,
            found=found,
            next=f"//{found.partition('://')[2].rstrip('/') or '<registry>'}/:_authToken=<token>",
        )
    if "?" in url or "#" in url:
        raise SlipwayError(
            "the npm registry's address has a query, which npm does not use",
            where=setting.source,
            found=found,
            next=f"registry={found or 'https://<your registry>/'}",
        )
    written = (found or f"{parts.scheme}://…").rstrip("/") + "/" if setting.variables else ""
    return Registry(url.rstrip("/") + "/", setting.source, written)


def _is_for_a_registry(key: str, setting: Setting) -> bool:
    """Whether it is a login, or names a registry; not one that is written without TLS."""
    if key == "registry" or key.endswith(":registry"):
        return not setting.written.lower().startswith("http:")
    return key.rpartition(":")[2] in _LOGIN_KEYS


def _same_origin(one: str, other: str) -> bool:
    left, right = urlsplit(one), urlsplit(other)
    return (left.scheme, left.netloc) == (right.scheme, right.netloc)


def packument_url(registry: Registry, name: str) -> str:
    """Where a registry describes a package; a scope's slash is part of the name."""
    return registry.url + quote(name, safe="@")


def _on_path(program: str, env: Mapping[str, str]) -> Optional[str]:
    found = shutil.which(program, path=env.get("PATH", ""))
    return os.path.realpath(found) if found else None


class AskNpm:
    """`npm config get registry`, run once, and only if nothing else names a registry."""

    def __init__(self, env: Mapping[str, str], home: Optional[str]) -> None:
        self._env, self._home = env, home
        self._lock = threading.Lock()
        self._asked = False
        self._answer: Optional[Registry] = None

    def __call__(self) -> Optional[Registry]:
        with self._lock:
            if not self._asked:
                self._answer = self._ask()
                self._asked = True
            return self._answer

    def _ask(self) -> Optional[Registry]:
        npm = shutil.which("npm", path=self._env.get("PATH", ""))
        if npm is None:
            return None
        home = self._home if self._home and os.path.isdir(self._home) else "/"
        try:
            answer = subprocess.run(
                [npm, "config", "get", "registry"],
                env=dict(self._env),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=30,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        url = answer.stdout.decode("utf-8", "replace").strip()
        if answer.returncode != 0 or not url.startswith(("http://", "https://")):
            return None
        return _registry(Setting(url, _ASKED_NPM))
