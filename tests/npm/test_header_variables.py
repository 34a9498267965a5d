"""Which name tells which node-gyp where Node's headers are: the table of the docs, tried.

Each release is asked to install headers, with one name set to a server on loopback; its requests
tell whether it listened.  The server is the one that install scripts have.
"""

from __future__ import annotations

import functools
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from slipway.npm.scripts.loopback import LoopbackServer
from slipway.runtime.headers import NodeHeaders
from tests.npm import npm_tools
from tests.npm.npm_tools import Npm

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "node-headers.md"
USUAL = "9.1.0"  # from the npm of Node 16; the long tier tests the others
# node-gyp -> the Node that it runs under here.
RELEASES = {
    "3.4.0": "6.3.0",
    "5.1.1": "16.20.2",
    "9.1.0": "16.20.2",
    "10.3.1": "16.20.2",
    "11.4.2": "16.20.2",
}


def tables() -> List[Dict[Tuple[str, str], str]]:
    """Each table of the page: (head of a column, first cell of a row) -> cell."""
    found: List[Dict[Tuple[str, str], str]] = []
    head: List[str] = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
            found.append({})
        elif set(line) != {"|", "-"}:
            found[-1].update({(name, cells[0]): cell for name, cell in zip(head[1:], cells[1:])})
    return found


OF_NODE_GYP, OF_NPM = tables()
EXPECTED = {
    (release.strip("`"), way.strip("`")): cell == "yes"
    for (release, way), cell in OF_NODE_GYP.items()
}


@pytest.fixture(scope="module")
def node_gyp(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the program of a release."""
    if not npm_tools.available():
        pytest.skip("no npm here")

    @functools.lru_cache(maxsize=None)
    def program(release: str) -> Path:
        folder = tmp_path_factory.mktemp(f"node-gyp-{release}")
        (folder / "package.json").write_text('{"name": "x", "version": "1.0.0"}')
        done = npm_tools.NPM_6.run(folder, folder, "install", f"node-gyp@{release}")
        assert done.returncode == 0, done.stdout
        return folder / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"

    return program


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tuple[str, List[str]]]:
    """The address, and the paths that were asked for."""
    asked: List[str] = []
    node = npm_tools.unpacked(npm_tools.NPM_8)[0]

    class Headers(NodeHeaders):
        def find(self, path: str) -> bytes | None:
            asked.append(path)
            return super().find(path)

    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    with LoopbackServer((), {}, Headers(str(node), "16.20.2")) as running:
        yield running.environment["NODEJS_ORG_MIRROR"], asked


def install_headers(
    program: Path, node_version: str, way: str, address: str, home: Path
) -> subprocess.CompletedProcess[str]:
    node = npm_tools.unpacked(Npm(node_version, "6.14.18"))[0]
    flags, env = [], {}
    if way.startswith("--"):
        flags = [f"{way}={address}"]
    else:
        env = {way: address}
    return subprocess.run(
        [str(node / "bin" / "node"), str(program), "install", "--target=16.20.2", *flags],
        env={
            "HOME": str(home),
            "PATH": f"{node}/bin:/usr/bin:/bin",
            "npm_config_devdir": str(home / "dev"),
            **env,
        },
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("release", "way"),
    [
        pytest.param(*one, marks=() if one[0] == USUAL else pytest.mark.long)
        for one in sorted(EXPECTED)
    ],
)
def test_a_name_is_listened_to_as_the_table_says(
    node_gyp: Callable[[str], Path],
    server: Tuple[str, List[str]],
    release: str,
    way: str,
    tmp_path: Path,
) -> None:
    address, asked = server
    done = install_headers(node_gyp(release), RELEASES[release], way, address, tmp_path)
    assert bool(asked) == EXPECTED[release, way], done.stdout
    if asked:
        assert done.returncode == 0, done.stdout
        assert list(tmp_path.rglob("16.20.2/include/node/node.h"))


@pytest.mark.parametrize(
    ("npm", "way"),
    [
        pytest.param(*one, marks=pytest.mark.long if "6.14.18" in one[0] else ())
        for one in sorted(OF_NPM)
    ],
)
def test_npm_hands_a_name_on_as_the_table_says(npm: str, way: str, tmp_path: Path) -> None:
    program = npm_tools.NPM_6 if "6.14.18" in npm else npm_tools.NPM_8
    script = "node -p 'JSON.stringify(process.env)' >env.json"
    manifest = {"name": "x", "version": "1.0.0", "scripts": {"build": script}}
    (tmp_path / "package.json").write_text(json.dumps(manifest))
    name = "dist-url" if "dist-url" in way else "disturl"
    flags = []
    if way.startswith("`.npmrc`"):
        (tmp_path / ".npmrc").write_text(f"{name}=http://headers.example\n")
    else:
        flags = [f"--{name}=http://headers.example"]
    done = program.run(
        tmp_path, tmp_path / "scratch", "run", "build", "--ignore-scripts=false", *flags
    )
    assert done.returncode == 0, done.stdout
    env = json.loads((tmp_path / "env.json").read_text())
    found = [key for key, value in env.items() if value == "http://headers.example"]
    assert found == [OF_NPM[npm, way].strip("`")]


def test_the_archive_is_as_the_distribution_site_has_it(tmp_path: Path) -> None:
    node = npm_tools.unpacked(npm_tools.NPM_8)[0]
    content = NodeHeaders(str(node), "16.20.2").find("v16.20.2/node-v16.20.2-headers.tar.gz")
    assert content is not None
    (tmp_path / "headers.tar.gz").write_bytes(content)
    with tarfile.open(tmp_path / "headers.tar.gz") as tar:
        names = tar.getnames()
    assert "node-v16.20.2/include/node/node.h" in names
    assert all(name.startswith("node-v16.20.2/") for name in names)
