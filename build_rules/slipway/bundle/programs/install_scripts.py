"""Fetches a binary that is to be pinned, and says by which hash.

    install_scripts.py --name sqlite3 --variable npm_config_… --path v5/x.tar.gz --settings s.json --out pin.json

With `--from-file`, that file is taken instead of the mirror's, and kept for the steps that follow.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from typing import Optional, Sequence

from slipway.core.errors import SlipwayError
from slipway.fetch.download import Content, ContentCache, Stored, disk_problem
from slipway.fetch.jobs import Job, run_jobs
from slipway.fetch.program import guarded, write_text
from slipway.fetch.settings import Settings, read_settings
from slipway.npm_registry.lazy_client import LazyClient


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="the package")
    parser.add_argument("--variable", required=True, help="what has the mirror's address")
    parser.add_argument("--path", required=True, help="the file below that address")
    parser.add_argument("--from-file", help="a local file instead")
    parser.add_argument("--settings", required=True, help="the JSON file with the settings")
    parser.add_argument("--out", required=True, help="the JSON file to write")
    options = parser.parse_args(arguments)
    settings = read_settings(options.settings)
    return guarded(lambda: _run(options, settings))


def _run(options: argparse.Namespace, settings: Settings) -> int:
    try:
        cache = ContentCache(settings.cache_dir)
    except OSError as error:
        raise disk_problem(error, settings.cache_dir) from None
    client = LazyClient(settings, cache)

    def fetch() -> Stored:
        local: Optional[str] = options.from_file
        if local:
            return _keep(local, cache)
        return client.fetch_binary(options.name, options.variable, options.path, Content())

    (stored,) = run_jobs([Job(options.name, 0, fetch)])
    write_text(options.out, json.dumps({"sha256": stored.sha256, "size": stored.size}))
    return 0


def _keep(path: str, cache: ContentCache) -> Stored:
    try:
        with open(path, "rb") as file:
            return cache.store(Content(), lambda sink: shutil.copyfileobj(file, sink))
    except OSError as error:
        raise SlipwayError(
            f'the file "{path}" cannot be read',
            where="the option --from-file",
            found=str(error.strerror),
            next=f"ls -l {path}",
        ) from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
