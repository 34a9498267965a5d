"""Deploys by the coordinator's command line, from a folder with its modules."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", ".."))

from slipway.deploy import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
