"""Runs the install scripts of one package with npm, as an install would."""

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
    """Runs the scripts of `subject`, a package in the `node_modules` of the folder `app`."""
    label = f"{subject.package}@{subject.version}"
    extra = {
        "npm_config_foreground_scripts": "true",
        "npm_config_python": python,
        "JOBS": str(len(os.sched_getaffinity(0))),
        "PYTHONDONTWRITEBYTECODE": "1",
        **server.environment,
    }
    if from_source:
        # By default node-pre-gyp and prebuild-install download a binary; this makes them compile.
        extra["npm_config_build_from_source"] = "true"
    status, last = node_process.npm(
        ["rebuild", label], app, extra, app=app, subject=subject, started=server.stop_at_fault
    )
    if status != 0:
        raise SlipwayError(
            f'the install script of "{label}" failed with exit status {status}',
            where=f"{placeholders.ORIGIN}, field install_scripts",
            found="\n".join(last),
            next="see what is missing: the script has the toolchain's compiler, the headers of the "
            "pinned Node.js, and no network access",
        )
