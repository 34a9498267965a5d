"""The inputs of steps that run a release before it is packed."""

from __future__ import annotations

import dataclasses
import pkgutil
from dataclasses import dataclass
from typing import Tuple

from pants.engine.fs import AddPrefix, CreateDigest, Digest, FileContent, MergeDigests
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core import line_endings
from slipway.core.rules.registration import Rules
from slipway.release.launcher import SCRIPTS, Launcher, find_script
from slipway.release.rules.abi_gate import Audited, ReleaseAuditRequest
from slipway.release.rules.contents import (
    BundleOfRelease,
    ReleaseRequest,
    launcher_of,
    layers_of,
)
from slipway.runtime.release_layers import RUNTIME_FOLDER
from slipway.runtime.rules.layer import merge_layers
from slipway.step.rules.build_step import Tree
from slipway.toolchain.rules.image import BaseRoot, ToolchainImage, ToolchainImageRequest

_RUNTIME = f"/build/release/{RUNTIME_FOLDER}"


@dataclass(frozen=True)
class LaidOutRelease:
    """The root and the inputs of a step whose program unpacks a release and runs it."""

    trees: Tuple[Tree, ...]
    inputs: Digest
    launcher: Launcher


@rule
async def lay_out_release(request: ReleaseRequest, base: BaseRoot) -> LaidOutRelease:
    field_set = request.field_set
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    bundle, audited = await MultiGet(
        Get(Bundle, BundleRequest(found.field_set)),
        Get(Audited, ReleaseAuditRequest(field_set, runtime=request.runtime)),
    )
    root = base.trees
    own = bundle.toolchain
    if not own.is_default and any(
        not one.path.startswith(f"{RUNTIME_FOLDER}/") for one in audited.files
    ):
        # Binaries of packages need the libraries that they were compiled for.
        image = await Get(ToolchainImage, ToolchainImageRequest(own.field_set))
        root = image.layers
    # The step has the runtime as a tree, which a machine unpacks only once.
    _, *others = layers_of(field_set, bundle)
    layers, launcher = await MultiGet(
        Get(Digest, AddPrefix(await merge_layers(others), "layers")),
        Get(Digest, CreateDigest([FileContent("app.sh", launcher_text(bundle).encode())])),
    )
    return LaidOutRelease(
        (*root, dataclasses.replace(bundle.runtime.tree, target=_RUNTIME)),
        await Get(Digest, MergeDigests([layers, launcher])),
        # No environment file: it exists only on hosts and contains secrets.
        dataclasses.replace(
            launcher_for(bundle, launcher_of(field_set, found.field_set)), env_file=""
        ),
    )


def launcher_text(bundle: Bundle) -> str:
    """The template of `bin/app`."""
    functions = "app_scripts.sh" if bundle.runtime.build else "app_npm.sh"
    return program_text("app.sh").replace(SCRIPTS, program_text(functions))


def launcher_for(bundle: Bundle, launcher: Launcher) -> Launcher:
    """The launcher with what it needs to know about the runtime of the bundle."""
    runtime, manifest = bundle.runtime, bundle.app.manifest
    return dataclasses.replace(
        launcher,
        bin=runtime.bin,
        find_script=find_script(manifest.name, manifest.version, manifest.scripts)
        if runtime.build
        else "",
    )


def program_text(name: str) -> str:
    """The text of a program of this room that is not Python."""
    content = pkgutil.get_data("slipway.release.programs", name)
    assert content is not None
    line_endings.require_lf(content.decode(), f"slipway:{name}")
    return content.decode()


def rules() -> Rules:
    return collect_rules()
