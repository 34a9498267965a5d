"""Reads where the files of the step are on the machine, which tells the name of the user who builds."""

import kit

for name in ("mountinfo", "mounts", "mountstats"):
    try:
        with open(f"/proc/self/{name}", encoding="utf-8", errors="replace") as file:
            for line in file:
                if kit.CONFIG["machine_path"] in line:
                    kit.reached(f"/proc/self/{name} names {kit.CONFIG['machine_path']}")
                    break
    except OSError as error:
        kit.note(name, kit.word_of(error))
