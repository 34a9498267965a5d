"""The handling of an engine's answers, with a client whose answers the test chooses."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path
from typing import Dict, List, Tuple

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.core.errors import SlipwayError
from slipway.isolation import container_start, docker_engine
from slipway.isolation import job as isolation
from slipway.isolation.job import Command, IsolationRefused, Job
from slipway.isolation.resource_limits import Limits
from slipway.isolation.tree_cache import Layer
from slipway.oci import docker
from slipway.oci.docker import Client
from tests.unit.archive.own_archives import Item, file, folder, hard_link, link, own_tar


@pytest.fixture
def job(tmp_path: Path) -> Job:
    layer = tmp_path / "base.tar"
    layers.write_tar(str(layer), [Entry("usr", "folder")])
    (tmp_path / "out").mkdir()
    return Job(
        trees={"/": [Layer(str(layer), hashlib.sha256(layer.read_bytes()).hexdigest())]},
        cache=str(tmp_path),
        inputs=(),
        out=str(tmp_path / "out"),
        outputs=("a",),
        command=Command(("/bin/true",), {"HOME": "/home/build"}, "/build"),
        time_limit=60,
        limits=Limits(memory=1 << 30, processes=100, space=1 << 30, inodes=10_000),
    )


def client(folder: Path, answers: Dict[str, str]) -> Client:
    """A docker program whose subcommands run lines of shell; other subcommands fail silently."""
    cases = "".join(f'"{name}"*) {script};;\n' for name, script in answers.items())
    program = folder / "docker"
    program.write_text(
        f'#!/bin/sh\necho "$@" >>"{folder}/calls"\ncase "$*" in\n{cases}*) exit 1;;\nesac\n'
    )
    program.chmod(0o755)
    return Client(str(program), {"PATH": "/usr/bin:/bin"})


def say(text: str, status: int = 1) -> str:
    return f'echo "{text}" >&2; exit {status}'


NO_IMAGE = say("Error: No such image: sha256:0")
PERMISSION = "Got permission denied while trying to connect to the Docker daemon socket"
REFUSALS: Dict[str, Tuple[Dict[str, str], str]] = {
    "no permission": ({"image inspect": say(PERMISSION)}, PERMISSION),
    "stopped": (
        {"image inspect": say("Cannot connect to the Docker daemon at unix:///x. Is it running?")},
        "Cannot connect to the Docker daemon",
    ),
    "another platform": (
        {"image inspect": NO_IMAGE, "version": "echo linux/arm64"},
        "the engine is for linux/arm64, not for linux/amd64",
    ),
    "it does not take the image": (
        {
            "image inspect": NO_IMAGE,
            "version": "echo linux/amd64",
            "load": "cat >/dev/null; " + say("open /var/lib/docker/tmp: read-only file system"),
        },
        "docker load failed: open /var/lib/docker/tmp: read-only file system",
    ),
    "the image goes again and again": (
        {"image inspect": "exit 0", "run": say("Error response from daemon: No such image: x")},
        "right after loading it",
    ),
    "the container does not start": (
        {
            "image inspect": "exit 0",
            "run": say("docker: Error response from daemon: no cgroup.\nSee 'docker run --help'."),
        },
        "docker: Error response from daemon: no cgroup.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_the_engine_s_own_words(tmp_path: Path, job: Job, name: str) -> None:
    answers, words = REFUSALS[name]
    with pytest.raises(IsolationRefused) as raised:
        docker_engine.run(client(tmp_path, answers), job)
    assert words in str(raised.value)


@pytest.mark.parametrize("network", [False, True])
def test_a_container_has_a_network_only_if_the_step_may(
    tmp_path: Path, job: Job, network: bool
) -> None:
    command = dataclasses.replace(job.command, network=network)
    answers = {"image inspect": "exit 0", "run": say("Error: that is all")}
    with pytest.raises(IsolationRefused):
        docker_engine.run(client(tmp_path, answers), dataclasses.replace(job, command=command))
    calls = (tmp_path / "calls").read_text().splitlines()
    (started,) = {line for line in calls if line.startswith("run ")}
    assert ("--network=none" in started) is not network


@pytest.mark.parametrize("command", ["load", "run"])
def test_a_full_disk_is_told_apart(tmp_path: Path, job: Job, command: str) -> None:
    answers = {
        "image inspect": "exit 0" if command == "run" else NO_IMAGE,
        "version": "echo linux/amd64",
        command: "cat >/dev/null & " + say("write /var/lib/docker/x: no space left on device"),
    }
    with pytest.raises(SlipwayError) as raised:
        docker_engine.run(client(tmp_path, answers), job)
    assert raised.value.what == "no space left on the disk of the Docker engine"


def test_an_engine_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_ANSWERS_WITHIN", 0.2)
    with pytest.raises(IsolationRefused, match=r"timed out after 0\.2 seconds"):
        docker_engine.run(client(tmp_path, {"image inspect": "exec sleep 60"}), job)


def test_a_client_that_is_not_there_is_told(tmp_path: Path, job: Job) -> None:
    with pytest.raises(IsolationRefused, match="No such file or directory"):
        docker_engine.run(Client(str(tmp_path / "gone"), {}), job)


def test_a_container_beyond_its_time_limit_is_removed(tmp_path: Path, job: Job) -> None:
    answers = {"image inspect": "exit 0", "run": "exec sleep 60", "rm": "exit 0"}
    late = isolation.Job(**{**vars(job), "time_limit": 0.3})
    with pytest.raises(isolation.TimeLimitReached):
        docker_engine.run(client(tmp_path, answers), late)
    calls = (tmp_path / "calls").read_text().splitlines()
    (started,) = [line for line in calls if line.startswith("run ")]
    name = next(word for word in started.split() if word.startswith("--name="))[len("--name=") :]
    assert f"rm --force --volumes {name}" in calls
    assert "--network=none" in started
    assert "--read-only" in started


def sent(job: Job, *items: Item) -> List[Tuple[str, str, bytes]]:
    """The content of a two-layer tree in a container: names below /build, targets and contents."""
    content = own_tar(items)
    path = Path(job.out).parent / "runtime.tar"
    path.write_bytes(content)
    layer = Layer(str(path), hashlib.sha256(content).hexdigest())
    trees = {**job.trees, "/build/node_runtime": [layer]}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        docker_engine._send(tar, dataclasses.replace(job, trees=trees))
    out.seek(0)
    with tarfile.open(fileobj=out, mode="r:") as tar:
        files = {info.name: tar.extractfile(info) for info in tar if info.isreg()}
        contents = {name: file.read() for name, file in files.items() if file}
        return [
            (info.name, info.linkname, contents.get(info.name, b""))
            for info in tar
            # The input also contains the modules of the container's first process.
            if not info.name.startswith(f"{container_start.MODULES}/")
        ]


def test_trees_are_sent_below_their_targets(job: Job) -> None:
    items = [file("a", b"1"), link("b", "a"), hard_link("c", "a"), folder("d"), file("d/e", b"2")]
    assert sent(job, *items) == [
        ("node_runtime/a", "", b"1"),
        ("node_runtime/b", "a", b""),
        ("node_runtime/c", "node_runtime/a", b""),
        ("node_runtime/d", "", b""),
        ("node_runtime/d/e", "", b"2"),
    ]


@pytest.mark.parametrize("item", [file("../../etc/x"), file("a", mode=0o4755)])
def test_a_tree_that_no_step_wrote_is_not_sent(job: Job, item: Item) -> None:
    with pytest.raises(SlipwayError, match="is not an archive that Slipway wrote"):
        sent(job, file("0"), item)


def test_an_image_that_no_step_wrote_is_not_loaded(tmp_path: Path, job: Job) -> None:
    content = own_tar([file("/etc/x")])
    (tmp_path / "base.tar").write_bytes(content)
    layer = Layer(str(tmp_path / "base.tar"), hashlib.sha256(content).hexdigest())
    answers = {
        "image inspect": NO_IMAGE,
        "version": "echo linux/amd64",
        "load": f"cat >{tmp_path}/loaded",
    }
    with pytest.raises(SlipwayError, match="an absolute name"):
        docker_engine.run(client(tmp_path, answers), dataclasses.replace(job, trees={"/": [layer]}))
    loaded = tmp_path / "loaded"
    assert not loaded.exists() or loaded.read_bytes() == b""
