"""Texts with `@name@` in place of what is filled in later.

Messages of build steps name targets, files and commands of the workspace.  None of that may be an
argument of the step, since arguments are in its cache key: so its messages carry placeholders,
which the rule fills in when it passes a message on.  `bin/app` is filled in the same way.
"""

from __future__ import annotations

from typing import Mapping

ORIGIN = "@origin@"
"""The address of the target that asked for the step."""
PACKAGE_JSON = "@package_json@"
NPM_LOCK = "@npm_lock@"
REWRITE_LOCK = "@rewrite_lock@"
"""The command that makes the npm lock anew."""
FETCH_LOCK = "@fetch_lock@"
RENEW_FETCH_LOCK = "@renew_fetch_lock@"
"""What to do about a fetch lock that names other contents than the npm lock."""
RESOLVE = "@resolve@"
"""The name of the application's resolve, such as `npm:apps/koa-kkl`."""


def fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
