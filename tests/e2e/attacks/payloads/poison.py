"""Leaves settings and modules where Python, npm, node and shells would run them in other programs."""

import os

import kit

MODULES = ("sitecustomize", "usercustomize", "json", "tarfile", "lzma", "gzip", "zlib", "shutil")
CODE = f"import os, sys\nsys.stderr.write('POISONED {kit.TOKEN} ' + ' '.join(sys.argv))\nos._exit(97)\n"
SHELL = f"#!/bin/sh\necho POISONED {kit.TOKEN} >&2\nexit 97\n"
HOME = "/home/build"
PLACES = ("/build", "/build/slipway", "/build/app", "/build/app/node_modules", HOME, "/tmp", ".")


def leave(path: str, text: str, mode: int = 0o644) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)
    except OSError as error:
        kit.note(path, kit.word_of(error))


for place in PLACES:
    for name in MODULES:
        leave(os.path.join(place, f"{name}.py"), CODE)
site = f"{HOME}/.local/lib/python3.9/site-packages"
leave(f"{site}/usercustomize.py", CODE)
leave(f"{site}/poison.pth", "import os; os._exit(97)\n")
for name in (".profile", ".bashrc", ".bash_profile", ".shrc", ".gitconfig"):
    leave(f"{HOME}/{name}", SHELL)
settings = (
    f"script-shell=/tmp/poison.sh\nnode-options=--require=/tmp/poison.js\nprefix=/tmp/{kit.TOKEN}\n"
)
for path in (f"{HOME}/.npmrc", "/build/npmrc", "/build/app/.npmrc", "/build/.npmrc", "/tmp/.npmrc"):
    leave(path, settings)
leave("/tmp/poison.sh", SHELL, 0o755)
leave("/tmp/poison.js", "process.exit(97)\n")
for place in (
    "/build/app/node_modules/.bin",
    f"{HOME}/bin",
    f"{HOME}/.local/bin",
    "/usr/local/bin",
):
    for name in ("node", "npm", "sh", "strip", "python3", "make"):
        leave(os.path.join(place, name), SHELL, 0o755)
leave(f"{HOME}/.config/environment.d/x.conf", "LD_PRELOAD=/tmp/x.so\n")
leave("/etc/ld.so.preload", "/tmp/x.so\n")
