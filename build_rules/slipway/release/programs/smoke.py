"""Stages a release as a host would unpack it and runs one script in it: only its own files count."""

from __future__ import annotations

import os
from typing import Any, Dict

from slipway.archive import unpacking
from slipway.archive.unpacking import Form
from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.isolation import jailed
from slipway.step.frame import run_untyped

_RELEASE = "release"


def smoke(arguments: Dict[str, Any]) -> None:
    for layer in sorted(os.listdir("in/layers")):
        unpacking.unpack(f"in/layers/{layer}", _RELEASE, Form.LAYER)
    os.makedirs(f"{_RELEASE}/bin", exist_ok=True)
    with open("in/app.sh", encoding="utf-8") as template:
        text = placeholders.fill(template.read(), arguments["launcher"])
    with open(f"{_RELEASE}/bin/app", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(f"{_RELEASE}/bin/app", 0o755)
    script = arguments["script"]
    status, last = jailed.run(
        [f"{_RELEASE}/bin/app", "run", script],
        ".",
        {**os.environ, **arguments["env"]},
        writable=[_RELEASE],
    )
    if status != 0:
        raise SlipwayError(
            f'the smoke script "{script}" failed with exit status {status} in the staged release',
            where=f"{placeholders.ORIGIN}, field smoke_script",
            found="\n".join(last),
            next="a module that is not found may stand in devDependencies: only dependencies are "
            "in a release",
        )
    with open("out/smoke.ok", "w", encoding="utf-8") as file:
        file.write(f"{script}\n")


if __name__ == "__main__":
    run_untyped(smoke)
