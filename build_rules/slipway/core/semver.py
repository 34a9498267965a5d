"""Whether a version satisfies a range by npm's rules.

Slipway uses this to report an outdated lockfile early and with a reason; npm checks again during the
install. Pants depends on the module `nodesemver`, so it needs no entry in a lock.
"""

from __future__ import annotations

from typing import Optional

from nodesemver import ANY, Range


def satisfies(version: str, spec: str) -> Optional[bool]:
    """Whether `version` is in the range `spec`; None if either cannot be parsed, such as a tag."""
    try:
        wanted = Range(spec.strip(), loose=False)
        # npm drops all other alternatives of a range that has `*` as one, and with them the
        # prereleases that they allow.  The module has the rules of an earlier npm.
        any_version = [tests for tests in wanted.set if [test.semver for test in tests] == [ANY]]
        wanted.set = any_version[:1] or wanted.set
        return bool(wanted.test(version.strip()))
    # For some texts that are not ranges, the module raises errors of its own code.
    except Exception:
        return None
