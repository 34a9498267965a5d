"""Makes user namespaces of its own, in which it has all rights, and undoes the read-only mounts."""

import ctypes
import os

import kit

USER, MOUNTS, PROCESSES = 0x10000000, 0x20000, 0x20000000
REMOUNT, BIND, PRIVATE, RECURSIVE, DETACH = 32, 4096, 1 << 18, 16384, 2


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def mount(
    source: bytes, target: bytes, kind: bytes = b"", flags: int = 0, options: bytes = b""
) -> bool:
    done: int = kit.LIBC.mount(source, target, kind, ctypes.c_ulong(flags), options)
    if done != 0:
        kit.note(f"mount {target!r} {flags}", kit.name_of(ctypes.get_errno()))
    return done == 0


def try_mounts() -> None:
    uid, gid = os.getuid(), os.getgid()
    if kit.LIBC.unshare(USER | MOUNTS) != 0:
        kit.note("unshare", kit.name_of(ctypes.get_errno()))
        return
    kit.attempt("setgroups", lambda: write("/proc/self/setgroups", "deny"))
    kit.attempt("uid_map", lambda: write("/proc/self/uid_map", f"0 {uid} 1"))
    kit.attempt("gid_map", lambda: write("/proc/self/gid_map", f"0 {gid} 1"))
    mount(b"", b"/", b"", PRIVATE | RECURSIVE)
    mark = f"marked-{kit.TOKEN}"
    for folder in ("/", "/usr/bin", "/etc", "/build/in", "/build/slipway", "/build/node_runtime"):
        if os.access(folder, os.W_OK):
            continue  # that is for another attack
        mount(b"", folder.encode(), b"", REMOUNT | BIND)
        try:
            write(os.path.join(folder, mark), kit.TOKEN)
            kit.reached(f"made a file in {folder} after a remount")
        except OSError as error:
            kit.note(f"write {folder}", kit.word_of(error))
    # Below a mount may be what it hides.
    for place in ("/build/in/arguments.json", "/build", "/tmp", "/proc", "/dev"):
        if kit.LIBC.umount2(place.encode(), DETACH) == 0:
            kit.reached(f"took the mount at {place} away")
    os.makedirs("/tmp/outer", exist_ok=True)
    if mount(b"cgroup2", b"/tmp/outer", b"cgroup2"):
        try:
            os.mkdir(f"/tmp/outer/{mark}")
            kit.reached("made a control group")
            os.rmdir(f"/tmp/outer/{mark}")
        except OSError as error:
            kit.note("cgroup", kit.word_of(error))


child = os.fork()
if child == 0:
    kit.attempt("namespace", try_mounts)
    os._exit(0)
os.waitpid(child, 0)
