"""The user's npm configuration for fetching: registries, logins, CAs and proxies.

Slipway has no default registry. It reads the same files as npm in the same order, so that a machine
with a working npm needs no further configuration. Values can be secret. They leave this module only
as request headers and TLS settings, and never in a message.
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
    "broken": "the response was cut off or too slow",
    "too-long": "the response is too long",
    "refused": "the response is not usable",
}
_LOGIN_KEYS = ("_authToken", "_auth", "username", "_password", "email")
_ASKED_NPM = "npm config get registry"
_OF_THIS_MACHINE = ("ca", "cafile")


@dataclass(frozen=True)
class Registry:
    """The address of a registry, with a slash at its end, and where it is configured.

    Messages show `written` instead, if the address contains variables, because their values can be
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
        """The prefix of this registry's login settings in `.npmrc`, such as `//host/path`."""
        return self.shown.split(":", 1)[1]

    def without_values(self, problem: HttpProblem) -> HttpProblem:
        """The problem with a text that contains no value of a variable."""
        if not self.written:
            return problem
        reason = f"HTTP {problem.status}" if problem.status else _REASONS.get(problem.kind, "")
        return HttpProblem(problem.kind, f"{self.written}: {reason}", problem.status)


@dataclass(frozen=True)
class _Login:
    """An Authorization header; `of_project` if the project's .npmrc has the complete login."""

    header: str = field(repr=False)
    of_project: bool


@dataclass(frozen=True)
class NpmConfig(NetworkSettings):
    """All settings, the source with the highest priority first. Its repr shows none of them.

    `ask_npm` returns the registry of an installed npm; None without npm.
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
        """Raises SlipwayError if a project's setting uses a variable that is not allowed.

        A project names hosts, so its `.npmrc` could otherwise send any variable of the user to a
        host of its choice.
        """
        if key in _OF_THIS_MACHINE or not self._is_of_project(setting):
            return
        known = self.project_variables
        if not _is_for_a_registry(key, setting):
            known = tuple(pattern for pattern in known if pattern not in PROJECT_VARIABLES)
        for name in setting.variables:
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in known):
                raise SlipwayError(
                    f'the project\'s npm setting "{key}" uses a variable that is not allowed there',
                    where=setting.source,
                    found="${" + name + "}",
                    next="by default, a project may use only variables for registries, in logins and "
                    "in https addresses of registries;\nto allow this variable everywhere, add to "
                    f'pants.toml: [slipway] npmrc_variables.add = ["{name}"]',
                )

    def usable(self, key: str) -> Optional[Setting]:
        """The setting, or None if it is off; raises SlipwayError if its variable is not set."""
        setting = self.get(key)
        if setting is None or setting.value in _OFF:
            return None
        if setting.unset:
            raise SlipwayError(
                f'the npm setting "{key}" uses an environment variable that is not set',
                where=setting.source,
                found="${" + setting.unset[0] + "}",
                next=f"export {setting.unset[0]}=…",
            )
        return setting

    def registry_for(self, name: str) -> Registry:
        """The registry of a package: the registry of its scope, or else the default registry."""
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
        """The Authorization header for `url`, which is a request to `registry`.

        As in npm, the login with the longest matching address prefix wins. Without a match, `url`
        gets the login of the registry if it is on the same host, because tarballs can have another
        path there. npm's login settings contain no scheme. So without TLS, a login is only sent
        to a registry that is configured with http.
        """
        login = self._find_login(url, registry)
        if login is None:
            return None
        if urlsplit(url).scheme != "https" and not self._is_plain_registry(url, registry, login):
            if registry is None or not _same_origin(url, registry.url):
                return None
            raise SlipwayError(
                "the project's npm registry has no TLS, and would get your login unencrypted",
                where=registry.source,
                found=registry.shown,
                next="change http: to https: in that line; if the registry has no TLS, add there: "
                f"{registry.key}:_authToken=${{NPM_TOKEN}}",
            )
        self._require_safe_way(url, login)
        return login.header

    def _find_login(self, url: str, registry: Optional[Registry]) -> Optional[_Login]:
        login = self._login_below(urlsplit(url).netloc, urlsplit(url).path)
        if login or registry is None or not _same_origin(url, registry.url):
            return login
        login = self._login_below(registry.host, urlsplit(registry.url).path)
        if login:
            return login
        common = self.usable("registry")
        is_common = (
            _registry(common).url == registry.url if common else registry.source == _ASKED_NPM
        )
        if not is_common:
            return None
        # npm 6 had logins without an address, for the default registry. If the project sets the
        # default registry, only such logins from the project are used: the user did not write
        # theirs for a host that a project chooses.
        of_project = common is not None and self._is_of_project(common)
        return self._login("", self._is_of_project if of_project else lambda _: True)

    def _is_plain_registry(self, url: str, registry: Optional[Registry], login: _Login) -> bool:
        """Whether a registry at this address is configured with the scheme of `url`.

        A project's setting counts only for the project's own logins.
        """
        known = [Setting(registry.url, registry.source)] if registry else []
        for layer in self.layers:
            known += [
                setting
                for key, setting in layer.items()
                if key == "registry" or key.endswith(":registry")
            ]
        return any(
            configured_address.parse(setting.value) and _same_origin(url, setting.value)
            for setting in known
            if login.of_project or not self._is_of_project(setting)
        )

    def _require_safe_way(self, url: str, login: _Login) -> None:
        """Raises SlipwayError if a project's TLS or proxy settings would expose a login."""
        checks_off = self.get("strict-ssl")
        if checks_off and not self.strict_ssl and self._is_of_project(checks_off):
            raise SlipwayError(
                "the project disables certificate checks, so a login could be read on its way",
                where=checks_off.source,
                found="strict-ssl=false",
                next=f"remove the line; if the registry has its own CA, add to ~/.npmrc: {_CAFILE}",
            )
        if login.of_project:
            return
        if urlsplit(url).scheme == "https" and self.strict_ssl:
            for setting in (self.usable("cafile"), self.usable("ca")):
                if setting and self._is_of_project(setting):
                    raise SlipwayError(
                        "the project sets the trusted CA, so it could read your login",
                        where=setting.source,
                        next=f"remove the line; if you trust the CA, add to ~/.npmrc: {_CAFILE}",
                    )
            return
        proxy = self._proxy(url)
        if proxy and self._is_of_project(proxy):
            raise SlipwayError(
                "the project sets a proxy, which could read your login: it is sent unencrypted",
                where=proxy.source,
                next="remove the line; if you trust the proxy, add to ~/.npmrc: "
                "proxy=http://<proxy>:<port>/",
            )

    def _is_of_project(self, setting: Setting) -> bool:
        return self.project is not None and setting.source.rpartition(":")[0] == self.project

    def unset_login_variable(self, registry: Registry) -> Optional[Tuple[str, str]]:
        """The unset variable of this registry's login, and the line that uses it; or None."""
        for layer in self.layers:
            for key, setting in layer.items():
                if setting.unset and key.startswith(f"//{registry.host}") and ":_" in key:
                    return setting.unset[0], setting.source
        return None

    def proxy_for(self, url: str) -> Optional[str]:
        """The proxy for an address, with any login in it; None for no proxy."""
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
        for entry in re.split(r"[,\s]+", listed):
            domain = without_port(entry.lstrip("*")).strip(".").lower()
            if entry == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
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
        """CA certificates in PEM form, and whether they replace the CAs of the system."""
        own = []
        setting = self.usable("cafile")
        if setting:
            home = self.env.get("HOME", "")
            try:
                own.append(read_ca_file(_beside(setting.value, setting.source, home)))
            except (OSError, ValueError) as error:
                path = _beside(setting.shown, setting.source, home)
                raise SlipwayError(
                    f'cannot read the CA file "{path}": {getattr(error, "strerror", "not a path")}',
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
                pass  # Node.js and OpenSSL ignore a missing file too
        return (own, True) if own else (extra, False)

    def _login_below(self, host: str, path: str) -> Optional[_Login]:
        key = f"//{host}{path or '/'}"
        while len(key) > 2:
            login = self._login(f"{key}:")
            if login:
                return login
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
        # npm ignores a login with an unset variable. Many machines of developers have such lines,
        # because the variable is only set in CI.
        if setting is None or setting.unset or setting.value in _OFF or not allowed(setting):
            return None
        # A line break in a value would start another header, and http.client sends only ASCII.
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
    """The configuration from the option, environment, project, user and npm, in this order."""
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
    """Settings from npm_config_* variables; npm ignores the case of their names."""
    settings: Dict[str, Setting] = {}
    for name, value in sorted(env.items()):
        if not name.lower().startswith(CONFIG_PREFIX) or not value:
            continue
        key = name[len(CONFIG_PREFIX) :]
        if not key.startswith("//") and not key.startswith("@"):
            key = key[:1].lower() + key[1:].lower().replace("_", "-")
        settings[key] = Setting(value, f"environment: {name}")
    return settings


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
    """The path in a setting; relative paths start at the folder of the .npmrc."""
    if path.startswith("~/"):
        return os.path.join(home, path[2:])
    return os.path.join(os.path.dirname(source.rpartition(":")[0]), path)


# Cached, because each of a thousand tarballs calls this twice.
@functools.lru_cache(maxsize=None)
def _registry(setting: Setting) -> Registry:
    url = setting.value.strip()
    parts, written = configured_address.parse(url), configured_address.shown(setting.shown.strip())
    if parts is None or parts.scheme not in ("http", "https"):
        raise SlipwayError(
            "the npm registry is not an http or https address",
            where=setting.source,
            found=written,
            next="registry=https://<your registry>/",
        )
    if "@" in parts.netloc:
        raise SlipwayError(
            "the npm registry's address contains a login, which npm does not support",
            where=setting.source,
            found=written,
            next=f"//{written.partition('://')[2].rstrip('/') or '<registry>'}/:_authToken=<token>",
        )
    if "?" in url or "#" in url:
        raise SlipwayError(
            "the npm registry's address has a query, which npm does not support",
            where=setting.source,
            found=written,
            next=f"registry={written or 'https://<your registry>/'}",
        )
    name = (written or f"{parts.scheme}://…").rstrip("/") + "/" if setting.variables else ""
    return Registry(url.rstrip("/") + "/", setting.source, name)


def _is_for_a_registry(key: str, setting: Setting) -> bool:
    """Whether the setting is a login or a registry's address, except an address with http."""
    if key == "registry" or key.endswith(":registry"):
        return not setting.written.lower().startswith("http:")
    return key.rpartition(":")[2] in _LOGIN_KEYS


def _same_origin(url: str, other: str) -> bool:
    left, right = urlsplit(url), urlsplit(other)
    return (left.scheme, left.netloc) == (right.scheme, right.netloc)


def packument_url(registry: Registry, name: str) -> str:
    """The address of a packument; npm escapes the slash of a scoped name."""
    return registry.url + quote(name, safe="@")


def _on_path(program: str, env: Mapping[str, str]) -> Optional[str]:
    path = shutil.which(program, path=env.get("PATH", ""))
    return os.path.realpath(path) if path else None


class AskNpm:
    """Runs `npm config get registry`, once, and only if no other source names a registry."""

    def __init__(self, env: Mapping[str, str], home: Optional[str]) -> None:
        self._env, self._home = env, home
        self._lock = threading.Lock()
        self._has_run = False
        self._answer: Optional[Registry] = None

    def __call__(self) -> Optional[Registry]:
        with self._lock:
            if not self._has_run:
                self._answer = self._ask()
                self._has_run = True
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
