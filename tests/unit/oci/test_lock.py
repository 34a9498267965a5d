"""References to images and the locks of their parts: valid and invalid values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.errors import SlipwayError
from slipway.oci.lock import (
    Blob,
    ImageLock,
    ImageReference,
    is_reference,
    parse_reference,
    read_image_lock,
    write_image_lock,
)

SHA = "ab" * 32
DIGEST = f"sha256:{SHA}"
hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
blobs = st.builds(Blob, hashes, st.integers(1, 1 << 20))


@pytest.mark.parametrize(
    ("value", "registry", "repository"),
    [
        (f"registry.example/x@{DIGEST}", "registry.example", "x"),
        (f"registry.example:5000/team/a-b__c@{DIGEST}", "registry.example:5000", "team/a-b__c"),
        (f"localhost/x@{DIGEST}", "localhost", "x"),
        (f"127.0.0.1:5000/a/b/c@{DIGEST}", "127.0.0.1:5000", "a/b/c"),
        (DIGEST, "", ""),
    ],
)
def test_references_that_pin_an_image(value: str, registry: str, repository: str) -> None:
    reference = parse_reference(value, "here")
    assert reference == ImageReference(registry, repository, DIGEST)
    assert str(reference) == value
    assert is_reference(value)


@pytest.mark.parametrize(
    "value",
    [
        f"centos@{DIGEST}",  # an engine would complete it
        f"library/centos@{DIGEST}",
        f"registry.example/x:7@{DIGEST}",
        "registry.example/x@sha256:abc",
        f"registry.example/x@sha512:{SHA}",
        f"https://registry.example/x@{DIGEST}",
        f"registry.example/../x@{DIGEST}",
        f"registry.example/X@{DIGEST}",
        f"user:secret@registry.example/x@{DIGEST}",
        "sha256:abc",
    ],
)
def test_a_reference_that_pins_nothing_is_told_how_to_write_it(value: str) -> None:
    assert is_reference(value)
    with pytest.raises(SlipwayError) as error:
        parse_reference(value, "//x:x, field image")
    assert "//x:x, field image" in str(error.value)
    assert 'image="registry.example/team/image@sha256:…"' in str(error.value)


def test_a_file_is_no_reference() -> None:
    assert not is_reference("image.json")


@given(hashes, blobs, st.lists(blobs, min_size=1))
def test_a_lock_comes_back_as_it_was_written(digest: str, config: Blob, layers: list[Blob]) -> None:
    lock = ImageLock(f"registry.example/x@sha256:{digest}", config, tuple(layers))
    assert read_image_lock(write_image_lock(lock), "packages.lock") == lock


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 2}, '"format": 1'),
        ({"layers": []}, "one layer or more"),
        ({"layers": [{"sha256": "no", "size": 1}]}, "64 hexadecimal digits"),
        ({"layers": [{"sha256": SHA, "size": 1 << 60}]}, "a number from 1"),
        ({"config": {"sha256": SHA, "size": 1 << 30}}, "a number from 1"),
        ({"layrs": []}, 'unknown field "layrs"'),
    ],
)
def test_a_lock_edited_by_hand_is_told_by_field(change: dict[str, object], told: str) -> None:
    blob = {"sha256": SHA, "size": 1}
    good = {"format": 1, "image": DIGEST, "config": blob, "layers": [blob]}
    with pytest.raises(SlipwayError) as error:
        read_image_lock(json.dumps({**good, **change}), "packages.lock", next="renew")
    assert told in str(error.value)
