"""The error that all fetchers raise for a file that they could not fetch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FetchFault:
    """Why a file could not be fetched; a report shows equal reasons of many files once."""

    subject: str
    reason: str
    next: str
    shared: bool = False  # the reason holds for every file of the same server
    absent: bool = False  # the server answers that it does not have the file


class FetchFailed(Exception):
    def __init__(self, fault: FetchFault) -> None:
        self.fault = fault
        super().__init__(f"{fault.subject}: {fault.reason}")
