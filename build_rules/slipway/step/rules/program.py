"""Computes the digests of programs in steps: a module, the modules it imports, and the launcher.

The digest contains only modules that the program imports, directly or indirectly. So a changed
module invalidates only the steps that use it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from pants.engine.fs import CreateDigest, Digest, FileContent
from pants.engine.rules import Get, collect_rules, rule

from slipway.core.rules.registration import Rules
from slipway.isolation.job import PYTHON_OPTIONS

LAUNCHER = "slipway.step.programs.launch"


@dataclass(frozen=True)
class ProgramRequest:
    """The module names of programs, such as `slipway.step.programs.enter`."""

    modules: Tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """The programs with all modules of `slipway` that they import, at their module paths."""

    digest: Digest


def path_of(module: str) -> str:
    return module.replace(".", "/") + ".py"


def command(python: str, module: str, folder: str = "") -> Tuple[str, ...]:
    """The command that starts a program, whose digest is in `folder`; arguments may follow."""
    return (python, *PYTHON_OPTIONS, os.path.join(folder, path_of(LAUNCHER)), module)


@rule
async def gather_program(request: ProgramRequest) -> Program:
    sources: Dict[str, bytes] = {}
    queue: List[str] = [LAUNCHER, *request.modules]
    while queue:
        module = queue.pop()
        if module in sources:
            continue
        source = _source(module)
        if source is None:
            raise ModuleNotFoundError(module)
        sources[module] = source
        queue.extend(name for name in _imports(source) if _source(name) is not None)
    digest = await Get(
        Digest,
        CreateDigest(
            [FileContent(path_of(module), source) for module, source in sorted(sources.items())]
        ),
    )
    return Program(digest)


def _source(module: str) -> Optional[bytes]:
    """The source of a module, from a folder or a wheel; None if `module` is not a module."""
    package, _, name = module.rpartition(".")
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            return None  # a name inside a module, such as a function
        return pkgutil.get_data(package, name + ".py")
    except (OSError, ModuleNotFoundError):
        return None


def _imports(source: bytes) -> List[str]:
    found: List[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("slipway."):
            assert node.module is not None
            found.append(node.module)
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def rules() -> Rules:
    return collect_rules()
