"""`bin/app run-foreground` gives a script the environment that the real npm gives it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.bin_app import filled
from tests.npm import npm_tools
from tests.npm.npm_tools import NPM_6, NPM_6_OLD_NODE, NPM_8, Npm

pytestmark = pytest.mark.skipif(not npm_tools.available(), reason="no npm on this machine")

PRINTS = "console.log(JSON.stringify({env: process.env, argv: process.argv.slice(1)}))"
MANIFEST = {
    "name": "@team/it's",
    "version": "1.2.3",
    "config": {"port": 80, "deep": {"a-b": "x y"}},
    "engines": {"node": ">=6"},
    "keywords": ["a", "b"],
    "scripts": {"serve": 'node print.js "a b"', "preserve": "exit 0", "postserve": "exit 0"},
}
# What npm sets for itself, by its own version and the user's configuration.
NOT_FOR_SCRIPTS = (
    "npm_config_",
    "npm_package_scripts_",
    "npm_package_json",
    "npm_lifecycle_script",
)


@pytest.mark.parametrize("npm", [NPM_6_OLD_NODE, NPM_6, NPM_8], ids=str)
def test_scripts_see_what_they_see_under_npm(npm: Npm, tmp_path: Path) -> None:
    release = tmp_path / "release"
    node, own_npm = npm_tools.unpacked(npm)
    for path, target in (("bin/node", node / "bin" / "node"), ("lib/node_modules/npm", own_npm)):
        place = release / "node_runtime" / path
        place.parent.mkdir(parents=True)
        place.symlink_to(target)
    (release / "package.json").write_text(json.dumps(MANIFEST))
    (release / "print.js").write_text(PRINTS)
    (release / "bin").mkdir()
    (release / "bin" / "app").write_text(filled())
    ours = run(release, ["/bin/sh", "bin/app", "run-foreground", "c d", "*"])
    theirs = run(release, ["/bin/sh", "bin/app", "run", "serve", "c d", "*"])
    assert ours["argv"] == theirs["argv"]
    assert ours["argv"][1:] == ["a b", "c d", "*"]
    assert of_npm(ours["env"]) == of_npm(theirs["env"])


def run(release: Path, command: List[str]) -> Dict[str, Any]:
    ran = subprocess.run(
        command,
        cwd=release,
        env={"PATH": "/usr/bin:/bin", "HOME": str(release)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answer: Dict[str, Any] = json.loads(ran.stdout.strip().splitlines()[-1])
    return answer


def of_npm(env: Dict[str, str]) -> Dict[str, str]:
    """The variables of npm for scripts, with the real path of the runtime."""
    return {
        name: os.path.realpath(value) if value.startswith("/") else value
        for name, value in env.items()
        if name.startswith("npm_") and not name.startswith(NOT_FOR_SCRIPTS)
        # No sh can set a variable with such a name.
        if name.isidentifier()
    }
