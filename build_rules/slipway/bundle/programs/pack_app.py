"""Packs the files of one application and environment: its own files, and its static files.

Writes `app.layer` (package.json, server files, build outputs for the server), `static.layer` (the static
files as a layer of a release), `static.tar.gz` (the static files as a separate archive), and the needs
of the binaries of both layers as `<layer>.elf.json`. `files.json` lists the files of both.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from slipway.archive import layers, unpacking
from slipway.archive.layers import Entry
from slipway.bundle.static_references import StaticBase, missing
from slipway.core import placeholders
from slipway.core.errors import SlipwayErrors
from slipway.elf import facts
from slipway.runtime import layer_outputs
from slipway.runtime.layer_outputs import LayerOutputs
from slipway.step.frame import run
from slipway.step.interface import Output, ReportFile, StepProgram

APP, STATIC = "app", "static"
_CHECKED = (".html", ".htm", ".css")


@dataclass(frozen=True)
class Arguments:
    """`static_dir` is the folder of the static files, and `static_base_url` where browsers find it;
    either may be empty.

    `executables` are those of the server files that are; `addons` are the folders of native addons,
    whose files are in `in/addon-0` and so on.
    """

    static_dir: str
    static_base_url: str
    executables: Tuple[str, ...]
    addons: Tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnFiles:
    """Paths in the application's folder; `links` are those of them that are symlinks."""

    files: Tuple[str, ...]
    links: Tuple[str, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> OwnFiles:
        return cls(
            tuple(entry.name for entry in entries if entry.kind != "folder"),
            tuple(entry.name for entry in entries if entry.kind == "link"),
        )


@dataclass(frozen=True)
class Report:
    """The files of the two layers."""

    app: OwnFiles
    static: OwnFiles


class Outputs(NamedTuple):
    app: LayerOutputs = layer_outputs.outputs_of(APP)
    static: LayerOutputs = layer_outputs.outputs_of(STATIC)
    archive: Output = Output("static.tar.gz")
    report: ReportFile[Report] = ReportFile("files.json", Report)


PROGRAM = StepProgram(__name__, Arguments)
OUTPUTS = Outputs()


def pack(arguments: Arguments) -> None:
    static_dir = arguments.static_dir
    os.mkdir("built")
    if os.path.exists("in/built/built.tar"):
        unpacking.unpack("in/built/built.tar", "built")
    built = layers.walk("built")
    static = [entry for entry in built if _is_in(entry, static_dir)]
    server = layers.walk("in/server", executables=arguments.executables)
    app = {entry.name: entry for entry in server}
    app.update((entry.name, entry) for entry in _addons(arguments.addons))
    app.update((entry.name, entry) for entry in built if not _is_in(entry, static_dir))
    prefix = static_dir + "/"
    published = [
        _renamed(entry, entry.name[len(prefix) :])
        for entry in static
        if entry.name.startswith(prefix)
    ]
    if arguments.static_base_url:
        _check_references(arguments, app.values(), published)
    for name, outputs, entries in (
        (APP, OUTPUTS.app, list(app.values())),
        (STATIC, OUTPUTS.static, static),
    ):
        layers.write_layer(outputs.layer.path, name, entries)
        facts.write(outputs.facts.path, facts.facts_of_layer(entries))
    layers.write_whole(OUTPUTS.archive.path, published)
    OUTPUTS.report.write(Report(OwnFiles.of(list(app.values())), OwnFiles.of(static)))


def _addons(paths: Sequence[str]) -> Iterator[Entry]:
    """The files of native addons, at the addons' paths in the application."""
    for index, path in enumerate(paths):
        folder = f"addon-{index}"
        os.mkdir(folder)
        unpacking.unpack(f"in/{folder}/addon.tar", folder)
        yield from layers.walk(folder, prefix=f"{path}/")


def _is_in(entry: Entry, folder: str) -> bool:
    if not folder:  # an empty static_dir: the server needs all build outputs
        return False
    return entry.name == folder or entry.name.startswith(folder + "/")


def _renamed(entry: Entry, name: str) -> Entry:
    return Entry(name, entry.kind, entry.executable, entry.source, entry.content, entry.target)


def _check_references(arguments: Arguments, app: Iterable[Entry], static: Iterable[Entry]) -> None:
    """Raises SlipwayErrors for references to missing static files.

    Checks all views of the server, and the HTML and CSS among the static files.
    """
    base = StaticBase.parse(
        arguments.static_base_url, f"{placeholders.ORIGIN}, field static_base_url"
    )
    views = [entry for entry in app if _is_view(entry)]
    static = list(static)
    files = {entry.name for entry in static if entry.kind == "file"}
    broken: List[str] = []
    for entry in [*views, *(one for one in static if one.name.endswith(_CHECKED))]:
        assert entry.source is not None
        with open(entry.source, encoding="utf-8", errors="replace") as file:
            references = base.references(entry.name, file.read())
        broken.extend(
            f"{one.file}:{one.line}: {one.address}: no static file {one.path}"
            for one in missing(references, files)
        )
    if broken:
        raise SlipwayErrors(
            "the built pages refer to missing static files",
            broken,
            where=f"{placeholders.ORIGIN}, field static_base_url",
            next=f"let the build write these files to {arguments.static_dir}/, "
            "or correct static_base_url",
        )


def _is_view(entry: Entry) -> bool:
    if entry.source is None or "node_modules" in entry.name.split("/"):
        return False
    # Every build output for the server counts: template engines use any file extension.
    return entry.source.startswith("built/") or entry.name.endswith(_CHECKED)


if __name__ == "__main__":
    run(PROGRAM, pack)
