"""Our small readers against npm's own: ranges of versions, .npmrc lines, specifiers, names.

Each case list is made from a recorded seed, and read by the JavaScript modules inside npm 8.19.4.
Takes a few seconds once Node and npm are in the cache.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
from pathlib import Path
from typing import Any, List

import pytest

from slipway.core import semver
from slipway.npm.lockfiles import spec
from slipway.npm_registry import npmrc
from tests.npm import npm_tools
from tests.npm.npm_tools import NPM_8

pytestmark = pytest.mark.skipif(not npm_tools.available(), reason="no npm on this machine")

SEED = 20240229


def _ask_npm(script: str, cases: List[Any], scratch: Path) -> List[Any]:
    """Runs a JavaScript function body, with `one` and `from(module)`, over all cases."""
    node, npm = npm_tools.unpacked(NPM_8)
    program = scratch / "ask.js"
    program.write_text(
        f"const from = name => require({json.dumps(str(npm))} + '/node_modules/' + name);\n"
        f"const answer = one => {{ {script} }};\n"
        "const cases = JSON.parse(require('fs').readFileSync(0, 'utf8'));\n"
        "console.log(JSON.stringify(cases.map(one => answer(one))));\n"
    )
    done = subprocess.run(
        [str(node / "bin" / "node"), str(program)],
        input=json.dumps(cases),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers: List[Any] = json.loads(done.stdout)
    return answers


def test_ranges(tmp_path: Path) -> None:
    chance = random.Random(SEED)

    def version() -> str:
        numbers = ".".join(str(chance.choice([0, 0, 1, 2, 10])) for _ in range(3))
        return numbers + chance.choice(["", "", "", "-alpha", "-beta.1", "-beta.11", "-0", "+b.1"])

    def partial() -> str:
        parts = [str(chance.choice([0, 1, 2, 10, "x", "*", "X"])) for _ in range(3)]
        text = ".".join(parts[: chance.randint(1, 3)])
        return text if chance.random() < 0.5 else version()

    def comparator() -> str:
        operator = chance.choice(["", "^", "~", ">", ">=", "<", "<=", "=", "~>", "v", ">= ", "^ "])
        return operator + partial()

    def one_range() -> str:
        if chance.random() < 0.15:
            return f"{partial()} - {partial()}"
        return " ".join(comparator() for _ in range(chance.choice([1, 1, 1, 2])))

    cases = []
    for _ in range(20000):
        count = chance.choice([1, 1, 2])
        cases.append(
            [version(), chance.choice([" || ", "||"]).join(one_range() for _ in range(count))]
        )
    answers = _ask_npm(
        "const semver = from('semver'); const [version, range] = one;"
        "return semver.validRange(range, true) === null ? null"
        "  : semver.satisfies(version, range, true)",
        cases,
        tmp_path,
    )
    ours = [semver.satisfies(*case) for case in cases]
    wrong = [
        (case, mine, npms)
        for case, mine, npms in zip(cases, ours, answers)
        if mine is not None and mine != npms
    ]
    assert not wrong, "\n".join(map(repr, wrong[:40]))
    assert sum(one is None for one in ours) < len(cases) / 10


def test_npmrc_lines(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    pieces = [
        *(
            "a",
            "b c",
            "=",
            " = ",
            ";",
            "#",
            "\\",
            "\\;",
            "\\#",
            "\\\\",
            '"',
            "'",
            "${SET}",
            "${NO}",
        ),
        *("\\${SET}", "\\\\${SET}", "${SET}${SET}", "true", "//h.example/:_authToken", "a[]", "é"),
        *("[x]", " ", "\t", '"q"', "'q'", '"a\\"b"', "${", "}", "null", "@s:registry", "https://x"),
    ]
    cases = [
        "\n".join(
            "".join(chance.choice(pieces) for _ in range(chance.randint(1, 6)))
            for _ in range(chance.randint(1, 3))
        )
        for _ in range(20000)
    ]
    answers = _ask_npm(
        "let found; try { found = from('ini').parse(one) } catch (error) { return null }"
        "const out = {};"
        "const fill = from('@npmcli/config/lib/env-replace.js');"
        "for (const [key, value] of Object.entries(found)) {"
        "  const whole = Array.isArray(value) ? value.map(String).join(',') : value;"
        "  if (typeof whole === 'object' && whole !== null) continue;"
        "  out[fill(key, {SET: 'set'})] = fill(String(whole).trim(), {SET: 'set'}) }"
        "return out",
        cases,
        tmp_path,
    )
    wrong = []
    for case, npms in zip(cases, answers):
        if npms is None:
            continue  # npm itself fails on a line without a key.
        ours = {key: one.value for key, one in npmrc.parse(case, "x", {"SET": "set"}).items()}
        # No setting is called nothing, or after a variable that is not set.
        for one in (ours, npms):
            for key in [key for key in one if "${" in key or not key]:
                del one[key]
        if ours != npms:
            wrong.append((case, ours, npms))
    assert not wrong, "\n".join(map(repr, wrong[:40]))


def test_specifiers(tmp_path: Path) -> None:
    starts = [
        *("", "file:", "FILE:", "./", "../", "/", "~/", "npm:", "https://", "http://", "git://"),
        *("git+https://", "git+ssh://git@", "github:", "gitlab:", "bitbucket:", "gist:"),
        *(
            "https://github.com/",
            "https://gitlab.com/",
            "https://www.github.com/",
        ),
        *("git+https://user:secret@", "https://user:secret@"),
    ]
    middles = [
        *(
            "a",
            "@s/p",
            "a/b",
            "a/b/c",
            "a/b/c/d",
            "h.example/a/b",
            "h.example/a",
            "1.0.0",
            "^1",
            "*",
        ),
        *(
            "latest",
            "a@1.0.0",
            "@s/p@^1.0.0",
            "a/b/archive/v1",
            ">=1 <2 || 3.x",
            "a b/c",
            "0123abc",
        ),
    ]
    ends = ["", ".git", ".tgz", ".tar.gz", ".tar", "#main", ".git#v1.0.0", "?x=1", "/"]
    cases = ["".join(one) for one in itertools.product(starts, middles, ends)]
    cases += ["git@github.com:a/b", "git@github.com:a/b.git", "git@github.com:a/b.git#main"]
    answers = _ask_npm(
        "try { return from('npm-package-arg').resolve('name', one, '/app').type }"
        " catch (error) { return null }",
        cases,
        tmp_path,
    )
    same = {
        "version": "registry", "range": "registry", "tag": "registry", "alias": "alias",
        "directory": "folder", "file": "file-tarball", "remote": "remote-tarball", "git": "git",
    }  # fmt: skip
    wrong = [
        (case, spec.parse(case).kind, npms)
        for case, npms in zip(cases, answers)
        if npms is not None and not case.startswith("#") and spec.parse(case).kind != same[npms]
    ]
    assert not wrong, "\n".join(map(repr, wrong[:40]))


def test_names(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    pieces = [*"aZ1-_.~!*'()@/% \n\\é", "node_modules", "favicon.ico", "http", "@s/"]
    cases = [
        "".join(chance.choice(pieces) for _ in range(chance.randint(0, 5))) for _ in range(20000)
    ]
    answers = _ask_npm(
        "return from('validate-npm-package-name')(one).validForOldPackages", cases, tmp_path
    )
    wrong = [
        (case, npms)
        for case, npms in zip(cases, answers)
        # Behind a scope npm allows anything, even "..", which must be no folder here.
        if spec.is_valid_name(case) != npms
        and (not case.startswith("@") or spec.is_valid_name(case))
    ]
    assert not wrong, "\n".join(map(repr, wrong[:40]))
