"""Checks of fields that bundles and releases share."""

from __future__ import annotations

from typing import Iterable, Sequence

from pants.engine.addresses import Address

from slipway.bundle.rules.app import NodeAppBundleFieldSet
from slipway.bundle.targets import ServerEnvField
from slipway.core.errors import SlipwayError, nearest


def check_server_env(field: ServerEnvField, known: Sequence[str], target: Address) -> str:
    value = field.value or ""
    if value not in known:
        guesses = nearest(value, known)
        hint = f"did you mean {guesses[0]}? " if guesses else ""
        raise SlipwayError(
            f'unknown server_env "{value}"',
            where=f"{target}, field server_env",
            found=value,
            next=f"{hint}Use one of {', '.join(known)}, or add the name to [slipway] server_envs in pants.toml",
        )
    return value


def check_plain_paths(field_set: NodeAppBundleFieldSet, paths: Iterable[str], where: str) -> None:
    """Raises SlipwayError for a path that is not in the application's folder, or in its workspaces."""
    for path in paths:
        parts = (path[2:] if path.startswith("//") else path).split("/")
        is_plain = not {"", ".", "..", "node_modules"} & set(parts)
        if not is_plain or field_set.in_release(path).split("/")[0] in (".", ".."):
            place = f'"{field_set.top}"' if path.startswith("//") else "the application"
            raise SlipwayError(
                f'"{path}" is not a normalised path in the folder of {place}',
                where=where,
                found=path,
                next='use a path such as "dist" or "service/views"',
            )
