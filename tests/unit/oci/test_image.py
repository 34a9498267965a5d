"""Image archives: an ID known in advance, and one file for Docker and for OCI tools."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any, Dict, List

import pytest

from slipway.core.errors import SlipwayError
from slipway.oci.image import Image, LayerBlob, make_image, stream_archive, write_archive
from tests.unit.archive.own_archives import file, own_tar

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
LAYERS = (own_tar([file("a", b"lower")]), own_tar([file("b", b"upper")]))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make(top: Path, name: str = "base:11.11") -> Image:
    image = make_image(
        [LayerBlob(sha256(layer), len(layer)) for layer in LAYERS], ENVIRONMENT, "2024-08-31"
    )
    paths = []
    for number, layer in enumerate(LAYERS):
        paths.append(str(top / f"{number}.tar"))
        (top / f"{number}.tar").write_bytes(layer)
    write_archive(image, paths, name, str(top / "image.tar"))
    return image


def files(path: Path) -> Dict[str, bytes]:
    with tarfile.open(path) as tar:
        found = {info.name: tar.extractfile(info) for info in tar if info.isreg()}
        return {name: file.read() for name, file in found.items() if file}


@pytest.fixture
def made(tmp_path: Path) -> tuple[Image, Dict[str, bytes]]:
    image = make(tmp_path)
    return image, files(tmp_path / "image.tar")


def test_the_id_is_pinned() -> None:
    # The same layers must have the same ID on every machine and in every version of this project.
    image = make_image([LayerBlob("0" * 64, 10240)], ENVIRONMENT, "2024-08-31")
    assert image.image_id == (
        "sha256:4b2cba0e4ba7c38e4d4968efb6fe3adf3d533992750a88afc4a5707fa1962ae5"
    )
    assert image.manifest_digest == (
        "sha256:ef24ad5b3f081d5cc981254681de60e2a597408ba7fa3a0efd21d6115f6585b5"
    )


def test_docker_finds_configuration_and_layers(made: Any) -> None:
    image, archive = made
    (entry,) = json.loads(archive["manifest.json"])
    assert entry["RepoTags"] == ["base:11.11"]
    assert image.image_id == "sha256:" + sha256(archive[entry["Config"]])
    assert [archive[name] for name in entry["Layers"]] == list(LAYERS)
    config = json.loads(archive[entry["Config"]])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + sha256(layer) for layer in LAYERS]
    assert config["config"]["Env"] == ["LANG=C.UTF-8", "PATH=/usr/bin:/bin"]
    assert len(config["history"]) == len(LAYERS)


def test_oci_tools_find_every_blob_by_digest_and_size(made: Any) -> None:
    image, archive = made
    (entry,) = json.loads(archive["index.json"])["manifests"]
    assert entry["digest"] == image.manifest_digest
    assert json.loads(archive["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    manifest = json.loads(archive["blobs/sha256/" + entry["digest"][7:]])
    descriptors: List[Dict[str, Any]] = [entry, manifest["config"], *manifest["layers"]]
    for descriptor in descriptors:
        blob = archive["blobs/sha256/" + descriptor["digest"][7:]]
        assert (sha256(blob), len(blob)) == (descriptor["digest"][7:], descriptor["size"])


def test_every_blob_is_named_by_its_hash_and_stands_in_order(made: Any) -> None:
    _, archive = made
    assert list(archive) == sorted(archive)
    for name, content in archive.items():
        if name.startswith("blobs/"):
            assert name == "blobs/sha256/" + sha256(content)


def test_the_archive_is_the_same_each_time(tmp_path: Path) -> None:
    contents = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        make(tmp_path / folder)
        contents.append((tmp_path / folder / "image.tar").read_bytes())
    assert contents[0] == contents[1]


def test_a_layer_that_leaves_the_root_comes_to_no_engine(tmp_path: Path) -> None:
    layer = tmp_path / "0.tar"
    layer.write_bytes(own_tar([file("../out")]))
    image = make_image([LayerBlob("0" * 64, layer.stat().st_size)], ENVIRONMENT, "2024-08-31")
    with open(tmp_path / "image.tar", "wb") as out:
        with pytest.raises(SlipwayError, match="its name leaves the archive"):
            stream_archive(image, [str(layer)], "base:11.11", out)
        assert out.tell() == 0
