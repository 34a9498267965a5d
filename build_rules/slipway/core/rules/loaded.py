"""Types of what a room hands over to `register.py`; every module of rules names them."""

from __future__ import annotations

from typing import Iterable, Type, Union

from pants.engine.rules import Rule
from pants.engine.target import Target
from pants.engine.unions import UnionRule

Rules = Iterable[Union[Rule, UnionRule]]
TargetTypes = Iterable[Type[Target]]
