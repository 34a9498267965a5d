"""The environment variables that tell an install script where to download its binary from.

node-pre-gyp and prebuild-install derive the name by a convention from a package's manifest; other
packages use individual names. Sources: the published code of node-pre-gyp, prebuild-install and
node-sass, and the names (not the URLs) in the npm package binary-mirror-config 2.20.0, MIT.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Tuple

from slipway.npm.lockfiles.package import text_map
from slipway.npm_registry.names import CONFIG_PREFIX

_OWN: Dict[str, Tuple[str, ...]] = {
    "@prisma/engines": ("PRISMA_ENGINES_MIRROR",),
    "@sentry/cli": ("SENTRYCLI_CDNURL", "npm_config_sentrycli_cdnurl"),
    "@swc/core": ("SWC_BINARY_SITE",),
    "chromedriver": ("CHROMEDRIVER_CDNURL", "npm_config_chromedriver_cdnurl"),
    "cypress": ("CYPRESS_DOWNLOAD_MIRROR",),
    "edgedriver": ("EDGEDRIVER_CDNURL",),
    "electron": ("ELECTRON_MIRROR", "npm_config_electron_mirror"),
    "ffmpeg-static": ("FFMPEG_BINARIES_URL",),
    "geckodriver": ("GECKODRIVER_CDNURL", "npm_config_geckodriver_cdnurl"),
    "node-sass": ("SASS_BINARY_SITE", "npm_config_sass_binary_site"),
    "operadriver": ("OPERADRIVER_CDNURL",),
    "phantomjs-prebuilt": ("PHANTOMJS_CDNURL", "npm_config_phantomjs_cdnurl"),
    "playwright": ("PLAYWRIGHT_DOWNLOAD_HOST",),
    "puppeteer": ("PUPPETEER_DOWNLOAD_BASE_URL", "PUPPETEER_DOWNLOAD_HOST"),
    "re2": ("RE2_DOWNLOAD_MIRROR",),
    "saucectl": ("SAUCECTL_INSTALL_BINARY_MIRROR",),
    "sharp": ("npm_config_sharp_binary_host", "npm_config_sharp_libvips_binary_host"),
}
# Scripts that join the URL and a path without a slash in between.
_WANT_SLASH = frozenset(("ELECTRON_MIRROR", "npm_config_electron_mirror"))
# The variables that node-pre-gyp and prebuild-install derive from a module's name.
_CONVENTION = re.compile(rf"{CONFIG_PREFIX}[A-Za-z0-9_.-]+_binary_host(_mirror)?\Z")
_TOOLS = (
    ("node-pre-gyp", "node-pre-gyp"),
    ("prebuild-install", "prebuild-install"),
    ("node-gyp-build", "contains its binaries"),
    ("node-gyp", "node-gyp"),
    ("cmake-js", "cmake-js"),
)


def kind(scripts: Mapping[str, str]) -> str:
    """The kind of an install script: the first known tool that it calls."""
    text = " ".join(scripts.values())
    for word, name in _TOOLS:
        if word in text:
            return name
    return "custom script"


def variables(
    name: str, manifest: Mapping[str, Any], more: Mapping[str, Iterable[str]]
) -> Tuple[str, ...]:
    """The variables that name the mirror of the package `name`; `more` is the user's table."""
    names: List[str] = [*more.get(name, ()), *_OWN.get(name, ())]
    scripts = " ".join(text_map(manifest.get("scripts")).values())
    binary = manifest.get("binary")
    module = binary.get("module_name") if isinstance(binary, dict) else None
    if isinstance(module, str) and "node-pre-gyp" in scripts:
        # node-pre-gyp versions replace only the first dash, all dashes, or none.
        spellings = (module.replace("-", "_", 1), module.replace("-", "_"), module)
        names += [f"{CONFIG_PREFIX}{spelling}_binary_host_mirror" for spelling in spellings]
    if "prebuild-install" in scripts:
        plain = re.sub(r"^_", "", re.sub(r"[^a-zA-Z0-9]", "_", name))
        names += [f"{CONFIG_PREFIX}{plain}_binary_host{end}" for end in ("", "_mirror")]
    return tuple(dict.fromkeys(names))


def is_known(name: str, variable: str, more: Mapping[str, Iterable[str]]) -> bool:
    """Whether `variable` is known as a mirror variable of the package `name`.

    Slipway reads no other variables from the user's environment: a fetch lock that names another
    variable could send its value, such as a password, to a server. `more` is the user's table.
    """
    own = (*more.get(name, ()), *_OWN.get(name, ()))
    return variable in own or bool(_CONVENTION.match(variable))


@dataclass(frozen=True)
class Asked:
    """A file that a script requested, and whether the server had it."""

    variable: str
    path: str
    given: bool


def addresses(variables: Iterable[str], address: str) -> Dict[str, str]:
    """The value of each variable; its number in the URL shows which variable a request used."""
    return {
        name: f"{address}/{number}" + ("/" if name in _WANT_SLASH else "")
        for number, name in enumerate(variables)
    }


def split_request(path: str, variables: Tuple[str, ...]) -> Tuple[str, str]:
    """The variable that a request used, and the path relative to its URL."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    # str.isdigit accepts digits of other scripts, such as superscripts, which int() rejects.
    if parts and parts[0].isascii() and parts[0].isdigit() and int(parts[0]) < len(variables):
        return variables[int(parts[0])], "/".join(parts[1:])
    return variables[0], "/".join(parts)
