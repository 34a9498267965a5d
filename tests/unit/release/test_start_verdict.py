"""Which crash is the fault of a release, by the output of real programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from slipway.release.programs.watch_start import Watched
from slipway.release.start_verdict import LISTEN, RUN, Verdict, judge, lacks_something

ENDED = Watched(0, (), 1)
MODULE = """\
node:internal/modules/cjs/loader:1080
  throw err;
  ^

Error: Cannot find module './config/keys'
Require stack:
- /build/release/dist/main.js
    at Module._resolveFilename (node:internal/modules/cjs/loader:1077:15) {
  code: 'MODULE_NOT_FOUND',
  requireStack: [ '/build/release/dist/main.js' ]
}

Node.js v16.20.2"""


@pytest.mark.parametrize(
    "output",
    [
        pytest.param(MODULE, id="a module"),
        pytest.param(
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'koa' imported from /build/release/x",
            id="a package of an ES module",
        ),
        pytest.param(
            "/build/release/a.js:1\nlet = ;\n    ^\n\nSyntaxError: Unexpected token", id="syntax"
        ),
        pytest.param("Error [ERR_REQUIRE_ESM]: require() of ES Module x", id="an ES module"),
        pytest.param("Error: /build/release/x.node: invalid ELF header", id="another machine"),
        pytest.param("Error: /lib/libc.so.6: version `GLIBC_2.33' not found", id="a newer glibc"),
        pytest.param("sh: 1: nest: not found", id="a program"),
        pytest.param("bash: line 1: nest: command not found", id="a program by bash"),
        pytest.param("/usr/bin/node: bad option: --env-file", id="an option of a newer Node"),
        pytest.param(
            "Error: ENOENT: no such file or directory, open '/build/release/views/a.html'",
            id="a file of the release",
        ),
        pytest.param("Error: ENOENT: no such file, open 'views/a.html'", id="a relative file"),
        pytest.param(f"connect ECONNREFUSED 127.0.0.1:6379\n{MODULE}", id="the last error counts"),
    ],
)
def test_a_release_that_lacks_something(output: str) -> None:
    assert lacks_something(output.splitlines())
    assert judge(ENDED, output.splitlines(), LISTEN) == Verdict(True, "it ended with exit status 1")


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("Error: connect ECONNREFUSED 127.0.0.1:5432", id="a database"),
        pytest.param("Error: getaddrinfo ENOTFOUND db.example", id="a name"),
        pytest.param("Error: DATABASE_URL is not set", id="a setting"),
        pytest.param(
            "Error: ENOENT: no such file, open '/etc/app/config.json'", id="a host's file"
        ),
        pytest.param("Error: ENOENT: no such file or directory, open '.env'", id="an env file"),
        pytest.param("Error: Cannot find module '/etc/app/config'", id="a host's module"),
        pytest.param("SyntaxError: Unexpected end of JSON input", id="JSON of a setting"),
        pytest.param('SyntaxError: "undefined" is not valid JSON', id="JSON of nothing"),
        pytest.param(f"{MODULE}\nconnect ECONNREFUSED ::1:6379", id="the last error counts"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_release_that_may_run_on_a_host(output: str) -> None:
    assert not lacks_something(output.splitlines())
    assert judge(ENDED, output.splitlines(), LISTEN) == Verdict(
        False, "it ended with exit status 1"
    )


def test_a_fault_in_machine_code_is_the_release_s() -> None:
    assert judge(Watched(0, (), -11), [], LISTEN) == Verdict(True, "it ended with signal 11")
    assert judge(Watched(0, (), 139), [], LISTEN) == Verdict(True, "it ended with exit status 139")
    assert judge(Watched(0, (), -9), [], LISTEN) == Verdict(False, "it ended with signal 9")


def test_a_release_that_runs() -> None:
    assert judge(Watched(1, (80,)), [], LISTEN) is None
    assert judge(Watched(1, (80,), 0), [], LISTEN) is None
    assert judge(Watched(1, ()), [], RUN) is None
    silent = Verdict(False, "it runs, but no process listens on a port")
    assert judge(Watched(1, ()), [], LISTEN) == silent
    assert judge(Watched(1, ()), MODULE.splitlines(), LISTEN) == Verdict(True, silent.what)


def test_a_start_that_leaves_nothing() -> None:
    gone = "it ended at once, and left no process"
    assert judge(Watched(0, (), 0), [], LISTEN) == Verdict(False, gone)
    assert judge(Watched(0, (), 0), [], RUN) == Verdict(False, gone)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
@pytest.mark.parametrize(
    ("program", "is_fault"),
    [
        ("require('./gone')", True),
        ("require('gone')", True),
        ("require('fs').readFileSync('gone.html')", True),
        ("const = 1", True),
        ("require('net').connect(1, '127.0.0.1')", False),
        ("JSON.parse(process.env.NOT_SET)", False),
        ("require('fs').readFileSync('/etc/gone/gone')", False),
        ("throw new Error('no SECRET in the environment')", False),
    ],
)
def test_the_words_of_a_real_node(program: str, is_fault: bool, tmp_path: Path) -> None:
    (tmp_path / "app.js").write_text(program)
    ran = subprocess.run(
        ["node", "app.js"], check=False, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    last: List[str] = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert lacks_something(last) is is_fault
