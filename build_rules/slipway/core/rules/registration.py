"""Types of what `rules` and `target_types` return to `register.py`."""

from __future__ import annotations

from typing import Iterable, Type, Union

from pants.engine.rules import Rule
from pants.engine.target import Target
from pants.engine.unions import UnionRule

Rules = Iterable[Union[Rule, UnionRule]]
TargetTypes = Iterable[Type[Target]]
