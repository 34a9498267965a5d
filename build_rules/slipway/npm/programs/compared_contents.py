"""Holds a fetch lock's hashes against the contents that this machine has, without a network.

A fetch lock names each content twice, by sha512 and by SHA-256, and only the content itself tells
whether both are of one.  The last line of the output is a JSON object: `faults`, one a tarball
whose hashes are of different contents, and `unknown`, how many contents were never fetched here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, List, Mapping, Optional, Sequence

from slipway.fetch import integrity as sri
from slipway.fetch.download import ContentCache
from slipway.fetch.program import guarded
from slipway.fetch.settings import read_settings

Entry = Mapping[str, Any]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--request", required=True, help="the JSON file that lists the entries")
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    options = parser.parse_args(arguments)
    settings = read_settings(options.settings)
    with open(options.request, encoding="utf-8") as file:
        entries: List[Entry] = json.load(file)
    return guarded(lambda: _run(entries, settings.cache_dir))


def _run(entries: Sequence[Entry], folder: str) -> int:
    faults: List[str] = []
    unknown = 0
    cache = ContentCache(folder) if os.path.isdir(folder) else None
    for entry in entries:
        fault = _compare(entry, cache) if cache else None
        if fault is None:
            unknown += 1
        elif fault:
            faults.append(f"{entry['name']}@{entry['version']}: {fault}")
    print(json.dumps({"faults": faults, "unknown": unknown}, sort_keys=True))
    return 0


def _compare(entry: Entry, cache: ContentCache) -> Optional[str]:
    """What is wrong; empty if nothing is, None where the content is not here."""
    named = [sri.parse(word)[0] for word in entry["integrities"]]
    digests = cache.digests(entry["sha256"], {one.algorithm for one in named})
    if digests is not None:
        for one in named:
            found = sri.of_digest(one.algorithm, digests[one.algorithm])
            if found != one:
                return f"the content of SHA-256 {entry['sha256']} is {found}, not {one}"
        return ""
    for one in named:
        stored = cache.find((one,))
        if stored and (stored.sha256, stored.size) != (entry["sha256"], entry["size"]):
            return (
                f"the content of {one} has SHA-256 {stored.sha256} and {stored.size} bytes, not "
                f"{entry['sha256']} and {entry['size']}"
            )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
