"""Installs an application's packages offline and selects the production subset of the tree.

npm finds tarballs by their integrity in its cache, which needs no index. Writes `installed.tar`, the
full tree for the build script; `dependencies.layer`, the production subset as a layer of releases, with
`dependencies.elf.json`, the needs of its binaries; and `install.json`, the installed packages. Packages
whose install scripts will run are in neither archive. Each of them is in its own `<layer name>.tar`,
with its dependencies.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from typing import (
    Callable,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from slipway.archive import layers, package_tarball
from slipway.archive.layers import Entry, Layer
from slipway.core import placeholders
from slipway.core.errors import SlipwayError
from slipway.elf import facts as elf_facts
from slipway.fetch import integrity as sri
from slipway.npm.install_report import InstallReport, ScriptedPackage
from slipway.npm.installed_tree import InstalledTree, LockedPackage
from slipway.npm.scripts import mirrors, native_packages
from slipway.runtime import layer_outputs, node_process
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

_APP = "app"
_CONTENTS = "_cacache/content-v2"


@dataclass(frozen=True)
class Tarball:
    """The tarball of one package, at `path`; its content must match all `integrities`."""

    path: str
    package: str
    integrities: Tuple[str, ...]


@dataclass(frozen=True)
class Arguments:
    """`packages` are the packages of the lockfile by path, and `production` the paths in a release.

    `native` are the paths of packages whose install scripts will run. `drop_foreign` leaves binaries for
    other systems out of a release. `member` is the application's folder in npm workspaces.
    """

    packages: Mapping[str, LockedPackage]
    production: Tuple[str, ...]
    native: Tuple[str, ...]
    tarballs: Tuple[Tarball, ...]
    npm_major: int
    drop_foreign: bool
    member: str = ""


class Outputs(NamedTuple):
    layer: Output
    facts: Output
    installed: Output = Output("installed.tar")
    report: ReportFile[InstallReport] = ReportFile("install.json", InstallReport)


LAYER = "dependencies"
PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs(*layer_outputs.outputs_of(LAYER))


def closure_of(path: str) -> Output:
    """The archive of a package whose scripts will run, with its dependencies."""
    return Output(f"{native_packages.layer_name(path)}.tar")


class Beside(threading.Thread):
    """Runs work in a second thread; `finish` raises its exception again."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._fault: Optional[BaseException] = None
        self._failing = threading.Lock()
        self._then: Callable[[], None] = lambda: None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            with self._failing:
                self._fault = error
                self._then()

    def if_it_fails(self, then: Callable[[], None]) -> None:
        """Calls `then` when the work fails, or immediately if it has failed already."""
        with self._failing:
            self._then = then
            if self._fault is not None:
                then()

    def finish(self) -> None:
        self.join()
        if self._fault is not None:
            raise self._fault


def _check_tarballs(tarballs: Sequence[Tarball]) -> None:
    """Checks the tarballs; two packages of the lockfile can have the same content and thus path."""
    # Largest first: this finds a tarball that unpacks to gigabytes before npm has unpacked much of it.
    for tarball in sorted(tarballs, key=lambda one: -os.path.getsize(one.path)):
        check_integrity(tarball)
        package_tarball.check(tarball.path, tarball.package)


def check_integrity(tarball: Tarball) -> None:
    for wanted in tarball.integrities:
        found = sri.mismatch(tarball.path, wanted)
        if found:
            raise SlipwayError(
                f"hash mismatch: the fetch lock has another content for {tarball.package} than "
                f"{placeholders.NPM_LOCK}",
                where=placeholders.FETCH_LOCK,
                found=f"{found}, not {wanted}",
                next=placeholders.RENEW_FETCH_LOCK,
            )


def install(arguments: Arguments) -> None:
    shutil.copytree("in/install", _APP, symlinks=True)
    _fill_cache()
    check = Beside(lambda: _check_tarballs(arguments.tarballs))
    status, last = node_process.npm(
        ["ci", "--ignore-scripts"], _APP, {}, app=_APP, started=check.if_it_fails
    )
    # If a tarball is invalid, report that: npm's own error would not name the cause.
    check.finish()
    if status != 0:
        raise SlipwayError(
            f"npm ci failed with exit status {status}",
            where=placeholders.NPM_LOCK,
            found="\n".join(last),
            next=placeholders.REWRITE_LOCK,
        )
    _write_outputs(InstalledTree(_APP, arguments.packages), arguments)


def _fill_cache() -> None:
    """Copies the tarballs: npm adds local tarballs to the same cache folders, and inputs are read-only."""
    os.makedirs("npm_cache/_cacache/tmp")
    source = os.path.join("in/cache", _CONTENTS)
    for folder, _, files in os.walk(source):
        target = os.path.join("npm_cache", _CONTENTS, os.path.relpath(folder, source))
        os.makedirs(target)
        for name in files:
            shutil.copyfile(os.path.join(folder, name), os.path.join(target, name))


def _write_outputs(tree: InstalledTree, arguments: Arguments) -> None:
    production = frozenset(arguments.production)
    native = arguments.native
    installed = tree.entries()
    everything = tree.without(installed, native)
    writing = Beside(lambda: layers.write_tar(OUTPUTS.installed.path, everything))
    kept = tree.production(installed, production, arguments.npm_major)
    layer, foreign = _write_layer(tree.without(kept, native), arguments.drop_foreign)
    manifests = tree.manifests()
    for path in native:
        around = native_packages.closure(path, manifests) if path in manifests else frozenset()
        layers.write_tar(
            closure_of(path).path,
            [native_packages.listing(around), *tree.only(installed, around)],
        )
    bins, all_bins = _bins(kept, arguments.member), _bins(installed, arguments.member)
    OUTPUTS.report.write(
        InstallReport(
            file_bytes=layer.file_bytes,
            files=layer.files,
            foreign=tuple(foreign),
            packages=tuple(tree.sizes(one for one in kept if one.name not in foreign)),
            install_scripts=_install_scripts(tree, production),
            native={
                path: str(manifests[path].get("version")) for path in native if path in manifests
            },
            bins=tuple(sorted(bins)),
            bins_left_out=tuple(sorted(all_bins - bins)),
            absent=tuple(sorted(path for path in arguments.packages if path not in manifests)),
            unlinked=tree.unlinked_bins(),
        )
    )
    writing.finish()


def _write_layer(carried: List[Entry], drop_foreign: bool) -> Tuple[Layer, Sequence[str]]:
    """Writes the layer of a release and the needs of its binaries; returns the dropped paths too."""
    if drop_foreign:
        facts = elf_facts.facts_of_layer(carried)
        carried, facts, foreign = elf_facts.without_foreign(carried, facts)
        elf_facts.write(OUTPUTS.facts.path, facts)
        return layers.write_layer(OUTPUTS.layer.path, LAYER, carried), foreign
    reading = Beside(lambda: elf_facts.write(OUTPUTS.facts.path, elf_facts.facts_of_layer(carried)))
    layer = layers.write_layer(OUTPUTS.layer.path, LAYER, carried)
    reading.finish()
    return layer, ()


def _bins(entries: Iterable[Entry], member: str) -> FrozenSet[str]:
    """The names of the commands that scripts of the application find."""
    parts = member.split("/") if member else []
    above = ("/".join((*parts[:count], "node_modules/.bin")) for count in range(len(parts) + 1))
    folders = frozenset(above)
    paths = (entry.name.rpartition("/") for entry in entries if entry.kind == "link")
    return frozenset(name for folder, _, name in paths if folder in folders)


def _install_scripts(
    tree: InstalledTree, production: FrozenSet[str]
) -> Tuple[ScriptedPackage, ...]:
    """Packages with install scripts, and the variables that name their mirrors."""
    found = []
    for path, manifest in tree.manifests().items():
        has_gyp_file = os.path.exists(os.path.join(_APP, path, "binding.gyp"))
        own = native_packages.install_scripts(manifest, has_gyp_file)
        if own:
            name = str(manifest.get("name"))
            found.append(
                ScriptedPackage(
                    path=path,
                    name=name,
                    version=str(manifest.get("version")),
                    scripts=own,
                    production=path in production,
                    variables=mirrors.variables(name, manifest, {}),
                )
            )
    return tuple(found)


if __name__ == "__main__":
    run(PROGRAM, install)
