"""Links files of other packages, of inputs and of the runtime into its own folder, and writes to them."""

import os

import kit

os.chdir(kit.FOLDER)
SOURCES = [
    ("neighbour", "../bystander/index.js"),
    ("argument", "/build/in/arguments.json"),
    ("node", "/build/node_runtime/bin/node"),
    ("python", "/usr/bin/python3"),
    ("shell", "/bin/sh"),
    ("passwd", "/etc/passwd"),
]
for folder, _, files in os.walk("/build/in"):
    SOURCES.extend((f"input-{name}", os.path.join(folder, name)) for name in files[:2])
for name, source in SOURCES:
    if not os.path.exists(source):
        continue
    try:
        os.link(source, name)
    except OSError as error:
        kit.note(name, kit.word_of(error))
        continue
    if name == "neighbour":
        continue  # of its own tree, which is thrown away
    kit.reached(f"linked {source} into its own folder")
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_APPEND))
        kit.reached(f"opened {source} for writing by its link")
    except OSError:
        pass
