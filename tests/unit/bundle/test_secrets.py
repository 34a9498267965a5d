"""Files that look like secrets, by name and, where a name has harmless uses, by content."""

from __future__ import annotations

import pytest

from slipway.bundle.secrets import named_like_secrets, with_secrets

PRIVATE = b"-----BEGIN RSA PRIVATE KEY-----\nx"
PUBLIC = b"-----BEGIN CERTIFICATE-----\nx"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (".env", b"A=1"),
        ("service/.env.production", b""),
        ("service/id_rsa", b"x"),
        ("keys/id_ed25519", b"x"),
        ("service/tls.pem", PRIVATE),
        ("service/both.pem", PUBLIC + b"\n" + PRIVATE),
        ("service/unknown.pem", b"x"),
        ("service/tls.key", b"x"),
        ("service/login.pfx", b"x"),
        (".npmrc", b"//npm.example/:_authToken=abc\n"),
        (".npmrc", b"registry=x\n_auth = abc\n"),
        (".netrc", b"machine x"),
    ],
)
def test_a_secret(file: str, content: bytes) -> None:
    assert named_like_secrets([file]) == (file,)
    assert with_secrets({file: content}) == [file]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("service/ca.pem", PUBLIC),
        ("service/public.key", b"-----BEGIN PUBLIC KEY-----\nx"),
        (".npmrc", b"//npm.example/:_authToken=${NPM_TOKEN}\n"),
        (".npmrc", b"engine-strict=true\n"),
    ],
)
def test_a_file_that_others_may_read(file: str, content: bytes) -> None:
    assert with_secrets({file: content}) == []


def test_only_files_with_such_names_are_read() -> None:
    harmless = ["app.js", ".env.example", "env", "id_rsa.pub", "keys.js", "service/x.keys"]
    assert named_like_secrets(harmless) == ()
