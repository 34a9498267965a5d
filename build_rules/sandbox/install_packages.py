"""Installs an application's packages offline and cuts the production subset out of the tree.

npm finds tarballs by their integrity in a cache that holds contents alone.  Leaves
`installed.tar`, the full tree for the build script; `dependencies.layer`, the production subset as
a member of releases; and `install.json`, what was installed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from typing import Any, Dict, FrozenSet, List, Optional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from build_rules.lib import layers, node_process, package_tarball
from build_rules.lib.errors import SlipwayError
from build_rules.lib.installed_tree import InstalledTree
from build_rules.lib.step_program import run

_APP = "app"
_CONTENTS = "in/cache/_cacache/content-v2"


class TarballCheck(threading.Thread):
    """Looks into every tarball while npm is busy with them on another core."""

    def __init__(self, labels: Dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._labels = labels
        self.fault: Optional[SlipwayError] = None

    def run(self) -> None:
        try:
            for path, label in sorted(self._labels.items()):
                package_tarball.check(path, label)
        except SlipwayError as error:
            self.fault = error

    def finish(self) -> None:
        self.join()
        if self.fault is not None:
            raise self.fault


def install(arguments: Dict[str, Any]) -> None:
    shutil.copytree("in/install", _APP, symlinks=True)
    os.makedirs("npm_cache/_cacache/tmp")
    if os.path.isdir(_CONTENTS):
        os.symlink(os.path.abspath(_CONTENTS), "npm_cache/_cacache/content-v2")
    check = TarballCheck(arguments["tarballs"])
    check.start()
    status, last = node_process.npm(["ci", "--ignore-scripts"], _APP, {})
    # What is odd in a tarball explains npm's failure better than npm does.
    check.finish()
    if status != 0:
        raise SlipwayError(
            f"npm ci failed with exit status {status}",
            where=arguments["lock"],
            found="\n".join(last),
            next=arguments["rewrite_lock"],
        )
    tree = InstalledTree(_APP, arguments["packages"])
    _write_outputs(tree, frozenset(arguments["production"]))


def _write_outputs(tree: InstalledTree, production: FrozenSet[str]) -> None:
    everything = tree.entries()
    writing = threading.Thread(target=layers.write_tar, args=("out/installed.tar", everything))
    writing.start()
    kept = tree.production(everything, production)
    layer = layers.write_layer("out/dependencies.layer", "dependencies", kept)
    report = {
        "file_bytes": layer.file_bytes,
        "files": layer.files,
        "packages": tree.sizes(kept),
        "install_scripts": _install_scripts(tree, production),
    }
    with open("out/install.json", "w", encoding="utf-8") as file:
        json.dump(report, file, sort_keys=True)
    writing.join()


def _install_scripts(tree: InstalledTree, production: FrozenSet[str]) -> List[Dict[str, Any]]:
    """Packages whose install script did not run, production ones told apart."""
    found = []
    for path, manifest in tree.manifests():
        scripts = manifest.get("scripts")
        names = ("preinstall", "install", "postinstall")
        own = [name for name in names if isinstance(scripts, dict) and scripts.get(name)]
        if not own and os.path.exists(os.path.join(_APP, path, "binding.gyp")):
            own = ["install"]  # npm runs node-gyp for a package that has only this file
        if own:
            found.append(
                {
                    "name": manifest.get("name"),
                    "version": manifest.get("version"),
                    "scripts": own,
                    "production": path in production,
                }
            )
    return found


if __name__ == "__main__":
    run(install)
