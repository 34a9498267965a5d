"""Why a file could not be fetched, in the terms that all fetchers share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchFault:
    """Why one file could not be fetched; equal `reason`s of many files are told once."""

    subject: str
    reason: str
    next: str
    shared: bool = False  # the reason is the registry's, not this file's


class FetchFailed(Exception):
    def __init__(self, fault: FetchFault) -> None:
        self.fault = fault
        super().__init__(f"{fault.subject}: {fault.reason}")
