"""Warns if Git changed line endings of an application at checkout: its release has other bytes then."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Tuple

from pants.base.build_environment import get_buildroot
from pants.engine.rules import _uncacheable_rule, collect_rules

from slipway.core.line_endings import CHECK_OUT_AGAIN
from slipway.core.rules.registration import Rules

logger = logging.getLogger(__name__)
_SECONDS = 20


@dataclass(frozen=True)
class ConvertedFilesRequest:
    """`folder` is relative to the build root; `origin` is the target in messages."""

    folder: str
    origin: str


@dataclass(frozen=True)
class ConvertedFiles:
    """Files that are committed with LF and have CRLF in this clone, relative to `folder`."""

    paths: Tuple[str, ...]


# Only Git knows whether the CRLF were committed, and a checkout changes no content that Pants would notice
# in the index.
@_uncacheable_rule
async def find_converted_files(request: ConvertedFilesRequest) -> ConvertedFiles:
    git = shutil.which("git")
    if git is None:
        return ConvertedFiles(())
    try:
        done = subprocess.run(
            [git, "ls-files", "--eol", "-z"],
            cwd=os.path.join(get_buildroot(), request.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ConvertedFiles(())  # not a clone
    paths = []
    for record in done.stdout.decode("utf-8", "replace").split("\0"):
        facts, _, path = record.partition("\t")
        if facts.split()[:2] == ["i/lf", "w/crlf"]:
            paths.append(path)
    return ConvertedFiles(tuple(paths))


def tell(converted: ConvertedFiles, request: ConvertedFilesRequest) -> None:
    if converted.paths:
        example = os.path.join(request.folder, converted.paths[0])
        logger.warning(
            f"{request.origin}: Git wrote {len(converted.paths)} files of {request.folder or '.'} with "
            f"CRLF line endings, such as {example}; a release of a clone with LF has other bytes.\n"
            f"next: {CHECK_OUT_AGAIN}"
        )


def rules() -> Rules:
    return collect_rules()
