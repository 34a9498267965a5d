"""The reader of pages, and rules that every page must follow."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import pytest

from tests.docs import pages
from tests.docs.pages import Command, File
from tests.places import SOURCES

PAGE = dedent(
    """\
    # A page

    ```python apps/shop/BUILD
    release_tarball(name="release")
    ```

    ```console
    $ echo one; \\
      echo two
    one
    …
    $ pwd
    ```

    <!-- not run: it needs a host -->

    ```console
    $ ssh host.example
    ```

    <!-- fails -->

    ```console
    $ true
    $ false
    ```
    """
)


def test_a_page_is_its_files_and_commands_in_order() -> None:
    assert pages.steps(PAGE) == [
        File(3, "apps/shop/BUILD", 'release_tarball(name="release")\n'),
        Command(8, "echo one; \\\n  echo two", ("one", "…")),
        Command(12, "pwd", ()),
        Command(18, "ssh host.example", (), not_run="it needs a host"),
        Command(24, "true", ()),
        Command(25, "false", (), fails=True),
    ]


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        (("one", "three"), None),
        (("one", "…", "three"), None),
        (("t…o",), None),
        (("two",), None),
        (("three", "one"), "one"),
        (("tw",), "tw"),
        (("four",), "four"),
    ],
)
def test_expected_lines_come_in_order_and_whole(expected: tuple[str, ...], missing: object) -> None:
    assert pages.missing_line(expected, "one\n  two\nthree\n") == missing


def test_a_block_without_an_end_is_refused() -> None:
    with pytest.raises(ValueError, match="line 1: the block has no end"):
        pages.blocks("```console\n$ true\n")


@pytest.mark.parametrize("path", pages.paths(), ids=lambda path: path.name)
def test_every_command_is_in_a_console_block(path: Path) -> None:
    """No test would run the commands of a block in another language."""
    for block in pages.blocks(path.read_text(encoding="utf-8")):
        is_script = block.language in ("sh", "bash", "shell", "zsh") and block.path is None
        assert not is_script, f"{path.name}:{block.line}"
        if block.language != "console":
            lines = [line for line in block.lines if line.startswith(("$ ", "./pants "))]
            assert not lines, f"{path.name}:{block.line}"


@pytest.mark.parametrize("path", pages.paths(), ids=lambda path: path.name)
def test_links_lead_to_existing_files(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        parts = urlsplit(target)
        if not parts.scheme and parts.path:
            assert (path.parent / parts.path).exists(), target


def deploy_texts() -> str:
    """The sources of deploys, with the parts of each long text joined."""
    files = [path for path in SOURCES.glob("slipway/deploy/**/*") if path.is_file()]
    sources = [path.read_text() for path in files if path.suffix in (".py", ".sh", ".js")]
    return re.sub(r'"(\s*\+)?\s*f?"', "", "\n".join(sources))


def test_the_page_for_stuck_hosts_quotes_messages_of_deploys() -> None:
    page = (pages.REPOSITORY / "docs/how-to/when-a-host-is-stuck.md").read_text(encoding="utf-8")
    table = page.partition("| Message |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.split("\n") if row.startswith("| `")]
    messages = [message for cell in cells for message in re.findall("`([^`]+)`", cell)]
    texts = deploy_texts()
    for message in messages:
        for part in message.split("…"):
            words = part.strip(" :,")
            assert words in texts or words.replace('"', '\\"') in texts, message
    assert len(messages) > 20
