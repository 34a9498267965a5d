"""The folders of an application that npm links into node_modules: `file:` folders and workspaces.

A linked folder is a package of the application, so its files go with the packages: into the build and,
unless only dev dependencies link it, into the release. Slipway never runs the scripts of these folders.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Dict, Iterable, List, Sequence, Tuple

from pants.engine.addresses import Addresses, UnparsedAddressInputs
from pants.engine.rules import Get, MultiGet, collect_rules, rule

from slipway.bundle.rules.app import App, AppRequest
from slipway.core.errors import SlipwayErrors
from slipway.core.rules.registration import Rules
from slipway.npm.install_report import ScriptedPackage
from slipway.npm.lockfiles import manifest as npm_manifest
from slipway.npm.lockfiles.package import LINK, Package
from slipway.npm.lockfiles.production import production_paths
from slipway.npm.scripts import decisions, native_packages
from slipway.npm.scripts.decisions import Decision, Rule


@dataclass(frozen=True)
class LinkedFolder:
    """A linked folder at `path` in the application; `package` is the link.

    `is_addon`: a target of the field `addons` compiles the folder. `scripts` are the scripts that `npm ci`
    would run in it, with their events.
    """

    path: str
    package: Package
    production: bool
    is_addon: bool
    scripts: Tuple[Tuple[str, str], ...]

    def globs(self, app: str) -> Tuple[str, ...]:
        """The files of the folder, relative to the build root; of an addon only its manifest."""
        place = os.path.join(app, self.path)
        if self.is_addon:
            return (f"{place}/package.json",)
        # node_modules of a working copy: the install has its own.
        return (
            f"{place}/**",
            *(
                f"!{place}/{above}node_modules{rest}"
                for above in ("", "**/")
                for rest in ("", "/**")
            ),
        )

    def described(self) -> ScriptedPackage:
        """The folder as a package with install scripts, for tables and messages."""
        package = self.package
        return ScriptedPackage(
            package.path, package.name, package.version, dict(self.scripts), self.production, ()
        )


@dataclass(frozen=True)
class LinkedFolders:
    """All linked folders of an application, sorted by path."""

    folders: Tuple[LinkedFolder, ...]

    @property
    def with_scripts(self) -> Tuple[LinkedFolder, ...]:
        """The folders with install scripts, without addons, which Slipway compiles."""
        return tuple(one for one in self.folders if one.scripts and not one.is_addon)

    def globs(self, app: str, production: bool) -> Tuple[str, ...]:
        """The files for the build, or with `production` the files for the release."""
        chosen = [one for one in self.folders if one.production or not production]
        return tuple(glob for one in chosen for glob in one.globs(app))


@rule
async def find_linked_folders(request: AppRequest) -> LinkedFolders:
    field_set = request.field_set
    app, addons = await MultiGet(
        Get(App, AppRequest, request),
        Get(Addresses, UnparsedAddressInputs, field_set.addons.to_unparsed_address_inputs()),
    )
    lock = app.read.lock
    # The runtime would tell its npm, but must not be made before all fields are checked. At most, npm 6
    # omits a link inside of a linked folder, whose files then do no harm.
    production = production_paths(lock, npm_major=7)
    compiled = {address.spec_path for address in addons}
    links: Dict[str, List[Package]] = {}
    for package in lock.packages:
        # npm also links the application itself, if it is a member of workspaces.
        if package.kind == LINK and package.target and package.target != lock.member:
            links.setdefault(package.target, []).append(package)
    found = []
    for path, packages in sorted(links.items()):
        place = f"{path}/package.json"
        manifest = npm_manifest.load(app.read.manifests[place], os.path.join(lock.folder, place))
        found.append(
            LinkedFolder(
                path,
                packages[0],
                any(package.path in production for package in packages),
                os.path.join(field_set.top, path) in compiled,
                tuple(sorted(native_packages.scripts_of_folder(manifest).items())),
            )
        )
    return LinkedFolders(tuple(found))


def check_decisions(linked: LinkedFolders, rules: Sequence[Rule], where: str) -> None:
    """Raises SlipwayErrors for scripts of linked folders without the decision `skip`.

    `where` names the target and the field.
    """
    decided = {one: decisions.decide(rules, one.package) for one in linked.with_scripts}
    faults = [
        _shown(one) + (f': "{decision.value}"' if decision else "")
        for one, decision in decided.items()
        if decision is not Decision.SKIP
    ]
    if not faults:
        return
    unskipped = [one for one, decision in decided.items() if decision is not Decision.SKIP]
    entries = ", ".join(f'"{name}": "skip"' for name in _names(unskipped))
    first, event = unskipped[0].path, unskipped[0].scripts[-1][0]
    raise SlipwayErrors(
        "linked folders have install scripts, which Slipway can only skip",
        faults,
        where=where,
        next=f"install_scripts={{{entries}}}\n"
        "and, if the application needs files that a script makes, let the build script make them:\n"
        f'in package.json "build": "npm --prefix {first} run {event}", and in the bundle\n'
        f'build_outputs=["{first}/<file or folder that the script makes>"]',
    )


def _names(folders: Iterable[LinkedFolder]) -> List[str]:
    return sorted({one.package.name for one in folders})


def _shown(folder: LinkedFolder) -> str:
    described = folder.described()
    listed = "".join(f', {event}: "{script}"' for event, script in folder.scripts)
    return f"{folder.path} ({described.label}){'' if folder.production else ' (dev)'}{listed}"


def rules() -> Rules:
    return collect_rules()
