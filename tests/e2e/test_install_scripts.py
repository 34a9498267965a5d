"""Install scripts: hostile ones get nowhere and are named; pinned binaries reach those that ask."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from tests.e2e import harness, hostile_packages
from tests.e2e.addon_app import decide, have_only, pack_binary, read_member, write_app
from tests.e2e.conftest import OtherUser
from tests.e2e.engine import Engine
from tests.e2e.harness import Caches, Result, Workspace
from tests.e2e.job_container import container, copied_root
from tests.e2e.tiny_app import TinyApp
from tests.unit.registry_stub import Registry

SMOKE = "require(Object.keys(require('../package.json').dependencies)[0])\n"


@pytest.fixture(scope="module")
def workspace(shared_clone: Workspace) -> Workspace:
    return shared_clone


def write_hostile(
    workspace: Workspace, packages: Dict[str, bytes], decision: str = "run"
) -> Tuple[str, Path]:
    """An application of local packages: its release's address, and its folder."""
    release = write_app(workspace, "node16")
    folder = workspace.root / "apps" / "node16"
    have_only(folder, packages, decision)
    (folder / "service" / "smoke.js").write_text(SMOKE)
    shutil.rmtree(workspace.dist(), ignore_errors=True)
    return release, folder


# --- Those that try to get out.


def assert_all_told(said: Result) -> None:
    words = " ".join(said.output.split())
    failed = f"the install scripts of {len(hostile_packages.OUTWARD)} packages failed"
    assert failed in words, said.output
    for name, target in hostile_packages.TOLD.items():
        wants = f'"{name}@1.0.0" tried to download files that are not declared'
        assert wants in words, said.output
        assert f"{name}@1.0.0 (install script " in words
        assert f"tried to reach {target}" in words, (name, said.output)
        assert f'install_scripts={{"{name}": "skip"}}' in words
    assert "Traceback" not in said.output


def test_every_way_out_is_denied_and_named(workspace: Workspace) -> None:
    release, _ = write_hostile(workspace, hostile_packages.outward())
    said = workspace.pants("package", release).failed()
    assert_all_told(said)
    assert not workspace.dist("apps.node16").exists()


@pytest.mark.long
@pytest.mark.parametrize("isolator", ["docker", "chroot", "inside"])
def test_every_way_out_is_denied_under_each_isolator(
    workspace: Workspace,
    isolator: str,
    engine: Engine,
    with_docker: str,
    scratch: Path,
    session_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workspace, "path", with_docker)
    release, _ = write_hostile(workspace, hostile_packages.outward())
    env = {**engine.env, "PANTS_LOCAL_CACHE": "false"}
    before: Tuple[str, ...] = ()
    if isolator == "inside":
        # What that machine cannot fetch is there already, as is its root.
        workspace.pants("package", release).failed()
        (scratch / "root").mkdir()
        root = copied_root(workspace, "usr/bin/gcc-10", scratch / "root")
        before, env = container(root, session_folder), {**env, "PANTS_PANTSD": "false"}
    said = workspace.pants(
        f"--slipway-isolator={isolator}", "package", release, env=env, before=before
    ).failed()
    assert_all_told(said)


@pytest.mark.long
def test_every_way_out_is_denied_for_a_plain_user(
    other_user: OtherUser, scratch: Path, tools: str
) -> None:
    caches = Caches(scratch / "caches", other_user.runner)
    with Workspace.make(scratch / "clone", caches, tools, owner=other_user.user) as plain:
        release, _ = write_hostile(plain, hostile_packages.outward())
        harness.own(plain.root, other_user.user)
        assert_all_told(plain.pants("package", release).failed())


# --- Those that look around.


WRITES = (
    "touch $HOME/x /tmp/x ../hostile-neighbour /build/x; echo stolen >../quiet/index.js;"
    " touch /usr/bin/x /etc/passwd 2>/dev/null; true"
)


def test_secrets_of_the_user_are_not_there_and_what_is_written_elsewhere_reaches_nothing(
    workspace: Workspace,
) -> None:
    home = str(workspace.home)
    look = hostile_packages.CURIOUS.replace("%s", home)
    packages = {
        "curious": hostile_packages.tarball("curious", {"look.js": look}, "node look.js"),
        "writes": hostile_packages.tarball("writes", {}, WRITES),
        "quiet": hostile_packages.tarball("quiet", {}, "true"),
    }
    release, folder = write_hostile(workspace, packages)
    lock = json.loads((folder / "package-lock.json").read_text())
    assert set(lock["packages"]) == {"", *(f"node_modules/{name}" for name in packages)}
    canary = hostile_packages.CANARY
    workspace.write_npmrc(f"//registry.example/:_authToken={canary}")
    (workspace.home / ".ssh").mkdir(exist_ok=True)
    (workspace.home / ".ssh" / "id_ed25519").write_text(canary)
    try:
        said = workspace.pants("package", release, env={"A_SECRET": canary}).ok()
    finally:
        workspace.write_npmrc()
    found = json.loads(read_released(workspace, "node_modules/curious/found.json"))
    assert found["env"]["HOME"] == "/home/build"
    assert canary not in json.dumps(found) + said.output
    assert home not in json.dumps(found["env"])
    assert {found[f"{home}/.npmrc"], found[f"{home}/.ssh/id_ed25519"]} == {"ENOENT"}

    assert "stolen" not in read_released(workspace, "node_modules/quiet/index.js")
    (archive,) = workspace.dist("apps.node16/release").glob("*-prod.tar.gz")
    with tarfile.open(archive) as tar:
        names = [one.name for one in tar]
    assert not [name for name in names if name.endswith(("/x", "hostile-neighbour"))]


def read_released(workspace: Workspace, name: str) -> str:
    return read_member(workspace, "apps.node16/release", name).decode("latin-1")


# --- Those that nobody decided on.


@pytest.mark.long
def test_a_script_without_a_decision_is_an_error_with_the_lines_to_add(
    workspace: Workspace,
) -> None:
    packages = {"quiet": hostile_packages.tarball("quiet", {}, "node-gyp-build || echo x")}
    release, folder = write_hostile(workspace, packages)
    decide(folder, {})
    said = workspace.pants("package", release).failed()
    assert "packages with install scripts have no entry in install_scripts" in said.output
    assert 'quiet@1.0.0, install: "node-gyp-build || echo x"' in said.output
    assert '"quiet": "source",' in said.output
    decide(folder, {"quiet": "skip"})
    workspace.pants("package", release).ok()
    manifest = workspace.dist("apps.node16/release/addons-1.0.0-prod.release.json")
    not_run = json.loads(manifest.read_text())["install_scripts_not_run"]
    assert not_run == [{"name": "quiet", "version": "1.0.0"}]


# --- Binaries that are pinned.

PACKED = "napi-v3/bcrypt_lib.node"  # as node-pre-gyp packs it
BCRYPT = "node_modules/bcrypt/lib/binding/napi-v3/bcrypt_lib.node"
ASSET = "kelektiv/node.bcrypt.js/releases/download/v5.1.1/bcrypt_lib-v5.1.1-napi-v3-linux-x64-glibc.tar.gz"
DECIDED = {"hello": "source", "nan-words": "source", "napi": "source"}


def configure(workspace: Workspace, mirror: Registry) -> None:
    workspace.write_npmrc(f"bcrypt_lib_binary_host_mirror={mirror.url}bcrypt")


def bundle_of(release: str) -> str:
    return release.replace(":release", ":bundle")


def test_a_binary_is_pinned_and_reaches_the_script_that_asks_for_it(
    workspace: Workspace, mirror: Registry, scratch: Path
) -> None:
    release = write_app(workspace, "node16")
    folder = workspace.root / "apps" / "node16"
    workspace.pants("package", release).ok()
    compiled = read_released(workspace, BCRYPT).encode("latin-1")
    mirror.files[f"/bcrypt/{ASSET}"] = pack_binary(PACKED, compiled)
    decide(folder, {**DECIDED, "bcrypt": "prebuilt"})

    said = workspace.pants("package", release).failed()
    assert '"bcrypt@5.1.1" requests a binary that is not pinned' in said.output
    assert f"{ASSET}, from the mirror in npm_config_bcrypt_lib_binary_host_mirror" in said.output
    add = ("install-scripts", "--pin=bcrypt", bundle_of(release))
    assert f"./pants {' '.join(add[:2])} apps/node16:bundle" in said.output

    said = workspace.pants(*add).failed()
    assert "no mirror for its binaries is configured" in said.output
    assert "echo 'bcrypt_lib_binary_host_mirror=https://<your mirror>' >> ~/.npmrc" in said.output

    configure(workspace, mirror)
    said = workspace.pants(*add).ok()
    lock = (folder / "npm-fetch.lock").read_text()
    sha256 = hashlib.sha256(mirror.files[f"/bcrypt/{ASSET}"]).hexdigest()
    assert f"+ bcrypt 5.1.1 {sha256} " in lock
    assert mirror.host not in lock
    assert "prebuilt" in said.stdout
    assert f"{ASSET} {sha256[:12]}" in said.stdout
    workspace.pants("generate-lockfiles", "--resolve=npm:apps/node16").ok()
    assert (folder / "npm-fetch.lock").read_text() == lock

    workspace.pants("package", release).ok()
    assert read_released(workspace, BCRYPT).encode("latin-1") == compiled
    assert mirror.paths() == [f"/bcrypt/{ASSET}"]
    workspace.write_npmrc()
    assert workspace.pants("package", release).ok().counts.ran == []


WRONG: Dict[str, Any] = {
    "another file than the pinned one": (b"changed since", "does not match the lock"),
    "a page that says 404": (None, "HTTP 404"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_mirror_that_has_something_else_is_told(
    workspace: Workspace, mirror: Registry, scratch: Path, kind: str
) -> None:
    content, told = WRONG[kind]
    release = write_app(workspace, "node16")
    folder = workspace.root / "apps" / "node16"
    if content is not None:
        mirror.files[f"/bcrypt/{ASSET}"] = content
    decide(folder, {**DECIDED, "bcrypt": "prebuilt"})
    pinned = hashlib.sha256(kind.encode()).hexdigest()
    with (folder / "npm-fetch.lock").open("a") as lock:
        variable = "npm_config_bcrypt_lib_binary_host_mirror"
        lock.write(f"+ bcrypt 5.1.1 {pinned} {len(content or b'x')} {variable} {ASSET}\n")
    configure(workspace, mirror)
    said = workspace.pants("package", release).failed()
    workspace.write_npmrc()
    assert told in said.output
    assert "Traceback" not in said.output


@pytest.mark.long
def test_a_binary_for_newer_hosts_is_refused_by_the_gate(
    workspace: Workspace, mirror: Registry
) -> None:
    release = write_app(workspace, "node16")
    folder = workspace.root / "apps" / "node16"
    newer = Path(os.path.realpath(sys.executable)).read_bytes()
    mirror.files[f"/bcrypt/{ASSET}"] = pack_binary(PACKED, newer)
    decide(folder, {**DECIDED, "bcrypt": "prebuilt"})
    configure(workspace, mirror)
    workspace.pants("install-scripts", "--pin=bcrypt", bundle_of(release)).ok()
    said = workspace.pants("package", release).failed()
    workspace.write_npmrc()
    assert " do not load on the oldest host of its toolchain" in said.output
    assert "bcrypt_lib.node (bcrypt@5.1.1): needs " in said.output


KEEPS = """
require('http').get(process.env.KEEPS_MIRROR + '/v1/addon.node', (answer) => {
  answer.pipe(require('fs').createWriteStream('addon.node'));
}).on('error', () => {});
"""
KNOWN = "--install-scripts-variables={'keeps': ['KEEPS_MIRROR']}"


@pytest.mark.long
def test_a_page_that_says_404_is_never_kept_as_a_binary(
    workspace: Workspace, mirror: Registry, scratch: Path
) -> None:
    tarball = hostile_packages.tarball("keeps", {"fetch.js": KEEPS}, "node fetch.js")
    release, folder = write_hostile(workspace, {"keeps": tarball}, "prebuilt")
    said = workspace.pants("package", release).failed()
    assert (
        'no variable is known that names the mirror for the binary of "keeps@1.0.0"' in said.output
    )
    said = workspace.pants(KNOWN, "package", release).failed()
    assert '"keeps@1.0.0" requests a binary that is not pinned' in said.output
    assert "v1/addon.node, from the mirror in KEEPS_MIRROR" in said.output

    # A local file replaces the mirror, and the mirror of an option replaces the client's own.
    add = (KNOWN, "install-scripts", "--pin=keeps")
    local = scratch / "addon.node"
    local.write_bytes(b"what somebody has compiled")
    workspace.pants(*add, f"--from-file={local}", bundle_of(release)).ok()
    pinned = (folder / "npm-fetch.lock").read_text()
    assert "KEEPS_MIRROR v1/addon.node" in pinned
    said = workspace.pants(*add, f"--from-file={scratch}/none", bundle_of(release)).ok()
    assert "all binaries are pinned already" in said.output
    workspace.pants(KNOWN, "package", release).ok()
    assert read_released(workspace, "node_modules/keeps/addon.node") == local.read_text()

    have_only(folder, {"keeps": tarball}, "prebuilt")
    mirror.files["/here/v1/addon.node"] = local.read_bytes()
    named = f"--install-scripts-mirrors={{'keeps': '{mirror.url}here'}}"
    workspace.pants(named, *add, bundle_of(release)).ok()
    assert (folder / "npm-fetch.lock").read_text() == pinned


def test_a_local_file_that_is_not_there_is_told(workspace: Workspace) -> None:
    tarball = hostile_packages.tarball("keeps", {"fetch.js": KEEPS}, "node fetch.js")
    release, _ = write_hostile(workspace, {"keeps": tarball}, "prebuilt")
    said = workspace.pants(
        KNOWN, "install-scripts", "--pin=keeps", "--from-file=no/such.node", bundle_of(release)
    ).failed()
    assert "no/such.node" in said.output
    assert "No such file or directory" in said.output
    assert "Traceback" not in said.output


def test_the_table_lists_every_package_with_a_script(workspace: Workspace) -> None:
    release = write_app(workspace, "node16")
    said = workspace.pants("install-scripts", bundle_of(release)).ok()
    rows: List[List[str]] = [line.split() for line in said.stdout.splitlines()]
    assert ["bcrypt@5.1.1", "node-pre-gyp", "npm_config_bcrypt_lib_binary_host_mirror"] in [
        row[:3] for row in rows
    ]
    assert [row[0] for row in rows[2:]] == [
        "bcrypt@5.1.1",
        *(f"{one}@1.0.0" for one in sorted(DECIDED)),
    ]
    said = workspace.pants("install-scripts", "--pin=bcript", bundle_of(release)).failed()
    assert "did you mean bcrypt" in said.output
    for name in ("@corp/bcrypt", "corp/bcrypt"):
        said = workspace.pants("install-scripts", f"--pin={name}", bundle_of(release)).failed()
        assert 'the lockfile has no package "@corp/bcrypt"' in said.output


# --- A build that has the network.

FETCHES = (
    "mkdir -p dist && node -e "
    "\"require('http').get('{}word', (answer) => answer.pipe(require('fs').createWriteStream('dist/a.js')))\""
    " && cp /etc/resolv.conf dist/b.js"
)


@pytest.mark.long
@pytest.mark.parametrize("isolator", ["namespaces", pytest.param("chroot", marks=pytest.mark.long)])
def test_a_build_with_the_network_is_made_anew_in_each_session(
    workspace: Workspace, mirror: Registry, isolator: str
) -> None:
    app = TinyApp(workspace, f"apps/fetches-by-{isolator}", release_fields='static="include"')
    app.scripts = {"build": FETCHES.replace("{}", mirror.url)}
    mirror.files["/word"] = b"first"
    app.write()
    package = (f"--slipway-isolator={isolator}", "package", app.release)
    if isolator == "namespaces":  # a chroot has the machine's own loopback interface
        assert "ECONNREFUSED" in workspace.pants(*package).failed().output

    app.bundle = 'network="allow"'
    app.write()
    said = workspace.pants(*package).failed()
    assert "the bundle of a release has network access during its build" in said.output

    app.release_fields += ", allow_network=True"
    app.write()
    folder = app.folder.replace("/", ".") + "/release"
    for word in (b"first", b"second"):
        mirror.files["/word"] = word
        workspace.pants(*package).ok()
        assert read_member(workspace, folder, "dist/a.js") == word
    servers = read_member(workspace, folder, "dist/b.js")
    assert servers == Path("/etc/resolv.conf").read_bytes()
    manifest = json.loads((workspace.dist(folder) / "tiny-1.0.0-prod.release.json").read_text())
    assert manifest["network"] == "allow"
