"""Files that usually contain secrets, by their names: keys, logins and .env files.

A release is copied to hosts and archives, so a secret in it is hard to take back. The names are those that
programs look for; the content decides only where a name has harmless uses too.
"""

from __future__ import annotations

import fnmatch
import re
from typing import Dict, Iterable, List, Tuple

_NAMES = (
    *(".env", ".env.*", ".netrc", ".git-credentials"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"),
    *("*.key", "*.p12", "*.pfx"),
)
# Examples of .env files, which repositories have on purpose.
_EXAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist", ".env.defaults")
_PUBLIC = re.compile(rb"-----BEGIN (TRUSTED |X509 )?(CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY)-----")
_PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY")
# A value such as ${NPM_TOKEN} comes from the environment.
_LOGIN = re.compile(
    rb"^\s*(//\S+:)?(_authToken|_auth|_password)\s*=\s*(?!\s|[\"']?\$\{)", re.MULTILINE
)


def named_like_secrets(files: Iterable[str]) -> Tuple[str, ...]:
    """The files whose content `with_secrets` has to see, sorted."""
    return tuple(sorted(file for file in files if _is_known(_base(file)) or _has_public_use(file)))


def with_secrets(contents: Dict[str, bytes]) -> List[str]:
    """The files, of those that `named_like_secrets` returned, that seem to contain secrets."""
    return [file for file, content in sorted(contents.items()) if _is_secret(file, content)]


def _is_secret(file: str, content: bytes) -> bool:
    if _base(file) == ".npmrc":
        return bool(_LOGIN.search(content))
    if file.endswith((".pem", ".key")):
        return bool(_PRIVATE.search(content)) or not _PUBLIC.search(content)
    return True


def _base(file: str) -> str:
    return file.rpartition("/")[2]


def _is_known(name: str) -> bool:
    return name not in _EXAMPLES and any(fnmatch.fnmatchcase(name, glob) for glob in _NAMES)


def _has_public_use(file: str) -> bool:
    return _base(file) == ".npmrc" or file.endswith(".pem")
