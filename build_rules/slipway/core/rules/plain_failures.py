"""Prints Slipway's errors without the lines that Pants adds in front of them.

Pants 2.17 prints "1 Exception encountered:", "Engine traceback:" and the name of the exception
before the message of each exception that a rule raises, and offers no hook to omit these lines.
This module replaces the single method that writes them, and nothing else of Pants:

- if every failure of a request is a SlipwayError, the error contains only their messages. A failure to
  read a symlink counts as one: Pants does not say what to do about it;
- for any other failure, for a mix, and with `--print-stacktrace`, the original method runs.

The method is private, so another version of Pants may have changed it. `install` compares the
version and the shape of the method, and does nothing if they differ.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from typing import Any, Callable, Dict, List, Optional, Sequence

from pants import version
from pants.base.build_environment import get_buildroot
from pants.engine.internals import scheduler
from pants.engine.internals.nodes import Throw

from slipway.core import symlinks
from slipway.core.errors import SlipwayError

_VERSION = "2.17.1"
_PARAMETERS = {
    "_raise_on_error": ["self", "throws"],
    "__init__": ["self", "message", "wrapped_exceptions"],
}
_THROW_FIELDS = ["exc", "python_traceback", "engine_traceback"]
# Every global name that the body of the method uses. A changed body very likely uses other names.
_NAMES = {
    *("pluralize", "len", "ExecutionError", "render"),
    *("_scheduler", "include_trace_on_error", "tuple"),
}
RaiseOnError = Callable[[Any, List[Throw]], Any]


def install() -> bool:
    """Replaces the method once; returns whether it is replaced now."""
    current: Any = getattr(scheduler.SchedulerSession, "_raise_on_error", None)
    if getattr(current, "_of_slipway", False):
        return True
    if version.VERSION != _VERSION or not has_known_shape(current):
        return False
    replaced: Any = opening_with_messages(current)
    replaced._of_slipway = True
    setattr(scheduler.SchedulerSession, "_raise_on_error", replaced)  # noqa: B010  (a method)
    return True


def has_known_shape(method: Any) -> bool:
    """Whether the method and the classes that it uses look as they do in Pants 2.17.1."""
    try:
        return (
            list(inspect.signature(method).parameters) == _PARAMETERS["_raise_on_error"]
            and set(method.__code__.co_names) == _NAMES
            and list(inspect.signature(scheduler.ExecutionError.__init__).parameters)
            == _PARAMETERS["__init__"]
            and [field.name for field in dataclasses.fields(Throw)] == _THROW_FIELDS
        )
    except (AttributeError, TypeError, ValueError):
        return False


def opening_with_messages(original: RaiseOnError) -> RaiseOnError:
    """The method of Pants, except that failures that are all SlipwayErrors print only messages."""

    @functools.wraps(original)
    def raise_on_error(self: Any, throws: List[Throw]) -> Any:
        message = None if self._scheduler.include_trace_on_error else messages_of(throws)
        if message is None:
            return original(self, throws)
        # Pants reads the exceptions of a failed request from `wrapped_exceptions`.
        raise scheduler.ExecutionError(  # type: ignore[no-untyped-call]
            message, wrapped_exceptions=tuple(throw.exc for throw in throws)
        )

    return raise_on_error


def messages_of(throws: Sequence[Throw]) -> Optional[str]:
    """The messages of failures without duplicates; None if any is not a SlipwayError."""
    messages: Dict[str, None] = {}
    for throw in throws:
        error = _as_ours(throw.exc)
        if error is None:
            return None
        messages[str(error)] = None
    return "\n\n".join(messages) or None


def _as_ours(error: BaseException) -> Optional[SlipwayError]:
    if isinstance(error, SlipwayError):
        return error
    return symlinks.explained(str(error), get_buildroot())
