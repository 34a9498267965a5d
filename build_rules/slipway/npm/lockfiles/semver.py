"""Whether a version satisfies an npm range, by the rules of npm's module `semver`.

Slipway only uses it to report early, and with a reason, what npm would refuse or ignore later; npm
itself decides again during the install.  Pants depends on the module `nodesemver`, so it needs no
place in a lock.
"""

from __future__ import annotations

from typing import Optional

from nodesemver import ANY, Range


def satisfies(version: str, spec: str) -> Optional[bool]:
    """None if `version` is no version or `spec` is no range, such as a tag."""
    try:
        wanted = Range(spec.strip(), loose=False)
        # npm drops all other alternatives of a range that has `*` as one, and with them the
        # prereleases that they allow.  The module has the rules of an earlier npm.
        any_version = [tests for tests in wanted.set if [test.semver for test in tests] == [ANY]]
        wanted.set = any_version[:1] or wanted.set
        return bool(wanted.test(version.strip()))
    # For some texts that are no ranges, the module raises errors of its own code.
    except Exception:
        return None
