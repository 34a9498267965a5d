"""Has npm run the install scripts of one package, as it would in an install."""

from __future__ import annotations

import os

from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.isolation.jail_protocol import Subject
from slipway.npm.scripts.loopback import LoopbackServer
from slipway.runtime import node_process


def rebuild(
    subject: Subject, app: str, server: LoopbackServer, *, python: str, from_source: bool
) -> None:
    """`subject` is a package in the `node_modules` of the folder `app`."""
    label = f"{subject.package}@{subject.version}"
    extra = {
        "npm_config_foreground_scripts": "true",
        "npm_config_python": python,
        "JOBS": str(len(os.sched_getaffinity(0))),
        "PYTHONDONTWRITEBYTECODE": "1",
        **server.environment,
    }
    if from_source:
        # Packages that would rather fetch a binary: node-pre-gyp, prebuild-install and others.
        extra["npm_config_build_from_source"] = "true"
    status, last = node_process.npm(
        ["rebuild", label], app, extra, app=app, subject=subject, started=server.stop_at_fault
    )
    if status != 0:
        raise SlipwayError(
            f'the install script of "{label}" failed with exit status {status}',
            where=f"{placeholders.ORIGIN}, field install_scripts",
            found="\n".join(last),
            next="see what it misses: it has the compiler of the toolchain, the headers of the "
            "pinned Node.js and no network",
        )
