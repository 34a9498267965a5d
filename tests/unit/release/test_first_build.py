"""A first look at an application's folder, by layouts that are common."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest

from slipway.release.first_build import bundle_fields, release_fields


@pytest.mark.parametrize(
    ("scripts", "files", "folders", "fields"),
    [
        pytest.param(
            ["build"], [], ["build", "service", "src"], {}, id="the layout of the defaults"
        ),
        pytest.param(
            ["start"],
            ["config.json", "package.json", "package-lock.json", "server.js", "tsconfig.json"],
            ["_helpers", "lib", "test"],
            {
                "build_script": "",
                "runtime_sources": ("*.js", "config.json", "_helpers/**", "lib/**"),
            },
            id="a server without a build",
        ),
        pytest.param(
            ["build", "start"],
            ["app.mjs", "rollup.config.js", ".eslintrc.js"],
            [".github", "docs", "plugins", "src"],
            {"runtime_sources": ("*.mjs", "plugins/**")},
            id="src is the client where there is a build",
        ),
        pytest.param(
            ["start"],
            [],
            ["__tests__", "src"],
            {"build_script": "", "runtime_sources": ("src/**",)},
            id="src is the server where there is none",
        ),
        pytest.param(["build"], [], ["src"], {}, id="nothing to guess from"),
    ],
)
def test_only_fields_that_differ_from_the_defaults(
    scripts: List[str], files: List[str], folders: List[str], fields: Dict[str, Any]
) -> None:
    manifest = {"scripts": dict.fromkeys(scripts, "node x")}
    assert bundle_fields(manifest, files, folders) == fields


@pytest.mark.parametrize(
    ("scripts", "fields"),
    [
        (["serve", "start"], {}),
        (["start"], {"run_script": "start"}),
        ([], {}),
    ],
)
def test_what_runs_in_the_foreground(scripts: List[str], fields: Dict[str, Any]) -> None:
    assert release_fields({"scripts": dict.fromkeys(scripts, "node x")}) == fields


def test_scripts_that_are_not_an_object_are_ignored() -> None:
    assert bundle_fields({"scripts": []}, [], ["service"]) == {"build_script": ""}
