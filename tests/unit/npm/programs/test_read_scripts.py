"""Install scripts are read from tarballs, which are checked like those of an install."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Dict

import pytest

from slipway.core.errors import SlipwayError
from slipway.npm.programs import read_scripts
from slipway.npm.programs.install import Tarball
from slipway.npm.programs.read_scripts import OUTPUTS, Arguments, Packed


@pytest.fixture(autouse=True)
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)


def pack(manifest: Any, **files: bytes) -> Packed:
    packed = io.BytesIO()
    contents = {"package.json": json.dumps(manifest).encode(), **files}
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    Path("a.tgz").write_bytes(packed.getvalue())
    digest = base64.b64encode(hashlib.sha512(packed.getvalue()).digest()).decode()
    tarball = Tarball("a.tgz", "a@1.0.0", (f"sha512-{digest}",))
    return Packed("node_modules/a", "a", "1.0.0", True, tarball)


def scripts(packed: Packed) -> Dict[str, Dict[str, str]]:
    read_scripts.read(Arguments((packed,)))
    report = OUTPUTS.report.read(Path(OUTPUTS.report.path).read_text())
    return {one.path: dict(one.scripts) for one in report.packages}


def test_the_scripts_that_npm_runs() -> None:
    own = {"install": "node-gyp rebuild", "test": "mocha", "postinstall": "node x"}
    found = scripts(pack({"scripts": own}))
    assert found == {"node_modules/a": {"install": "node-gyp rebuild", "postinstall": "node x"}}


def test_a_gyp_file_is_a_script_of_npm() -> None:
    assert scripts(pack({}, **{"binding.gyp": b"{}"})) == {
        "node_modules/a": {"install": "node-gyp rebuild"}
    }


def test_a_lock_may_claim_scripts_that_do_not_exist() -> None:
    assert scripts(pack({"scripts": {"test": "mocha"}})) == {}


def test_another_content_is_refused() -> None:
    packed = pack({})
    Path("a.tgz").write_bytes(b"other")
    with pytest.raises(SlipwayError, match="another content for a@"):
        scripts(packed)


def test_a_manifest_that_is_no_object_is_told() -> None:
    with pytest.raises(SlipwayError, match=r"a@1\.0\.0: package\.json"):
        scripts(pack([]))
