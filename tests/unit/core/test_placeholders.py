"""Filling in `bin/app`: every place of the template gets its value, and nothing else changes."""

from __future__ import annotations

import re

from slipway.core.placeholders import fill
from tests.bin_app import template

TEMPLATE = template()
VALUES = {
    "server_env": "prod",
    "env_file": "/etc/koa-kkl/env",
    "run_script": "serve",
    "member": "apps/web",
    "bin": "bin/node",
}


def test_each_value_stands_in_its_place() -> None:
    filled = fill("a='@server_env@'\nb='@env_file@'\n# user@host @other@\n", VALUES)
    assert filled == "a='prod'\nb='/etc/koa-kkl/env'\n# user@host @other@\n"


def test_the_template_of_bin_app_has_no_other_places() -> None:
    assert set(re.findall(r"@(\w+)@", TEMPLATE)) == set(VALUES)
    assert not re.findall(r"@\w+@", fill(TEMPLATE, VALUES))


def test_the_order_of_values_does_not_matter() -> None:
    backwards = dict(reversed(list(VALUES.items())))
    assert fill(TEMPLATE, VALUES) == fill(TEMPLATE, backwards)


def test_values_stand_as_they_are() -> None:
    value = r"/etc/ü \1 $x & \n/env"
    assert fill("env_file='@env_file@'\n", {"env_file": value}) == f"env_file='{value}'\n"
