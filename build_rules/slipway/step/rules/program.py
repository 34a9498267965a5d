"""The programs that run in build steps, as digests: a module, what it imports, and the launcher.

A program's digest holds exactly the modules that it reaches, so that an edit to one module reruns
the steps that use it and no others.
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

from slipway.isolation.job import PYTHON_OPTIONS

LAUNCHER = "slipway.step.programs.launch"


@dataclass(frozen=True)
class ProgramRequest:
    """The module names of programs, such as `slipway.step.programs.enter`."""

    modules: Tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """The programs with all modules of this package that they import, from the package's root."""

    digest: Digest


def path_of(module: str) -> str:
    return module.replace(".", "/") + ".py"


def command(python: str, module: str, folder: str = "") -> Tuple[str, ...]:
    """What starts a program, whose digest is laid out in `folder`; arguments may follow."""
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
    """The text of a module, read from a folder or a wheel alike; None for a package or a name."""
    package, _, name = module.rpartition(".")
    try:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            return None  # A name of a module, which may be called as the module is.
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


def rules():
    return collect_rules()
