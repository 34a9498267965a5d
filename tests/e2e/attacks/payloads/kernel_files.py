"""Reads what the kernel tells of the machine: command line, keys, symbols, memory, sockets."""

import kit

for name in (
    *("cmdline", "keys", "key-users", "kcore", "kmsg", "timer_list", "sched_debug", "modules"),
    *("net/unix", "net/tcp", "vmallocinfo", "slabinfo", "sysvipc/shm", "locks"),
):
    path = f"/proc/{name}"
    try:
        with open(path, "rb") as file:
            text = file.read(1 << 16)
    except OSError as error:
        kit.note(path, kit.word_of(error))
        continue
    lines = text.splitlines()
    kit.note(path, len(lines))
    told = {
        "cmdline": bool(text.strip()),
        "keys": kit.CONFIG["key"].encode() in text,
        "net/unix": kit.CONFIG["abstract"].encode() in text,
        "net/tcp": f":{kit.CONFIG['port']:04X} ".encode() in text,
    }
    if told.get(name, name in ("kcore", "kmsg", "vmallocinfo", "slabinfo") and bool(text)):
        kit.reached(f"read {path}")
