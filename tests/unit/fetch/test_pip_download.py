"""Wheels by a real pip: found, absent, of another content, and from an index that misbehaves."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest

from slipway.fetch import pip_download
from slipway.fetch.faults import FetchFailed, FetchFault
from slipway.fetch.settings import Settings
from tests.unit.fetch.loopback import Page, redirect, serve
from tests.unit.fetch.pip_index import (
    PROJECT,
    from_folder,
    make_wheel,
    pages,
    pip_settings,
    wheel_name,
)
from tests.unit.registry_stub import unused_port

WHEEL = make_wheel("22.20.0", {"bin/node": b"node"})
SHA256 = hashlib.sha256(WHEEL).hexdigest()
NAME = wheel_name("22.20.0")
SHOW_INDEX = "pip config list, which shows the index that pip uses"


def download(settings: Settings, sha256: str = "", version: str = "22.20.0") -> Tuple[str, bytes]:
    """The name and the content of the downloaded wheel."""

    def read(path: str) -> Tuple[str, bytes]:
        return Path(path).name, Path(path).read_bytes()

    return pip_download.with_wheel(settings, PROJECT, version, sha256, read)


def fails(settings: Settings, sha256: str = "", version: str = "22.20.0") -> FetchFault:
    with pytest.raises(FetchFailed) as caught:
        download(settings, sha256, version)
    assert caught.value.fault.subject == f"{PROJECT} {version}"
    return caught.value.fault


@pytest.mark.parametrize("sha256", ["", SHA256], ids=["without a hash", "with its hash"])
def test_a_wheel_of_the_users_folder(sha256: str, tmp_path: Path) -> None:
    older = {wheel_name("22.19.0"): make_wheel("22.19.0", {})}
    assert download(from_folder(tmp_path, {**older, NAME: WHEEL}), sha256) == (NAME, WHEEL)


def test_a_wheel_of_the_users_index(tmp_path: Path) -> None:
    with serve(pages({NAME: WHEEL}, "/team/simple")) as server:
        settings = pip_settings(tmp_path, PIP_INDEX_URL=f"{server.address}/team/simple")
        assert download(settings, SHA256) == (NAME, WHEEL)
        assert server.paths == [f"/team/simple/{PROJECT}/", f"/files/{NAME}"]


def test_a_wheel_with_another_hash_than_the_definition(tmp_path: Path) -> None:
    settings = from_folder(tmp_path, {NAME: make_wheel("22.20.0", {"bin/node": b"other"})})
    fault = fails(settings, SHA256)
    assert fault.reason == "the wheel of the Python index has another SHA-256"
    assert fault.next == "restore the definition from version control"
    assert not fault.absent


@pytest.mark.parametrize(
    "wheels",
    [
        {},
        {wheel_name("22.19.0"): make_wheel("22.19.0", {})},
        {wheel_name("22.20.0", "py3-none-manylinux2014_aarch64"): WHEEL},
        {wheel_name("22.20.0", "py3-none-manylinux_2_34_x86_64"): WHEEL},
    ],
    ids=["empty", "another version", "for arm64", "for newer hosts alone"],
)
def test_an_index_without_this_wheel(wheels: Dict[str, bytes], tmp_path: Path) -> None:
    fault = fails(from_folder(tmp_path, wheels))
    assert fault.reason == "the Python index does not have it for x86-64 Linux"
    assert fault.next == SHOW_INDEX
    assert fault.absent


def test_an_index_without_the_project(tmp_path: Path) -> None:
    with serve({}) as server:
        fault = fails(pip_settings(tmp_path, PIP_INDEX_URL=f"{server.address}/simple"))
    assert fault.absent
    assert fault.reason == "the Python index does not have it for x86-64 Linux"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, "too many 500 error responses"),
        (401, "401 Client Error"),
    ],
)
def test_an_index_that_answers_with_an_error_is_not_an_index_without_it(
    status: int, reason: str, tmp_path: Path
) -> None:
    with serve({f"/simple/{PROJECT}/": status}) as server:
        fault = fails(pip_settings(tmp_path, PIP_INDEX_URL=f"{server.address}/simple"))
    assert fault.reason.startswith("pip cannot read the Python index: ")
    assert reason in fault.reason
    assert fault.next == SHOW_INDEX
    assert not fault.absent


def test_an_index_that_is_down(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{unused_port()}/simple"
    fault = fails(pip_settings(tmp_path, PIP_INDEX_URL=address))
    assert fault.reason.startswith("pip cannot read the Python index: ")
    assert "Connection refused" in fault.reason
    assert not fault.absent


def test_an_index_that_pip_does_not_trust(tmp_path: Path) -> None:
    fault = fails(pip_settings(tmp_path, PIP_INDEX_URL="http://index.example/simple"))
    assert fault.reason == (
        "pip cannot read the Python index: "
        "The repository located at index.example is not a trusted or secure host"
    )
    assert not fault.absent


def test_one_of_two_indexes_is_down_and_the_other_has_it(tmp_path: Path) -> None:
    with serve(pages({NAME: WHEEL})) as server:
        settings = pip_settings(
            tmp_path,
            PIP_INDEX_URL=f"http://127.0.0.1:{unused_port()}/simple",
            PIP_EXTRA_INDEX_URL=f"{server.address}/simple",
        )
        assert download(settings) == (NAME, WHEEL)


@pytest.mark.parametrize("page", [404, 500, b"not a wheel", redirect("/files/gone")])
def test_a_wheel_that_the_index_lists_but_does_not_have(page: Page, tmp_path: Path) -> None:
    with serve({**pages({NAME: WHEEL}), f"/files/{NAME}": page}) as server:
        fault = fails(pip_settings(tmp_path, PIP_INDEX_URL=f"{server.address}/simple"))
    assert not fault.absent
    assert "\n" not in fault.reason


def test_a_login_of_the_index_is_in_no_message(tmp_path: Path) -> None:
    for page, port in ((401, 0), (500, 0), (0, unused_port())):
        with serve({f"/simple/{PROJECT}/": page}) as server:
            host = f"127.0.0.1:{port}" if port else server.address.partition("//")[2]
            address = f"http://user:TOPSECRET@{host}/simple"
            fault = fails(pip_settings(tmp_path, PIP_INDEX_URL=address))
        assert "TOPSECRET" not in str(fault)


def test_a_machine_without_pip(tmp_path: Path) -> None:
    fault = fails(dataclasses.replace(from_folder(tmp_path, {}), pip=()))
    assert fault.reason == "there is no pip"
    assert fault.next == "install it: apt-get install python3-pip"


def test_a_pip_that_fails_in_its_own_way(tmp_path: Path) -> None:
    script = "echo 'WARNING: first' >&2; printf 'ERROR: no \\033[31mspace\\n' >&2; exit 2"
    settings = dataclasses.replace(from_folder(tmp_path, {}), pip=("/bin/sh", "-c", script))
    assert fails(settings).reason == "pip failed: ERROR: no \\x1b[31mspace"
    silent = dataclasses.replace(settings, pip=("/bin/sh", "-c", "exit 3"))
    assert fails(silent).reason == "pip failed: no output"


def test_a_pip_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_download, "_SECONDS", 0.2)
    settings = dataclasses.replace(from_folder(tmp_path, {}), pip=("/bin/sh", "-c", "sleep 60"))
    fault = fails(settings)
    assert fault.reason == "pip did not finish within 0.2 seconds"
    assert fault.next == "run the same command again"


def test_pip_reads_the_variables_of_the_user_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://wrong.example/simple")
    seen: Dict[str, Any] = {}

    def look(command: Any, **settings: Any) -> Any:
        seen.update(settings)
        raise subprocess.TimeoutExpired(command, 1)

    settings = from_folder(tmp_path, {})
    monkeypatch.setattr(subprocess, "run", look)
    with pytest.raises(FetchFailed):
        pip_download.with_wheel(settings, PROJECT, "1.0.0", "", str)
    assert seen["env"] == dict(settings.env)
    assert seen["stdin"] == subprocess.DEVNULL
