"""Every bad input that a user or a registry can bring: told in words, with nothing else changed.

Rows are named; each says what is broken and which parts the message has: what, where, the value
found, and what to do next.
"""

from __future__ import annotations

import json
import os
import tarfile
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from tests.e2e import harness
from tests.e2e.bad_input import TOKEN, Case, Line, assert_told, differences, state_of, try_case
from tests.e2e.harness import Workspace
from tests.e2e.tiny_app import TinyApp, make_package, member
from tests.tiers import long_except
from tests.unit.registry_stub import Registry

SOUND = {"left": make_package("left")}
TARBALL = "/left/-/left-1.0.0.tgz"
REWRITE = "npm install --package-lock-only --ignore-scripts"
Spoil = Callable[[Line, TinyApp], Any]


@pytest.fixture(scope="module")
def line(make_workspace: Callable[..., Workspace]) -> Iterator[Line]:
    workspace = make_workspace("bad", daemon=True)
    app = TinyApp(workspace, "apps/warm")
    app.write()
    # The root and the runtime come from where this machine has them; packages from the stub.
    workspace.pants("package", app.release).ok()
    with Registry({}) as registry:
        host = registry.url.split(":", 1)[1]
        workspace.write_npmrc(f"{host}:_authToken={TOKEN}", registry=registry.url)
        yield Line(workspace, registry)
        workspace.close()


def slug(name: str) -> str:
    return "".join(one if one.isalnum() else "-" for one in name)


# --- Files and fields of the application.


def put(name: str, text: str) -> Spoil:
    return lambda line, app: app.put(name, text)


def gone(name: str) -> Spoil:
    return lambda line, app: (app.path / name).unlink()


def instead(old: str, new: str, text: str = "") -> Spoil:
    """Another package manager's lock in the place of npm's."""

    def spoil(line: Line, app: TinyApp) -> None:
        (app.path / old).unlink()
        app.put(new, text)

    return spoil


def lock(change: Callable[[Dict[str, Any]], Any]) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        changed = app.lock
        change(changed)
        app.put("package-lock.json", json.dumps(changed, indent=2))

    return spoil


def fields(bundle: str = "", release: str = "") -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        app.bundle, app.release_fields = bundle, release
        app.put("BUILD", app.build_file)

    return spoil


def both(one: Spoil, other: Spoil) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        one(line, app)
        other(line, app)

    return spoil


def left_out(path: str, build: str) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        scripts(build=build)(line, app)
        app.put(path, "exports.x = 1\n")

    return spoil


def scripts(**scripts: str) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        app.scripts = scripts
        app.put("package.json", json.dumps(app.manifest, indent=2))

    return spoil


def doubled(line: Line, app: TinyApp) -> None:
    text = json.dumps(app.lock, indent=2)
    head = '"packages": {\n'
    assert head in text
    again = json.dumps(app.lock["packages"][""])
    app.put("package-lock.json", text.replace(head, f'{head}    "": {again},\n'))


def runtime(definition: str, version: str = "16.20.2") -> Spoil:
    """A runtime of the application's own, with this definition."""

    def spoil(line: Line, app: TinyApp) -> None:
        app.put("own.toml", definition)
        app.bundle = 'runtime=":own"'
        own = f'node_runtime(name="own", version="{version}", definition="own.toml")\n'
        app.put("BUILD", app.build_file + own)

    return spoil


def version(wanted: str) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        app.bundle = 'runtime=":own"'
        app.put("BUILD", app.build_file + f'node_runtime(name="own", version="{wanted}")\n')

    return spoil


DEFINITION = (
    harness.REPOSITORY / "build_rules" / "slipway" / "data" / "node" / "16.20.2.toml"
).read_text()
WITHOUT_HASH = "\n".join(text for text in DEFINITION.splitlines() if not text.startswith("sha256"))


def odd_name(name: bytes) -> Spoil:
    def spoil(line: Line, app: TinyApp) -> None:
        with open(os.path.join(os.fsencode(app.path), name), "w"):
            pass

    return spoil


FILES: Dict[str, Case] = {
    "no lock": Case(
        gone("package-lock.json"),
        (
            'no package-lock.json in "apps/no-lock"',
            "in:    apps/no-lock/package-lock.json",
            f"next:  cd apps/no-lock && {REWRITE}",
        ),
    ),
    "a yarn lock": Case(
        instead("package-lock.json", "yarn.lock"),
        (
            '"apps/a-yarn-lock/yarn.lock" is not an npm lockfile',
            f"next:  cd apps/a-yarn-lock && {REWRITE}",
        ),
    ),
    "a pnpm lock": Case(
        instead("package-lock.json", "pnpm-lock.yaml"),
        (
            '"apps/a-pnpm-lock/pnpm-lock.yaml" is not an npm lockfile',
            f"next:  cd apps/a-pnpm-lock && {REWRITE}",
        ),
    ),
    "a lock that is no JSON": Case(
        put("package-lock.json", '{\n  "name": "tiny",,\n}\n'),
        (
            '"apps/a-lock-that-is-no-JSON/package-lock.json" is not JSON',
            "in:    apps/a-lock-that-is-no-JSON/package-lock.json:2:18",
            'found: "name": "tiny",,',
            "next:  ",
        ),
    ),
    "an unknown lockfileVersion": Case(
        lock(lambda one: one.update(lockfileVersion=7)),
        (
            "lockfileVersion",
            "found: 7",
            "apps/an-unknown-lockfileVersion/package-lock.json",
            "next:",
        ),
    ),
    "a lock out of step": Case(
        lock(lambda one: one["packages"][""].update(dependencies={"right": "^1.0.0"})),
        (
            'the lockfile "apps/a-lock-out-of-step/package-lock.json" is out of date with package.json',
            "right",
            f"next:  cd apps/a-lock-out-of-step && {REWRITE}",
        ),
    ),
    "two packages in one place": Case(
        doubled,
        (
            'two entries "" in the same object of "apps/two-packages-in-one-place/package-lock.json"',
            "in:    apps/two-packages-in-one-place/package-lock.json:",
            "next:  ",
        ),
    ),
    "no fetch lock": Case(
        gone("npm-fetch.lock"),
        (
            'the lockfile "apps/no-fetch-lock/package-lock.json" has no fetch lock',
            "in:    apps/no-fetch-lock/npm-fetch.lock",
            "next:  ./pants generate-lockfiles --resolve=npm:apps/no-fetch-lock",
        ),
    ),
    "a stale fetch lock": Case(
        put("npm-fetch.lock", "# slipway fetch lock 1: of before\n"),
        (
            'the fetch lock "apps/a-stale-fetch-lock/npm-fetch.lock" is out of date: it does not match',
            "left@1.0.0: missing from apps/a-stale-fetch-lock/npm-fetch.lock",
            "next:  ./pants generate-lockfiles --resolve=npm:apps/a-stale-fetch-lock",
        ),
        packages=("left",),
    ),
    "a build script that is not there": Case(
        fields('build_script="biuld"'),
        (
            'package.json has no script "biuld"',
            "in:    apps/a-build-script-that-is-not-there:bundle, field build_script",
            "found: the scripts of apps/a-build-script-that-is-not-there/package.json are build",
            "next:  did you mean build?",
        ),
    ),
    "a failing build script": Case(
        scripts(build="echo the last line; exit 3; :"),
        (
            'the script "build" failed with exit status 3',
            "in:    apps/a-failing-build-script/package.json, scripts",
            "the last line",
            "next:  run the script by hand: ./pants export --resolve=npm:apps/a-failing-build-script",
        ),
    ),
    "a build without one of its sources": Case(
        left_out("lib/theme.js", "node -e \"require('./lib/theme')\""),
        (
            "Cannot find module './lib/theme'",
            "the application contains lib/theme.js, which its build does not see:",
            'add "lib/**" to build_sources in apps/',
        ),
    ),
    "a hanging build script": Case(
        scripts(build="mkdir -p dist; sleep 600; :"),
        (
            "the step timed out after 5 seconds",
            "apps/a-hanging-build-script:bundle",
            "raise the limit: --slipway-step-time-limit=SECONDS",
        ),
        options=("--slipway-step-time-limit=5",),
    ),
    "an output that is not there": Case(
        scripts(build="mkdir disk; :"),
        (
            'the script "build" did not write the declared outputs',
            "in:    apps/an-output-that-is-not-there:bundle, field build_outputs",
            '"dist" does not exist; did you mean disk',
            "next:  correct the field, or change the output paths of the script",
        ),
    ),
    "an output that leads outside": Case(
        scripts(build="mkdir dist; ln -s /etc/passwd dist/users; :"),
        (
            "in:    apps/an-output-that-leads-outside:bundle, field build_outputs",
            '"dist/users" is a symlink to "/etc/passwd", outside the application folder',
        ),
    ),
    "an output whose name is not UTF-8": Case(
        scripts(build="mkdir dist; touch \"dist/$(printf 'a\\377')\"; :"),
        (
            "a file name is not UTF-8",
            "apps/an-output-whose-name-is-not-UTF-8:bundle",
            "next:  rename",
        ),
    ),
    "a source whose name is not UTF-8": Case(
        odd_name(b"service/\xff.js"),
        (
            '"apps/a-source-whose-name-is-not-UTF-8" contains files whose names are not UTF-8',
            "apps/a-source-whose-name-is-not-UTF-8/service/b'\\xff.js'",
            "next:  rename the files",
        ),
    ),
    "an unknown version of Node": Case(
        version("16.20.3"),
        (
            'no definition of Node.js "16.20.3"',
            "in:    apps/an-unknown-version-of-Node:own, field version",
            "next:  ./pants node-definitions --add=16.20.3\n",
            "or use a defined version: 16.20.2",
        ),
    ),
    "a definition without a hash": Case(
        runtime(WITHOUT_HASH),
        (
            'the Node definition "apps/a-definition-without-a-hash/own.toml" is not valid',
            "binary.linux-x64.sha256: None is not a SHA-256, which every archive needs",
            "next:  correct the definition",
        ),
    ),
    "a definition that is not there": Case(
        both(runtime(DEFINITION), gone("own.toml")),
        ("own.toml",),
    ),
    "a misspelt server_env": Case(
        fields(release='server_env="prd"'),
        (
            'unknown server_env "prd"',
            "in:    apps/a-misspelt-server-env:release, field server_env",
            "next:  did you mean prod? Use one of stable, sit, pre, prod",
        ),
    ),
    "no server sources": Case(
        fields("runtime_sources=[]"),
        (
            'the field runtime_sources of "apps/no-server-sources:bundle" matches no file',
            "in:    apps/no-server-sources:bundle, field runtime_sources",
            'next:  list the files that the application runs, such as runtime_sources=["service/**"]',
        ),
    ),
    "a smoke script that fails": Case(
        both(
            scripts(smoke="node -e \"require('not-there')\""),
            fields(release='smoke_script="smoke"'),
        ),
        (
            'the smoke script "smoke" failed with exit status 1 in the unpacked release',
            "in:    apps/a-smoke-script-that-fails:release, field smoke_script",
            "Cannot find module 'not-there'",
            "next:  ",
        ),
    ),
    "a page that refers to nothing": Case(
        both(
            scripts(
                build="mkdir -p dist service/views &&"
                " echo '<script src=//static.example.com/dist/b.js>' >service/views/index.html; :"
            ),
            fields(
                'build_outputs=["dist", "service/views"],'
                ' static_base_url="https://static.example.com/dist/"'
            ),
        ),
        (
            "the built pages refer to missing static files",
            "in:    apps/a-page-that-refers-to-nothing:bundle, field static_base_url",
            "service/views/index.html:1: //static.example.com/dist/b.js: no static file",
            "next:  ",
        ),
    ),
}


# The others differ in their rules alone, which tests/rules and tests/unit test.
QUICK_FILES = (
    *("no lock", "a lock that is no JSON", "an unknown version of Node"),
    *("a failing build script", "a hanging build script", "an output that leads outside"),
    *("a build without one of its sources", "a source whose name is not UTF-8"),
)


@pytest.mark.parametrize("name", long_except(QUICK_FILES, FILES))
def test_a_bad_file_or_field(line: Line, name: str) -> None:
    case = FILES[name]
    try_case(line, case, slug(name), {one: SOUND[one] for one in case.packages})


# --- The registry.


def fault(*kinds: str) -> Spoil:
    return lambda line, app: line.registry.faults.update({_path(app): list(kinds)})


def _path(app: TinyApp) -> str:
    (name,) = app.packages
    return f"/{name}/-/{name}-1.0.0.tgz"


def down(line: Line, app: TinyApp) -> None:
    line.workspace.write_npmrc(registry="http://127.0.0.1:9/")


def not_there(line: Line, app: TinyApp) -> None:
    line.registry.packages = {}


REGISTRY: Dict[str, Case] = {
    "another content": Case(
        fault("wrong", "…"),
        (
            "does not match the lock: wrong integrity: expected sha512-",
            "found sha512-",
            "next:",
        ),
    ),
    "another size": Case(
        fault("shorter", "…"), ("does not match the lock: wrong size: expected ", "next:  ")
    ),
    "not there": Case(
        not_there,
        ("the registry does not have it", "HTTP 404", "next:  publish it to http://127.0.0.1"),
    ),
    "no login": Case(
        fault("401", "…"),
        ("requires a login", "HTTP 401", "next:  add to ~/.npmrc: //127.0.0.1", "<token>"),
    ),
    "no right": Case(fault("403", "…"), ("requires a login", "HTTP 403", "next:  ")),
    "a broken server": Case(fault("500", "…"), ("HTTP 500", "next:  run the same command again")),
    "a body cut off": Case(fault("truncated", "…"), ("next:  run the same command again",)),
    "a body without end": Case(
        fault("endless", "…"),
        (
            "the file from the registry does not match the lock",
            "next:  restore the lock from version control",
        ),
    ),
}


@pytest.mark.parametrize("name", long_except(["another content"], REGISTRY))
def test_a_registry_that_fails(line: Line, name: str) -> None:
    package = slug(name)
    content = make_package(package)
    case = REGISTRY[name]
    told = ("1 of 1 files could not be fetched", f"{package}@1.0.0", *case.told)
    try_case(line, Case(case.spoil, told), f"registry-{package}", {package: content})


@pytest.mark.long
def test_a_registry_that_is_down(line: Line) -> None:
    npmrc = line.workspace.home / ".npmrc"
    text = npmrc.read_text()
    app = line.app("registry-down", {"down": make_package("down")})
    down(line, app)
    before = state_of(line.workspace)
    result = line.workspace.pants("package", app.release).failed()
    told = (
        *("1 of 1 files could not be fetched", "down@1.0.0: the registry cannot be reached"),
        "next:  check the registry address in ",
    )
    assert_told(result, told)
    assert differences(before, state_of(line.workspace)) == {}
    npmrc.write_text(text)
    line.workspace.pants("package", app.release).ok()


@pytest.mark.long
def test_no_registry_at_all(line: Line) -> None:
    npmrc = line.workspace.home / ".npmrc"
    text = npmrc.read_text()
    app = line.app("no-registry", {"none": make_package("none")})
    npmrc.write_text("")
    result = line.workspace.pants("package", app.release).failed()
    assert_told(result, ("registry=", ".npmrc"))
    npmrc.write_text(text)
    line.workspace.pants("package", app.release).ok()


# --- Hostile packages, which the lock names as they are.


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Tuple[tarfile.TarInfo, bytes]:
    return member(name, linkname=target, type=kind)


HOSTILE: Dict[str, Tuple[List[Tuple[tarfile.TarInfo, bytes]], str]] = {
    "a name that leaves": ([member("package/../../up", b"x")], "its name leaves the package"),
    "an absolute name": ([member("/tmp/absolute", b"x")], '"/tmp/absolute": an absolute name'),
    "a link that leaves": (
        [link("package/up", "../../up")],
        '"package/up": a symlink out of the package: "../../up"',
    ),
    "a hard link": (
        [link("package/hard", "package/index.js", tarfile.LNKTYPE)],
        '"package/hard": a hard link to "package/index.js"',
    ),
    "a device": ([member("package/null", type=tarfile.CHRTYPE)], "a device, pipe or socket"),
    "a set-uid file": ([member("package/su", b"x", mode=0o4755)], "a set-uid or set-gid file"),
    "a name that is not UTF-8": (
        [member("package/\udcff", b"x")],
        "b'package/\\xff': its name is not UTF-8 or contains a control character",
    ),
}


@pytest.mark.parametrize("name", long_except(["a link that leaves"], HOSTILE))
def test_a_hostile_package(line: Line, name: str) -> None:
    members, text = HOSTILE[name]
    # One name for all: the sound release after the first row is the one of every row.
    package = "hostile"
    told = (
        f'the package "{package}@1.0.0" contains entries that a release must not contain',
        text,
        "next:  use another version of the package",
    )

    def spoil(line: Line, app: TinyApp) -> None:
        hostile = make_package(package, *members)
        line.add_package(package, hostile)
        app.packages = {package: hostile}
        app.write()

    try_case(line, Case(spoil, told), f"hostile-{slug(name)}", {package: make_package(package)})


@pytest.mark.long
def test_a_package_that_is_no_archive(line: Line) -> None:
    def spoil(line: Line, app: TinyApp) -> None:
        page = b"<html>not a package</html>" * 40
        line.add_package("page", page)
        app.packages = {"page": page}
        app.write()

    told = ('"page@1.0.0" is not a valid tar archive', "next:  use another version of the package")
    try_case(line, Case(spoil, told), "no-archive", {"page": make_package("page")})


def test_names_that_differ_in_case_alone_all_arrive(line: Line) -> None:
    colliding = make_package(
        "colliding", member("package/Readme", b"1"), member("package/README", b"2")
    )
    app = line.app("colliding", {"colliding": colliding})
    scripts(build="mkdir dist; echo 1 >dist/A; echo 2 >dist/a; :")(line, app)
    app.put("service/B.js", "")
    app.put("service/b.js", "")
    line.workspace.pants("package", app.release).ok()
    release = line.workspace.release("apps.colliding/release")
    with tarfile.open(release) as tar:
        names = set(tar.getnames())
    folder = "node_modules/colliding"
    assert {f"{folder}/Readme", f"{folder}/README", "service/B.js", "service/b.js"} <= names
    with tarfile.open(str(release).replace(".tar.gz", ".static.tar.gz")) as tar:
        assert tar.getnames() == ["A", "a"]


# --- What a step may not do.


@pytest.mark.long
def test_a_step_that_writes_everywhere_changes_nothing_for_later_steps(line: Line) -> None:
    places = "/usr/new /new /etc/passwd /build/in/installed/installed.tar /build/slipway/new"
    spoiling = f'for one in {places}; do echo spoiled >"$one" && echo "wrote $one" >>dist/a.js; done 2>/dev/null'
    app = line.app("writes", {"left": SOUND["left"]})
    line.workspace.pants("package", app.release).ok()
    sound = line.workspace.release("apps.writes/release").read_bytes()
    before = state_of(line.workspace)["roots"]
    # The runtime's own tree is inside the application's build.
    scripts(
        build=f"mkdir dist; echo x >dist/a.js; {spoiling}; rm -rf /build/node_runtime 2>/dev/null; :"
    )(line, app)
    line.workspace.pants("package", app.release).ok()
    with tarfile.open(
        next(line.workspace.dist("apps.writes/release").glob("*.static.tar.gz"))
    ) as tar:
        written = tar.extractfile("a.js")
        assert written is not None
        assert written.read() == b"x\n"
    assert state_of(line.workspace)["roots"] == before
    app.scripts = {}
    app.write()
    line.workspace.pants("package", app.release).ok()
    assert line.workspace.release("apps.writes/release").read_bytes() == sound


# --- The command line: Pants' own messages.

COMMANDS: Dict[str, Tuple[List[str], Tuple[str, ...]]] = {
    "a misspelt option": (
        ["--slipway-npm-registri=x", "package", "{}"],
        ("Unknown flag --npm-registri", "Did you mean --npm-registry?"),
    ),
    "a misspelt goal": (["pakage", "{}"], ("pakage", "package")),
    "an unknown target": (["package", "{}x"], ("releasex", "release")),
    "an unknown folder": (["package", "//apps/nowhere:release"], ("apps/nowhere",)),
    # Last: a flag that is taken for a global one gives the next command another daemon.
    "a flag after the target": (["package", "{}", "--plan"], ("--plan",)),
}


@pytest.mark.parametrize(
    "mistake", long_except(["a misspelt option", "an unknown target"], COMMANDS)
)
def test_a_mistake_on_the_command_line(line: Line, mistake: str) -> None:
    words, told = COMMANDS[mistake]
    app = line.app("command")
    before = state_of(line.workspace)
    result = line.workspace.pants(*[word.format(app.release) for word in words]).failed()
    assert_told(result, told)
    assert differences(before, state_of(line.workspace)) == {}
