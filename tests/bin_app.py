"""The templates of `bin/app`, as the rules put them together."""

from __future__ import annotations

from typing import Dict

from slipway.core import placeholders
from tests.places import SOURCES

_PROGRAMS = SOURCES / "slipway" / "release" / "programs"
_VALUES = {
    "server_env": "prod",
    "env_file": "",
    "run_script": "serve",
    "member": "",
    "bin": "bin/node",
}


def template(has_npm: bool = True) -> str:
    functions = (_PROGRAMS / ("app_npm.sh" if has_npm else "app_scripts.sh")).read_text()
    return (_PROGRAMS / "app.sh").read_text().replace("@scripts@\n", functions)


def filled(**values: str) -> str:
    """For a runtime without npm, `find_script` is among the values."""
    merged: Dict[str, str] = {**_VALUES, **values}
    return placeholders.fill(template("find_script" not in values), merged)
