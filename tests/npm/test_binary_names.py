"""The order in which node-sass looks for the address of its binary, by its own code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.npm import npm_tools

# Each way takes precedence over those after it; document 4's order.
WAYS = ("flag", "SASS_BINARY_SITE", "npm_config_sass_binary_site", "package.json")


@pytest.fixture(scope="module")
def node_sass(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not npm_tools.available():
        pytest.skip("no npm here")
    folder = tmp_path_factory.mktemp("node-sass")
    (folder / "package.json").write_text('{"name": "x", "version": "1.0.0"}')
    done = npm_tools.NPM_8.run(folder, folder, "install", "node-sass@8.0.0")
    assert done.returncode == 0, done.stdout
    return folder / "node_modules" / "node-sass"


@pytest.mark.long
@pytest.mark.parametrize("first", range(len(WAYS)))
def test_the_first_way_that_is_given_counts(node_sass: Path, first: int) -> None:
    given = {way: f"http://{number}.example" for number, way in enumerate(WAYS) if number >= first}
    manifest: Dict[str, Any] = json.loads((node_sass / "package.json").read_text())
    manifest["nodeSassConfig"] = {"binarySite": given["package.json"]}
    (node_sass / "package.json").write_text(json.dumps(manifest))
    flags: List[str] = ["--sass-binary-site", given["flag"]] if "flag" in given else []
    node = npm_tools.unpacked(npm_tools.NPM_8)[0]
    (node_sass / "ask.js").write_text("console.log(require('./lib/extensions').getBinaryUrl())")
    said = subprocess.run(
        [f"{node}/bin/node", "ask.js", *flags],
        cwd=node_sass,
        env={
            "PATH": os.environ["PATH"],
            **{
                way: address
                for way, address in given.items()
                if way not in ("flag", "package.json")
            },
        },
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert said.startswith(f"http://{first}.example/v8.0.0/linux-x64-93_binding.node")
