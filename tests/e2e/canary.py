"""An application whose build writes all that it sees of its machine into its release.

Two releases of it are equal only if nothing of the two machines shows in a build step.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.harness import Workspace, own

FOLDER = "apps/canary"
RELEASE = f"//{FOLDER}:release"

_BUILD = """\
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const { execSync } = require('child_process');

const sh = (command) => execSync(`${command} 2>&1 || true`, { encoding: 'utf8', shell: '/bin/sh' });

// The file system below differs from machine to machine; what is mounted where must not.
const mounts = fs.readFileSync('/proc/self/mountinfo', 'utf8').trim().split('\\n')
  .map((line) => line.split(' ')[4]);

function tree(folder, depth) {
  return fs.readdirSync(folder).sort().flatMap((name) => {
    const place = path.join(folder, name);
    const stat = fs.lstatSync(place);
    // These belong to the machine's own root, whom a plain user's namespace cannot name.
    const owner = /^.(dev|proc)/.test(place) ? '' : `${stat.uid}:${stat.gid}`;
    const line = `${place} ${stat.mode.toString(8)} ${owner}`;
    return stat.isDirectory() && depth > 1 ? [line, ...tree(place, depth - 1)] : [line];
  });
}

const seen = {
  cwd: process.cwd(),
  argv: process.argv,
  execPath: process.execPath,
  environment: Object.entries(process.env).sort(),
  home: os.homedir(),
  user: os.userInfo(),
  ids: [process.getuid(), process.getgid(), process.geteuid(), process.getegid()],
  names: sh('id -un; id -gn; whoami'),
  host: [os.hostname(), sh('uname -n'), sh('cat /etc/hostname'), sh('cat /etc/hosts')],
  resolver: sh('cat /etc/resolv.conf'),
  temporary: os.tmpdir(),
  umask: process.umask(),
  locale: [Intl.DateTimeFormat().resolvedOptions(), sh('locale')],
  zone: [new Date(0).toString(), sh('date -d @0'), sh('cat /etc/timezone; ls -l /etc/localtime')],
  limits: sh('ulimit -c'),
  network: Object.keys(os.networkInterfaces()),
  mounts,
  status: sh("grep -E '^(Uid|Gid|CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status"),
  descriptors: sh('ls /proc/self/fd | wc -l'),
  terminal: sh('tty'),
  root: tree('/', 1),
  // Large inputs have the modes of Pants' store where they could be linked from it.
  build: tree('/build', 3).filter((line) => !/node_modules\\/|_logs\\/|build.in\\//.test(line)),
  devices: tree('/dev', 1),
};

fs.mkdirSync('dist', { recursive: true });
fs.writeFileSync('dist/seen.json', JSON.stringify(seen, null, 1));
fs.mkdirSync('service/views', { recursive: true });
fs.writeFileSync('service/views/seen.json', JSON.stringify(seen, null, 1));
"""

_TARGETS = """\
node_app_bundle(name="bundle", build_outputs=["dist", "service/views"])
release_tarball(name="release", bundle=":bundle", static="include", start_probe="off")
"""


def write(workspace: Workspace) -> None:
    """Adds the application to a clone. Its one package is one of koa-kkl's."""
    app, model = workspace.root / FOLDER, workspace.root / "apps" / "koa-kkl"
    chosen = "depd"
    locked = json.loads((model / "package-lock.json").read_text())["packages"]
    package = locked[f"node_modules/{chosen}"]
    manifest = {
        "name": "canary",
        "version": "1.0.0",
        "scripts": {"build": "node build.js", "serve": "exec node service/app.js"},
        "dependencies": {chosen: package["version"]},
    }
    of_root = {name: value for name, value in manifest.items() if name != "scripts"}
    lock = {
        "name": "canary",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "requires": True,
        "packages": {"": of_root, f"node_modules/{chosen}": package},
    }
    fetch = (model / "npm-fetch.lock").read_text().splitlines()
    wanted = [line for line in fetch[1:] if line.startswith(f"{chosen} {package['version']} ")]
    _write(app / "package.json", json.dumps(manifest, indent=2) + "\n")
    _write(app / "package-lock.json", json.dumps(lock, indent=2) + "\n")
    _write(
        app / "npm-fetch.lock", "\n".join([fetch[0].replace("koa-kkl", "canary"), *wanted]) + "\n"
    )
    _write(app / "build.js", _BUILD)
    _write(app / "service" / "app.js", "console.log('canary');\n")
    for name in ("src/large.txt", "service/large.txt"):
        # Pants links files of this size from its store where it can, with other modes.
        _write(app / name, "large\n" * 200_000)
    _write(app / "service" / "tool", "#!/bin/sh\n")
    (app / "service" / "tool").chmod(0o755)
    _write(app / "BUILD", _TARGETS)
    own(app, workspace.owner)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
