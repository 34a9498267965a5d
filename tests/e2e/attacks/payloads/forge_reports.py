"""Puts links and forged reports where the step's program will write its own, or where it does not."""

import json
import os

import kit

layer = kit.CONFIG["layer"]
forged = {"attempts": [["not", "an", "attempt"]], "refused": kit.TOKEN}
if os.path.isdir(kit.OUT):
    for name, text in (
        ("network.json", json.dumps(forged)),
        ("compile.json", json.dumps({"bytes": "many", "elsewhere": [kit.TOKEN], "foreign": {}})),
        ("asked.json", "{"),
        ("build.json", "[[[["),
    ):
        try:
            with open(os.path.join(kit.OUT, name), "w") as file:
                file.write(text)
            kit.reached(f"wrote {name}")
        except OSError as error:
            kit.note(name, kit.word_of(error))
    for name in os.listdir(kit.OUT):
        kit.note(f"out has {name}", True)
    for ending in (".elf.json",):
        for name in (layer,):
            path = os.path.join(kit.OUT, name + ending)
            if not os.path.lexists(path):
                try:
                    os.symlink("/dev/null", path)
                    kit.reached(f"put a link in place of {name}{ending}")
                except OSError as error:
                    kit.note(path, kit.word_of(error))
path = os.path.join(kit.FOLDER, "package.json")
if os.path.exists(path):
    with open(path) as file:
        manifest = json.load(file)
    manifest.update({"name": "react", "version": "19.0.0"})
    with open(path, "w") as file:
        json.dump(manifest, file)
