"""Package names and dependency specifiers, read as npm reads them.

A lock says where each package came from only by the form of a string; what may be installed,
what is a file of the application and what is refused hangs on these few rules.
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

# What encodeURIComponent leaves alone: names of old packages may hold all of it.
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
# Of these hosts npm takes the address of a repository for git, most deeper addresses for tarballs.
_REPOSITORY = re.compile(
    r"^https?://(?:[^@/]*@)?(?:www\.)?"
    r"(?:(?:github\.com|bitbucket\.org)/[^/?#]+/[^/?#]+/?(?:[?#].*)?"
    r"|gitlab\.com/(?![^?#]*/-/)(?![^?#]*/archive\.tar\.gz)[^/?#]+(?:/[^/?#]+)+(?:[?#].*)?)\Z",
    re.IGNORECASE,
)
# Of any text: a lock may hold addresses that nothing can read.
_LOGIN = re.compile(r"^([^/?#]*//)[^/?#]*@")


@dataclass(frozen=True)
class Spec:
    """A dependency specifier: its kind, and what it points to.

    `target` is a range or tag for registry and alias, a path for folder and file tarball, an
    address for remote tarball and git. `name` is the registry's name of an alias.
    """

    kind: str
    target: str
    name: Optional[str] = None


def is_valid_name(name: str) -> bool:
    """Names that npm would ever install; also those that only old packages have."""
    if len(name) > 214 or not _NAME.match(name):
        return False
    return name.rpartition("/")[2].lower() not in _NEVER


def parse(spec: str) -> Spec:  # noqa: PLR0911
    """The kind of a specifier, whether from a package.json or from a version 1 lock."""
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
    """An address without the user and password that may stand in it."""
    return _LOGIN.sub(r"\1", address)
