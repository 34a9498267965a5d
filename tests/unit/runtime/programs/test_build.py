"""Runtimes from source: each step of the build, its failures, and its outputs."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest

from slipway.core.errors import SlipwayError
from slipway.runtime.programs import build as build_runtime
from slipway.runtime.programs.build import OUTPUTS, Report
from slipway.runtime.recipe import Recipe
from tests.unit.archive.own_archives import read_entries

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")

MAKEFILE = """\
PREFIX=/nowhere
all:
\t@echo compiled >built
test:
\t@test ! -e fails
install:
\tmkdir -p $(PREFIX)/bin $(PREFIX)/var
\tcp tool $(PREFIX)/bin/tool
\techo left >$(PREFIX)/var/left
"""
TOOL = "#!/bin/sh\necho one\n"
PATCH = """\
--- a/tool
+++ b/tool
@@ -1,2 +1,2 @@
 #!/bin/sh
-echo one
+echo two
"""
SOUND = Recipe(
    sha256="",
    patches=(),
    python="python3",
    configure=(),
    make=("all",),
    test="report",
    test_targets=("test",),
    install=("install", "PREFIX={prefix}"),
    check=("bin/tool",),
    says="one",
)


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_process: None) -> Path:
    (tmp_path / "in" / "patches").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "patches" / "two.patch").write_text(PATCH)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build_runtime, "_PREFIX", str(tmp_path / "installed"))
    monkeypatch.setattr(build_runtime, "_PATCHES", str(tmp_path / "in" / "patches"))
    return tmp_path


def build(files: Dict[str, str], **source: Any) -> Report:
    with tarfile.open("in/source.archive", "w:gz") as tar:
        for name, text in {"Makefile": MAKEFILE, "tool": TOOL, **files}.items():
            info = tarfile.TarInfo(f"tool-1.0/{name}")
            info.size, info.mode = len(text), 0o755
            tar.addfile(info, io.BytesIO(text.encode()))
    build_runtime.build(build_runtime.Arguments(replace(SOUND, **source), "tool", "bin/node", True))
    return OUTPUTS.report.read(Path(OUTPUTS.report.path).read_text())


def test_what_is_installed_is_packed_and_the_log_tells_each_step(step: Path) -> None:
    assert build({}) == Report(tests="passed", npm="")
    names = [info.name for info, _ in read_entries("out/runtime.tar") if info.isreg()]
    assert names == ["bin/tool"]
    commands = [
        line.split()[1:]
        for line in Path("out/build.log").read_text().splitlines()
        if line.startswith("+ ")
    ]
    assert [one[0] for one in commands] == ["make", "make", "make"]
    assert commands[0][-1] == "all"
    assert commands[2][-1] == f"PREFIX={step / 'installed'}"


def test_a_configure_script_gets_the_prefix_and_the_flags(step: Path) -> None:
    configure = '#!/bin/sh\necho "configured $@"\n'
    build({"configure": configure}, configure=("--without-snapshot",))
    log = Path("out/build.log").read_text()
    assert f"configured --prefix={step / 'installed'} --without-snapshot" in log


@pytest.mark.parametrize(
    ("test", "files", "result"),
    [
        ("report", {"fails": ""}, "failed"),
        ("report", {}, "passed"),
        ("required", {}, "passed"),
        ("skip", {"fails": ""}, "skipped"),
    ],
)
def test_what_becomes_of_the_tests_is_told(
    step: Path, test: str, files: Dict[str, str], result: str
) -> None:
    assert build(files, test=test).tests == result


def test_patches_are_applied_in_order(step: Path) -> None:
    assert build({}, patches=("two.patch",), says="two").tests == "passed"


def test_an_error_far_above_the_end_is_shown(step: Path) -> None:
    noise = "\n".join(f"\t@echo line {number}" for number in range(60))
    makefile = f"all:\n\t@echo 'a.cc:1: error: no such type'\n{noise}\n\t@false\n"
    with pytest.raises(SlipwayError) as raised:
        build({"Makefile": makefile})
    found = raised.value.found.splitlines()
    assert found[1:3] == ["a.cc:1: error: no such type", "…"]
    assert "line 59" in found


FAULTS: Dict[str, Any] = {
    "a patch that does not apply": (
        {"tool": "#!/bin/sh\necho three\n"},
        {"patches": ("two.patch",)},
        ('the patch "two.patch" failed with exit status 1', "Hunk #1 FAILED"),
    ),
    "configure fails": (
        {"configure": "#!/bin/sh\necho no such thing\nexit 3\n"},
        {},
        ("configure failed with exit status 3", "no such thing"),
    ),
    "make fails": (
        {},
        {"make": ("everything",)},
        ("make failed with exit status 2", "No rule to make target 'everything'"),
    ),
    "tests that are required fail": (
        {"fails": ""},
        {"test": "required"},
        ("make test failed with exit status 2", "output of: "),
    ),
    "install writes outside": (
        {},
        {
            "install": (
                "install",
                "PREFIX=/proc/nowhere",
            )
        },
        ("make install failed with exit status 2", "/proc/nowhere"),
    ),
    "it answers with another version": (
        {},
        {"says": "two"},
        ('tool does not print "two"', "found: bin/tool: one"),
    ),
    "its program is not there": (
        {},
        {"check": ("bin/other",)},
        ('tool does not print "one"', "bin/other: No such file or directory"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_failing_step_is_named_with_its_last_lines(step: Path, name: str) -> None:
    files, source, words = FAULTS[name]
    with pytest.raises(SlipwayError) as raised:
        build(files, **source)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert not Path("out/runtime.tar").exists()
