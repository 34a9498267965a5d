"""What a start script needs, and which of it a release lacks."""

from __future__ import annotations

from typing import Any, Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.release.start_command import Content, files_to_start, missing


def content(scripts: Dict[str, str], **more: Any) -> Content:
    own = {
        "files": ["package.json", "server.js", "service/app.js", "bin/run.sh", "lib/index.js"],
        "packages": ["node_modules/express", "node_modules/dotenv"],
        "bins": ["cross-env", "pm2-runtime", "dotenv", "run-s", "concurrently", "env-cmd", "tsx"],
        "left_out": ["nest", "tsc", "nodemon"],
        **more,
    }
    values: Dict[str, Any] = {
        name: value if isinstance(value, str) else frozenset(value) for name, value in own.items()
    }
    return Content(scripts, **values)


def certain(line: str, more: Dict[str, str] | None = None, **has: Any) -> List[str]:
    found = missing("start", content({"start": line, **(more or {})}, **has))
    return [f"{one.kind} {one.name}" for one in found if one.is_certain]


def undecided(line: str, more: Dict[str, str] | None = None, **has: Any) -> List[str]:
    found = missing("start", content({"start": line, **(more or {})}, **has))
    return [f"{one.kind} {one.name}" for one in found if not one.is_certain]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("node server.js", id="a file"),
        pytest.param("node server", id="a file without its ending"),
        pytest.param("node ./service/app.js --port 80", id="a file with arguments"),
        pytest.param("node lib", id="a folder with an index.js"),
        pytest.param("exec node --max-old-space-size=512 server.js", id="exec and options"),
        pytest.param("NODE_ENV=production PORT=80 node server.js", id="an environment prefix"),
        pytest.param("cross-env NODE_ENV=production node server.js", id="cross-env"),
        pytest.param("node -r dotenv/config server.js", id="a module to load first"),
        pytest.param("NODE_OPTIONS='-r dotenv/config' node server.js", id="NODE_OPTIONS"),
        pytest.param("node --title app --env-file .env server.js", id="options with values"),
        pytest.param("node node_modules/express/bin/x.js", id="a file of a package"),
        pytest.param("node_modules/.bin/cross-env A=1 node server.js", id="a path to a command"),
        pytest.param("dotenv -e .env -- node server.js", id="options before --"),
        pytest.param("env -u DEBUG A=1 node server.js", id="env with options"),
        pytest.param("cd service && node app.js", id="another folder"),
        pytest.param("(cd service; ls) && node server.js", id="a subshell"),
        pytest.param("mkdir -p logs && node server.js > logs/out 2>&1", id="a chain, redirected"),
        pytest.param("npx cross-env A=1 node server.js", id="npx"),
        pytest.param("npm run -s serve", id="another script"),
        pytest.param("run-s serve", id="another script by run-s"),
        pytest.param("concurrently 'node server.js' npm:serve", id="several at once"),
        pytest.param("sh bin/run.sh", id="a shell script"),
        pytest.param("./bin/run.sh", id="an executable file"),
        pytest.param("sh -c 'node server.js'", id="a line for sh"),
        pytest.param("tsx watch server.js", id="a program that starts a file"),
        pytest.param("pm2-runtime start server.js -i max", id="a process manager"),
        pytest.param("node -e 'require(\"./server\")'", id="a text for node"),
        pytest.param("node $APP_MAIN", id="a variable"),
        pytest.param("node `cat main`", id="a command in a command"),
        pytest.param("if [ -f x.js ]; then node x.js; fi", id="more of sh"),
        pytest.param("node /opt/agent/main.js", id="a file of the host"),
    ],
)
def test_nothing_is_missing(line: str) -> None:
    assert missing("start", content({"start": line, "serve": "node server.js"})) == ()


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        pytest.param("node dist/main.js", "file dist/main.js", id="a file"),
        pytest.param("node dist/main", "file dist/main", id="a file without its ending"),
        pytest.param("node ./dist/../out/main.js", "file out/main.js", id="a path with .."),
        pytest.param("node dist", "file dist", id="a folder"),
        pytest.param("node .", "file .", id="the main file of package.json"),
        pytest.param("exec node dist/main.js", "file dist/main.js", id="exec"),
        pytest.param("A=1 B='2 3' node dist/main.js", "file dist/main.js", id="a prefix"),
        pytest.param("cross-env A=1 node dist/main.js", "file dist/main.js", id="cross-env"),
        pytest.param("env-cmd -f .env node dist/main.js", "file dist/main.js", id="env-cmd"),
        pytest.param("nest start", "program nest", id="a command of a devDependency"),
        pytest.param("npx nest start", "program nest", id="a devDependency by npx"),
        pytest.param("./node_modules/.bin/nest start", "program nest", id="a path to a command"),
        pytest.param("tsc && node server.js", "program tsc", id="a build at the start"),
        pytest.param("npm run serve:prod", "script serve:prod", id="a script"),
        pytest.param("run-p web worker", "script worker", id="a script of run-p"),
        pytest.param("npm run web", "file web.js", id="what a script starts"),
        pytest.param("node -r ts-node/register server.js", "package ts-node", id="a module"),
        pytest.param("node --import=@x/y/z server.js", "package @x/y", id="a scoped module"),
        pytest.param("node --require ./hook server.js", "file hook", id="a file to load first"),
        pytest.param("cd dist && node main.js", "file dist/main.js", id="another folder"),
        pytest.param("sh scripts/run.sh", "file scripts/run.sh", id="a shell script"),
        pytest.param("bash -ec 'node web.js'", "file web.js", id="a line for bash"),
        pytest.param("timeout -k 5 60 node web.js", "file web.js", id="timeout"),
        pytest.param("concurrently 'node web.js'", "file web.js", id="concurrently"),
        pytest.param("node 数据/主.js", "file 数据/主.js", id="a name in another script"),
    ],
)
def test_what_is_certainly_missing(line: str, lacks: str) -> None:
    assert certain(line, {"web": "node web.js"}) == (
        [lacks] if not line.startswith("run-p") else ["file web.js", lacks]
    )


@pytest.mark.parametrize(
    ("line", "lacks"),
    [
        pytest.param("java -jar app.jar", "program java", id="a program of the host"),
        pytest.param("node prepare.js; node web.js", "file web.js", id="a file made before"),
        pytest.param("node web.js || node server.js", "file web.js", id="a way out"),
        pytest.param("[ -d x ] && node web.js", "file web.js", id="a condition"),
        pytest.param("pm2-runtime web.js", "file web.js", id="another program's file"),
    ],
)
def test_what_cannot_be_decided(line: str, lacks: str) -> None:
    files = ["package.json", "server.js", "prepare.js"]
    assert certain(line, files=files) == []
    assert undecided(line, files=files) == [lacks]


def test_npm_starts_server_js_without_a_script() -> None:
    assert missing("start", content({})) == ()
    assert missing("start", content({}, files=["package.json"])) != ()


def test_the_main_file_of_package_json() -> None:
    assert certain("node .", main="./lib/index") == []
    assert certain("node .", main="dist/index.js") == ["file ."]


def test_a_prescript_runs_too() -> None:
    assert certain("node server.js", {"prestart": "nest build"}) == ["program nest"]
    assert certain("node server.js", {"poststart": "nest build"}) == []


def test_scripts_that_run_each_other_end() -> None:
    assert missing("start", content({"start": "npm run other", "other": "npm start"})) == ()


def test_files_below_a_symlink_are_not_decided() -> None:
    assert certain("node current/main.js", files=["current"], links=["current"]) == []


def test_a_finding_says_which_line_of_which_script() -> None:
    (one,) = missing("start", content({"start": "npm run web", "web": "node web.js"}))
    assert str(one) == '"web": node web.js: the release contains no file web.js'
    (one,) = missing("serve", content({}))
    assert str(one) == 'package.json has no script "serve"'
    (one,) = missing("start", content({"start": "npm run web"}))
    assert str(one) == 'package.json has no script "web", which "start" runs'


def test_the_files_that_a_script_starts() -> None:
    scripts = {"start": "node -r dotenv/config dist/main", "prestart": "node tools/check.js"}
    assert files_to_start("start", scripts) == ("tools/check.js", "dist/main")


@given(st.text(alphabet="ab ./-=$&|;()<>'\"\\\n#node:@", max_size=40))
def test_any_line_is_read(line: str) -> None:
    missing("start", content({"start": line, "a": line, "b": f"npm run a && {line}"}))


QJS: Dict[str, Any] = {"programs": ["qjs"], "interpreter": "qjs"}


def test_another_runtime_runs_files_of_the_release() -> None:
    assert undecided("qjs --module server.js", **QJS) == []
    assert undecided("qjs --module missing.js", **QJS) == ["file missing.js"]
    assert certain("qjs --module missing.js", **QJS) == []


def test_a_release_of_another_runtime_has_neither_node_nor_npm() -> None:
    assert undecided("node server.js", **QJS) == ["program node"]
    assert undecided("npm run serve", {"serve": "qjs server.js"}, **QJS) == ["program npm"]


def test_without_npm_there_is_no_default_for_start() -> None:
    found = missing("start", content({}, **QJS))
    assert [str(one) for one in found] == ['package.json has no script "start"']
