"""Which variables tell an install script where to fetch its binary from.

Two tools leave it to a convention, which their packages' manifests show; others have names of their
own.  Sources: the code of node-pre-gyp, prebuild-install and node-sass as the npm registry has it,
and the names (not the addresses) in the npm package binary-mirror-config 2.20.0, MIT.
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
# They join the address and a path without a slash of their own.
_WANT_SLASH = frozenset(("ELECTRON_MIRROR", "npm_config_electron_mirror"))
# What node-pre-gyp and prebuild-install make of a module's name.
_CONVENTION = re.compile(rf"{CONFIG_PREFIX}[A-Za-z0-9_.-]+_binary_host(_mirror)?\Z")
_TOOLS = (
    ("node-pre-gyp", "node-pre-gyp"),
    ("prebuild-install", "prebuild-install"),
    ("node-gyp-build", "carries its binaries"),
    ("node-gyp", "node-gyp"),
    ("cmake-js", "cmake-js"),
)


def kind(scripts: Mapping[str, str]) -> str:
    """What an install script is, by the first tool that it names."""
    text = " ".join(scripts.values())
    for word, name in _TOOLS:
        if word in text:
            return name
    return "own script"


def variables(
    name: str, manifest: Mapping[str, Any], more: Mapping[str, Iterable[str]]
) -> Tuple[str, ...]:
    """The variables that steer the download of the package `name`; `more` is the user's table."""
    found: List[str] = [*more.get(name, ()), *_OWN.get(name, ())]
    scripts = " ".join(text_map(manifest.get("scripts")).values())
    binary = manifest.get("binary")
    module = binary.get("module_name") if isinstance(binary, dict) else None
    if isinstance(module, str) and "node-pre-gyp" in scripts:
        # Releases differ in how many dashes they replace.
        spellings = (module.replace("-", "_", 1), module.replace("-", "_"), module)
        found += [f"{CONFIG_PREFIX}{one}_binary_host_mirror" for one in spellings]
    if "prebuild-install" in scripts:
        plain = re.sub(r"^_", "", re.sub(r"[^a-zA-Z0-9]", "_", name))
        found += [f"{CONFIG_PREFIX}{plain}_binary_host{end}" for end in ("", "_mirror")]
    return tuple(dict.fromkeys(found))


def is_known(name: str, variable: str, more: Mapping[str, Iterable[str]]) -> bool:
    """Whether the package `name` may say by `variable` where its binary comes from.

    Only such variables are ever read from the user's environment: a lock that names another would
    send its value to wherever an address leads.  `more` is the user's table.
    """
    own = (*more.get(name, ()), *_OWN.get(name, ()))
    return variable in own or bool(_CONVENTION.match(variable))


@dataclass(frozen=True)
class Asked:
    """A file that a script asked for, and whether it was there to be given."""

    variable: str
    path: str
    given: bool


def addresses(variables: Iterable[str], address: str) -> Dict[str, str]:
    """What each variable is set to, so that a request tells which of them it came by."""
    return {
        name: f"{address}/{number}" + ("/" if name in _WANT_SLASH else "")
        for number, name in enumerate(variables)
    }


def split_request(path: str, variables: Tuple[str, ...]) -> Tuple[str, str]:
    """The variable by which a request came, and the path below the address that it had."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    # Other scripts have digits too, and int() reads not all of them.
    if parts and parts[0].isascii() and parts[0].isdigit() and int(parts[0]) < len(variables):
        return variables[int(parts[0])], "/".join(parts[1:])
    return variables[0], "/".join(parts)
