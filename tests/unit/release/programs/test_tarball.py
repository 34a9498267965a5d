"""What may be in the layers of a release: each kind of what may not is refused by its own words."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core.errors import SlipwayError
from slipway.elf import facts as elf_facts
from slipway.elf.facts import ElfFacts
from slipway.npm.install_report import InstalledPackage
from slipway.release.launcher import Launcher
from slipway.release.manifest import AbiFacts, Manifest, NodeFacts
from slipway.release.programs import checked_layers
from slipway.release.programs import tarball as make_release
from slipway.release.programs.tarball import Arguments
from slipway.runtime.release_layers import Scope, checked_of
from tests.unit.archive.own_archives import (
    CHARACTERS,
    FIFO,
    Item,
    file,
    folder,
    hard_link,
    link,
    own_gzip,
    own_tar,
    read_entries,
    special,
)

ELF = b"\x7fELF" + b"no more than its beginning"
NODE = "node_runtime/bin/node"
SQL = "node_modules/sql"
SCOPES = (
    Scope("runtime", "runtime"),
    Scope("dependencies", "dependencies"),
    Scope("addon-sql", "package", SQL),
)
NAMES = ("runtime", "dependencies", "addon-sql", "app", "static")
MANIFEST = Manifest(
    app="x",
    version="1.0.0",
    server_env="prod",
    node=NodeFacts("16.20.2", "8.19.4", "0" * 64),
    lock_sha256="0" * 64,
    abi=AbiFacts({}, (), ()),
    packages=tuple(
        InstalledPackage(path, "x", "1.0.0", 1) for path in ("node_modules/a", SQL, "addons/greet")
    ),
    install_scripts_not_run=(),
)


def sound() -> Dict[str, List[Entry]]:
    return {
        "runtime": [
            Entry("node_runtime/empty", "folder"),
            Entry(NODE, "file", True, content=ELF),
            Entry("node_runtime/bin/npm", "link", target="../lib/npm-cli.js"),
        ],
        "dependencies": [
            Entry("node_modules/a/index.js", "file", content=b"1"),
            Entry("node_modules/.bin/a", "link", target="../a/index.js"),
            Entry("node_modules/greet", "link", target="../addons/greet"),
            Entry("addons/greet/node_modules/b/index.js", "file", content=b"2"),
            Entry(f"{SQL}/node_modules/nested/index.js", "file", content=b"2"),
        ],
        "addon-sql": [
            Entry(f"{SQL}/package.json", "file", content=b"{}"),
            Entry(f"{SQL}/build/sql.node", "file", content=ELF + b"2"),
            Entry(f"{SQL}/build/lib.so", "link", target="sql.node"),
        ],
        "app": [
            Entry("package.json", "file", content=b"{}"),
            Entry("bin/www", "file", True, content=b"#!/bin/sh\n"),
            Entry("a\\b", "file", content=b"backslash"),
            Entry("addons/greet/greet.node", "file", content=ELF + b"3"),
            Entry("node_modules/.prisma/client.js", "file", content=b"generated"),
            Entry("logs", "folder"),
        ],
        "static": [Entry("dist/js/app.js", "file", content=b"3")],
    }


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("in/layers", "in/checked", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in" / "app.sh").write_text("#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    for name, entries in sound().items():
        write(name, entries)
    return tmp_path


def write(name: str, entries: Sequence[Entry]) -> None:
    """A layer as a step writes it, with the facts about its binaries."""
    layers.write_layer(f"in/layers/{name}.layer", name, entries)
    elf_facts.write(f"in/layers/{name}.elf.json", elf_facts.facts_of_layer(entries))


NOTHING: Mapping[str, bytes] = {}


def forge(
    name: str, items: Sequence[Item], hashes: Mapping[str, bytes] = NOTHING, **more: Any
) -> None:
    """A layer of any items, with a true list of its files, `hashes` apart."""
    contents = {item[0]: item[4] for item in items if item[1] == b"0"}
    contents.update(hashes)
    listing = layers.file_list(
        {one: hashlib.sha256(content).hexdigest() for one, content in contents.items()}
    )
    ending = [folder(".release"), file(f".release/{name}.sha256", listing)]
    content = own_gzip(own_tar([*items, *ending], end=b"", **more))
    Path(f"in/layers/{name}.layer").write_bytes(content)


def check() -> None:
    checked_layers.check(checked_layers.Arguments(SCOPES))
    os.makedirs("in/checked", exist_ok=True)
    for scope in SCOPES:
        left = checked_of(scope.name)
        os.replace(left.path, f"in/checked/{left}")


def assemble(*layers: str, static_dir: str = "dist") -> None:
    launcher = Launcher(server_env="prod", env_file="", run_script="serve")
    make_release.make(Arguments("x", layers or NAMES, launcher, static_dir, MANIFEST))


def make() -> Dict[str, Any]:
    check()
    assemble()
    manifest: Dict[str, Any] = json.loads(Path("out/x.release.json").read_text())
    return manifest


def test_sound_layers_become_a_release(step: Path) -> None:
    manifest = make()
    tarball = Path("out/x.tar.gz").read_bytes()
    parts = [Path(f"in/layers/{name}.layer").read_bytes() for name in NAMES]
    assert tarball.startswith(b"".join(parts))
    assert manifest["tarball"]["sha256"] == hashlib.sha256(tarball).hexdigest()
    assert manifest["layers"] == [
        {"name": name, "sha256": hashlib.sha256(part).hexdigest(), "size": len(part)}
        for name, part in zip(NAMES, parts)
    ]
    names = [info.name for info, _ in read_entries("out/x.tar.gz")]
    assert names[-1] == "release.json"
    assert {NODE, f"{SQL}/build/sql.node", "dist/js/app.js", "bin/app"} <= set(names)


OWN = [folder("node_modules"), folder(SQL)]
APP = [file("package.json", b"{}")]
Forged = Callable[[], object]
# What a layer has, and what is said of it.
REFUSED: Dict[str, Tuple[Forged, str]] = {
    "an absolute name": (lambda: forge("app", [file("/etc/x")]), '"/etc/x": an absolute name'),
    "a name above": (
        lambda: forge("addon-sql", [*OWN, file("../../x")]),
        '"../../x": its name leaves the archive',
    ),
    "a set-uid file": (
        lambda: forge("addon-sql", [*OWN, file(f"{SQL}/x", mode=0o6755)]),
        f'"{SQL}/x": a set-uid, set-gid or sticky bit, mode 6755',
    ),
    "a file for all": (
        lambda: forge("app", [file("x", mode=0o777)]),
        '"x": mode 777',
    ),
    "a device": (
        lambda: forge("addon-sql", [*OWN, special(f"{SQL}/null", CHARACTERS)]),
        f'"{SQL}/null": a device, pipe or socket',
    ),
    "a pipe": (lambda: forge("app", [special("x", FIFO)]), '"x": a device, pipe or socket'),
    "a hard link": (
        lambda: forge("app", [*APP, hard_link("x", "package.json")]),
        '"x": a hard link to "package.json"',
    ),
    "a name twice": (
        lambda: forge("app", [*APP, *APP]),
        '"package.json": an earlier entry has the same name',
    ),
    "a file below a link": (
        lambda: forge("app", [link("x", "."), file("x/y")]),
        '"x/y": it is below "x", a symbolic link',
    ),
    "another time": (
        lambda: forge("app", APP, mtime=1),
        '"package.json": its time differs from the fixed time of a release',
    ),
    # What belongs to another layer.
    "node in the application": (
        lambda: forge("app", [folder("node_runtime"), folder("node_runtime/bin"), file(NODE)]),
        '"node_runtime"',
    ),
    "a file beside node": (
        lambda: forge("runtime", [file("service.js")]),
        '"service.js"',
    ),
    "a server file in the dependencies": (
        lambda: forge("dependencies", [folder("service"), file("service/smoke.js")]),
        '"service/smoke.js"',
    ),
    "a file in place of node_modules": (
        lambda: forge("dependencies", [link("node_modules", "x")]),
        '"node_modules"',
    ),
    "a server file of a package": (
        lambda: forge("addon-sql", [folder("service"), file("service/smoke.js")]),
        '"service"',
    ),
    "another package of a package": (
        lambda: forge("addon-sql", [folder("node_modules"), folder("node_modules/sql2")]),
        '"node_modules/sql2"',
    ),
    "a package of the application": (
        lambda: forge(
            "app", [folder("node_modules"), folder("node_modules/a"), file("node_modules/a/x")]
        ),
        '"node_modules/a/x"',
    ),
    "a launcher of the application": (
        lambda: forge("app", [folder("bin"), file("bin/app", mode=0o755)]),
        '"bin/app"',
    ),
    "a manifest of the application": (
        lambda: forge("app", [file("release.json")]),
        '"release.json"',
    ),
    "a server file beside the static ones": (
        lambda: forge("static", [folder("service"), file("service/x.js")]),
        '"service"',
    ),
    "another layer's list": (
        lambda: forge("app", [folder(".release"), file(".release/runtime.sha256")]),
        '".release/runtime.sha256"',
    ),
    "a list for the launcher": (
        lambda: forge("addon-sql", [folder(".release"), file(".release/launcher.sha256")]),
        '".release/launcher.sha256"',
    ),
    "an empty folder of a package": (
        lambda: forge("addon-sql", [*OWN, folder(f"{SQL}/empty")]),
        "an empty folder",
    ),
    # What its list says.
    "a file with another hash": (
        lambda: forge("app", APP, {"package.json": b"another"}),
        '".release/app.sha256": it does not match the files of the layer',
    ),
    "a file that is not listed": (
        lambda: _without_list(
            "app", [*APP, file("x"), folder(".release")], {"package.json": b"{}"}
        ),
        "it does not match the files of the layer",
    ),
    "a file too many in the list": (
        lambda: forge("app", APP, {"more": b""}),
        "it does not match the files of the layer",
    ),
    "no list": (
        lambda: Path("in/layers/app.layer").write_bytes(own_gzip(own_tar(APP, end=b""))) and None,
        '".release/app.sha256": the list of files is missing',
    ),
    "a file after the list": (
        lambda: _after_list("app"),
        '"z": it comes after the list of files',
    ),
    "an end in the middle of the release": (
        lambda: Path("in/layers/app.layer").write_bytes(own_gzip(own_tar(APP))),
        "an empty block",
    ),
    "bytes after the layer": (
        lambda: _append("app", b"\0" * 8),
        "data that is not a gzip member of Slipway",
    ),
    # What the ABI gate has seen.
    "emptied facts": (
        lambda: elf_facts.write("in/layers/addon-sql.elf.json", []),
        f'"{SQL}/build/sql.node": a binary that the ABI audit has not seen',
    ),
    "emptied facts of node": (
        lambda: elf_facts.write("in/layers/runtime.elf.json", []),
        f'"{NODE}": a binary that the ABI audit has not seen',
    ),
    "emptied facts of the application": (
        lambda: elf_facts.write("in/layers/app.elf.json", []),
        '"addons/greet/greet.node": a binary that the ABI audit has not seen',
    ),
    "facts about another binary": (
        lambda: _replace_facts(ElfFacts(f"{SQL}/build/sql.node", sha256="0" * 64)),
        "the ABI audit has seen another binary here",
    ),
    "facts about a binary that is not there": (
        lambda: _add_facts(ElfFacts("lib/libc.so.6", sha256="0" * 64)),
        '"lib/libc.so.6": the ABI audit has seen it, but it is missing',
    ),
    "facts without a hash": (
        lambda: _replace_facts(ElfFacts(f"{SQL}/build/sql.node", system="macOS")),
        "a binary that the ABI audit has not seen",
    ),
    "facts that are none": (
        lambda: Path("in/layers/app.elf.json").write_text('[{"path": "x", "more": 1}]'),
        "more",
    ),
}


def _without_list(name: str, items: Sequence[Item], listed: Dict[str, bytes]) -> None:
    listing = layers.file_list({n: hashlib.sha256(c).hexdigest() for n, c in listed.items()})
    content = own_tar([*items, file(f".release/{name}.sha256", listing)], end=b"")
    Path(f"in/layers/{name}.layer").write_bytes(own_gzip(content))


def _after_list(name: str) -> None:
    listing = layers.file_list({"a": hashlib.sha256(b"x").hexdigest()})
    items = [file("a"), folder(".release"), file(f".release/{name}.sha256", listing), file("z")]
    Path(f"in/layers/{name}.layer").write_bytes(own_gzip(own_tar(items, end=b"")))


def _append(name: str, more: bytes) -> None:
    with open(f"in/layers/{name}.layer", "ab") as layer:
        layer.write(more)


def _replace_facts(facts: ElfFacts) -> None:
    elf_facts.write("in/layers/addon-sql.elf.json", [facts])


def _add_facts(facts: ElfFacts) -> None:
    path = "in/layers/addon-sql.elf.json"
    elf_facts.write(path, [*elf_facts.read(path), facts])


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_belong_into_a_layer_is_refused(step: Path, case: str) -> None:
    change, fault = REFUSED[case]
    change()
    with pytest.raises(SlipwayError) as raised:
        make()
    assert fault in raised.value.found
    assert "layer" in raised.value.what
    assert raised.value.next
    assert not Path("out/x.tar.gz").exists()


Written = Tuple[str, Entry]
TOGETHER: Dict[str, Tuple[Written, str, str]] = {
    "a file of two layers": (
        ("app", Entry(f"{SQL}/node_modules/nested/index.js", "file", content=b"x")),
        'the layer "app" of a release has an entry that does not belong in it',
        f'"{SQL}/node_modules/nested/index.js"',
    ),
    "a file of the dependencies in a package": (
        ("addon-sql", Entry(f"{SQL}/node_modules/nested/index.js", "file", content=b"x")),
        f'"{SQL}/node_modules/nested/index.js" is in the layers "dependencies" and "addon-sql"',
        "a file in the first, a file in the second",
    ),
    "a link in place of another layer's folder": (
        ("app", Entry("node_modules/.bin", "link", target="../x")),
        '"node_modules/.bin" is in the layers "dependencies" and "app"',
        "a folder in the first, a symbolic link in the second",
    ),
    "a link in place of the launcher's folder": (
        ("app", Entry("bin", "link", target="x")),
        '"bin" is in the layers "app" and "launcher"',
        "a symbolic link in the first, a folder in the second",
    ),
    "an absolute link": (
        ("addon-sql", Entry(f"{SQL}/passwd", "link", target="/etc/passwd")),
        'the layer "addon-sql" has a symlink that leads out of the release',
        f'"{SQL}/passwd" -> "/etc/passwd"',
    ),
    "a link above the release": (
        ("app", Entry("logs", "link", target="../logs")),
        'the layer "app" has a symlink that leads out of the release',
        '"logs" -> "../logs"',
    ),
    "a link out by way of another layer's link": (
        # node_modules/greet is a link to addons/greet, and two folders above that is the top.
        ("app", Entry("x", "link", target="node_modules/greet/../../../etc")),
        'the layer "app" has a symlink that leads out of the release',
        '"x" -> "node_modules/greet/../../../etc"',
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_layers_fit_together(step: Path, case: str) -> None:
    (name, entry), what, found = TOGETHER[case]
    others = [one for one in sound()[name] if not one.name.startswith(entry.name)]
    if entry.name == "bin":
        others = [one for one in others if not one.name.startswith("bin/")]
    write(name, [*others, entry])
    with pytest.raises(SlipwayError) as raised:
        make()
    assert what in raised.value.what
    assert found in raised.value.found
    assert not Path("out/x.tar.gz").exists()


def test_a_link_that_stays_inside_by_way_of_another_is_kept(step: Path) -> None:
    write("app", [*sound()["app"], Entry("x", "link", target="node_modules/greet/../../bin/www")])
    make()
    assert Path("out/x.tar.gz").exists()


def test_links_in_a_ring_lead_nowhere(step: Path) -> None:
    ring = [Entry("x", "link", target="y"), Entry("y", "link", target="x/../z")]
    write("app", [*sound()["app"], *ring])
    make()
    assert Path("out/x.tar.gz").exists()


def test_a_layer_that_was_changed_after_its_check_is_not_taken(step: Path) -> None:
    check()
    forge("addon-sql", [*OWN, file(f"{SQL}/x", b"after the check")])
    with pytest.raises(SlipwayError, match="changed after it was checked"):
        assemble()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sha256": "", "size": 1, "kinds": [], "links": {}}']
)
def test_a_damaged_result_of_a_check_is_an_error(step: Path, text: str) -> None:
    path = step / "in" / "checked" / "runtime.checked.json"
    path.write_text(text)
    with pytest.raises(SlipwayError, match="is not a valid result of the check of a layer"):
        assemble("runtime", static_dir="")


def test_static_files_need_a_folder(step: Path) -> None:
    write("static", [Entry("x", "file", content=b"1")])
    with pytest.raises(SlipwayError, match="has an entry that does not belong in it"):
        assemble("static", static_dir="")
