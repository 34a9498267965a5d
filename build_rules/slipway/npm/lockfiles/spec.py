"""Package names and dependency specifiers by npm's rules.

A lockfile records the origin of a package only as a string. The form of this string decides whether
Slipway fetches the package, takes it from the application's folder, or rejects it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional
from urllib.parse import unquote

REGISTRY = "registry"
ALIAS = "alias"
FOLDER = "folder"
FILE_TARBALL = "file-tarball"
REMOTE_TARBALL = "remote-tarball"
GIT = "git"
WORKSPACE = "workspace"

# The characters that encodeURIComponent does not escape; names of old packages may contain all of them.
_PLAIN = r"[A-Za-z0-9\-~!*'()][A-Za-z0-9\-_.~!*'()]*"
_NAME = re.compile(rf"^(?:@{_PLAIN}/)?{_PLAIN}\Z")
_NEVER = frozenset(["node_modules", "favicon.ico"])
_ALIAS = re.compile(r"^npm:(@?[^@]+)(?:@(.*))?\Z", re.IGNORECASE)
_TARBALL = re.compile(r"\.(?:tgz|tar\.gz|tar)\Z", re.IGNORECASE)
_LOCAL = re.compile(r"^(?:[.]|~/|/)")
_HOSTED = re.compile(r"^(?:github|gitlab|bitbucket|gist|sourcehut):", re.IGNORECASE)
_GIT_URL = re.compile(r"^(?:git|git\+[a-z]+|ssh)(?:://|:)", re.IGNORECASE)
_SCP = re.compile(r"^[^@\s/]+@[^:\s/]+:[^\s]+\Z")
_SHORTHAND = re.compile(r"^[^@:/\s]+/[^@:/\s#]+(?:#.*)?\Z")
# For these hosts npm treats the URL of a repository as git, and most longer URLs as tarballs.
_REPOSITORY = re.compile(
    r"^https?://(?:[^@/]*@)?(?:www\.)?"
    r"(?:(?:github\.com|bitbucket\.org)/[^/?#]+/[^/?#]+/?(?:[?#].*)?"
    r"|gitlab\.com/(?![^?#]*/-/)(?![^?#]*/archive\.tar\.gz)[^/?#]+(?:/[^/?#]+)+(?:[?#].*)?)\Z",
    re.IGNORECASE,
)
# Matches any text, because a lockfile may contain invalid URLs.
_LOGIN = re.compile(r"^([^/?#]*//)[^/?#]*@")


@dataclass(frozen=True)
class Spec:
    """A dependency specifier: its kind, and what it points to.

    `target` is a range or tag for registry and alias, a path for folder and file tarball, and a URL
    for remote tarball and git. `name` is the name of an alias in the registry.
    """

    kind: str
    target: str
    name: Optional[str] = None


def is_valid_name(name: str) -> bool:
    """Whether npm installs packages of this name; includes names that only old packages have."""
    if len(name) > 214 or not _NAME.match(name):
        return False
    return name.rpartition("/")[2].lower() not in _NEVER


def parse(spec: str) -> Spec:  # noqa: PLR0911
    """Parses a specifier from a package.json or from a version 1 lockfile."""
    spec = spec.strip()
    alias = _ALIAS.match(spec)
    if alias:
        return Spec(ALIAS, alias.group(2) or "*", alias.group(1))
    if spec.lower().startswith("file:") or spec.lower().startswith("link:"):
        return _local(unquote(spec.split(":", 1)[1]), link=spec.lower().startswith("link:"))
    if spec.lower().startswith("workspace:"):
        return Spec(WORKSPACE, spec.split(":", 1)[1])
    if _LOCAL.match(spec):
        return _local(spec)
    if _GIT_URL.match(spec) or _HOSTED.match(spec) or _SCP.match(spec):
        return Spec(GIT, spec)
    if re.match(r"^https?://", spec, re.IGNORECASE):
        return Spec(GIT if _REPOSITORY.match(spec) else REMOTE_TARBALL, spec)
    if _SHORTHAND.match(spec):
        return Spec(GIT, spec)
    if "/" in spec or _TARBALL.search(spec):
        return _local(spec)
    return Spec(REGISTRY, spec)


def _local(path: str, link: bool = False) -> Spec:
    path = re.sub(r"^/{2,}", "/", path)
    if _TARBALL.search(path) and not link:
        return Spec(FILE_TARBALL, path)
    return Spec(FOLDER, path)


def without_login(address: str) -> str:
    """The URL without user and password."""
    return _LOGIN.sub(r"\1", address)
