"""Leaves its root folder: chroot within it, entries above it, links of /proc, file handles."""

import ctypes
import os

import kit


def is_outside(folder: str) -> bool:
    """Whether the machine's own files are there."""
    return os.path.exists(os.path.join(folder, kit.CONFIG["machine_path"].lstrip("/")))


def by_chroot() -> None:
    os.makedirs("/tmp/inner", exist_ok=True)
    outer = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/inner")
    kit.reached("called chroot")
    os.fchdir(outer)
    for _ in range(64):
        os.chdir("..")
    if is_outside("."):
        kit.reached("left its root by chroot")


def in_namespace() -> None:
    if kit.LIBC.unshare(0x10000000) == 0:
        by_chroot()
    else:
        kit.note("unshare", kit.name_of(ctypes.get_errno()))


for name, act in (("chroot", by_chroot), ("namespace", in_namespace)):
    child = os.fork()
    if child == 0:
        kit.attempt(name, act)
        os._exit(0)
    os.waitpid(child, 0)
if is_outside("/"):
    kit.reached("sees the machine's files at /")
for pid in kit.visible():
    for link in ("root", "cwd"):
        if is_outside(f"/proc/{pid}/{link}"):
            kit.reached(f"sees the machine's files at /proc/{pid}/{link}")
handle = ctypes.create_string_buffer(128)
ctypes.memmove(
    handle, (8).to_bytes(4, "little") + (1).to_bytes(4, "little") + (2).to_bytes(8, "little"), 16
)
done, error = kit.call(304, os.open("/", os.O_RDONLY), handle, os.O_RDONLY)  # open_by_handle_at
if done >= 0:
    kit.reached("opened a file by its handle")
else:
    kit.note("handle", kit.name_of(error))
