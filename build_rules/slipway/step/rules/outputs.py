"""Reads single outputs of a step: as a digest, as bytes, or as a record."""

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
    """A digest with only these outputs, as far as they exist."""
    return await Get(Digest, DigestSubset(digest, PathGlobs(outputs)))


async def read_content(digest: Digest, output: Output) -> Optional[bytes]:
    """The content of an output; None if the step did not write it."""
    contents = await Get(DigestContents, DigestSubset(digest, PathGlobs([output])))
    return contents[0].content if contents else None


async def read_report(digest: Digest, report: ReportFile[R]) -> R:
    """The record in a report, which every successful run of the step writes."""
    record = await find_report(digest, report)
    assert record is not None, report
    return record


async def find_report(digest: Digest, report: ReportFile[R]) -> Optional[R]:
    """The record in a report; None if the step did not write it."""
    content = await read_content(digest, report)
    try:
        return None if content is None else report.read(content.decode(errors="replace"))
    except WrongRecord as error:
        raise SlipwayError(
            f'a build step wrote an invalid report "{report}"',
            found=str(error),
            next=unpacking.BUILD_AGAIN,
        ) from None
