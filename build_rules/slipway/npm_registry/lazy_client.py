"""Creates the registry client of a fetching program from the settings of its run."""

from __future__ import annotations

import threading
from typing import Iterable, Optional, Tuple

from slipway.fetch.download import Content, ContentCache, Stored
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.http_transport import HttpProblem, Strict, Transport, usable_address
from slipway.fetch.settings import Settings
from slipway.npm_registry import config as npm_config
from slipway.npm_registry.client import RegistryClient
from slipway.npm_registry.names import CONFIG_PREFIX


class LazyClient:
    """The registry client, created when the first thread needs it.

    A run that finds every file in the cache reads no configuration, so it works without any.
    """

    def __init__(
        self, settings: Settings, cache: ContentCache, wanted: Iterable[Tuple[str, str]] = ()
    ) -> None:
        self._settings, self._cache, self._wanted = settings, cache, tuple(wanted)
        self._lock = threading.Lock()
        self._parts: Optional[Tuple[RegistryClient, Transport, npm_config.NpmConfig]] = None

    def get(self) -> RegistryClient:
        return self._make()[0]

    def strict_transport(self) -> Transport:
        """A transport with npm's proxies and CAs for other servers than npm registries.

        It ignores npm's `strict-ssl=false`, because that setting must not expose other logins.
        """
        return Transport(Strict(self._make()[2]), self._settings.patience)

    def config(self) -> npm_config.NpmConfig:
        return self._make()[2]

    def fetch_binary(self, package: str, variable: str, path: str, content: Content) -> Stored:
        """Fetches a file that a package's install script downloads, from the configured mirror.

        If the address comes from `variable`, messages show no part of it. Raises FetchFailed.
        """
        subject, base = f"{package}: {path}", self._settings.binary_mirrors.get(package)
        renew = self._settings.renew_command
        if base:
            return self.get().fetch_address(subject, f"{base.rstrip('/')}/{path}", content, renew)
        base = self._value(variable)
        if not base:
            raise FetchFailed(_no_mirror(package, variable, path))
        name = f"<{variable}>"
        url = f"{base.rstrip('/')}/{path}"
        try:
            usable_address(url)
        except HttpProblem:
            raise FetchFailed(
                FetchFault(
                    subject, f"{name} is not an http or https address", f"correct {variable}"
                )
            ) from None
        return self.get().fetch_address(subject, url, content, renew, name)

    def _value(self, variable: str) -> Optional[str]:
        """The value that an install script would see, by the order of packages such as node-sass.

        A variable of the environment wins over the npm setting of the same name in lower case, which npm
        hands to scripts as `npm_config_…`. An npm setting may be written with dashes.
        """
        if not variable.startswith(CONFIG_PREFIX):
            return self._settings.env.get(variable) or self._setting(variable.lower())
        setting = self._setting(variable[len(CONFIG_PREFIX) :])
        return setting or self._settings.env.get(variable)

    def _setting(self, key: str) -> Optional[str]:
        config = self._make()[2]
        setting = config.usable(key) or config.usable(key.replace("_", "-"))
        return setting.value if setting else None

    def _make(self) -> Tuple[RegistryClient, Transport, npm_config.NpmConfig]:
        with self._lock:
            if self._parts is None:
                config = npm_config.load(
                    option_registry=self._settings.registry,
                    project_npmrc=self._settings.project_npmrc,
                    home=self._settings.home,
                    env=self._settings.env,
                    project_variables=self._settings.npmrc_variables,
                )
                transport = Transport(config, self._settings.patience)
                client = RegistryClient(config, transport, self._cache, self._wanted)
                self._parts = client, transport, config
            return self._parts


def _no_mirror(package: str, variable: str, path: str) -> FetchFault:
    is_config = variable.startswith(CONFIG_PREFIX)
    name = variable[len(CONFIG_PREFIX) :] if is_config else variable
    line = f"echo '{name}=https://<your mirror>' >> ~/.npmrc"
    return FetchFault(
        f"{package}: {path}",
        "no mirror for its binaries is configured",
        f"{line if is_config else f'export {name}=https://<your mirror>'}\n"
        f'or in pants.toml: [install-scripts] mirrors = {{"{package}" = "https://<your mirror>"}}',
    )
