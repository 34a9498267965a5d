"""The outputs of a step, one by one: as a digest, or what a report says."""

from __future__ import annotations

from typing import Optional, TypeVar

from pants.engine.fs import Digest, DigestContents, DigestSubset, PathGlobs
from pants.engine.rules import Get

from slipway.step.interface import Output, ReportFile

R = TypeVar("R")


async def take(digest: Digest, *outputs: Output) -> Digest:
    """These outputs alone, those that are there."""
    return await Get(Digest, DigestSubset(digest, PathGlobs(outputs)))


async def read_content(digest: Digest, output: Output) -> Optional[bytes]:
    """The content of an output; None where the step did not leave it."""
    contents = await Get(DigestContents, DigestSubset(digest, PathGlobs([output])))
    return contents[0].content if contents else None


async def read_report(digest: Digest, report: ReportFile[R]) -> R:
    """What an output says that every success of the step leaves."""
    content = await read_content(digest, report)
    assert content is not None, report
    return report.read(content.decode())
