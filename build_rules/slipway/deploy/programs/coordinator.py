"""Runs the coordinator's command line from a folder with its modules."""

from __future__ import annotations

import sys

from slipway.deploy import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
