from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.fetch import integrity

CONTENT = b"a tarball"
SHA512 = "sha512-" + base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
SHA1 = "sha1-" + base64.b64encode(hashlib.sha1(CONTENT).digest()).decode()


def test_the_strongest_algorithm_decides() -> None:
    assert integrity.render(integrity.parse(f"{SHA1} {SHA512}")) == SHA512


def test_sha1_alone_is_a_hash() -> None:
    (one,) = integrity.parse(SHA1)
    assert one.hex == hashlib.sha1(CONTENT).hexdigest()


def test_several_hashes_of_one_algorithm_are_kept() -> None:
    other = str(integrity.of_bytes("sha512", b"other"))
    assert integrity.render(integrity.parse(f"{SHA512} {other} {SHA512}")) == f"{SHA512} {other}"


def test_options_after_a_hash_are_dropped() -> None:
    assert str(integrity.parse(f"{SHA512}?note")[0]) == SHA512


def test_npm_looks_for_a_content_by_its_digits() -> None:
    digits = hashlib.sha512(CONTENT).hexdigest()
    assert integrity.parse(SHA512)[0].cache_path() == (
        f"_cacache/content-v2/sha512/{digits[:2]}/{digits[2:4]}/{digits[4:]}"
    )


BAD = {
    "": "none of sha512, sha384, sha256, sha1",
    "md5-1B2M2Y8AsgTpgAmY7PhCfg==": "none of sha512",
    "sha512": "is not <algorithm>-<base64>",
    "sha512-": "is not <algorithm>-<base64>",
    "sha512-äöü": "is not <algorithm>-<base64>",
    "sha512-AAA": "is not base64",
    "sha512-AAAA": "sha512 has 64 bytes, but 'sha512-AAAA' holds 3",
    f"{SHA512} sha1-AAAA": "sha1 has 20 bytes",
}


@pytest.mark.parametrize("text", BAD)
def test_says_what_is_wrong(text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the text is compared below)
        integrity.parse(text)
    assert BAD[text] in str(caught.value)


@given(st.sampled_from(["sha1", "sha256", "sha384", "sha512"]), st.binary())
def test_what_is_written_reads_the_same(algorithm: str, content: bytes) -> None:
    one = integrity.of_bytes(algorithm, content)
    assert integrity.parse(str(one)) == (one,)
    assert one.hex == hashlib.new(algorithm, content).hexdigest()


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for one in integrity.parse(text):
            assert integrity.parse(str(one)) == (one,)
    except ValueError:
        pass
