"""The files that the output of a failed script is about."""

from __future__ import annotations

import pytest

from slipway.bundle.left_out_sources import mentioned, patterns


@pytest.mark.parametrize(
    ("output", "path"),
    [
        pytest.param(
            "Error: Cannot find module '../lib/util'\nRequire stack:\n- /build/app/build/build.js",
            "lib/util.js",
            id="node",
        ),
        pytest.param(
            "error TS5083: Cannot read file '/build/app/tsconfig.base.json'.",
            "tsconfig.base.json",
            id="typescript",
        ),
        pytest.param(
            "Module not found: Error: Can't resolve './theme' in '/build/app/client'",
            "client/theme.tsx",
            id="webpack",
        ),
        pytest.param(
            'Could not resolve "./pages/home.vue" from "app/main.ts"', "pages/home.vue", id="rollup"
        ),
        pytest.param(
            '✘ [ERROR] Could not resolve "server/main.ts"', "server/main.ts", id="esbuild"
        ),
        pytest.param(
            "ENOENT: no such file or directory, open '/build/app/views/a.html'",
            "views/a.html",
            id="a file",
        ),
        pytest.param("/build/app/a/b.js:12:3: x", "a/b.js", id="the position of an error"),
    ],
)
def test_the_path_is_among_those_that_the_output_mentions(output: str, path: str) -> None:
    assert path in mentioned(output)


def test_nothing_outside_of_the_application() -> None:
    text = "open '/etc/passwd' '../../etc/x.js' /build/app/../x.js /build/app/node_modules/a/b.js"
    assert not [
        one for one in mentioned(text) if one.startswith(("/", "..")) or "node_modules" in one
    ]


def test_a_long_output_has_an_end() -> None:
    text = " ".join(f"./{number}/a.js /build/app/{number}/b.js" for number in range(2000))
    assert len(mentioned(text)) < 100_000


def test_a_member_of_workspaces() -> None:
    said = "error TS5083: Cannot read file '/build/app/tsconfig.base.json'. Not found: ./src/a.ts"
    found = mentioned(said, "apps/web")
    assert {"tsconfig.base.json", "apps/web/src/a.ts"} <= found
    files = ["src/a.ts", "//tsconfig.base.json", "index.js"]
    assert patterns(files) == ["//tsconfig.base.json", "index.js", "src/**"]


def test_patterns_name_top_folders() -> None:
    assert patterns(["lib/a.js", "lib/b/c.js", "x.json"]) == ["lib/**", "x.json"]
