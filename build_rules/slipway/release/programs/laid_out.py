"""The files of a release as on a host, in the working folder of a step."""

from __future__ import annotations

import os

from slipway.archive import unpacking
from slipway.archive.unpacking import Form
from slipway.release.launcher import Launcher

FOLDER = "release"


def lay_out(launcher: Launcher) -> None:
    """Unpacks the layers in `in/layers`, beside the runtime, and writes `bin/app`."""
    for layer in sorted(os.listdir("in/layers")):
        unpacking.unpack(f"in/layers/{layer}", FOLDER, Form.LAYER)
    os.makedirs(f"{FOLDER}/bin", exist_ok=True)
    with open("in/app.sh", encoding="utf-8") as template:
        text = launcher.fill(template.read())
    with open(f"{FOLDER}/bin/app", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(f"{FOLDER}/bin/app", 0o755)
