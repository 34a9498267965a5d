"""Parses the definition files of node-build, which are bash scripts, without a shell.

node-build sources a definition as bash. This module accepts only the few commands that release
definitions consist of, each with literal arguments on its own line, and refuses all other text.
So a file that Slipway accepts means the same here and in node-build, and nothing in it runs.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Tuple, Union

from slipway.core.errors import SlipwayError
from slipway.core.printable import one_line

# The largest definition of node-build has 2 kB, and its longest line has 200 characters.
MAX_SIZE = 64 * 1024
MAX_LINE = 2000
MAX_NAME = 100

LINUX_X64 = "linux-x64"
SOURCE = "source"


class Reason(enum.Enum):
    """Why Slipway refuses a definition, or leaves out an archive of a definition."""

    NAME = "the file name does not contain a runtime and a version"
    TEXT = "the file is not plain text of a usual size"
    SYNTAX = "shell syntax other than a command with literal arguments"
    SUBSTITUTION = "command substitution"
    VARIABLE = "a shell variable"
    COMMAND = "unknown command"
    ARGUMENTS = "unknown arguments or order of commands"
    GIT = "the source is a git repository"
    MOVING = "the version is not fixed"
    PACKAGE = "the package name does not match the file name"
    ADDRESS = "not a plain http or https address"
    NO_HASH = "no hash"
    HTTP_NO_HASH = "http address without a hash"
    MD5 = "MD5 hash"
    SHA1 = "SHA-1 hash"
    BAD_HASH = "not a SHA-256 hash"
    DUPLICATE = "a second binary for the same platform"
    NO_LINUX_X64 = "no binary for linux-x64 and no source"


_PLAIN_DATA = 'replace the line with commands such as: binary linux-x64 "https://...#<SHA-256>"'
_RELEASE = 'use a definition of a release, such as "16.20.2"'
_HASH = 'append "#" and the SHA-256 hash of the archive to the address'
_NEXT = {
    Reason.NAME: 'use the file name from node-build, such as "16.20.2" or "iojs-1.0.0"',
    Reason.TEXT: "use the unchanged definition file from node-build",
    Reason.SYNTAX: _PLAIN_DATA,
    Reason.SUBSTITUTION: _PLAIN_DATA,
    Reason.VARIABLE: _PLAIN_DATA,
    Reason.COMMAND: "use a definition that needs only the commands of releases",
    Reason.ARGUMENTS: "use the unchanged definition file from node-build",
    Reason.GIT: _RELEASE,
    Reason.MOVING: _RELEASE,
    Reason.PACKAGE: "rename the file, or correct the package name in install_package",
    Reason.ADDRESS: "write the complete address of the archive",
    Reason.NO_HASH: _HASH,
    Reason.HTTP_NO_HASH: _HASH,
    Reason.MD5: _HASH,
    Reason.SHA1: _HASH,
    Reason.BAD_HASH: _HASH,
    Reason.DUPLICATE: "remove one of the two lines",
    Reason.NO_LINUX_X64: "use a definition of a version that has a linux-x64 binary or a source",
}


class DefinitionRefused(SlipwayError):
    """A definition that Slipway does not accept; `line` counts from 1, or is 0 for the file."""

    def __init__(self, reason: Reason, name: str, line: int, found: str, detail: str = "") -> None:
        self.reason = reason
        self.name = name
        self.line = line
        shown = _shown(name)
        super().__init__(
            f'cannot use the node-build definition "{shown}": {_shown(detail or reason.value)}',
            where=f"{shown}:{line}" if line else shown,
            found=_shown(found),
            next=_NEXT[reason],
        )


def _shown(text: str) -> str:
    """The start of a text for messages; definitions are ASCII, so other characters are escaped."""
    shortened = text if len(text) <= 200 else text[:200] + "..."
    return one_line(shortened).encode("ascii", "backslashreplace").decode("ascii")


@dataclass(frozen=True)
class Archive:
    """A download; `sha256` has 64 hexadecimal digits in lower case."""

    url: str
    sha256: str


@dataclass(frozen=True)
class LeftOut:
    """An archive that Slipway cannot use: `archive` is its platform, or `source`.

    `address` is the argument in the file, with its hash. `line` counts from 1.
    """

    archive: str
    address: str
    reason: Reason
    line: int


@dataclass(frozen=True)
class Hook:
    """A function that node-build calls around the installation, and the commands it calls."""

    name: str
    calls: Tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """A definition file with the archives that Slipway can use.

    `name` is the file name. `binaries` has a platform, such as `linux-x64`, and its archive, in the
    order of the file. `package` and `steps` are arguments of `install_package`; the step `graal`
    changes the unpacked tree. `messages` are the lines that the definition prints.
    """

    name: str
    runtime: str
    version: str
    binaries: Tuple[Tuple[str, Archive], ...]
    source: Optional[Archive]
    hooks: Tuple[Hook, ...]
    package: str
    steps: Tuple[str, ...]
    messages: Tuple[str, ...]
    left_out: Tuple[LeftOut, ...]

    @property
    def is_past_end_of_life(self) -> bool:
        return self._warns("warn_eol")

    @property
    def is_in_lts_maintenance(self) -> bool:
        return self._warns("warn_lts_maintenance")

    def _warns(self, step: str) -> bool:
        # A definition warns with a build step, or with a call from a hook.
        return step in self.steps or any(
            f"build_package_{step}" in hook.calls for hook in self.hooks
        )


@dataclass(frozen=True)
class Counts:
    """Counts for a folder, highest first: files by runtime, and reasons by their texts.

    `refused` has "unknown" as the runtime of files with an unusable name. `left_out` counts the
    archives that accepted definitions left out.
    """

    accepted: Tuple[Tuple[str, int], ...]
    refused: Tuple[Tuple[str, int], ...]
    reasons: Tuple[Tuple[str, int], ...]
    left_out: Tuple[Tuple[str, int], ...]


def count(texts: Mapping[str, Union[str, bytes]]) -> Counts:
    """Parses all files of a folder, given as file names and contents, and counts the results."""
    accepted: List[str] = []
    refused: List[str] = []
    reasons: List[str] = []
    left_out: List[str] = []
    for name, text in texts.items():
        try:
            definition = parse(text, name)
        except DefinitionRefused as refusal:
            match = _match_name(name)
            refused.append(match["runtime"] or "node" if match else "unknown")
            reasons.append(refusal.reason.value)
        else:
            accepted.append(definition.runtime)
            left_out.extend(archive.reason.value for archive in definition.left_out)
    return Counts(*map(_count, (accepted, refused, reasons, left_out)))


def _count(labels: Iterable[str]) -> Tuple[Tuple[str, int], ...]:
    return tuple(sorted(Counter(labels).items(), key=lambda pair: (-pair[1], pair[0])))


def parse(text: Union[str, bytes], name: str) -> Definition:
    """Parses the definition with the file name `name`; raises DefinitionRefused."""
    match = _match_name(name)
    if not match:
        raise DefinitionRefused(Reason.NAME, name, 0, name)
    lines = _plain_lines(text, name)
    if not _is_fixed(match["version"]):
        _refuse_moving(lines, name, match["version"])
    return _Reader(name, match["runtime"] or "node", match["version"]).read(lines)


_MOVING = ("dev", "next", "nightly", "rc")
_NAME = re.compile(
    r"(?:(?P<runtime>[a-z][a-z0-9_]*(?:\+[a-z][a-z0-9_]*)?)-)?"
    r"(?P<version>[0-9]+(?:\.(?:[0-9]+|x))*(?:-[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*)?"
    rf"|{'|'.join(_MOVING)})"
)
_FIXED_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:\.[0-9]+)?(?:-.*)?")


def _match_name(name: str) -> Optional[re.Match[str]]:
    return _NAME.fullmatch(name) if len(name) <= MAX_NAME else None


def _is_fixed(version: str) -> bool:
    # `1.0.0-rc1` and `19.2.0-dev-b01` are releases; `0.12.0-dev` and `16.x-dev` are branches.
    last = re.split("[.-]", version)[-1].lower()
    return bool(_FIXED_VERSION.fullmatch(version)) and last not in _MOVING


def _refuse_moving(lines: List[str], name: str, version: str) -> None:
    """Refuses a moving version; its text only decides which of the two reasons is reported."""
    for number, line in enumerate(lines, 1):
        if line.split(None, 1)[:1] == ["install_git"]:
            raise DefinitionRefused(Reason.GIT, name, number, line.strip())
    raise DefinitionRefused(Reason.MOVING, name, 0, version)


# Bash ignores NUL bytes, and keeps a carriage return as a part of the word before it. Other control
# characters can hide a part of the file from its reader. Surrogates are bytes that are not UTF-8.
_NOT_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def _plain_lines(text: Union[str, bytes], name: str) -> List[str]:
    """The lines of a definition, without line ends; all of them are text of a usual length."""
    is_too_long = len(text) > MAX_SIZE
    if isinstance(text, bytes):
        # Bytes that are not UTF-8 become surrogates, which are refused below with their line.
        text = text[:MAX_SIZE].decode("utf-8", "surrogateescape")
    # Only a line feed ends a line for bash; str.splitlines() splits at ten other characters.
    lines = text[:MAX_SIZE].split("\n")
    for number, line in enumerate(lines, 1):
        wrong = _NOT_TEXT.search(line)
        detail = ""
        if len(line) > MAX_LINE:
            detail = f"a line is longer than {MAX_LINE} characters"
        elif is_too_long and number == len(lines):
            detail = f"the file is longer than {MAX_SIZE} characters"
        elif wrong and wrong[0] == "\r":
            detail = "carriage return (CRLF line end)"
        elif wrong and wrong[0] >= "\ud800":
            detail = "not UTF-8"
        elif wrong:
            detail = f"control character {one_line(wrong[0])}"
        if detail:
            raise DefinitionRefused(Reason.TEXT, name, number, line, detail)
    return lines


_BLANKS = re.compile(r"[ \t]*")
_WORD = re.compile(
    r"""(?P<quote>["'])(?P<quoted>.*?)(?P=quote)"""
    r"|(?P<bare>[A-Za-z0-9_./:@%+,=-][A-Za-z0-9_./:@%+,=#-]*)"
)
_SPECIAL = re.compile(r"[$`\\]")


class _Unreadable(Exception):
    """A part of a line that is not a literal word."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)


def _words(line: str, may_use_argument: bool) -> List[str]:
    """The words of a command; `"$1"` is a word only if `may_use_argument`, in a hook."""
    words: List[str] = []
    position = _end_of_blanks(line, 0)
    while position < len(line) and line[position] != "#":
        match = _WORD.match(line, position)
        if not match:
            raise _unreadable(line, position)
        word = match["quoted"] or match["bare"] or ""
        special = _SPECIAL.search(word)
        if special and match["quote"] == "'":
            # Literal for bash. Without quotes in the result, it would look like an expansion.
            raise _Unreadable(Reason.SYNTAX, "a special character in single quotes")
        if special and not (may_use_argument and word == "$1"):
            raise _unreadable(word, special.start())
        words.append(word)
        position = _end_of_blanks(line, match.end())
        if position == match.end() < len(line):
            # Bash would continue the word here: with a quote, or with a character that it expands.
            raise _unreadable(line, position)
    return words


def _end_of_blanks(line: str, start: int) -> int:
    match = _BLANKS.match(line, start)
    return match.end() if match else start


# What a shell does at the start of a text; the first pattern that matches has the reason.
_SHELL_SYNTAX = tuple(
    (re.compile(pattern), reason, detail)
    for pattern, reason, detail in (
        (r"`|[$<>]\(", Reason.SUBSTITUTION, "command substitution"),
        (r"\$", Reason.VARIABLE, "a shell variable or expansion"),
        (r"\\", Reason.SYNTAX, "a backslash (line continuation or escape)"),
        (r"<<", Reason.SYNTAX, "a here-document or here-string"),
        (r"[<>]", Reason.SYNTAX, "a redirection"),
        (r"[;&|(){}]", Reason.SYNTAX, "a shell operator"),
        (r"""(["']).*?\1""", Reason.SYNTAX, "a quote inside a word"),
        (r"[\"']", Reason.SYNTAX, "an unbalanced quote"),
        ("", Reason.SYNTAX, "an unexpected character"),
    )
)


def _unreadable(text: str, position: int) -> _Unreadable:
    """The refusal for what is at `position`, where a word cannot start or go on."""
    reason, detail = next(
        (reason, detail)
        for pattern, reason, detail in _SHELL_SYNTAX
        if pattern.match(text, position)
    )
    return _Unreadable(reason, f'{detail} at "{_shown(text[position : position + 20])}"')


_ASSIGNMENT = re.compile(r"[ \t]*[A-Za-z_][A-Za-z0-9_]*(?:\[[^\]]*\])?\+?=")
_FUNCTION = re.compile(r"[ \t]*(?P<name>[^\s()]+)[ \t]*\(\)[ \t]*\{[ \t]*(?:[ \t]#.*)?")
_FUNCTION_END = re.compile(r"[ \t]*\}[ \t]*(?:[ \t]#.*)?")
_PLATFORM = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+){1,2}")

_HOOKS = ("before_install_package", "after_install_package")
_HOOK_CALLS = ("build_package_warn_eol", "build_package_warn_lts_maintenance")
_STEPS = ("standard", "copy", "graal", "warn_eol", "warn_lts_maintenance")

# A definition of ChakraCore installs a package with the name of Node.js.
_PACKAGE_PREFIXES = {"chakracore": "node"}


class _Reader:
    """Collects the commands of a definition, in the order in which bash would run them."""

    def __init__(self, name: str, runtime: str, version: str) -> None:
        self.name = name
        self.runtime = runtime
        self.version = version
        self.line = 0
        self.text = ""
        self.platforms: List[str] = []
        self.binaries: List[Tuple[str, Archive]] = []
        self.source: Optional[Archive] = None
        self.hooks: Dict[str, List[str]] = {}
        self.open_hook = ""
        self.hook_start = (0, "")
        self.package = ""
        self.steps: Tuple[str, ...] = ()
        self.messages: List[str] = []
        self.left_out: List[LeftOut] = []

    def read(self, lines: List[str]) -> Definition:
        for self.line, self.text in enumerate(lines, 1):
            self._read_line(self.text)
        if self.open_hook:
            self.line, self.text = self.hook_start
            raise self._refused(Reason.SYNTAX, f'"{self.open_hook}" has no end')
        if not self.package:
            self.line, self.text = 0, ""
            raise self._refused(Reason.ARGUMENTS, "no install_package command")
        if not self.source and LINUX_X64 not in dict(self.binaries):
            self._refuse_without_linux()
        return Definition(
            self.name,
            self.runtime,
            self.version,
            tuple(self.binaries),
            self.source,
            tuple(Hook(name, tuple(calls)) for name, calls in self.hooks.items()),
            self.package,
            self.steps,
            tuple(self.messages),
            tuple(self.left_out),
        )

    def _refuse_without_linux(self) -> None:
        # An archive that is left out is the cause, so its reason says more than the absence.
        for left_out in self.left_out:
            if left_out.archive in (LINUX_X64, SOURCE):
                detail = f"{left_out.archive}: {left_out.reason.value}"
                raise DefinitionRefused(
                    left_out.reason, self.name, left_out.line, left_out.address, detail
                )
        found = ", ".join(self.platforms) or "no archives"
        raise DefinitionRefused(Reason.NO_LINUX_X64, self.name, 0, found)

    def _refused(self, reason: Reason, detail: str) -> DefinitionRefused:
        return DefinitionRefused(reason, self.name, self.line, self.text.strip(" \t"), detail)

    def _read_line(self, line: str) -> None:
        function = _FUNCTION.fullmatch(line)
        if function:
            self._open_hook(function["name"])
        elif self.open_hook and _FUNCTION_END.fullmatch(line):
            if not self.hooks[self.open_hook]:
                raise self._refused(Reason.SYNTAX, f'"{self.open_hook}" is empty')
            self.open_hook = ""
        elif _ASSIGNMENT.match(line):
            raise self._refused(Reason.VARIABLE, "sets a shell variable")
        else:
            try:
                words = _words(line, may_use_argument=bool(self.open_hook))
            except _Unreadable as unreadable:
                raise self._refused(unreadable.reason, unreadable.detail) from None
            if words:
                self._read_command(words)

    def _open_hook(self, name: str) -> None:
        if name not in _HOOKS:
            # A function can replace a command of node-build, such as `binary`.
            raise self._refused(Reason.COMMAND, f'defines the function "{name}"')
        if self.open_hook or name in self.hooks or self.package:
            raise self._refused(Reason.ARGUMENTS, f'"{name}" is at an unexpected place')
        self.hooks[name] = []
        self.open_hook = name
        self.hook_start = (self.line, self.text)

    def _read_command(self, words: List[str]) -> None:
        command, *arguments = words
        if self.open_hook:
            if command not in _HOOK_CALLS:
                raise self._refused(Reason.COMMAND, f'unknown command "{command}" in a hook')
            if arguments != ["$1"]:
                raise self._refused(Reason.ARGUMENTS, f'expected: {command} "$1"')
            self.hooks[self.open_hook].append(command)
        elif command == "echo":
            # An option such as -e changes the text that bash prints.
            if any(argument.startswith("-") for argument in arguments[:1]):
                raise self._refused(Reason.ARGUMENTS, "echo with an option")
            self.messages.append(" ".join(arguments))
        elif command == "binary":
            self._read_binary(arguments)
        elif command == "install_package":
            self._read_package(arguments)
        elif command == "install_git":
            raise self._refused(Reason.GIT, Reason.GIT.value)
        else:
            raise self._refused(Reason.COMMAND, f'unknown command "{command}"')

    def _read_binary(self, arguments: List[str]) -> None:
        if len(arguments) != 2 or not _PLATFORM.fullmatch(arguments[0]):
            raise self._refused(Reason.ARGUMENTS, "expected: binary <platform> <address>")
        if self.package:
            # node-build has installed the package, so it ignores the binary.
            raise self._refused(Reason.ARGUMENTS, "binary after install_package")
        platform, address = arguments
        if platform in self.platforms:
            # node-build uses the first one, even if its hash is unusable.
            self.left_out.append(LeftOut(platform, address, Reason.DUPLICATE, self.line))
            return
        self.platforms.append(platform)
        archive = self._archive(platform, address)
        if archive:
            self.binaries.append((platform, archive))

    def _read_package(self, arguments: List[str]) -> None:
        if len(arguments) < 2:
            raise self._refused(
                Reason.ARGUMENTS, "expected: install_package <package> <address> [steps]"
            )
        if self.package:
            raise self._refused(Reason.ARGUMENTS, "a second install_package")
        package, address, *steps = arguments
        prefix = _PACKAGE_PREFIXES.get(self.runtime, self.runtime)
        if package not in (self.name, f"{prefix}-v{self.version}"):
            raise self._refused(Reason.PACKAGE, Reason.PACKAGE.value)
        for step in steps:
            if step not in _STEPS:
                raise self._refused(Reason.COMMAND, f'unknown build step "{step}"')
        self.package = package
        self.steps = tuple(steps)
        # A package without a source has an address and a hash that are empty.
        if address != "#":
            self.source = self._archive(SOURCE, address)

    def _archive(self, label: str, text: str) -> Optional[Archive]:
        """The archive of an address with a hash; notes why if Slipway leaves it out."""
        url, _, digest = text.partition("#")
        reason = _fault(url, digest)
        if reason is None:
            return Archive(url, digest.lower())
        self.left_out.append(LeftOut(label, text, reason, self.line))
        return None


_ADDRESS = re.compile(
    r"https?://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
    r"(?:/[A-Za-z0-9_.~+%@=,-]+)+"
)
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]*")


def _fault(url: str, digest: str) -> Optional[Reason]:
    """Why Slipway cannot use an archive; None if it can."""
    segments = url.split("/")
    if not _ADDRESS.fullmatch(url) or "." in segments or ".." in segments:
        return Reason.ADDRESS
    if not digest:
        return Reason.NO_HASH if url.startswith("https:") else Reason.HTTP_NO_HASH
    if not _HEXADECIMAL.fullmatch(digest):
        return Reason.BAD_HASH
    # node-build tells the algorithm of a hash by its length too.
    return {32: Reason.MD5, 40: Reason.SHA1, 64: None}.get(len(digest), Reason.BAD_HASH)
