"""What goes into the app layer and what into the static files, and the check of references."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional

import pytest

from slipway.archive import layers
from slipway.archive.layers import Entry
from slipway.bundle.programs import pack_app
from slipway.bundle.programs.pack_app import Arguments
from slipway.core.errors import SlipwayErrors
from tests.unit.archive.own_archives import read_entries

BASE = "https://static.example.com/dist/"


def files(**contents: str) -> List[Entry]:
    names = {name.replace("__", "/").replace("_dot_", "."): text for name, text in contents.items()}
    return [Entry(name, "file", content=text.encode()) for name, text in names.items()]


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "in" / "server" / "service").mkdir(parents=True)
    (tmp_path / "in" / "server" / "package.json").write_text("{}")
    (tmp_path / "in" / "server" / "service" / "app.js").write_text("1")
    (tmp_path / "in" / "built").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(
    built: Optional[Dict[str, str]] = None, base: str = "", static: str = "dist", **more: Any
) -> None:
    if built is not None:
        layers.write_tar(
            "in/built/built.tar",
            [Entry(name, "file", content=text.encode()) for name, text in built.items()],
        )
    pack_app.pack(replace(Arguments(static, base, executables=()), **more))


def names(path: str) -> List[str]:
    return [
        info.name
        for info, _ in read_entries(f"out/{path}")
        if info.isfile() and not info.name.startswith(layers.LISTING_FOLDER)
    ]


def test_built_files_are_parted_by_the_static_folder(step: Path) -> None:
    pack({"dist/dist/a.js": "1", "dist/favicon.ico": "2", "service/views/index.html": "3"})
    assert names("app.layer") == ["package.json", "service/app.js", "service/views/index.html"]
    assert names("static.layer") == ["dist/dist/a.js", "dist/favicon.ico"]
    assert names("static.tar.gz") == ["dist/a.js", "favicon.ico"]


def test_a_folder_whose_name_only_starts_like_the_static_folder_is_the_server_s(step: Path) -> None:
    pack({"dist/a.js": "1", "dist-server/index.js": "2", "distinct.js": "3"})
    server = ["dist-server/index.js", "distinct.js", "package.json", "service/app.js"]
    assert names("app.layer") == server
    assert names("static.layer") == ["dist/a.js"]


def test_without_a_static_folder_all_that_is_built_is_the_server_s(step: Path) -> None:
    pack({"lib/index.js": "1"}, static="")
    assert names("app.layer") == ["lib/index.js", "package.json", "service/app.js"]
    assert names("static.tar.gz") == []


def test_a_build_output_replaces_a_server_file(step: Path) -> None:
    pack({"service/app.js": "built"})
    found = {info.name: content for info, content in read_entries("out/app.layer")}
    assert found["service/app.js"] == b"built"


def test_an_application_without_a_build_has_no_static_files(step: Path) -> None:
    pack()
    assert names("app.layer") == ["package.json", "service/app.js"]
    assert names("static.tar.gz") == []


def test_references_to_published_files_pass(step: Path) -> None:
    pack(
        {
            "dist/dist/js/a.js": "",
            "dist/dist/a.css": f"a {{ background: url({BASE}js/a.js?v=1) }}",
            "service/views/index.ejs": f"<script src='{BASE}js/a.js'></script>",
        },
        BASE,
    )
    assert "dist/js/a.js" in names("static.tar.gz")


def test_all_broken_references_are_reported_with_file_line_and_address(step: Path) -> None:
    (step / "in" / "server" / "service" / "error.html").write_text(f"\n<img src={BASE}gone.png>")
    (step / "in" / "server" / "service" / "mail.js").write_text(f"'{BASE}not-checked.js'")
    with pytest.raises(SlipwayErrors) as caught:
        pack(
            {
                "dist/dist/a.css": f"\n\nurl({BASE}gone.woff)",
                "dist/a.js": "",
                "service/views/index.ejs": f"<script src='{BASE}a.js'></script>",
            },
            BASE,
        )
    assert caught.value.what == "the built pages refer to missing static files"
    assert sorted(caught.value.faults) == [
        f"dist/a.css:3: {BASE}gone.woff: no static file dist/gone.woff",
        f"service/error.html:2: {BASE}gone.png: no static file dist/gone.png",
        f"service/views/index.ejs:1: {BASE}a.js: no static file dist/a.js",
    ]
    assert caught.value.where.endswith(", field static_base_url")
    assert caught.value.next.startswith("let the build write these files to dist/")


def test_bytes_that_are_not_text_do_not_stop_the_check(step: Path) -> None:
    (step / "in" / "server" / "service" / "old.html").write_bytes(b"\xff\xfe<html>")
    pack({"dist/a.js": ""}, BASE)
    names = [info.name for info, _ in read_entries("out/app.layer")]
    assert "service/old.html" in names


def test_executables_are_those_of_the_checkout_whatever_the_inputs_modes(step: Path) -> None:
    for name, mode in (("large.bin", 0o555), ("tool", 0o600)):
        (step / "in" / "server" / "service" / name).write_text("")
        (step / "in" / "server" / "service" / name).chmod(mode)
    pack({}, executables=("service/tool",))
    modes = {info.name: info.mode for info, _ in read_entries("out/app.layer")}
    assert (modes["service/large.bin"], modes["service/tool"]) == (0o644, 0o755)
