"""Fields: every example of a help text is right, and every wrong value is told by Pants' rules."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Tuple, Type

import pytest
from pants.core.goals.package import OutputPathField
from pants.engine.target import COMMON_TARGET_FIELDS, Field, Target
from pants.option.option_types import _OptionBase

from slipway import register
from slipway.subsystem import Slipway
from tests.rules.workspace import Workspace

_BACKEND: Any = register
TYPES: List[Type[Target]] = _BACKEND.target_types()
NEEDED = {"node_runtime": 'version="16.20.2"', "release_tarball": 'bundle="//app:bundle"'}
OF_PANTS = {*COMMON_TARGET_FIELDS, OutputPathField}
OURS = [(kind, one) for kind in TYPES for one in kind.core_fields if one not in OF_PANTS]


def examples(text: str) -> List[str]:
    """The texts in backquotes after `Example:`, without commands."""
    words = " ".join(text.split())
    _, found, rest = words.partition("Example: ")
    assert found, f"no example in: {words}"
    return [one for one in re.findall(r"`([^`]+)`", rest) if not one.startswith("./pants ")]


@pytest.mark.parametrize(
    ("kind", "field"), OURS, ids=[f"{kind.alias}.{one.alias}" for kind, one in OURS]
)
def test_the_example_of_a_field_s_help_is_a_sound_target(
    workspace: Workspace, kind: Type[Target], field: Type[Field]
) -> None:
    assert isinstance(field.help, str)
    found = examples(field.help)
    assert found
    for number, example in enumerate(found):
        assert example.startswith(f"{field.alias}=")
        needed = NEEDED.get(kind.alias, "")
        values = f"dict(dict({needed}), **dict({example}))" if needed else f"dict({example})"
        folder = f"example{number}"
        workspace.write({f"{folder}/BUILD": f'{kind.alias}(name="t", **{values})\n'})
        targets = [
            target
            for target in workspace.targets()
            if target.address.spec_path == folder and target.alias == kind.alias
        ]
        assert targets
        assert all(target[field].value is not None for target in targets)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.alias)
def test_each_target_type_says_what_it_is_for(kind: Type[Target]) -> None:
    assert isinstance(kind.help, str)
    assert len(kind.help.split()) > 10


OPTIONS = {
    name: option for name, option in vars(Slipway).items() if isinstance(option, _OptionBase)
}


@pytest.mark.parametrize("name", OPTIONS)
def test_the_example_of_an_option_s_help_is_a_sound_option(
    make_workspace: Callable[..., Workspace], name: str
) -> None:
    text = OPTIONS[name]._help
    assert isinstance(text, str)
    (example,) = examples(text)
    flag = f"--slipway-{name.replace('_', '-')}="
    assert example.startswith(flag)
    # A shell takes the quotes away.
    workspace = make_workspace(flag + example[len(flag) :].strip('"'))
    assert getattr(workspace.request(Slipway), name)


APP = 'node_app_bundle(name="t", {})'
RELEASE = 'release_tarball(name="t", {})'
WRONG: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "a list where an address belongs": (
        APP.format('runtime=["//toolchains/node"]'),
        ("'runtime' field", "a/b:t", "the address of one target, a string"),
    ),
    "a number as address": (APP.format("runtime=16"), ("'runtime' field", "a/b:t", "`16`")),
    "a list of bundles": (
        RELEASE.format('bundle=[":bundle"]'),
        ("'bundle' field", "a/b:t", "the address of one target, a string"),
    ),
    "no bundle": (RELEASE.format(""), ("'bundle' field", "a/b:t", "must be defined")),
    "no version": ('node_runtime(name="t")', ("'version' field", "a/b:t", "must be defined")),
    "a lock elsewhere": (
        APP.format('lockfile="../package-lock.json"'),
        ("'lockfile' field", "a/b:t", "must stay below its folder", "../package-lock.json"),
    ),
    "an absolute lock": (
        APP.format('lockfile="/package-lock.json"'),
        ("'lockfile' field", "a/b:t", "must stay below its folder", "/package-lock.json"),
    ),
    "an absolute manifest": (
        APP.format('package_json="//app/package.json"'),
        ("'package_json' field", "a/b:t", "must stay below its folder", "//app/package.json"),
    ),
    "an absolute definition": (
        'node_runtime(name="t", version="16.20.2", definition="//toolchains/node/16.20.2.toml")',
        ("'definition' field", "a/b:t", "//toolchains/node", "Write it relative to a/b"),
    ),
    "sources elsewhere": (
        APP.format('build_sources=["src/**", "../shared/**"]'),
        ("'build_sources' field", "a/b:t", "must stay below its folder", "'../shared/**'"),
    ),
    "excluded sources elsewhere": (
        APP.format('runtime_sources=["service/**", "!/etc/**"]'),
        ("'runtime_sources' field", "a/b:t", "must stay below its folder", "'!/etc/**'"),
    ),
    "an unknown choice": (
        RELEASE.format('bundle=":b", static="seperate"'),
        ("'static' field", "a/b:t", "'include', 'none', 'separate'", "'seperate'"),
    ),
    "a number as base address": (
        APP.format("static_base_url=5"),
        ("'static_base_url' field", "a/b:t", "a dictionary of URLs by server_env", "`5`"),
    ),
    "a list of base addresses": (
        APP.format('static_base_url={"sit": ["https://a.example/"]}'),
        ("'static_base_url' field", "a/b:t", "a dictionary of URLs by server_env"),
    ),
    "a string of globs": (
        APP.format('runtime_sources="service/**"'),
        ("'runtime_sources' field", "a/b:t", "iterable of strings"),
    ),
    "a misspelt field": (APP.format('server_source=["a"]'), ("server_source", "a/b:t")),
    "a misspelt target type": ('node_app_bundel(name="t")', ("node_app_bundel", "node_app_bundle")),
}


@pytest.mark.parametrize(("text", "parts"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_told_with_field_target_and_value(
    workspace: Workspace, text: str, parts: Tuple[str, ...]
) -> None:
    workspace.write({"a/b/BUILD": text})
    with pytest.raises(Exception) as caught:  # noqa: PT011  (the text is what is looked at)
        workspace.target("a/b:t")
    for part in parts:
        assert part in str(caught.value)


def test_a_default_for_all_reaches_the_targets_below(workspace: Workspace) -> None:
    workspace.write(
        {
            "BUILD": '__defaults__({node_app_bundle: {"runtime": "//toolchains/node"}})\n',
            "app/BUILD": 'node_app_bundle(name="t")\n',
        }
    )
    from slipway.bundle.targets import RuntimeField  # noqa: PLC0415

    assert workspace.target("app:t")[RuntimeField].value == ("//toolchains/node",)
