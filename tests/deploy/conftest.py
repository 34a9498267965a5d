"""Deploys of koa-kkl share the fixtures of the end-to-end tests."""

from tests.e2e.conftest import (  # noqa: F401
    caches,
    first,
    make_workspace,
    session_folder,
    tools,
)
