"""Provides Node's headers like its distribution site, from the headers of the runtime.

Tools that support `nodedir` use the folder of the runtime. Other tools always download the headers,
so Slipway serves the same headers at the address in these variables.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from typing import Dict, Optional

# Tools, and releases of node-gyp, read different ones of these variables.
VARIABLES = (
    "npm_config_disturl",
    "npm_config_dist_url",
    "npm_package_config_node_gyp_disturl",
    "npm_package_config_node_gyp_dist_url",
    "NODEJS_ORG_MIRROR",
    "NVM_NODEJS_ORG_MIRROR",
)
FOLDER = "headers"


class NodeHeaders:
    """The files below FOLDER; `runtime` is a folder that contains `include/node`."""

    def __init__(self, runtime: str, version: str) -> None:
        self._runtime = runtime
        self._version = f"v{version}"
        self._archive: Optional[bytes] = None

    def environment(self, address: str) -> Dict[str, str]:
        return dict.fromkeys(VARIABLES, f"{address}/{FOLDER}")

    def find(self, path: str) -> Optional[bytes]:
        """The content of `v16.20.2/SHASUMS256.txt` or of the archive beside it; else None."""
        name = f"node-{self._version}-headers.tar.gz"
        if path == f"{self._version}/{name}":
            return self._packed()
        if path == f"{self._version}/SHASUMS256.txt":
            return f"{hashlib.sha256(self._packed()).hexdigest()}  {name}\n".encode()
        return None

    def _packed(self) -> bytes:
        if self._archive is None:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as tar:
                tar.add(os.path.join(self._runtime, "include"), f"node-{self._version}/include")
            self._archive = gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)
        return self._archive
