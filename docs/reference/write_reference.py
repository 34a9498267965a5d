"""Writes targets.md and options.md from the help texts of the fields and options.

    PYTHONPATH=build_rules python3 docs/reference/write_reference.py

The command line and the reference pages show the same texts; a test compares them.  The program
needs a Python with Pants, such as the Python of the runner's environment.
"""

from __future__ import annotations

import enum
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, Type

from pants.engine.target import COMMON_TARGET_FIELDS, Field, Target
from pants.option.subsystem import Subsystem

from slipway import register
from slipway.runtime.rules.node_definitions import NodeDefinitionsSubsystem
from slipway.subsystem import InstallScripts, Slipway

HERE = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/reference/write_reference.py from the help texts: edit those. -->"
TARGETS_INTRODUCTION = """\
This page describes each target type and its fields. To see the same text on the command line, run
`./pants help node_app_bundle`. Every target also has Pants' fields `name`, `description` and `tags`."""
OPTIONS_INTRODUCTION = """\
This page describes each option. Set an option in `pants.toml` under these headings, as a flag before
the targets, or as an environment variable such as `PANTS_SLIPWAY_ISOLATOR`. No option is in a cache
key, except for the content of the image that `base_image` names. To see the same text on the command
line, run `./pants help slipway`, `./pants help install-scripts` and `./pants help node-definitions`."""


def pages() -> Dict[str, str]:
    """The generated pages by file name."""
    return {
        "targets.md": _targets(register.target_types()),
        "options.md": _options([Slipway, InstallScripts, NodeDefinitionsSubsystem]),
    }


def _targets(types: Iterable[Type[Target]]) -> str:
    parts = [
        "# Targets and their fields",
        NOTE,
        TARGETS_INTRODUCTION,
    ]
    for target in types:
        parts += [f"## `{target.alias}`", _text(target.help)]
        for field in target.core_fields:
            if field not in COMMON_TARGET_FIELDS:
                parts += [f"### `{field.alias}`", _default(field), _text(field.help)]
    return "\n\n".join(parts) + "\n"


def _default(field: Type[Field]) -> str:
    if field.required:
        return "Required."
    default: Any = getattr(field, "default", None)
    if default is None or default == ():
        return "Default: none."
    return f"Default: `{_code(default)}`."


def _code(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return _code(value.value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_code(item) for item in value)}]"
    return repr(value)


def _options(subsystems: Iterable[Type[Subsystem]]) -> str:
    parts = ["# Options", NOTE, OPTIONS_INTRODUCTION]
    for subsystem in subsystems:
        parts += [f"## `[{subsystem.options_scope}]`", _text(subsystem.help)]
        for name in vars(subsystem):
            option = vars(subsystem)[name]
            if hasattr(option, "_default") and hasattr(option, "_help"):
                default = option._default
                shown = "none" if default in (None, {}) else f"`{_code(default)}`"
                parts += [f"### `{_flag(option, name)}`", f"Default: {shown}.", _text(option._help)]
    return "\n\n".join(parts) + "\n"


def _flag(option: Any, name: str) -> str:
    """The option's name on the command line, which may be a word that Python reserves."""
    flags = getattr(option, "_flag_names", None)
    return flags[0].lstrip("-") if flags else name


def _text(text: Any) -> str:
    """A help text as Markdown: its paragraphs, one line each."""
    paragraphs = str(text() if callable(text) else text).strip().split("\n\n")
    return "\n\n".join(re.sub(r"\s+", " ", paragraph).strip() for paragraph in paragraphs)


def main() -> int:
    for name, text in pages().items():
        (HERE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
