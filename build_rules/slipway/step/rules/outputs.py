"""The outputs of a step, one by one: as a digest, or what a report says."""

from __future__ import annotations

from typing import Optional, TypeVar

from pants.engine.fs import Digest, DigestContents, DigestSubset, PathGlobs
from pants.engine.rules import Get

from slipway.archive import unpacking
from slipway.core.errors import SlipwayError
from slipway.step.interface import Output, ReportFile
from slipway.step.records import WrongRecord

R = TypeVar("R")


async def take(digest: Digest, *outputs: Output) -> Digest:
    """These outputs alone, those that are there."""
    return await Get(Digest, DigestSubset(digest, PathGlobs(outputs)))


async def read_content(digest: Digest, output: Output) -> Optional[bytes]:
    """The content of an output; None where the step did not leave it."""
    contents = await Get(DigestContents, DigestSubset(digest, PathGlobs([output])))
    return contents[0].content if contents else None


async def read_report(digest: Digest, report: ReportFile[R]) -> R:
    """The record in a report that every success of the step leaves."""
    record = await find_report(digest, report)
    assert record is not None, report
    return record


async def find_report(digest: Digest, report: ReportFile[R]) -> Optional[R]:
    """The record in a report; None where the step did not leave it."""
    content = await read_content(digest, report)
    try:
        return None if content is None else report.read(content.decode(errors="replace"))
    except WrongRecord as error:
        raise SlipwayError(
            f'a build step left an invalid report "{report}"',
            found=str(error),
            next=unpacking.BUILD_AGAIN,
        ) from None
