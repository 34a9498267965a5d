"""Releases before they are offered to hosts: digests, differences, archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from slipway.core.errors import SlipwayError
from slipway.deploy import shipped_release, static_files
from slipway.deploy.children import Children
from slipway.deploy.deployment import Deployment
from slipway.deploy.shipped_release import BaseFiles
from tests.unit.archive.own_archives import Item, file, hard_link, own_gzip, own_tar
from tests.unit.deploy.tiny_release import write_release


def test_only_what_differs_is_packed_the_same_each_time(tmp_path: Path) -> None:
    release = shipped_release.read(str(write_release(tmp_path / "a", "1.0.0", files={"a": "1"})))
    archive = release.archive(frozenset({"a"}), "gzip")
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(archive))) as tar:
        files = [one.name for one in tar if one.isreg()]
        links = [one.name for one in tar if one.issym()]
    lists = [f".release/{one}.sha256" for one in release.lists]
    assert sorted(files) == sorted(["a", *lists, "release.json"])
    assert links == ["service/link"]
    again = shipped_release.read(str(tmp_path / "a" / "tiny-1.0.0-prod.release.json"))
    assert again.archive(frozenset({"a"}), "gzip") == archive


def test_a_difference_tells_contents_and_modes(tmp_path: Path) -> None:
    release = shipped_release.read(
        str(write_release(tmp_path / "a", "1.0.0", files={"a": "1", "b": "2"}))
    )
    whole = release.difference(BaseFiles({}, frozenset()), [])
    hashes = {
        line[66:]: line[:64]
        for text in release.lists.values()
        for line in text.decode().splitlines()
    }
    assert whole.missing == set(hashes)
    same = release.difference(BaseFiles(hashes, release.executables), [])
    assert (same.missing, same.removed) == (frozenset(), ())
    other = {**hashes, "a": "0" * 64, "old": "1" * 64}
    found = release.difference(BaseFiles(other, release.executables | {"b"}), [])
    assert found.missing == {"a", "b"}
    assert found.removed == ("a", "b", "old")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FAULTS: Dict[str, Callable[[Path, Path], object]] = {
    "is not the file that its release.json describes": lambda manifest, tarball: flip(tarball),
    "bytes with the SHA-256": lambda manifest, tarball: tarball.write_bytes(
        tarball.read_bytes()[:-9]
    ),
    "cannot read": lambda manifest, tarball: tarball.unlink(),
    "is not valid JSON": lambda manifest, tarball: manifest.write_text("{"),
    "missing tarball": lambda manifest, tarball: manifest.write_text(
        json.dumps({"app": "x", "version": "1", "server_env": "prod", "layers": []})
    ),
    "cannot read the release": lambda manifest, tarball: manifest.unlink(),
}


@pytest.mark.parametrize("words", FAULTS)
def test_a_release_that_does_not_match_its_manifest_is_refused(tmp_path: Path, words: str) -> None:
    manifest = write_release(tmp_path / "a", "1.0.0")
    FAULTS[words](manifest, manifest.parent / "tiny-1.0.0-prod.tar.gz")
    with pytest.raises(SlipwayError) as raised:
        shipped_release.read(str(manifest))
    assert words in str(raised.value)


@pytest.mark.parametrize("item", [file("../x"), file("x", mode=0o4755), hard_link("x", "/x")])
def test_a_tarball_that_slipway_did_not_write_is_not_shipped(tmp_path: Path, item: Item) -> None:
    content = own_gzip(own_tar([file("release.json", b"{}"), item]))
    (tmp_path / "x.tar.gz").write_bytes(content)
    about = {"file": "x.tar.gz", "sha256": hashlib.sha256(content).hexdigest()}
    manifest: Dict[str, Any] = {"app": "x", "version": "1", "server_env": "prod", "layers": []}
    manifest["tarball"] = {**about, "size": len(content)}
    (tmp_path / "x.release.json").write_text(json.dumps(manifest))
    with pytest.raises(SlipwayError, match="is not an archive that Slipway wrote"):
        shipped_release.read(str(tmp_path / "x.release.json"))


def test_static_files_are_not_unpacked_outside_of_their_folder(tmp_path: Path) -> None:
    release = shipped_release.read(str(write_release(tmp_path / "a", "1.0.0", static={"a": "1"})))
    Path(release.static).write_bytes(own_gzip(own_tar([file("../outside")])))
    deployment = Deployment("/home/app", ("h",), "prod", static_publish="true")
    with pytest.raises(SlipwayError, match="its name leaves the archive"):
        static_files.publish(
            deployment, release, "20260101T000000Z", lambda text, host: None, Children()
        )
