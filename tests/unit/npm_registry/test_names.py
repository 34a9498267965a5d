"""Names that hold at every registry."""

from __future__ import annotations

from slipway.npm_registry.names import tarball_path


def test_usual_places_of_tarballs() -> None:
    assert tarball_path("koa", "2.0.0") == "koa/-/koa-2.0.0.tgz"
    assert tarball_path("@koa/cors", "1.0.0-rc.1") == "@koa/cors/-/cors-1.0.0-rc.1.tgz"
    assert tarball_path("koa", "2.0.0+build.7") == "koa/-/koa-2.0.0.tgz"
