"""What all tests share: in CI no test is skipped silently; how fast a machine is fails no test."""

from hypothesis import settings

from tests.skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401
from tests.tiers import pytest_sessionfinish  # noqa: F401

settings.register_profile("slipway", deadline=None)
settings.load_profile("slipway")
