"""Finds what a script of package.json starts, and which of it a release lacks.

A script is a line for `sh`. This module follows the forms that start an application: a file for node,
a command of `node_modules/.bin`, other scripts, commands joined by `&&`, `exec`, and prefixes that set
the environment. For everything else it says that it cannot decide; it never runs a script.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field
from typing import FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

SCRIPT, FILE, PROGRAM, PACKAGE = "script", "file", "program", "package"
BINS = "node_modules/.bin"


@dataclass(frozen=True)
class Content:
    """The content of a release, with paths relative to its folder.

    `files` are the application's own files, and `links` those of them that are symlinks. `packages`
    are the paths of installed packages. `bins` are the names in `node_modules/.bin`, and `left_out`
    the names that only an install with devDependencies has there.
    """

    scripts: Mapping[str, str]
    files: FrozenSet[str]
    packages: FrozenSet[str]
    bins: FrozenSet[str]
    links: FrozenSet[str] = frozenset()
    left_out: FrozenSet[str] = frozenset()
    main: str = ""
    # The programs of the runtime, and the one of them that runs files if it is not node.
    programs: FrozenSet[str] = frozenset(("node", "npm", "npx"))
    interpreter: str = "node"


@dataclass(frozen=True)
class Finding:
    """Something that the script `script` with the command line `line` needs, and a release lacks.

    `is_certain` is False if a host may have it, or if the command may never run.
    """

    kind: str
    name: str
    script: str
    line: str
    is_certain: bool

    def __str__(self) -> str:
        if self.kind == SCRIPT:
            return f'package.json has no script "{self.name}"' + (
                f', which "{self.script}" runs' if self.script else ""
            )
        return f'"{self.script}": {self.line}: the release contains no {self.kind} {self.name}'


def missing(script: str, content: Content) -> Tuple[Finding, ...]:
    """What the script needs and the release lacks, in the order of the script; without duplicates."""
    reader = _Reader(content)
    reader.read_script(script, _Place("", "", True))
    return tuple(dict.fromkeys(reader.findings))


def files_to_start(script: str, scripts: Mapping[str, str]) -> Tuple[str, ...]:
    """The application's own files that the script starts, as far as this module can tell."""
    nothing = Content(scripts, frozenset(), frozenset(), frozenset())
    return tuple(one.name for one in missing(script, nothing) if one.kind == FILE)


# Builtins of sh, and programs that every host has: POSIX utilities without compilers and editors.
_EVERYWHERE = frozenset(
    [
        ".",
        ":",
        "[",
        "alias",
        "bg",
        "break",
        "cd",
        "command",
        "continue",
        "echo",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fg",
        "getopts",
        "hash",
        "jobs",
        "kill",
        "local",
        "printf",
        "pwd",
        "read",
        "readonly",
        "return",
        "set",
        "shift",
        "source",
        "test",
        "times",
        "trap",
        "true",
        "type",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "wait",
        "awk",
        "basename",
        "cat",
        "chgrp",
        "chmod",
        "chown",
        "cmp",
        "comm",
        "cp",
        "cut",
        "date",
        "dd",
        "df",
        "diff",
        "dirname",
        "du",
        "env",
        "expand",
        "expr",
        "find",
        "fold",
        "grep",
        "head",
        "hostname",
        "id",
        "join",
        "ln",
        "ls",
        "mkdir",
        "mkfifo",
        "mktemp",
        "mv",
        "nice",
        "nohup",
        "od",
        "paste",
        "ps",
        "readlink",
        "rm",
        "rmdir",
        "sed",
        "seq",
        "sh",
        "sleep",
        "sort",
        "split",
        "stat",
        "stty",
        "sync",
        "tail",
        "tar",
        "tee",
        "time",
        "timeout",
        "touch",
        "tr",
        "tty",
        "uname",
        "uniq",
        "wc",
        "which",
        "who",
        "xargs",
    ]
)
# These change no file that a later command could start.
_HARMLESS = frozenset(
    [
        ".",
        ":",
        "[",
        "cd",
        "echo",
        "exit",
        "export",
        "printf",
        "set",
        "sleep",
        "test",
        "trap",
        "true",
        "ulimit",
        "umask",
        "unset",
    ]
)
_RESERVED = frozenset(
    [
        "if",
        "then",
        "elif",
        "else",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "{",
        "}",
        "!",
        "[[",
        "function",
    ]
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PUNCTUATION = "();<>|&"
_OPERATORS = ("&&", "||", ";", ";;", "|", "|&", "&", "(", ")")
_REDIRECTIONS = (">", ">>", "<", "<<", "<<<", ">&", "<&", "&>", "&>>", ">|", "<>")

# Programs that run the command after their own options; the value names options that take a value.
_BEFORE_A_COMMAND: Mapping[str, FrozenSet[str]] = {
    "exec": frozenset(("-a",)),
    "command": frozenset(),
    "nohup": frozenset(),
    "time": frozenset(),
    "setsid": frozenset(),
    "env": frozenset(("-u", "--unset", "-C", "--chdir")),
    "nice": frozenset(("-n",)),
    "ionice": frozenset(("-c", "-n")),
    "stdbuf": frozenset(("-i", "-o", "-e")),
    "dumb-init": frozenset(("-r",)),
    "tini": frozenset(("-p", "-e")),
    "cross-env": frozenset(),
    "cross-env-shell": frozenset(),
    "dotenv": frozenset(("-e", "-v", "-p", "-c")),
    "env-cmd": frozenset(("-f", "--file", "-e", "--environments", "-r", "--rc-file")),
    "npx": frozenset(("-p", "--package")),
}
# Options of node that take the next argument as their value.
_NODE_VALUES = frozenset(
    [
        "-C",
        "--conditions",
        "--env-file",
        "--env-file-if-exists",
        "--diagnostic-dir",
        "--disable-warning",
        "--icu-data-dir",
        "--openssl-config",
        "--redirect-warnings",
        "--report-dir",
        "--report-directory",
        "--stack-trace-limit",
        "--title",
        "--unhandled-rejections",
        "--watch-path",
    ]
)
_NODE_MODULES = frozenset(
    ("-r", "--require", "--import", "--loader", "--experimental-loader", "--preload")
)
_NODE_TEXTS = frozenset(("-e", "--eval", "-p", "--print", "-pe", "-v", "--version", "-h", "--help"))
# Programs that start a file of the application, perhaps after a subcommand.
_START_A_FILE = frozenset(
    [
        "babel-node",
        "forever",
        "node-dev",
        "nodemon",
        "pm2",
        "pm2-dev",
        "pm2-runtime",
        "sucrase-node",
        "supervisor",
        "swc-node",
        "ts-node",
        "ts-node-dev",
        "ts-node-esm",
        "tsx",
    ]
)
_CODE = re.compile(r"\.[cm]?[jt]sx?$")


@dataclass(frozen=True)
class _Place:
    """Where a command is: its script and line, whether it certainly runs, and its folder."""

    script: str
    line: str
    is_certain: bool
    folder: str = ""


@dataclass
class _Reader:
    content: Content
    findings: List[Finding] = field(default_factory=list)
    _open: List[str] = field(default_factory=list)
    # After a command that can write files, a missing file may exist when its turn comes.
    _wrote: bool = False

    def read_script(self, name: str, place: _Place) -> None:
        scripts = self.content.scripts
        if name not in scripts:
            if name == "start" and "npm" in self.content.programs and self._finds("server.js"):
                return  # npm's own default
            self._add(SCRIPT, name, place)
            return
        if name in self._open:
            return
        self._open.append(name)
        for event in (f"pre{name}", name, f"post{name}"):
            line = scripts.get(event)
            # What runs after a server ends says nothing about its start.
            if line is not None and not event.startswith("post"):
                self._read_line(line, _Place(event, line, place.is_certain, place.folder))
        self._open.pop()

    def _read_line(self, line: str, place: _Place) -> None:
        groups = _and_or_lists(line)
        if groups is None:
            return
        folders = [place.folder]
        for commands in groups:
            is_certain = place.is_certain and not any(one.after == "||" for one in commands)
            for command in commands:
                if command.after == "(":
                    folders.append(folders[-1])
                elif command.after == ")" and len(folders) > 1:
                    folders.pop()
                if not command.words:
                    continue
                here = _Place(place.script, place.line, is_certain, folders[-1])
                if command.words[0] == "cd" and len(command.words) == 2:
                    folders[-1] = _joined(folders[-1], command.words[1])
                    continue
                self._read_command(command.words, here)
                if command.words[0] in ("[", "test"):
                    is_certain = False

    def _read_command(self, words: Sequence[str], place: _Place) -> None:
        words = self._without_assignments(words, place)
        if not words:
            return
        program, rest = words[0], list(words[1:])
        if "$" in program or "*" in program:
            return
        if "/" in program:
            name = posixpath.basename(program)
            if posixpath.dirname(posixpath.normpath(program)) == BINS and not place.folder:
                self._require_program(name, place)
            else:
                self._require_file(program, place, as_node=False)
                name = ""
        else:
            name = program
            self._require_program(name, place)
        self._read_arguments(name, rest, place)
        self._wrote = self._wrote or name not in _HARMLESS

    def _read_arguments(self, program: str, rest: List[str], place: _Place) -> None:
        interpreter = self.content.interpreter
        read = {
            "npm": self._read_npm,
            "concurrently": self._read_concurrently,
            "timeout": self._read_timeout,
            **dict.fromkeys(("sh", "bash", "dash"), self._read_shell),
            **dict.fromkeys(("run-s", "run-p", "npm-run-all", "npm-run-all2"), self._read_run_all),
            **dict.fromkeys(_START_A_FILE, self._read_started_file),
            interpreter: self._read_interpreter,
            "node": self._read_node,
        }.get(program)
        if read is not None:
            read(rest, place)
        elif program in _BEFORE_A_COMMAND:
            self._read_after_options(rest, _BEFORE_A_COMMAND[program], place)
        elif program == "dotenvx" and rest[:1] == ["run"]:
            self._read_after_options(rest[1:], frozenset(("-f", "-e", "-fk")), place)

    def _read_concurrently(self, rest: List[str], place: _Place) -> None:
        for line in rest:
            if " " in line:
                self._read_line(line, place)
            elif line.startswith("npm:") and "*" not in line:
                self.read_script(line[len("npm:") :], place)

    def _read_timeout(self, rest: List[str], place: _Place) -> None:
        words = _without_options(rest, frozenset(("-s", "--signal", "-k", "--kill-after")))
        self._read_command(words[1:], place)

    def _read_after_options(
        self, rest: Sequence[str], with_value: FrozenSet[str], place: _Place
    ) -> None:
        words = _without_options(rest, with_value)
        if len(words) == 1 and " " in words[0]:
            self._read_line(words[0], place)
        else:
            self._read_command(words, place)

    def _read_node(self, rest: List[str], place: _Place) -> None:
        while rest:
            word = rest.pop(0)
            name, _, value = word.partition("=")
            if word == "--":
                continue
            if name in _NODE_TEXTS or word == "-":
                return
            if name == "--run":
                self.read_script(value or (rest[0] if rest else ""), place)
                return
            if name in _NODE_MODULES:
                self._require_module(value or (rest.pop(0) if rest else ""), place)
            elif name in _NODE_VALUES and not value:
                del rest[:1]
            elif name == "--test":
                return
            elif not word.startswith("-"):
                if word in ("inspect", "debug") and rest:
                    continue
                self._require_file(word, place, as_node=True)
                return

    def _read_npm(self, rest: Sequence[str], place: _Place) -> None:
        words: List[str] = []
        passed = list(rest)
        folder = place.folder
        while passed:
            word = passed.pop(0)
            if word == "--":
                break
            if word in ("--prefix", "-C") and passed:
                folder = _joined(folder, passed.pop(0))
            elif word in ("--workspace", "-w", "--workspaces", "--if-present") or word.startswith(
                ("--prefix=", "--workspace=", "-w=")
            ):
                return
            elif not word.startswith("-"):
                words.append(word)
        if not words or folder:
            return  # the scripts of another folder
        if words[0] in ("run", "run-script", "rum", "urn") and len(words) > 1:
            self.read_script(words[1], place)
        elif words[0] in ("start", "stop", "restart", "test"):
            self.read_script(words[0], place)
        elif words[0] in ("exec", "x"):
            self._read_command([*words[1:], *passed], place)

    def _read_shell(self, rest: List[str], place: _Place) -> None:
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            if "c" in option.lstrip("-") and not option.startswith("--"):
                if rest:
                    self._read_line(rest[0], place)
                return
        if rest:
            self._require_file(rest[0], place, as_node=False)

    def _read_run_all(self, rest: Sequence[str], place: _Place) -> None:
        for word in rest:
            # Patterns such as "start:*", and options.
            if not word.startswith("-") and not set(word) & set("*{}"):
                self.read_script(word.split(" ")[0], place)

    def _read_started_file(self, rest: Sequence[str], place: _Place) -> None:
        takes_value = False
        for word in rest:
            if word.startswith("-"):
                takes_value = "=" not in word
            elif _CODE.search(word) and not takes_value:
                unsure = _Place(place.script, place.line, False, place.folder)
                self._require_file(word, unsure, as_node=True)
                return
            else:
                takes_value = False

    def _read_interpreter(self, rest: Sequence[str], place: _Place) -> None:
        """The file that another runtime runs; which of its options take a value is not known."""
        for word in rest:
            if _CODE.search(word) and not word.startswith("-"):
                unsure = _Place(place.script, place.line, False, place.folder)
                self._require_file(word, unsure, as_node=False)
                return

    def _without_assignments(self, words: Sequence[str], place: _Place) -> Sequence[str]:
        """The words after assignments such as `PORT=80`; reads the modules in NODE_OPTIONS."""
        rest = list(words)
        while rest and _ASSIGNMENT.match(rest[0]):
            name, _, value = rest.pop(0).partition("=")
            if name == "NODE_OPTIONS" and "$" not in value:
                self._read_node(value.split(), place)
        return rest

    # --- What a release contains.

    def _require_program(self, name: str, place: _Place) -> None:
        content = self.content
        if name in content.bins or name in content.programs or name in _EVERYWHERE:
            return
        unsure = name not in content.left_out
        self._add(PROGRAM, name, place, unsure=unsure)

    def _require_module(self, name: str, place: _Place) -> None:
        if name.startswith((".", "/")):
            self._require_file(name, place, as_node=True)
        elif name and "$" not in name and not name.startswith(("node:", "data:", "file:")):
            parts = name.split("/")
            package = "/".join(parts[:2] if name.startswith("@") else parts[:1])
            if f"node_modules/{package}" not in self.content.packages and package not in _BUILTINS:
                self._add(PACKAGE, package, place)

    def _require_file(self, path: str, place: _Place, *, as_node: bool) -> None:
        if path.startswith(("/", "~")) or set(path) & set("$*?`"):
            return
        found = _joined(place.folder, path)
        if found.startswith("..") or "$" in found:
            return
        if not self._finds(found, as_node=as_node):
            self._add(FILE, found, place, unsure=self._wrote)

    def _finds(self, path: str, *, as_node: bool = True) -> bool:
        content = self.content
        if path in content.files:
            return True
        if "node_modules" in path.split("/"):
            return any(path == one or path.startswith(one + "/") for one in content.packages) or (
                posixpath.dirname(path) == BINS and posixpath.basename(path) in content.bins
            )
        if any(path == one or path.startswith(one + "/") for one in content.links):
            return True
        if not as_node:
            return False
        if path == "." and content.main:
            return self._finds(posixpath.normpath(content.main))
        folder = "" if path == "." else path + "/"
        endings = [f"{path}{ending}" for ending in (".js", ".json", ".node")]
        indexes = [f"{folder}{name}" for name in ("package.json", "index.js", "index.json")]
        return any(one in content.files for one in (endings + indexes if folder else indexes[1:]))

    def _add(self, kind: str, name: str, place: _Place, *, unsure: bool = False) -> None:
        is_certain = place.is_certain and not unsure
        self.findings.append(Finding(kind, name, place.script, place.line, is_certain))


# Modules of Node that `-r` may name.
_BUILTINS = frozenset(("crypto", "fs", "http", "https", "inspector", "module", "path", "process"))


@dataclass(frozen=True)
class _Command:
    """The words of a simple command, and the operator before it."""

    words: Tuple[str, ...]
    after: str


def _and_or_lists(line: str) -> Optional[List[List[_Command]]]:
    """The commands of a line, grouped by `;` and `&`; None if the line uses more of sh than this."""
    if "`" in line or "$(" in line:
        return None
    lexer = shlex.shlex(line.replace("\n", " ; "), posix=True, punctuation_chars=_PUNCTUATION)
    lexer.commenters = ""
    # Python 3.7 ignores the punctuation if words end only at white space.
    lexer.wordchars += "".join(set(line) - set(f"{_PUNCTUATION}\"'\\ \t\r\n"))
    try:
        tokens = list(lexer)
    except ValueError:
        return None
    groups: List[List[_Command]] = [[]]
    for after, words in _simple_commands(tokens):
        if words and words[0] in _RESERVED:
            return None
        if after in (";", "&", "(", ")"):
            groups.append([])
        groups[-1].append(_Command(words, after))
    return groups


def _simple_commands(tokens: Sequence[str]) -> Iterator[Tuple[str, Tuple[str, ...]]]:
    words: List[str] = []
    after = ";"
    skip = False
    for token in tokens:
        if token.startswith("#"):
            break
        if token in _REDIRECTIONS:
            if words and words[-1].isdigit():
                words.pop()
            skip = True
        elif token in _OPERATORS:
            yield after, tuple(words)
            words, after, skip = [], token, False
        elif skip:
            skip = False
        else:
            words.append(token)
    yield after, tuple(words)


def _without_options(rest: Sequence[str], with_value: FrozenSet[str]) -> List[str]:
    """The command after the options of the program before it."""
    words = list(rest)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--":
            break
        if option in with_value:
            del words[:1]
    return words


def _joined(folder: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(folder, path))
