"""Seizes the program of the step, waits for its end, and then replaces the files that it wrote."""

import ctypes
import glob
import gzip
import io
import json
import os
import sys
import tarfile
from typing import Iterator, Tuple

import kit

SEIZE, CONTINUE, DETACH = 0x4206, 7, 17
AT_EXIT = 0x40
mark = f"marked-{kit.TOKEN}"


def members() -> Iterator[Tuple[tarfile.TarInfo, bytes]]:
    name = kit.CONFIG["name"]
    own = f"node_modules/{name}"
    for path, data in (
        (f"{own}/package.json", json.dumps({"name": name, "version": "1.0.0"}).encode()),
        (f"{own}/index.js", b"exports.ok = true\n"),
        ("service/smoke.js", f"// {mark}\n".encode()),
        (f"../../../../../..{kit.CONFIG['targets']}/dotdot", mark.encode()),
        (f"{kit.CONFIG['targets']}/absolute", mark.encode()),
    ):
        info = tarfile.TarInfo(path)
        info.size = len(data)
        yield info, data
    set_id = tarfile.TarInfo(f"{own}/set-id-{mark}")
    set_id.mode = 0o6755
    yield set_id, b""
    device = tarfile.TarInfo(f"{own}/device-{mark}")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    yield device, b""
    link = tarfile.TarInfo(f"{own}/link-{mark}")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    yield link, b""


def packed() -> bytes:
    """A tar without its end blocks, as layers are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in members():
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    return buffer.getvalue()[:size]


def replace_outputs() -> None:
    for path in glob.glob(f"{kit.OUT}/*.layer"):
        with open(path, "wb") as file:
            file.write(gzip.compress(packed(), mtime=0))
    for path in glob.glob(f"{kit.OUT}/*.elf.json"):
        with open(path, "w") as file:
            file.write("[]")
    for path in glob.glob(f"{kit.OUT}/runtime.tar"):
        with tarfile.open(path, "a") as tar:
            info = tarfile.TarInfo(f"{kit.CONFIG['targets']}/by-runtime")
            info.size, info.mode = len(mark), 0o4755
            tar.addfile(info, io.BytesIO(mark.encode()))
    for path in glob.glob(f"{kit.OUT}/built.tar"):
        with tarfile.open(path, "a") as tar:
            info = tarfile.TarInfo(f"dist/../../{mark}")
            info.size, info.mode = len(mark), 0o6755
            tar.addfile(info, io.BytesIO(mark.encode()))


target = kit.program()
kit.note("program", target)
if target is None or not kit.detach():
    sys.exit(0)
if kit.LIBC.ptrace(SEIZE, target, 0, AT_EXIT) != 0:
    kit.note("seize", kit.name_of(ctypes.get_errno()))
    os._exit(0)
kit.reached("seized the program of the step until its exit")
while True:
    pid, status = os.waitpid(target, 0x40000000)
    if status >> 8 == (5 | (6 << 8)):
        break
    kit.LIBC.ptrace(CONTINUE, target, 0, (status >> 8) & 0xFF if os.WIFSTOPPED(status) else 0)
replace_outputs()
kit.LIBC.ptrace(DETACH, target, 0, 0)
os._exit(0)
