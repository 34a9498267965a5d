"""Placeholders `@name@` in texts, filled in later.

Messages of build steps name targets, files and commands of the workspace. Arguments of a step are
part of its cache key, so such names must not be arguments. The messages have placeholders instead,
and the rule fills them in when it passes a message on. `bin/app` is filled in the same way.
"""

from __future__ import annotations

from typing import Mapping

ORIGIN = "@origin@"
"""The address of the target that requested the step."""
PACKAGE_JSON = "@package_json@"
NPM_LOCK = "@npm_lock@"
REWRITE_LOCK = "@rewrite_lock@"
"""The command that regenerates the npm lock."""
FETCH_LOCK = "@fetch_lock@"
RENEW_FETCH_LOCK = "@renew_fetch_lock@"
"""What to do when the fetch lock does not match the npm lock."""
RESOLVE = "@resolve@"
"""The name of the application's resolve, such as `npm:apps/koa-kkl`."""


def fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
