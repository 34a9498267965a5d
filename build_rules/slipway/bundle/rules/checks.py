"""What fields of bundles and releases must hold; each refusal says what would be right."""

from __future__ import annotations

from typing import Iterable, Sequence

from pants.engine.addresses import Address

from slipway.bundle.targets import ServerEnvField
from slipway.core.errors import SlipwayError, nearest


def check_server_env(field: ServerEnvField, known: Sequence[str], target: Address) -> str:
    value = field.value or ""
    if value not in known:
        guesses = nearest(value, known)
        hint = f"did you mean {guesses[0]}? " if guesses else ""
        raise SlipwayError(
            f'"{value}" is no server_env',
            where=f"{target}, field server_env",
            found=value,
            next=f"{hint}Known are {', '.join(known)}; [slipway] server_envs in pants.toml adds more",
        )
    return value


def check_plain_paths(paths: Iterable[str], where: str) -> None:
    for path in paths:
        parts = path.split("/")
        if {"", ".", "..", "node_modules"} & set(parts):
            raise SlipwayError(
                f'"{path}" is no plain path below the application\'s folder',
                where=where,
                found=path,
                next='write it as "dist" or "service/views"',
            )
