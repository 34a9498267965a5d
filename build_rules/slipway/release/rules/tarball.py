"""Releases: concatenates layers to one tarball with its own Node, and writes its manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Tuple

from pants.engine.fs import (
    AddPrefix,
    CreateDigest,
    Digest,
    FileContent,
    MergeDigests,
)
from pants.engine.internals.native_engine import EMPTY_DIGEST
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.abi.waivers import Verdict
from slipway.bundle.programs import pack_app
from slipway.bundle.rules.app import App, AppRequest
from slipway.bundle.rules.build import Bundle, BundleRequest
from slipway.core.errors import SlipwayError
from slipway.core.rules.registration import Rules
from slipway.npm.programs import install
from slipway.npm.rules.manifest import check_script
from slipway.npm.scripts import native_packages
from slipway.release import native_report
from slipway.release.manifest import AbiFacts, Manifest, NodeFacts, PackageName
from slipway.release.programs import tarball
from slipway.release.rules.abi_gate import Audited, NodeFits, ReleaseAuditRequest
from slipway.release.rules.checked_layers import CheckedLayers, CheckedLayersRequest
from slipway.release.rules.contents import BundleOfRelease, ReleaseRequest, launcher_of, layers_of
from slipway.release.rules.laid_out import launcher_for, launcher_text
from slipway.release.rules.smoke import SmokeTested, UserlandSmokeRequest
from slipway.release.rules.start import Started, StartScriptRead
from slipway.runtime import release_layers
from slipway.runtime.label import NODE_BIN
from slipway.runtime.release_layers import Scope
from slipway.runtime.rules.layer import Layer
from slipway.step.rules.build_step import Step, StepResult
from slipway.toolchain.rules.image import (
    BaseRoot,
)

# Only one application uses these layers, so the step that assembles the release checks them.
_CHECKED_HERE = (pack_app.APP, pack_app.STATIC)


@dataclass(frozen=True)
class Release:
    """The files of a release.

    `digest` contains `<stem>.tar.gz` and `<stem>.release.json`. `static` contains `static.tar.gz` if the
    static files are separate; otherwise it is empty. `native` contains `<stem>.native.json`, the list of
    binaries.
    """

    digest: Digest
    static: Digest
    native: Digest
    stem: str


@rule(desc="Make release")
async def make_release(request: ReleaseRequest) -> Release:
    field_set = request.field_set
    found = await Get(BundleOfRelease, ReleaseRequest, request)
    app = await Get(App, AppRequest(found.field_set))
    script = field_set.smoke_script.value
    if script:
        where = f"{field_set.address}, field smoke_script"
        check_script(app.manifest, script, where)
    await Get(NodeFits, ReleaseRequest, request)
    launcher_values = launcher_of(field_set, found.field_set)
    bundle, _ = await MultiGet(
        Get(Bundle, BundleRequest(found.field_set)), Get(StartScriptRead, ReleaseRequest, request)
    )
    layers = layers_of(field_set, bundle)
    origin = str(field_set.address)
    base = await Get(BaseRoot)
    runtime, *_ = layers
    verdict, *checked = await MultiGet(
        Get(Verdict, ReleaseRequest, request),
        # A separate step for the runtime, because releases of many applications share its layer.
        Get(
            CheckedLayers,
            CheckedLayersRequest(((runtime, Scope(runtime.name, release_layers.RUNTIME)),), origin),
        ),
        Get(CheckedLayers, CheckedLayersRequest(_scoped(bundle), origin)),
    )
    own = [layer for layer in layers if layer.name in _CHECKED_HERE]
    is_separate = field_set.static.value == "separate"
    placed, facts, launcher, all_checked = await MultiGet(
        Get(Digest, MergeDigests([layer.digest for layer in layers])),
        Get(Digest, MergeDigests([layer.facts for layer in own])),
        Get(Digest, CreateDigest([FileContent("app.sh", launcher_text(bundle).encode())])),
        Get(Digest, MergeDigests([one.digest for one in checked])),
    )
    static = bundle.static_archive if is_separate else EMPTY_DIGEST
    placed, facts, all_checked = await MultiGet(
        Get(Digest, AddPrefix(placed, "layers")),
        Get(Digest, AddPrefix(facts, "layers")),
        Get(Digest, AddPrefix(all_checked, "checked")),
    )
    stem = f"{file_name(bundle.app.name)}-{bundle.app.version}-{bundle.server_env}"
    step = Step(
        tarball.PROGRAM(
            tarball.Arguments(
                stem=stem,
                layers=tuple(layer.name for layer in layers),
                launcher=launcher_for(bundle, launcher_values),
                static_dir=found.field_set.static,
                manifest=_manifest(bundle, verdict),
            )
        ),
        trees=base.trees,
        outputs=tarball.outputs_of(stem),
        description=f"Assemble {stem}.tar.gz",
        origin=str(field_set.address),
        inputs=await Get(Digest, MergeDigests([placed, facts, static, launcher, all_checked])),
    )
    audited = await Get(Audited, ReleaseAuditRequest(field_set, runtime=request.runtime))
    text = native_report.render(
        audited.files,
        bundle.packages,
        bundle.report.install_scripts,
        str(bundle.toolchain.field_set.address),
    )
    result, tested, started, native = await MultiGet(
        Get(StepResult, Step, step),
        Get(SmokeTested, ReleaseRequest, request),
        Get(Started, ReleaseRequest, request),
        Get(Digest, CreateDigest([FileContent(f"{stem}.native.json", text.encode())])),
    )
    if tested.fault or started.fault:
        raise SlipwayError(tested.fault or started.fault)
    await Get(SmokeTested, UserlandSmokeRequest(field_set, bundle, result.digest))
    return Release(result.digest, static, native, stem)


def _scoped(bundle: Bundle) -> Tuple[Tuple[Layer, Scope], ...]:
    """The layers of the installed packages, with the allowed paths in each layer."""
    paths = {native_packages.layer_name(one.path): one.path for one in bundle.packages}
    return tuple(
        (
            layer,
            Scope(layer.name, release_layers.DEPENDENCIES)
            if layer.name == install.LAYER
            else Scope(layer.name, release_layers.PACKAGE, paths[layer.name]),
        )
        for layer in bundle.package_layers
    )


def file_name(app: str) -> str:
    """`@scope/app` as a file name: `scope-app`."""
    return app.lstrip("@").replace("/", "-")


def _manifest(bundle: Bundle, verdict: Verdict) -> Manifest:
    app, runtime, lock = bundle.app, bundle.runtime, bundle.app.read.lock
    report = bundle.report
    return Manifest(
        app=app.name,
        version=app.version,
        server_env=bundle.server_env,
        node=NodeFacts(
            runtime.version,
            runtime.npm_version,
            runtime.definition_sha256,
            runtime.tests or None,
            None if runtime.bin == NODE_BIN else runtime.bin,
            runtime.build.version if runtime.build else None,
        ),
        lock_sha256=hashlib.sha256(lock.text.encode()).hexdigest(),
        abi=AbiFacts(dict(verdict.highest), verdict.waived, report.foreign),
        packages=bundle.packages,
        install_scripts_not_run=tuple(
            PackageName(package.name, package.version)
            for package in report.install_scripts
            if package.production and package.path not in report.native
        ),
        network="allow" if bundle.has_network else None,
    )


def rules() -> Rules:
    return collect_rules()
