"""The fetch program against a registry that misbehaves, run as the build runs it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List

import pytest

from slipway.step.interface import ARGUMENTS
from tests.places import NO_VARIABLES
from tests.unit.fetch.pip_index import PROJECT, from_folder, make_wheel, wheel_name
from tests.unit.npm.builders import sha512
from tests.unit.registry_stub import CA_FILE, Proxy, Registry, unused_port
from tests.unit.step.programs.fetching import LEFT, PATIENCE, Run

RIGHT = b"right " * 2000
TOKEN = "npm_verySecretTokenValue0123456789"
USUAL = "/left/-/left-1.0.0.tgz"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_fetches_what_is_missing_and_only_once(run: Run) -> None:
    run.want(LEFT)
    run.want(RIGHT, "@team/right", path="deep/er/right.tgz")
    with Registry({"left": {"1.0.0": LEFT}, "@team/right": {"1.0.0": RIGHT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        assert run.counts() == {"downloaded": 2, "cached": 0, "bytes": len(LEFT) + len(RIGHT)}
        assert sorted(registry.paths()) == ["/@team/right/-/right-1.0.0.tgz", USUAL]
        assert run.counts() == {"downloaded": 0, "cached": 2, "bytes": 0}
        assert len(registry.requests) == 2
    assert (run.out / "left.tgz").read_bytes() == LEFT
    assert (run.out / "deep/er/right.tgz").read_bytes() == RIGHT


def test_needs_no_registry_for_what_is_cached(run: Run) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        run.counts()
    (run.home / ".npmrc").unlink()
    assert run.counts()["cached"] == 1


def test_one_content_at_two_places_is_fetched_once(run: Run) -> None:
    run.want(path="one.tgz")
    run.want(path="two.tgz")
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        assert run.counts()["downloaded"] == 1
    assert (run.out / "one.tgz").read_bytes() == (run.out / "two.tgz").read_bytes() == LEFT


@pytest.mark.parametrize("order", [1, -1], ids=["the right one first", "the wrong one first"])
def test_one_sha256_for_two_packages_is_held_against_the_integrity_of_both(
    run: Run, order: int
) -> None:
    """A lock's line that gives one package the content of another."""
    run.want(LEFT)
    run.want(LEFT, "right", integrity=sha512(RIGHT))
    run.requests = run.requests[::order]
    with Registry({"left": {"1.0.0": LEFT}, "right": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        error = run.fails()
    assert "right@1.0.0: " in error
    assert "left@1.0.0" not in error
    assert f"expected {sha512(RIGHT)}, found {sha512(LEFT)}" in error
    assert not (run.out / "right.tgz").exists()


def test_a_content_of_the_cache_is_held_against_the_integrity_too(run: Run) -> None:
    """It came under another name, which a lock's line now borrows by its SHA-256."""
    run.want(LEFT)
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        run.counts()
        run.requests = []
        run.want(LEFT, "right", integrity=sha512(RIGHT))
        error = run.fails()
        assert len(registry.requests) == 1
    assert "right@1.0.0: its SHA-256 in the lock belongs to another file" in error
    assert not (run.out / "right.tgz").exists()
    run.requests = []
    run.want(LEFT)
    assert run.counts()["cached"] == 1  # nothing is wrong with the content itself


class TestBinaries:
    """Files of install scripts, whose address is in a variable."""

    VARIABLE = "npm_config_bcrypt_binary_host"

    def want(self, run: Run, value: str) -> None:
        run.settings["env"] = {**run.settings["env"], self.VARIABLE: value}
        run.want(LEFT, "bcrypt", kind="binary", variable=self.VARIABLE, file="v5/bcrypt.tar.gz")

    def test_the_variable_says_where_from(self, run: Run) -> None:
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            registry.files["/mirror/v5/bcrypt.tar.gz"] = LEFT
            self.want(run, f"{registry.url}mirror/")
            assert run.counts()["downloaded"] == 1

    @pytest.mark.parametrize(
        ("env", "line", "folder"),
        [
            ("SASS_BINARY_SITE", "", "env"),
            ("npm_config_sass_binary_site", "", "env"),
            ("", "sass_binary_site", "npmrc"),
            ("", "sass-binary-site", "npmrc"),
            # As node-sass reads them: its own variable, then what npm hands on.
            ("SASS_BINARY_SITE", "sass_binary_site", "env"),
            ("npm_config_sass_binary_site", "sass-binary-site", "env"),
        ],
    )
    def test_a_variable_may_be_set_wherever_the_script_finds_it(
        self, run: Run, env: str, line: str, folder: str
    ) -> None:
        with Registry({}) as registry:
            registry.files[f"/{folder}/v5/sass.node"] = LEFT
            if env:
                run.settings["env"] = {**run.settings["env"], env: f"{registry.url}env/"}
            if line:
                run.npmrc(f"{line}={registry.url}npmrc/")
            run.want(
                LEFT, "node-sass", kind="binary", variable="SASS_BINARY_SITE", file="v5/sass.node"
            )
            assert run.counts()["downloaded"] == 1

    @pytest.mark.parametrize("fault", ["404", "500", "close", "wrong", "down"])
    def test_no_part_of_its_value_is_shown(self, run: Run, fault: str) -> None:
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            address = f"127.0.0.1:{unused_port()}" if fault == "down" else registry.host
            self.want(run, f"http://user:TOPSECRET@{address}/very/secret/path/")
            place = "/very/secret/path/v5/bcrypt.tar.gz"
            if fault == "wrong":
                registry.files[place] = RIGHT
            else:
                registry.faults[place] = [fault] * 4
            error = run.fails()
        assert f"<{self.VARIABLE}>" in error
        for part in ("TOPSECRET", "user", "secret/path", "127.0.0.1", address):
            assert part not in error

    @pytest.mark.parametrize(
        "path", ["TOPSECRET a", "TOPSECRET\u00fc", '"TOPSECRET"', "%54OPSECRET"]
    )
    def test_no_spelling_of_its_value_is_shown(self, run: Run, path: str) -> None:
        with Registry({}) as registry:
            self.want(run, registry.url + path)
            error = run.fails()
        assert f"1. bcrypt: v5/bcrypt.tar.gz: <{self.VARIABLE}>: HTTP 404\n" in error
        assert "OPSECRET" not in error

    def test_nor_where_a_redirect_carries_it_on(self, run: Run) -> None:
        with Registry({}) as target, Registry({}) as registry:
            place = "/TOPSECRET/v5/bcrypt.tar.gz"
            registry.faults[place] = [f"redirect:{target.url.rstrip('/')}{place}"]
            self.want(run, f"{registry.url}TOPSECRET")
            error = run.fails()
            assert target.paths() == [place]
        assert f"<{self.VARIABLE}>: HTTP 404\n" in error
        assert "TOPSECRET" not in error

    @pytest.mark.parametrize("value", ["TOPSECRET", "http://[TOPSECRET", "http://TOPSECRET:x/"])
    def test_a_value_that_is_no_address_is_not_shown_either(self, run: Run, value: str) -> None:
        self.want(run, value)
        error = run.fails()
        assert f"<{self.VARIABLE}> is not an http or https address" in error
        assert "TOPSECRET" not in error


def test_writing_to_a_result_does_not_reach_the_cache(run: Run) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        run.counts()
    with open(run.out / "left.tgz", "r+b") as result:
        result.write(b"XX")
    (run.out / "left.tgz").unlink()
    assert run.counts()["cached"] == 1
    assert (run.out / "left.tgz").read_bytes() == LEFT


@pytest.mark.parametrize("damage", ["other bytes", "cut off", "longer", "empty"])
def test_a_damaged_cache_is_noticed_and_mended(run: Run, damage: str) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        run.counts()
        (cached,) = (path for path in (run.cache / "sha256").rglob("*") if path.is_file())
        cached.chmod(0o644)
        cached.write_bytes(
            {"other bytes": bytes(len(LEFT)), "cut off": LEFT[:7], "longer": LEFT + b"!"}.get(
                damage, b""
            )
        )
        assert run.counts()["downloaded"] == 1
    assert (run.out / "left.tgz").read_bytes() == LEFT


@pytest.mark.parametrize(
    "faults",
    [
        ["500"],
        ["503", "502", "504"],
        ["429:1"],
        ["truncated", "truncated"],
        ["close"],
        ["stall"],
        ["drip"],
    ],
    ids="-".join,
)
def test_tries_again_where_that_helps(run: Run, faults: List[str]) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        registry.faults[USUAL] = list(faults)
        run.npmrc(f"registry={registry.url}")
        assert run.counts()["downloaded"] == 1
        assert len(registry.requests) == len(faults) + 1
    assert (run.out / "left.tgz").read_bytes() == LEFT


def test_reads_a_body_in_chunks(run: Run) -> None:
    run.want()
    run.want(RIGHT, "right")
    with Registry({"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}) as registry:
        registry.faults["*"] = ["chunked", "…"]
        run.npmrc(f"registry={registry.url}")
        assert run.counts()["downloaded"] == 2


REFUSALS = {
    # fault: (requests that it takes, what is said, what to do next)
    "500": (4, "HTTP 500", "run the same command again"),
    "truncated": (4, f"truncated after {len(LEFT) // 2} of {len(LEFT)} bytes", "run the same"),
    "stall": (4, "timed out", "run the same command again"),
    "drip": (4, "too slow", "run the same command again"),
    "close": (4, "connection closed without a response", "run the same command again"),
    "endless": (1, f"more than {len(LEFT)} bytes", "restore the lock from version control"),
    "wrong": (1, f"wrong integrity: expected {sha512(LEFT)}, found {sha512(bytes(len(LEFT)))}",
              "./pants generate-lockfiles --resolve=npm:apps/x"),
    "shorter": (1, f"wrong size: expected {len(LEFT)} bytes, found {len(LEFT) - 1} bytes",
                "./pants generate-lockfiles --resolve=npm:apps/x"),
    "401": (1, "requires a login", "/:_authToken=<token>"),
    "403": (1, "requires a login", "/:_authToken=<token>"),
    "404": (2, "the registry does not have it", "/:_authToken=<token>"),
    "410": (2, "the registry does not have it", "publish it to"),
    "400": (1, "HTTP 400", "run the same command again"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSALS)
def test_says_what_the_registry_did_wrong(run: Run, fault: str) -> None:
    requests, said, then = REFUSALS[fault]
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        registry.faults["*" if fault in ("404", "410") else USUAL] = [fault, "…"]
        run.npmrc(f"registry={registry.url}")
        message = run.fails()
        assert len(registry.requests) == requests
    assert "1 of 1 files could not be fetched" in message
    assert "left@1.0.0: " in message
    assert said in message
    assert then in message
    assert not (run.out / "left.tgz").exists()
    assert list((run.cache / "partial").iterdir()) == []


def test_wrong_sha256_is_told_even_if_the_integrity_is_right(run: Run) -> None:
    run.want(sha256="0" * 64)
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.npmrc(f"registry={registry.url}")
        message = run.fails()
    found = hashlib.sha256(LEFT).hexdigest()
    assert f"wrong SHA-256: expected {'0' * 64}, found {found}" in message


def test_a_file_that_fails_does_not_stop_the_others_and_works_later(run: Run) -> None:
    run.want(LEFT)
    run.want(RIGHT, "right")
    with Registry({"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}) as registry:
        registry.faults[USUAL] = ["wrong"]
        run.npmrc(f"registry={registry.url}")
        assert "1 of 2 files" in run.fails()
        assert run.counts() == {"downloaded": 1, "cached": 1, "bytes": len(LEFT)}


def test_tells_ten_failures_and_how_many_more(run: Run) -> None:
    for number in range(15):
        run.want(f"{number}".encode(), f"p{number:02}")
    with Registry({}) as registry:
        run.npmrc(f"registry={registry.url}")
        message = run.fails()
    assert "15 of 15 files could not be fetched" in message
    assert "10. p09@1.0.0" in message
    assert "… and 5 more" in message
    assert "p10@1.0.0" not in message


def test_a_registry_that_is_down_is_told_once_and_soon(run: Run) -> None:
    for number in range(200):
        run.want(f"{number}".encode(), f"p{number:03}")
    run.npmrc(f"registry=http://127.0.0.1:{unused_port()}/")
    begin = time.monotonic()
    message = run.fails()
    assert time.monotonic() - begin < 10
    assert "200 of 200 files" in message
    assert "p000@1.0.0 and 199 more: the registry cannot be reached" in message
    assert "connection refused" in message
    assert "2. " not in message


def test_a_host_that_has_no_address(run: Run) -> None:
    run.want()
    run.npmrc("registry=http://no-such-host.invalid/")
    message = run.fails()
    assert "cannot resolve the host name" in message
    assert f"check the registry address in {run.home}/.npmrc:1" in message


def test_no_registry_at_all(run: Run) -> None:
    run.want()
    message = run.fails()
    assert "no npm registry is configured" in message
    assert "echo 'registry=https://<your registry>/' >> ~/.npmrc" in message


class TestElsewhere:
    """Tarballs that are not at the usual path."""

    def test_the_description_of_the_package_says_where(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, prefix="/api/npm/") as registry:
            registry.elsewhere["left", "1.0.0"] = f"{registry.url}-/left/download/77"
            registry.files["/api/npm/-/left/download/77"] = LEFT
            run.npmrc(f"registry={registry.url}")
            assert run.counts()["downloaded"] == 1
            assert registry.paths() == [
                "/api/npm/left/-/left-1.0.0.tgz",
                "/api/npm/left",
                "/api/npm/-/left/download/77",
            ]

    def test_a_scoped_package_is_one_name(self, run: Run) -> None:
        run.want(name="@team/left")
        with Registry({"@team/left": {"1.0.0": LEFT}}) as registry:
            registry.elsewhere["@team/left", "1.0.0"] = f"{registry.url}files/1"
            registry.files["/files/1"] = LEFT
            run.npmrc(f"registry={registry.url}")
            run.counts()
            assert registry.paths()[1] == "/@team%2Fleft"

    def test_another_host_in_the_description_is_tried_after_this_one(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry, Registry({}) as other:
            registry.elsewhere["left", "1.0.0"] = f"{other.url}moved/left.tgz"
            registry.files["/moved/left.tgz"] = LEFT
            run.npmrc(f"registry={registry.url}")
            assert run.counts()["downloaded"] == 1
            assert other.requests == []

    def test_the_other_host_is_asked_without_the_token(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, token=TOKEN) as registry, Registry({}) as other:
            registry.elsewhere["left", "1.0.0"] = f"{other.url}moved/left.tgz"
            other.files["/moved/left.tgz"] = LEFT
            run.npmrc(f"registry={registry.url}", f"//{registry.host}/:_authToken={TOKEN}")
            assert run.counts()["downloaded"] == 1
            assert set(registry.headers("Authorization")) == {f"Bearer {TOKEN}"}
            assert other.headers("Authorization") == [None]

    def test_a_version_that_the_description_lacks(self, run: Run) -> None:
        run.want(version="9.9.9")
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            run.npmrc(f"registry={registry.url}")
            assert "/left has no version 9.9.9" in run.fails()

    @pytest.mark.parametrize("fault", ["drip", "stall", "500"])
    def test_descriptions_that_fail_are_not_waited_for_one_by_one(
        self, run: Run, fault: str
    ) -> None:
        run.settings["patience"] = {**PATIENCE, "tries": 1}
        with Registry({}) as registry:
            for number in range(20):
                run.want(b"%d" % number, f"p{number:02}")
                registry.files[f"/p{number:02}"] = b"{}" * 1000
                registry.faults[f"/p{number:02}"] = [fault, "…"]
            run.npmrc(f"registry={registry.url}")
            error = run.fails()
            described = [path for path in registry.paths() if "/-/" not in path]
        assert len(described) == 1
        assert "20 of 20 files could not be fetched" in error
        assert f"1.0.0 and 18 more: the registry cannot be reached: {registry.url}p" in error
        assert "3. " not in error

    def test_two_versions_of_a_package_take_one_description(self, run: Run) -> None:
        run.want(LEFT)
        run.want(RIGHT, version="2.0.0", path="right.tgz")
        with Registry({"left": {"1.0.0": LEFT, "2.0.0": RIGHT}}) as registry:
            for version, content in (("1.0.0", LEFT), ("2.0.0", RIGHT)):
                registry.elsewhere["left", version] = f"{registry.url}files/{version}"
                registry.files[f"/files/{version}"] = content
            run.npmrc(f"registry={registry.url}")
            assert run.counts()["downloaded"] == 2
            assert registry.paths().count("/left") == 1

    @pytest.mark.parametrize(
        "address", [7, None, {}, "x" * 100_000], ids=["7", "none", "{}", "long"]
    )
    def test_a_description_with_an_odd_address_has_none(self, run: Run, address: object) -> None:
        run.want()
        with Registry({}) as registry:
            versions = {"1.0.0": {"dist": {"tarball": address}}}
            registry.files["/left"] = json.dumps({"versions": versions}).encode()
            run.npmrc(f"registry={registry.url}")
            error = run.fails()
        assert "/left has no version 1.0.0" in error
        assert len(error) < 1000

    def test_of_a_description_only_what_is_asked_for_is_kept(self, run: Run) -> None:
        """Twenty descriptions of 16 MB each take no more memory than one."""
        run.settings["patience"] = {}
        # The peak of a program's memory counts those that it has started too.
        peak = (
            "import resource, subprocess, sys\n"
            "subprocess.run(sys.argv[1:], env={}, check=True, timeout=100)\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)\n"
        )
        versions = ",".join(
            f'"{n}.0.0":{{"dist":{{"tarball":"{n:02000}"}}}}' for n in range(2, 8192)
        )
        with Registry({}) as registry:
            run.npmrc(f"registry={registry.url}")

            def megabytes(count: int) -> int:
                for number in range(count):
                    name, content = f"{count}p{number}", b"%d %d" % (count, number)
                    run.want(content, name)
                    first = f'"1.0.0":{{"dist":{{"tarball":"{registry.url}files/{name}"}}}}'
                    registry.files[f"/{name}"] = f'{{"versions":{{{first},{versions}}}}}'.encode()
                    registry.files[f"/files/{name}"] = content
                command = [sys.executable, "-c", peak, *run.command()]
                done = subprocess.run(
                    command, cwd=run.folder, capture_output=True, text=True, check=True
                )
                return int(done.stdout.splitlines()[-1])

            assert megabytes(20) < megabytes(1) + 100

    @pytest.mark.parametrize(
        "text",
        ["<html>log in first</html>", "[" * 200_000, f'{{"versions": {"9" * 21}}}', "[]"],
        ids=["html", "deep", "huge number", "list"],
    )
    def test_a_description_that_is_no_json(self, run: Run, text: str) -> None:
        run.want()
        with Registry({}) as registry:
            registry.files["/left"] = text.encode()
            run.npmrc(f"registry={registry.url}")
            assert "is not JSON" in run.fails()


class TestSecrets:
    """A token reaches the registry that it is for, and nothing else."""

    def test_a_redirect_to_another_host_goes_without_it(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, token=TOKEN) as registry, Registry({}) as store:
            store.files["/blob"] = LEFT
            registry.faults[USUAL] = [f"redirect:{store.url}blob?signature=abc"]
            store.files["/blob?signature=abc"] = LEFT
            run.npmrc(f"registry={registry.url}", f"//{registry.host}/:_authToken={TOKEN}")
            assert run.counts()["downloaded"] == 1
            assert registry.headers("Authorization") == [f"Bearer {TOKEN}"]
            assert store.headers("Authorization") == [None]

    def test_nor_does_it_come_back_by_a_second_redirect(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, token=TOKEN) as registry, Registry({}) as store:
            registry.faults[USUAL] = [f"redirect:{store.url}hop"]
            store.files["/hop"] = b""
            store.faults["/hop"] = [f"redirect:{store.url}blob"]
            store.files["/blob"] = LEFT
            run.npmrc(f"registry={registry.url}", f"//{registry.host}/:_authToken={TOKEN}")
            assert run.counts()["downloaded"] == 1
            assert store.headers("Authorization") == [None, None]

    @pytest.mark.parametrize("fault", ["401", "403", "500", "wrong", "truncated", "404", "400"])
    def test_it_stands_in_no_output_and_no_file(self, run: Run, fault: str) -> None:
        run.want()
        run.want(RIGHT, "right")
        both = {"left": {"1.0.0": LEFT}, "right": {"1.0.0": RIGHT}}
        with Registry(both, token=TOKEN) as registry:
            registry.faults[USUAL] = [fault, "…"]
            run.npmrc(
                f"registry={registry.url}",
                f"//{registry.host}/:_authToken=${{MY_TOKEN}}",
                "proxy=null",
            )
            run.settings["env"]["MY_TOKEN"] = TOKEN
            done = run.fetch()
        assert done.returncode == 1
        assert TOKEN not in done.stdout + done.stderr
        assert not any(TOKEN in argument for argument in run.command())
        for path in run.folder.rglob("*"):
            # The settings file is where the caller hands the environment over.
            if path.is_file() and path.name != "settings.json":
                assert TOKEN.encode() not in path.read_bytes(), path

    def test_a_login_in_an_address_is_not_shown(self, run: Run) -> None:
        run.want()
        run.npmrc(f"registry=http://user:{TOKEN}@registry.example/")
        message = run.fails()
        assert TOKEN not in message
        assert "contains a login" in message

    def test_a_proxys_password_is_not_shown(self, run: Run) -> None:
        run.want()
        run.npmrc(
            "registry=http://registry.example/",
            f"proxy=http://user:{TOKEN}@127.0.0.1:{unused_port()}/",
        )
        message = run.fails()
        assert TOKEN not in message
        assert "connection refused" in message

    @pytest.mark.parametrize(
        "fault", ["401", "403", "404", "500", "wrong", "truncated", "endless", "redirect:ftp://x/"]
    )
    def test_a_variable_in_the_registrys_address_is_shown_by_its_name(
        self, run: Run, fault: str
    ) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            registry.files[f"/{TOKEN}{USUAL}"] = LEFT
            registry.faults["*"] = [fault, "…"]
            run.npmrc(f"registry={registry.url}${{MY_TOKEN}}/")
            run.settings["env"]["MY_TOKEN"] = TOKEN
            message = run.fails()
            assert f"{registry.url}${{MY_TOKEN}}/" in message
        assert TOKEN not in message

    @pytest.mark.parametrize(
        "lines",
        [
            ["registry=http://${MY_TOKEN}.invalid/"],
            ["registry=http://registry.example/", "proxy=http://${MY_TOKEN}.invalid:1/"],
            ["registry=https://registry.example/", "proxy=http://${MY_TOKEN}.invalid:1/"],
        ],
    )
    def test_nor_is_a_host_shown_whose_name_a_variable_has(
        self, run: Run, lines: List[str]
    ) -> None:
        run.want()
        run.npmrc(*lines)
        run.settings["env"]["MY_TOKEN"] = TOKEN
        message = run.fails()
        assert "the registry cannot be reached" in message
        assert TOKEN.lower() not in message.lower()

    def test_a_variable_that_is_not_set_is_named_when_the_registry_wants_it(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, token=TOKEN) as registry:
            run.npmrc(f"registry={registry.url}", f"//{registry.host}/:_authToken=${{MY_TOKEN}}")
            message = run.fails()
            assert registry.headers("Authorization") == [None]
        assert f"{run.home}/.npmrc:2 reads it from ${{MY_TOKEN}}, which is not set" in message
        assert "export MY_TOKEN=<token>" in message


class TestTls:
    """Registries with a certificate of a company's own CA."""

    @pytest.mark.parametrize("way", ["cafile", "ca", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"])
    def test_the_configured_ca_is_trusted(self, run: Run, way: str) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=True) as registry:
            lines = [f"registry={registry.url}"]
            if way == "cafile":
                lines.append(f"cafile={CA_FILE}")
            elif way == "ca":
                lines.append('ca="' + CA_FILE.read_text().replace("\n", "\\n") + '"')
            else:
                run.settings["env"][way] = str(CA_FILE)
            run.npmrc(*lines)
            assert run.counts()["downloaded"] == 1

    def test_an_unknown_ca_is_refused_with_a_reason(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=True) as registry:
            run.npmrc(f"registry={registry.url}")
            message = run.fails()
            assert registry.requests == []
        assert "its certificate is not trusted" in message
        assert "cafile=" in message

    def test_strict_ssl_can_be_switched_off(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=True) as registry:
            run.npmrc(f"registry={registry.url}", "strict-ssl=false")
            assert run.counts()["downloaded"] == 1

    def test_a_ca_file_that_is_not_there(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=True) as registry:
            run.npmrc(f"registry={registry.url}", "cafile=/no/such.pem")
            assert 'cannot read the CA file "/no/such.pem"' in run.fails()


class TestProxy:
    def test_plain_http_goes_through_it(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry, Proxy() as proxy:
            run.npmrc(f"registry={registry.url}", f"proxy={proxy.url}")
            assert run.counts()["downloaded"] == 1
            assert proxy.paths() == [registry.url.rstrip("/") + USUAL]

    @pytest.mark.parametrize("way", ["https-proxy", "HTTPS_PROXY"])
    def test_tls_goes_through_a_tunnel(self, run: Run, way: str) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=True) as registry, Proxy() as proxy:
            lines = [f"registry={registry.url}", f"cafile={CA_FILE}"]
            address = proxy.url.replace("//", "//user:pass%20word@")
            if way == "https-proxy":
                lines.append(f"https-proxy={address}")
            else:
                run.settings["env"][way] = address
            run.npmrc(*lines)
            assert run.counts()["downloaded"] == 1
            assert proxy.paths() == [registry.host]
            assert proxy.headers("Proxy-Authorization") == ["Basic dXNlcjpwYXNzIHdvcmQ="]
            assert registry.headers("Proxy-Authorization") == [None]

    @pytest.mark.parametrize("tls", [False, True])
    def test_a_proxy_that_wants_a_login(self, run: Run, tls: bool) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}, tls=tls) as registry, Proxy(login="x") as proxy:
            run.npmrc(f"registry={registry.url}", f"cafile={CA_FILE}", f"proxy={proxy.url}")
            message = run.fails()
            assert registry.requests == []
        assert "407 Proxy Authentication Required" in message
        assert "https-proxy=http://<user>:<password>@" in message

    @pytest.mark.parametrize("value", ["127.0.0.1", "example.com, 127.0.0.1", "*"])
    def test_noproxy_goes_around_it(self, run: Run, value: str) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry, Proxy() as proxy:
            run.npmrc(f"registry={registry.url}", f"proxy={proxy.url}", f"noproxy={value}")
            assert run.counts()["downloaded"] == 1
            assert proxy.requests == []


class TestAddresses:
    """Files at addresses that the user wrote."""

    def test_a_local_file_and_one_of_a_server(self, run: Run) -> None:
        (run.folder / "archive.tar").write_bytes(RIGHT)
        with Registry({}) as server:
            server.files["/node.tgz"] = LEFT
            run.want(kind="url", url=f"{server.url}node.tgz", path="node.tgz")
            run.want(RIGHT, kind="url", url=f"file://{run.folder}/archive.tar", path="archive")
            run.npmrc("registry=http://registry.example/")
            assert run.counts()["downloaded"] == 2
        assert (run.out / "archive").read_bytes() == RIGHT

    def test_a_local_address_that_is_none(self, run: Run) -> None:
        run.want(kind="url", url="file://[x/archive.tar", path="archive")
        assert "/archive.tar: No such file or directory" in run.fails()

    def test_a_mirror_stands_in_for_what_the_address_begins_with(self, run: Run) -> None:
        with Registry({}) as server:
            server.files["/mirror/v6/node.tgz"] = LEFT
            run.settings["mirrors"] = {
                "https://nodejs.example/": "https://too-short.example/",
                "https://nodejs.example/dist/": f"{server.url}mirror/",
            }
            run.want(kind="url", url="https://nodejs.example/dist/v6/node.tgz", path="node.tgz")
            run.npmrc("registry=http://registry.example/")
            assert run.counts()["downloaded"] == 1

    def test_faults_name_file_and_address(self, run: Run) -> None:
        (run.folder / "other.tar").write_bytes(RIGHT)
        with Registry({}) as server:
            run.npmrc("registry=http://registry.example/")
            run.want(kind="url", url=f"{server.url}gone.tgz?key={TOKEN}", path="gone.tgz")
            run.want(b"?", kind="url", url=f"{run.folder}/other.tar", path="other")
            run.want(b"??", kind="url", url=f"{run.folder}/none.tar", path="none")
            message = run.fails()
            assert f"gone.tgz: {server.url}gone.tgz: HTTP 404" in message
        assert f"{run.folder}/other.tar does not match the lock: wrong size" in message
        assert f"{run.folder}/none.tar: No such file or directory" in message
        assert TOKEN not in message

    def test_an_address_that_nothing_can_read_is_told(self, run: Run) -> None:
        """Anyone may have written the address in a lock."""
        run.npmrc("registry=http://registry.example/")
        run.want(kind="url", url=f"http://user:{TOKEN}@[bad/left.tgz")
        message = run.fails()
        assert "left.tgz: http://… is not an http or https address" in message
        assert TOKEN not in message


class TestAccidents:
    """Kills, two runs at once, full disks."""

    def test_a_killed_run_leaves_nothing_that_is_taken_for_whole(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            registry.faults[USUAL] = ["stall"]
            run.npmrc(f"registry={registry.url}")
            run.settings["patience"] = {**PATIENCE, "stall": 30}
            process = subprocess.Popen(run.command(), cwd=run.folder, env=NO_VARIABLES)
            while not list((run.cache / "partial").glob("*")) or not registry.requests:
                time.sleep(0.02)
            time.sleep(0.1)
            process.send_signal(signal.SIGKILL)
            process.wait()
            (partial,) = (run.cache / "partial").iterdir()
            assert run.counts()["downloaded"] == 1
            os.utime(partial, (0, 0))
            run.counts()
        assert not partial.exists()
        assert (run.out / "left.tgz").read_bytes() == LEFT

    def test_two_runs_at_once(self, run: Run, tmp_path: Path) -> None:
        packages = {f"p{n:02}": {"1.0.0": f"content {n}".encode() * 99} for n in range(60)}
        for name, versions in packages.items():
            run.want(versions["1.0.0"], name)
        with Registry(packages) as registry:
            run.npmrc(f"registry={registry.url}")
            others = []
            for number in range(3):
                command, folder = run.command(), tmp_path / f"run{number}"
                folder.mkdir()
                shutil.copy(run.folder / ARGUMENTS, folder / ARGUMENTS)
                others.append(
                    subprocess.Popen(command, cwd=folder, env=NO_VARIABLES, stdout=subprocess.PIPE)
                )
            assert [other.wait() for other in others] == [0, 0, 0]
            for other in others:
                assert other.stdout
                other.stdout.close()
        for number in range(3):
            for name, versions in packages.items():
                fetched = tmp_path / f"run{number}" / "out" / f"{name}.tgz"
                assert fetched.read_bytes() == versions["1.0.0"]

    def test_a_full_disk(self, run: Run) -> None:
        mount = subprocess.run(
            ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"],
            capture_output=True,
            check=False,
        )
        if mount.returncode:
            pytest.skip("no user namespaces here")
        run.want(b"x" * 400_000, "big")
        with Registry({"big": {"1.0.0": b"x" * 400_000}}) as registry:
            run.npmrc(f"registry={registry.url}")
            run.settings["cache_dir"] = "/mnt/cache"
            script = 'mount -t tmpfs -o size=64k none /mnt && exec "$@"'
            done = subprocess.run(
                ["unshare", "-Urm", "sh", "-c", script, "sh", *run.command()],
                cwd=run.folder,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert "df -h /mnt/cache" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_cache_folder_that_may_not_be_made(self, run: Run) -> None:
        (run.folder / "file").write_text("")
        run.settings["cache_dir"] = str(run.folder / "file" / "cache")
        run.want()
        message = run.fails()
        assert f'cannot write below "{run.folder}/file/cache": Not a directory' in message

    def test_an_interrupt_ends_it_at_once(self, run: Run) -> None:
        run.want()
        with Registry({"left": {"1.0.0": LEFT}}) as registry:
            registry.faults[USUAL] = ["stall", "…"]
            run.npmrc(f"registry={registry.url}")
            run.settings["patience"] = {**PATIENCE, "stall": 30}
            process = subprocess.Popen(
                run.command(), cwd=run.folder, env=NO_VARIABLES, stderr=subprocess.PIPE, text=True
            )
            while not registry.requests:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=5)
        assert process.returncode == 130
        assert "Traceback" not in said


def test_the_option_comes_before_all_other_sources(run: Run) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        run.settings["registry"] = registry.url.rstrip("/")
        run.settings["env"]["npm_config_registry"] = "http://environment.invalid/"
        run.npmrc("registry=http://user.invalid/")
        assert run.counts()["downloaded"] == 1


def test_npm_on_the_path_is_asked_last(run: Run, tmp_path: Path) -> None:
    run.want()
    with Registry({"left": {"1.0.0": LEFT}}) as registry:
        _fake_npm(tmp_path / "bin", f"echo {registry.url}")
        run.settings["env"]["PATH"] = f"{tmp_path}/bin:/usr/bin:/bin"
        assert run.counts()["downloaded"] == 1


@pytest.mark.parametrize("body", ["exit 1", "echo undefined", "echo; exit 0", "echo ftp://x/"])
def test_an_npm_that_knows_no_registry(run: Run, tmp_path: Path, body: str) -> None:
    run.want()
    _fake_npm(tmp_path / "bin", body)
    run.settings["env"]["PATH"] = f"{tmp_path}/bin"
    assert "no npm registry is configured" in run.fails()


def _fake_npm(folder: Path, body: str) -> None:
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "npm").chmod(0o755)


class TestWheels:
    """Files of the Python index, which pip fetches."""

    WHEEL = make_wheel("22.20.0", {"bin/node": b"node"})
    NAME = wheel_name("22.20.0")

    def want(self, run: Run, **wheels: bytes) -> None:
        """Requests WHEEL from a pip that finds these wheels alone."""
        settings = from_folder(run.folder, wheels)
        run.settings.update(pip=settings.pip, env=settings.env)
        fields = {"kind": "wheel", "version": "22.20.0", "integrity": "", "path": "node.archive"}
        run.want(self.WHEEL, PROJECT, **fields)

    def test_a_wheel_is_fetched_once(self, run: Run) -> None:
        self.want(run, **{self.NAME: self.WHEEL})
        assert run.counts() == {"downloaded": 1, "cached": 0, "bytes": len(self.WHEEL)}
        assert (run.out / "node.archive").read_bytes() == self.WHEEL
        run.settings["pip"] = []  # a cached wheel needs no pip
        assert run.counts() == {"downloaded": 0, "cached": 1, "bytes": 0}

    def test_a_wheel_of_another_content(self, run: Run) -> None:
        self.want(run, **{self.NAME: make_wheel("22.20.0", {"bin/node": b"other"})})
        error = run.fails()
        assert f"1. {PROJECT} 22.20.0: the wheel of the Python index has another SHA-256" in error
        assert "next:  restore the definition from version control" in error
        assert not (run.out / "node.archive").exists()

    def test_a_wheel_of_another_size_than_its_definition_says(self, run: Run) -> None:
        self.want(run, **{self.NAME: self.WHEEL})
        run.requests[-1]["size"] = len(self.WHEEL) + 1
        error = run.fails()
        assert f"{PROJECT}@22.20.0" in error
        assert f"expected {len(self.WHEEL) + 1} bytes, found {len(self.WHEEL)} bytes" in error
        assert not (run.out / "node.archive").exists()

    def test_a_wheel_that_the_index_lacks_is_reported_with_other_files(self, run: Run) -> None:
        self.want(run)
        run.want(LEFT, kind="url", url="file:///nowhere/left.tgz")
        error = run.fails()
        assert error.startswith("2 of 2 files could not be fetched\n")
        assert f"{PROJECT} 22.20.0: the Python index does not have it for x86-64 Linux" in error
        assert "/nowhere/left.tgz: No such file or directory" in error

    def test_a_machine_without_pip(self, run: Run) -> None:
        self.want(run, **{self.NAME: self.WHEEL})
        run.settings["pip"] = []
        error = run.fails()
        assert f"1. {PROJECT} 22.20.0: there is no pip" in error
        assert "next:  install it: apt-get install python3-pip" in error
