"""Reads the login of `docker login`: from docker's configuration, or from a credential helper.

Sources: the format of docker's config.json, and the protocol of docker's credential helpers.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from typing import Any, Mapping, Optional

_ANSWERS_WITHIN = 30.0  # seconds
# The user name of a login that is an identity token. Slipway does not exchange such tokens.
_IDENTITY_TOKEN = "<token>"


def basic_login(registry: str, env: Mapping[str, str]) -> Optional[str]:
    """The Authorization header for `registry`, a host with any port; None without a login."""
    config = _read_config(env)
    helpers = config.get("credHelpers")
    helper = helpers.get(registry) if isinstance(helpers, dict) else None
    pair = _ask_helper(helper or config.get("credsStore"), registry, env)
    if pair is None:
        logins = config.get("auths")
        entry = logins.get(registry) if isinstance(logins, dict) else None
        pair = entry.get("auth") if isinstance(entry, dict) else None
    # A line break in the value would start another header.
    usable = isinstance(pair, str) and re.fullmatch(r"[\w+/=-]+", pair, re.ASCII)
    return f"Basic {pair}" if usable else None


def _read_config(env: Mapping[str, str]) -> Mapping[str, Any]:
    folder = env.get("DOCKER_CONFIG") or os.path.join(env.get("HOME", "/"), ".docker")
    try:
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}  # the registry rejects the request, and that error says what to do
    return config if isinstance(config, dict) else {}


def _ask_helper(name: Any, registry: str, env: Mapping[str, str]) -> Optional[str]:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        return None
    program = shutil.which(f"docker-credential-{name}", path=env.get("PATH", ""))
    if program is None:
        return None
    try:
        answer = subprocess.run(
            [program, "get"],
            env=dict(env),
            input=registry,
            capture_output=True,
            text=True,
            timeout=_ANSWERS_WITHIN,
            check=False,
        )
        login = json.loads(answer.stdout) if answer.returncode == 0 else {}
        user, secret = login.get("Username"), login.get("Secret")
        pair = f"{user}:{secret}".encode()
    except (OSError, subprocess.TimeoutExpired, ValueError, RecursionError, AttributeError):
        return None
    if not user or not secret or user == _IDENTITY_TOKEN:
        return None
    return base64.b64encode(pair).decode("ascii")
