"""Fails with a forged report of the network guard left beside the outputs."""

import json
import os
import sys

import kit

attempt = dict.fromkeys(("target", "command", "package", "version", "event", "script"), "x")
attempt.update({"target": "forged.example:443", "package": "react", "version": "19.0.0"})
try:
    with open(os.path.join(kit.OUT, "network.json"), "w") as file:
        json.dump({"attempts": [attempt], "refused": ""}, file)
    kit.reached("wrote network.json")
except OSError as error:
    kit.note("network.json", kit.word_of(error))
sys.exit(3)
