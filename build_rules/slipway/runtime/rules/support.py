"""Warns about a Node that is past its end of life, or that lacks security releases."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass

from pants.engine.rules import _uncacheable_rule, collect_rules

from slipway.core.rules.registration import Rules
from slipway.runtime.definitions import lines
from slipway.runtime.label import NODE_BIN
from slipway.runtime.rules.node import Runtime

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SupportRequest:
    """A request to warn about the runtime of the target `origin`."""

    runtime: Runtime
    origin: str


@dataclass(frozen=True)
class SupportTold:
    """The warning, or an empty text."""

    text: str


# Uncacheable: the answer depends on the day, and each `package` tells it.
@_uncacheable_rule
async def tell_support(request: SupportRequest) -> SupportTold:
    runtime, today = request.runtime, datetime.date.today().isoformat()
    other = None if runtime.bin == NODE_BIN else runtime.label
    text = lines.problems(runtime.version, runtime.end_of_life, runtime.built_by, today, other)
    if text:
        newer = (
            "use a newer release of it"
            if other
            else "./pants node-definitions --filter=supported, which lists newer ones and the "
            "toolchains that take them"
        )
        logger.warning(f"{request.origin}: {text}\nnext: {newer}")
    return SupportTold(text)


def rules() -> Rules:
    return collect_rules()
