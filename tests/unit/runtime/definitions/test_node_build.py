"""Definitions of node-build: what Slipway reads, what it refuses, and that nothing in them runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict, Tuple, Union

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway.runtime.definitions.node_build import (
    MAX_LINE,
    MAX_SIZE,
    Archive,
    Counts,
    Definition,
    DefinitionRefused,
    Hook,
    LeftOut,
    Reason,
    count,
    parse,
)

ONE = "1" * 64
TWO = "2" * 64
THREE = "3" * 64
MD5 = "d" * 32
SHA1 = "e" * 40
PLAIN = f'install_package "node-v9.0.1" "https://a.example/s.tar.gz#{ONE}"\n'
REFUSED_NAMES = ("../x", "/etc/passwd", "a/b", "", ".", "..", ".16.20.2", "16.20.2\n", "\n16.20.2")

EOL_HOOK = f"""\
before_install_package() {{
  build_package_warn_eol "$1"
}}

binary linux-x64 "https://a.example/v9.0.1/node-v9.0.1-linux-x64.tar.gz#{ONE}"

install_package "node-v9.0.1" "https://a.example/v9.0.1/node-v9.0.1.tar.gz#{TWO}"
"""
LTS_HOOK = f"""\
after_install_package () {{ # prints a warning
\tbuild_package_warn_lts_maintenance "$1"
}} # end
binary linux-x64 https://a.example/node.tar.gz#{ONE}
install_package '22.1.0' 'https://a.example/node-src.tar.gz#{TWO}' standard
"""
PLATFORMS = f"""\
# The order of the file stays.
binary linux-x64 "https://a.example/linux-x64.tar.gz#{TWO}"
binary darwin-arm64 "https://a.example/darwin-arm64.tar.gz#{ONE}"
binary linux-arm-pi "https://a.example/linux-arm-pi.tar.gz#{"AbCd" * 16}"
install_package "node-v20.0.0" "https://a.example/node.tar.gz#{THREE}"
"""
SOURCE_ONLY = f"""

install_package "node-v0.1.14" "http://a.example:8080/node-v0.1.14.tar.gz#{ONE}"
"""
BINARY_ONLY = f"""\
binary linux-x64 "https://a.example/node.tar.gz#{ONE}"
install_package "node-v18.0.0-rc.1" "#"
"""
IOJS = f"""\
before_install_package() {{
  build_package_warn_eol "$1"
}}
after_install_package() {{
  build_package_warn_lts_maintenance "$1"
  build_package_warn_eol "$1"
}}
binary linux-x64 "https://b.example/iojs-v1.0.0-linux-x64.tar.gz#{ONE}"
install_package "iojs-v1.0.0" "https://b.example/iojs-v1.0.0.tar.gz#{TWO}"
"""
CHAKRACORE = f"""\
binary darwin-x64 "https://c.example/node-darwin.tar.gz#{ONE}"
binary linux-x64 "https://c.example/node-linux.tar.gz#{TWO}"
install_package "node-v8.1.4" "https://c.example/node.tar.gz#{THREE}" warn_eol
"""
GRAAL = f"""\
echo "Only binaries; none is built."
echo two words
binary linux-x64 "https://d.example/graalvm+ce-linux-amd64.tar.gz#{ONE}"
install_package "graal+ce_java8-19.3.0.2" "#" graal
"""
MISSING_HASH = f"""\
binary linux-x64 "https://a.example/a.tar.gz#{ONE}"
binary linux-x86 "https://a.example/b.tar.gz"
binary sunos-x64 "http://a.example/c.tar.gz#"
install_package "node-v9.0.1" "https://a.example/d.tar.gz#"
"""
SHA1_SOURCE = f"""\
binary linux-x64 "https://a.example/a.tar.gz#{ONE}"
install_package "node-v9.0.1" "https://a.example/d.tar.gz#{SHA1}"
"""
MD5_BINARY = f"""\
binary linux-x64 "https://a.example/a.tar.gz#{MD5}"
binary linux-x64 "https://a.example/b.tar.gz#{ONE}"
binary darwin-x64 "ftp://a.example/a.tar.gz#{ONE}"
binary darwin-arm64 "https://a.example/a.tar.gz#{ONE[1:]}"
install_package "node-v9.0.1" "https://a.example/d.tar.gz#{TWO}"
"""
GIT = """\
before_install_package() {
  build_package_warn_eol "$1"
}
install_git "node-v9.0.1" "https://a.example/node.git" "v9.x" standard
"""

EOL_CALL = "build_package_warn_eol"
LTS_CALL = "build_package_warn_lts_maintenance"

# Each text, the definition, and whether it is past its end of life and in LTS maintenance.
READ: Dict[str, Tuple[str, Definition, bool, bool]] = {
    "eol hook": (
        EOL_HOOK,
        Definition(
            name="9.0.1",
            runtime="node",
            version="9.0.1",
            binaries=(
                (
                    "linux-x64",
                    Archive("https://a.example/v9.0.1/node-v9.0.1-linux-x64.tar.gz", ONE),
                ),
            ),
            source=Archive("https://a.example/v9.0.1/node-v9.0.1.tar.gz", TWO),
            hooks=(Hook("before_install_package", (EOL_CALL,)),),
            package="node-v9.0.1",
            steps=(),
            messages=(),
            left_out=(),
        ),
        True,
        False,
    ),
    "lts maintenance hook": (
        LTS_HOOK,
        Definition(
            name="22.1.0",
            runtime="node",
            version="22.1.0",
            binaries=(("linux-x64", Archive("https://a.example/node.tar.gz", ONE)),),
            source=Archive("https://a.example/node-src.tar.gz", TWO),
            hooks=(Hook("after_install_package", (LTS_CALL,)),),
            package="22.1.0",
            steps=("standard",),
            messages=(),
            left_out=(),
        ),
        False,
        True,
    ),
    "several platforms": (
        PLATFORMS,
        Definition(
            name="20.0.0",
            runtime="node",
            version="20.0.0",
            binaries=(
                ("linux-x64", Archive("https://a.example/linux-x64.tar.gz", TWO)),
                ("darwin-arm64", Archive("https://a.example/darwin-arm64.tar.gz", ONE)),
                ("linux-arm-pi", Archive("https://a.example/linux-arm-pi.tar.gz", "abcd" * 16)),
            ),
            source=Archive("https://a.example/node.tar.gz", THREE),
            hooks=(),
            package="node-v20.0.0",
            steps=(),
            messages=(),
            left_out=(),
        ),
        False,
        False,
    ),
    "source only": (
        SOURCE_ONLY,
        Definition(
            name="0.1.14",
            runtime="node",
            version="0.1.14",
            binaries=(),
            source=Archive("http://a.example:8080/node-v0.1.14.tar.gz", ONE),
            hooks=(),
            package="node-v0.1.14",
            steps=(),
            messages=(),
            left_out=(),
        ),
        False,
        False,
    ),
    "binary only": (
        BINARY_ONLY,
        Definition(
            name="18.0.0-rc.1",
            runtime="node",
            version="18.0.0-rc.1",
            binaries=(("linux-x64", Archive("https://a.example/node.tar.gz", ONE)),),
            source=None,
            hooks=(),
            package="node-v18.0.0-rc.1",
            steps=(),
            messages=(),
            left_out=(),
        ),
        False,
        False,
    ),
    "iojs": (
        IOJS,
        Definition(
            name="iojs-1.0.0",
            runtime="iojs",
            version="1.0.0",
            binaries=(
                ("linux-x64", Archive("https://b.example/iojs-v1.0.0-linux-x64.tar.gz", ONE)),
            ),
            source=Archive("https://b.example/iojs-v1.0.0.tar.gz", TWO),
            hooks=(
                Hook("before_install_package", (EOL_CALL,)),
                Hook("after_install_package", (LTS_CALL, EOL_CALL)),
            ),
            package="iojs-v1.0.0",
            steps=(),
            messages=(),
            left_out=(),
        ),
        True,
        True,
    ),
    "chakracore": (
        CHAKRACORE,
        Definition(
            name="chakracore-8.1.4",
            runtime="chakracore",
            version="8.1.4",
            binaries=(
                ("darwin-x64", Archive("https://c.example/node-darwin.tar.gz", ONE)),
                ("linux-x64", Archive("https://c.example/node-linux.tar.gz", TWO)),
            ),
            source=Archive("https://c.example/node.tar.gz", THREE),
            hooks=(),
            package="node-v8.1.4",
            steps=("warn_eol",),
            messages=(),
            left_out=(),
        ),
        True,
        False,
    ),
    "graal": (
        GRAAL,
        Definition(
            name="graal+ce_java8-19.3.0.2",
            runtime="graal+ce_java8",
            version="19.3.0.2",
            binaries=(
                ("linux-x64", Archive("https://d.example/graalvm+ce-linux-amd64.tar.gz", ONE)),
            ),
            source=None,
            hooks=(),
            package="graal+ce_java8-19.3.0.2",
            steps=("graal",),
            messages=("Only binaries; none is built.", "two words"),
            left_out=(),
        ),
        False,
        False,
    ),
    "missing hash": (
        MISSING_HASH,
        Definition(
            name="9.0.1",
            runtime="node",
            version="9.0.1",
            binaries=(("linux-x64", Archive("https://a.example/a.tar.gz", ONE)),),
            source=None,
            hooks=(),
            package="node-v9.0.1",
            steps=(),
            messages=(),
            left_out=(
                LeftOut("linux-x86", "https://a.example/b.tar.gz", Reason.NO_HASH, 2),
                LeftOut("sunos-x64", "http://a.example/c.tar.gz#", Reason.HTTP_NO_HASH, 3),
                LeftOut("source", "https://a.example/d.tar.gz#", Reason.NO_HASH, 4),
            ),
        ),
        False,
        False,
    ),
    "SHA-1": (
        SHA1_SOURCE,
        Definition(
            name="9.0.1",
            runtime="node",
            version="9.0.1",
            binaries=(("linux-x64", Archive("https://a.example/a.tar.gz", ONE)),),
            source=None,
            hooks=(),
            package="node-v9.0.1",
            steps=(),
            messages=(),
            left_out=(LeftOut("source", f"https://a.example/d.tar.gz#{SHA1}", Reason.SHA1, 2),),
        ),
        False,
        False,
    ),
    "MD5": (
        MD5_BINARY,
        Definition(
            name="9.0.1",
            runtime="node",
            version="9.0.1",
            binaries=(),
            source=Archive("https://a.example/d.tar.gz", TWO),
            hooks=(),
            package="node-v9.0.1",
            steps=(),
            messages=(),
            left_out=(
                LeftOut("linux-x64", f"https://a.example/a.tar.gz#{MD5}", Reason.MD5, 1),
                LeftOut("linux-x64", f"https://a.example/b.tar.gz#{ONE}", Reason.DUPLICATE, 2),
                LeftOut("darwin-x64", f"ftp://a.example/a.tar.gz#{ONE}", Reason.ADDRESS, 3),
                LeftOut(
                    "darwin-arm64", f"https://a.example/a.tar.gz#{ONE[1:]}", Reason.BAD_HASH, 4
                ),
            ),
        ),
        False,
        False,
    ),
}


@pytest.mark.parametrize("kind", READ)
def test_a_definition_has_the_fields_of_its_text(kind: str) -> None:
    text, expected, is_past_end_of_life, is_in_lts_maintenance = READ[kind]
    definition = parse(text, expected.name)
    assert definition == expected
    assert definition.is_past_end_of_life is is_past_end_of_life
    assert definition.is_in_lts_maintenance is is_in_lts_maintenance
    assert parse(text.encode(), expected.name) == expected


def refusal(text: Union[str, bytes], name: str = "9.0.1") -> DefinitionRefused:
    with pytest.raises(DefinitionRefused) as caught:
        parse(text, name)
    return caught.value


def test_a_git_source_is_refused_with_its_line() -> None:
    refused = refusal(GIT)
    assert (refused.reason, refused.line, refused.where) == (Reason.GIT, 4, "9.0.1:4")
    assert refused.what == (
        'cannot use the node-build definition "9.0.1": the source is a git repository'
    )
    assert refused.found == 'install_git "node-v9.0.1" "https://a.example/node.git" "v9.x" standard'
    assert refused.next == 'use a definition of a release, such as "16.20.2"'


@pytest.mark.parametrize(
    ("digest", "reason"),
    [
        ("", Reason.NO_HASH),
        (f"#{MD5}", Reason.MD5),
        (f"#{SHA1}", Reason.SHA1),
        (f"#{ONE}{ONE}", Reason.BAD_HASH),
        (f"#{'g' * 64}", Reason.BAD_HASH),
        (f"##{ONE}", Reason.BAD_HASH),
        (f"#{ONE}#{ONE}", Reason.BAD_HASH),
    ],
)
def test_a_definition_without_a_usable_hash_is_refused_with_the_kind(
    digest: str, reason: Reason
) -> None:
    refused = refusal(f'install_package "9.0.1" "https://a.example/s.tar.gz{digest}"')
    assert (refused.reason, refused.line) == (reason, 1)
    assert refused.what.endswith(f": source: {reason.value}")
    assert refused.next == 'append "#" and the SHA-256 hash of the archive to the address'
    binary = f'binary linux-x64 "https://a.example/b.tar.gz{digest}"\ninstall_package 9.0.1 "#"'
    assert refusal(binary).reason is reason


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.tar.gz", "/a.tar.gz", "file:///a.tar.gz", "ftp://a.example/a", "HTTPS://a/b"),
        *("https://a.example", "https://a.example/", "https:///a", "https://a.example//a"),
        *("https://user:x@a.example/a", "https://a.example/a?b", "https://a.example/a b"),
        *("https://a.example/../a", "https://a.example/./a", "https://a.example/a/.."),
        *("https://-a/b", "https://a.example:x/b", "https://a.example/\u00e4", "https://a/[a-z]"),
    ],
)
def test_an_address_is_plain_http_or_https(url: str) -> None:
    assert refusal(f'install_package "9.0.1" "{url}#{ONE}"').reason is Reason.ADDRESS


def test_an_http_address_needs_a_hash() -> None:
    refused = refusal('install_package "9.0.1" "http://a.example/s.tar.gz"')
    assert refused.reason is Reason.HTTP_NO_HASH


def test_without_linux_and_source_nothing_is_left() -> None:
    text = f'binary darwin-x64 "https://a.example/b.tar.gz#{ONE}"\ninstall_package "9.0.1" "#"\n'
    refused = refusal(text)
    assert (refused.reason, refused.line, refused.found) == (Reason.NO_LINUX_X64, 0, "darwin-x64")
    assert refusal('install_package "9.0.1" "#"').found == "no archives"


@pytest.mark.parametrize(
    "name",
    [
        *("nightly", "node-nightly", "node-rc", "node-dev", "chakracore-nightly"),
        *("node+v8_canary-nightly", "16.x-dev", "0.10-next", "iojs-1.x-dev", "iojs-0.12.0-dev"),
        *("16", "16.20", "16.x", "9.0.1-next", "9.0.1-nightly", "9.0.1-RC"),
    ],
)
def test_a_version_that_moves_is_refused_with_any_text(name: str) -> None:
    for text in ("", PLAIN, 'x="$(http get "${y}")"\nfor file in "${z[@]}"; do\n'):
        assert refusal(text, name).reason is Reason.MOVING
    refused = refusal('# dev\n  install_git "a" "https://a.example/a.git" "main"\n', name)
    assert (refused.reason, refused.line) == (Reason.GIT, 2)


@pytest.mark.parametrize(
    "name",
    [
        *REFUSED_NAMES,
        *("-16.20.2", "16.20.2/", "16..2", "16.20.2-", "x-", "README", "lts", "latest", "16 .2.0"),
        *("16.20.2\0", "\u0661.2.3", "graal+-1.0.0", "1.0.0-" + "a" * 100, "\ud800-1.0.0"),
    ],
)
def test_a_name_is_a_runtime_and_a_version(name: str) -> None:
    refused = refusal(PLAIN, name)
    assert (refused.reason, refused.line) == (Reason.NAME, 0)
    assert "\n" not in refused.what + refused.where + refused.found
    assert len(str(refused)) < 1000


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("9.0.1", "node-v9.0.2"),
        ("9.0.1", "iojs-v9.0.1"),
        ("iojs-9.0.1", "node-v9.0.1"),
        ("chakracore-9.0.1", "chakracore-v9.0.1"),
        ("graal+ce-9.0.1", "graal+ce_java8-9.0.1"),
    ],
)
def test_a_package_has_the_name_of_the_file(name: str, package: str) -> None:
    text = f'install_package "{package}" "https://a.example/s.tar.gz#{ONE}"'
    assert refusal(text, name).reason is Reason.PACKAGE


UNKNOWN_SHAPES = [
    ("", Reason.ARGUMENTS, 0),
    ("# nothing\n", Reason.ARGUMENTS, 0),
    ("\n\nrm x\n", Reason.COMMAND, 3),
    ("install_binary https://a.example/a\n", Reason.COMMAND, 1),
    ("require_java7\n", Reason.COMMAND, 1),
    ('build_package_warn_eol "9.0.1"\n', Reason.COMMAND, 1),
    ("declare a=b\n", Reason.COMMAND, 1),
    ("time binary linux-x64 b\n", Reason.COMMAND, 1),
    ("binary() {\n", Reason.COMMAND, 1),
    ("build_package_standard() {\n", Reason.COMMAND, 1),
    ("before_install_package() {\n  rm x\n}\n", Reason.COMMAND, 2),
    ('before_install_package() {\n  build_package_copy "$1"\n}\n', Reason.COMMAND, 2),
    ("before_install_package() {\n  build_package_warn_eol\n}\n", Reason.ARGUMENTS, 2),
    ("before_install_package() {\n  build_package_warn_eol x\n}\n", Reason.ARGUMENTS, 2),
    ("before_install_package() {\n  build_package_warn_eol '$1'\n}\n", Reason.SYNTAX, 2),
    ('before_install_package() {\n  build_package_warn_eol "$2"\n}\n', Reason.VARIABLE, 2),
    ("before_install_package() {\n  build_package_warn_eol $1\n}\n", Reason.VARIABLE, 2),
    ("before_install_package() {\n}\n", Reason.SYNTAX, 2),
    ('\nbefore_install_package() {\n  build_package_warn_eol "$1"\n', Reason.SYNTAX, 2),
    ("before_install_package() {#x\n", Reason.SYNTAX, 1),
    ("before_install_package()\n{\n", Reason.SYNTAX, 1),
    ("function before_install_package {\n", Reason.SYNTAX, 1),
    ("before_install_package() { build_package_warn_eol; }\n", Reason.SYNTAX, 1),
    ("before_install_package() {\nafter_install_package() {\n", Reason.ARGUMENTS, 2),
    ("}\n", Reason.SYNTAX, 1),
    ("binary linux-x64\n", Reason.ARGUMENTS, 1),
    ("binary linux-x64 a b\n", Reason.ARGUMENTS, 1),
    ("binary Linux a\n", Reason.ARGUMENTS, 1),
    ("binary linux-x64/.. a\n", Reason.ARGUMENTS, 1),
    ("install_package 9.0.1\n", Reason.ARGUMENTS, 1),
    ('install_package 9.0.1 "#" --if true\n', Reason.COMMAND, 1),
    ('install_package 9.0.1 "#" enable_shared\n', Reason.COMMAND, 1),
    ("echo -e a\n", Reason.ARGUMENTS, 1),
    (PLAIN + PLAIN, Reason.ARGUMENTS, 2),
    (PLAIN + "binary linux-x64 a\n", Reason.ARGUMENTS, 2),
    (PLAIN + "after_install_package() {\n", Reason.ARGUMENTS, 2),
    (EOL_HOOK.partition("\n\n")[0] + "\n" + EOL_HOOK, Reason.ARGUMENTS, 4),
]


@pytest.mark.parametrize(("text", "reason", "line"), UNKNOWN_SHAPES, ids=range(len(UNKNOWN_SHAPES)))
def test_an_unknown_shape_is_refused(text: str, reason: Reason, line: int) -> None:
    refused = refusal(text)
    assert (refused.reason, refused.line) == (reason, line), refused
    assert refused.where == (f"9.0.1:{line}" if line else "9.0.1")
    assert refused.next


HOSTILE = [
    ("echo $(touch {canary})", Reason.SUBSTITUTION),
    ('echo "$(touch {canary})"', Reason.SUBSTITUTION),
    ("echo `touch {canary}`", Reason.SUBSTITUTION),
    ('binary linux-x64 "https://a.example/`touch {canary}`#' + ONE + '"', Reason.SUBSTITUTION),
    ('binary linux-x64 "https://a.example/$(touch {canary})#' + ONE + '"', Reason.SUBSTITUTION),
    ("echo <(touch {canary})", Reason.SUBSTITUTION),
    ('binary linux-x64 "https://a.example/$X#' + ONE + '"', Reason.VARIABLE),
    ('binary linux-x64 "https://a.example/${X}#' + ONE + '"', Reason.VARIABLE),
    ('binary linux-x64 "https://a.example/$1#' + ONE + '"', Reason.VARIABLE),
    ('binary linux-x64 "$1"', Reason.VARIABLE),
    ("echo $'a'", Reason.VARIABLE),
    ("X={canary}", Reason.VARIABLE),
    ('X="{canary}" binary linux-x64 a', Reason.VARIABLE),
    ("X+=(a)", Reason.VARIABLE),
    ("X[0]=a", Reason.VARIABLE),
    ("echo a; rm {canary}", Reason.SYNTAX),
    ("echo a;rm {canary}", Reason.SYNTAX),
    ("echo a && rm {canary}", Reason.SYNTAX),
    ("echo a || rm {canary}", Reason.SYNTAX),
    ("echo a | tee {canary}", Reason.SYNTAX),
    ("rm {canary} &", Reason.SYNTAX),
    ("echo a > {canary}", Reason.SYNTAX),
    ("echo a >> {canary}", Reason.SYNTAX),
    ('echo "a">{canary}', Reason.SYNTAX),
    ("echo < {canary}", Reason.SYNTAX),
    ("echo <<END\n$(rm {canary})\nEND", Reason.SYNTAX),
    ("echo <<<a", Reason.SYNTAX),
    ("(rm {canary})", Reason.SYNTAX),
    ("{ rm {canary}; }", Reason.SYNTAX),
    ("! rm {canary}", Reason.SYNTAX),
    ("[ -e {canary} ]", Reason.SYNTAX),
    ("echo *", Reason.SYNTAX),
    ("echo ~", Reason.SYNTAX),
    ("echo a\\\nrm {canary}", Reason.SYNTAX),
    ("\\rm {canary}", Reason.SYNTAX),
    ('echo "a\\"', Reason.SYNTAX),
    ('echo "a', Reason.SYNTAX),
    ("echo 'a", Reason.SYNTAX),
    ('echo "a\nrm {canary}\n"', Reason.SYNTAX),
    ('echo "a"b"c"', Reason.SYNTAX),
    ('echo "a"#b', Reason.SYNTAX),
    ('ec"ho" a', Reason.SYNTAX),
    ("\u00a0echo a", Reason.SYNTAX),
    ("\ufeffecho a", Reason.SYNTAX),
    ("\u2028rm {canary}", Reason.SYNTAX),
    (". {canary}", Reason.COMMAND),
    ("source {canary}", Reason.COMMAND),
    ("eval rm {canary}", Reason.COMMAND),
    ("rm {canary}", Reason.COMMAND),
    ("trap rm EXIT", Reason.COMMAND),
    ("echo a\r", Reason.TEXT),
    ("# a\rrm {canary}", Reason.TEXT),
    ("echo a\0", Reason.TEXT),
    ("# \x1b[2J", Reason.TEXT),
    ("echo \x0b", Reason.TEXT),
    ("# \udcff", Reason.TEXT),
    ("# " + "a" * (1 << 20), Reason.TEXT),
    ('echo "' + "a" * (1 << 20), Reason.TEXT),
    ("$(" * (1 << 19), Reason.TEXT),
]


@pytest.mark.parametrize(("line", "reason"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_refused_with_its_line_and_does_not_run(
    line: str, reason: Reason, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    before = canary.stat()
    text = "# first\n" + line.replace("{canary}", str(canary)) + "\n" + PLAIN
    refused = refusal(text)
    assert (refused.reason, refused.line) == (reason, 2), refused
    assert refused.where == "9.0.1:2"
    assert len(str(refused)) < 2000
    assert re.fullmatch(r"[\x20-\x7e\n]*", str(refused))
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]
    after = canary.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_atime_ns) == (
        *(before.st_ino, before.st_mtime_ns, before.st_atime_ns),
    )
    assert canary.read_text() == "untouched"


@pytest.mark.parametrize("line", ["a" * 1900, "a" * 1900 + "() {", "\u202e() {"])
def test_a_message_shows_the_start_of_a_name(line: str) -> None:
    refused = refusal(line)
    assert (refused.reason, refused.line) == (Reason.COMMAND, 1)
    assert len(str(refused)) < 1000
    assert re.fullmatch(r"[\x20-\x7e\n]*", str(refused))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_to_do_next(reason: Reason) -> None:
    assert DefinitionRefused(reason, "9.0.1", 0, "").next


def test_a_comment_may_have_any_text() -> None:
    text = f'# $(rm x) `rm` "\u00e4 \\\n{PLAIN.rstrip()} # ; rm x\n  #\n'
    assert parse(text, "9.0.1") == parse(PLAIN, "9.0.1")


@pytest.mark.parametrize(
    ("data", "line", "detail"),
    [
        (b"# \xff\n", 1, "not UTF-8"),
        (b"\n\n# \xc3", 3, "not UTF-8"),
        (b"\n#\r\n", 2, "carriage return (CRLF line end)"),
        (b"\n\xfe\xff\0a", 2, "not UTF-8"),
        (b"#\0", 1, "control character \\x00"),
        (b"#" * (MAX_LINE + 1), 1, f"a line is longer than {MAX_LINE} characters"),
        (b"#\n" * MAX_SIZE, MAX_SIZE // 2 + 1, f"the file is longer than {MAX_SIZE} characters"),
        ("#\u00e4\u00e4\n".encode() * MAX_SIZE, 10923, f"the file is longer than {MAX_SIZE}"),
    ],
    ids=range(8),
)
def test_bytes_that_are_not_text_are_refused(data: bytes, line: int, detail: str) -> None:
    refused = refusal(data)
    assert (refused.reason, refused.line) == (Reason.TEXT, line)
    assert f'"9.0.1": {detail}' in refused.what


def test_a_file_of_the_largest_size_is_read() -> None:
    filler = ("#" * (MAX_LINE - 1) + "\n") * (MAX_SIZE // MAX_LINE - 1)
    text = filler + PLAIN
    text += "\n" * (MAX_SIZE - len(text))
    assert parse(text, "9.0.1") == parse(text.encode(), "9.0.1") == parse(PLAIN, "9.0.1")
    assert refusal(text + "\n").reason is Reason.TEXT


def test_counts_of_a_folder() -> None:
    texts: Dict[str, Union[str, bytes]] = {
        **{definition.name: text for text, definition, *_ in READ.values()},
        "node-nightly": "",
        "node-dev": "install_git a b c",
        "iojs-2.0.0": b"\xff",
        "iojs-2.0.1": b"\xff",
        "../x": PLAIN,
    }
    assert count(texts) == Counts(
        accepted=(
            ("node", 5),
            ("chakracore", 1),
            ("graal+ce_java8", 1),
            ("iojs", 1),
        ),
        refused=(("iojs", 2), ("node", 2), ("unknown", 1)),
        reasons=(
            (Reason.TEXT.value, 2),
            (Reason.NAME.value, 1),
            (Reason.GIT.value, 1),
            (Reason.MOVING.value, 1),
        ),
        left_out=(
            *((Reason.MD5.value, 1), (Reason.DUPLICATE.value, 1)),
            *((Reason.BAD_HASH.value, 1), (Reason.ADDRESS.value, 1)),
        ),
    )
    assert count({}) == Counts((), (), (), ())


PIECES = st.sampled_from(
    [
        *(
            "binary linux-x64 ",
            "binary darwin-x64 ",
            "install_package ",
            '"9.0.1" ',
            "install_git ",
        ),
        *("before_install_package() {\n", "after_install_package() {\n", "}\n", "\n", " ", "echo "),
        *('  build_package_warn_eol "$1"\n', f'"https://a.example/a#{ONE}"', f'"http://b/#{MD5}"'),
        *('"#"', '"', "'", "$", "$(", ")", "`", "\\", ";", "&&", ">", "<<", "#", "\r", "\0", "x=1"),
        *(" graal", " warn_eol", "\u00e4", "\ud800", "\u2028", "a", PLAIN),
    ]
)
TEXTS = st.one_of(st.text(), st.binary(), st.lists(PIECES).map("".join))
NAMES = st.one_of(st.text(), st.sampled_from(["9.0.1", "iojs-9.0.1", "node-dev", *REFUSED_NAMES]))


@given(TEXTS, NAMES)
@example(PLAIN, "9.0.1")
def test_any_text_is_read_or_refused(text: Union[str, bytes], name: str) -> None:
    try:
        definition = parse(text, name)
    except DefinitionRefused:
        return
    content = text if isinstance(text, str) else text.decode()
    archives = [archive for _, archive in definition.binaries]
    archives += [definition.source] if definition.source else []
    assert archives
    for archive in archives:
        assert re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert f"{archive.url}#{archive.sha256}" in content
