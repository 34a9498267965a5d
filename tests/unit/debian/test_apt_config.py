"""The configuration of apt: mirrors, proxies, logins, and no secret in any message."""

from __future__ import annotations

import base64
from pathlib import Path
from textwrap import dedent
from typing import Dict, Mapping, Optional, Sequence, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.debian.apt_config import AptConfig, read_apt_config


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def write_files(top: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(dedent(content))


def write_tool(top: Path, name: str, output: str, status: int = 0) -> Dict[str, str]:
    """A stand-in for one of apt's programs, and the environment that finds it and nothing else."""
    (top / "bin").mkdir(exist_ok=True)
    (top / "bin" / f"{name}.out").write_text(output)
    tool = top / "bin" / name
    tool.write_text(
        f"#!/bin/sh\nwhile read -r line; do printf '%s\\n' \"$line\"; done <{tool}.out\nexit {status}\n"
    )
    tool.chmod(0o755)
    return {"PATH": str(top / "bin")}


def read(
    top: Path,
    files: Optional[Mapping[str, str]] = None,
    env: Optional[Mapping[str, str]] = None,
    mirror: Optional[str] = None,
    archives: Sequence[str] = (),
) -> AptConfig:
    write_files(top / "apt", files or {})
    return read_apt_config(env or {"PATH": ""}, mirror, str(top / "apt"), archives)


ONE_LINE = "deb http://one.example/debian bookworm main\n"


def test_lines_and_paragraphs_are_read_in_order(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        {
            "sources.list": """
                # deb http://comment.example/debian bookworm main
                deb http://one.example/debian/ bookworm main contrib
                deb-src http://source.example/debian bookworm main
                deb [arch=amd64 signed-by=/a/b.gpg] https://two.example/debian trixie main # why
                deb http://one.example/debian bookworm-updates main
            """,
            "sources.list.d/debian.sources": """
                Types: deb deb-src
                URIs: http://three.example/debian
                  http://four.example/debian
                Suites: bookworm bookworm-updates
                Components: main

                Types: deb-src
                URIs: http://source.example/debian
                Suites: bookworm
                Components: main

                Enabled: no
                Types: deb
                URIs: http://off.example/debian
                Suites: bookworm
                Components: main
            """,
        },
    )
    assert config.mirrors == (
        "http://one.example/debian",
        "https://two.example/debian",
        "http://three.example/debian",
        "http://four.example/debian",
    )


@pytest.mark.parametrize(
    "line",
    [
        "deb http://x.example/ubuntu jammy main",
        "deb http://x.example/debian-security bookworm-security main",
        "deb http://x.example/debian-security buster/updates main",
        "deb http://x.example/debian bookworm contrib",
        "deb http://x.example/tool stable-pgdg other",
        "deb cdrom:[Debian]/ bookworm main",
        "deb tor+http://x.example/debian bookworm main",
        "deb http://x.example/flat ./",
        "nonsense",
    ],
)
def test_what_holds_no_pool_of_debians_main_is_no_mirror(line: str, tmp_path: Path) -> None:
    config = read(tmp_path, {"sources.list": ONE_LINE, "sources.list.d/x.list": line + "\n"})
    assert config.mirrors == ("http://one.example/debian",)


def test_local_mirrors_and_lists_of_mirrors(tmp_path: Path) -> None:
    (tmp_path / "mirrors.txt").write_text(
        "# ours first\nhttp://near.example/debian\tpriority:1\nhttp://far.example/debian/\n"
    )
    config = read(
        tmp_path,
        {
            "sources.list": f"""
                deb file:/srv/debian bookworm main
                deb copy:///srv/other bookworm main
                deb mirror+file:{tmp_path}/mirrors.txt bookworm main
                deb mirror+file:/not/there bookworm main
            """
        },
    )
    assert config.mirrors == (
        "file:///srv/debian",
        "file:///srv/other",
        "http://near.example/debian",
        "http://far.example/debian",
    )


def test_apts_own_answer_counts_more_than_its_files(tmp_path: Path) -> None:
    env = write_tool(
        tmp_path,
        "apt-get",
        "http://told.example/any/name/|bookworm|main|\n"
        "http://ppa.example/x|bookworm|main|Somebody\n"
        "http://company.example/mirror|frozen-2024|main|Debian\n"
        "http://told.example/any/name/|bookworm-updates|main|\n",
    )
    config = read(tmp_path, {"sources.list": ONE_LINE}, env)
    assert config.mirrors == ("http://told.example/any/name", "http://company.example/mirror")


def test_the_files_are_read_when_apt_fails(tmp_path: Path) -> None:
    env = write_tool(tmp_path, "apt-get", "E: no\n", status=100)
    assert read(tmp_path, {"sources.list": ONE_LINE}, env).mirrors == ("http://one.example/debian",)


def test_the_option_stands_in_for_the_list_of_mirrors(tmp_path: Path) -> None:
    config = read(tmp_path, {"sources.list": ONE_LINE}, mirror="https://mine.example/deb/")
    assert config.mirrors == ("https://mine.example/deb",)
    assert config.origin == "the option `[slipway] debian_mirror`"


def test_archives_are_beside_the_mirrors_and_keep_their_logins(tmp_path: Path) -> None:
    archives = ("https://me:sesame@kept.example/debian/", "file:///srv/kept")
    config = read(tmp_path, {"sources.list": ONE_LINE}, archives=archives)
    assert config.mirrors == ("http://one.example/debian",)
    assert config.archives == ("https://kept.example/debian", "file:///srv/kept")
    assert config.login("https://kept.example/debian/pool/x")
    assert "sesame" not in repr(config)


def test_an_archive_is_enough_without_a_mirror(tmp_path: Path) -> None:
    config = read(tmp_path, {}, archives=("file:///srv/kept",))
    assert (config.mirrors, config.archives) == ((), ("file:///srv/kept",))


@pytest.mark.parametrize(
    "files", [{}, {"sources.list": "deb http://x.example/ubuntu jammy main\n"}]
)
def test_without_a_mirror_the_line_to_add_is_told(files: Dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="no Debian mirror is configured") as caught:
        read(tmp_path, files)
    assert caught.value.next.startswith("add to pants.toml: [slipway] debian_mirror = ")
    assert ("http://x.example/ubuntu" in caught.value.found) == bool(files)


@pytest.mark.parametrize("mirror", ["mirror.example/debian", "ftp://mirror.example/debian", "/srv"])
def test_an_option_that_is_no_address_is_refused(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match="is not a valid address") as caught:
        read(tmp_path, mirror=mirror)
    assert "debian_mirror" in caught.value.where


@pytest.mark.parametrize(
    "address",
    [
        "http://eva:sesame#x@one.example/debian",
        "http://eva:sesame/x@one.example/debian",
        "http://eva:1234?sesame@one.example/debian",
        "ftp://eva:sesame#x@one.example/debian",
        "http://[sesame",
        "file://[sesame",
    ],
)
def test_of_an_address_that_cannot_be_read_no_part_is_told(address: str, tmp_path: Path) -> None:
    """An unescaped password, whose end is unknown."""
    with pytest.raises(SlipwayError, match="is not a valid address") as caught:
        read(tmp_path, mirror=address)
    assert "sesame" not in str(caught.value)
    assert 'in a password, write "#" as %23' in caught.value.next
    # A line of apt's lists has no comment in an address: that ends it.
    line = f"deb {address.replace('file:', 'http:').replace('ftp:', 'http:')} bookworm main\n"
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, {"sources.list": line})
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("mirror", ["file:///srv/debian", "file:/srv/debian"])
def test_a_folder_can_be_the_mirror(mirror: str, tmp_path: Path) -> None:
    assert read(tmp_path, mirror=mirror).mirrors == (mirror,)


# apt's settings, the environment, the address, the proxy.
PROXIES: Tuple[Tuple[str, Dict[str, str], str, Optional[str]], ...] = (
    ("", {}, "http://m.example/x", None),
    ("", {"http_proxy": "http://p:1"}, "http://m.example/x", "http://p:1"),
    ("", {"http_proxy": "http://p:1"}, "https://m.example/x", None),
    ("", {"HTTPS_PROXY": "http://p:2"}, "https://m.example/x", "http://p:2"),
    ("", {"http_proxy": "http://p:1", "no_proxy": "m.example"}, "http://m.example/x", None),
    ("", {"http_proxy": "http://p:1", "no_proxy": ".example"}, "http://m.example/x", None),
    ("", {"http_proxy": "http://p:1", "no_proxy": "*"}, "http://m.example/x", None),
    (
        "",
        {"http_proxy": "http://p:1", "no_proxy": "x.m.example"},
        "http://m.example/",
        "http://p:1",
    ),
    ("Acquire::http::Proxy=http://a:1", {}, "http://m.example/x", "http://a:1"),
    ("Acquire::http::Proxy=http://a:1", {"http_proxy": "http://p:1"}, "http://m/", "http://a:1"),
    ("Acquire::http::Proxy=http://a:1", {}, "https://m.example/x", "http://a:1"),
    (
        "Acquire::https::Proxy=http://s:1\nAcquire::http::Proxy=http://a:1",
        {},
        "https://m/",
        "http://s:1",
    ),
    (
        "Acquire::http::Proxy::m.example=DIRECT\nAcquire::http::Proxy=http://a:1",
        {},
        "http://m.example/",
        None,
    ),
    ("Acquire::http::proxy::m.example=http://b:1", {}, "http://m.example/", "http://b:1"),
    ("Acquire::http::Proxy=DIRECT", {"http_proxy": "http://p:1"}, "http://m.example/", None),
)


@pytest.mark.parametrize(
    ("settings", "env"),
    [
        ("Acquire::http::Proxy=https://user:sesame@p.example:1/", {}),
        ("Acquire::http::Proxy=socks5h://p.example:1", {}),
        ("", {"http_proxy": "https://user:sesame@p.example:1/"}),
    ],
)
def test_a_proxy_whose_login_would_go_in_clear_is_refused(
    settings: str, env: Dict[str, str], tmp_path: Path
) -> None:
    env = {**env, **write_tool(tmp_path, "apt-config", settings + "\n")}
    config = read(tmp_path, {"sources.list": ONE_LINE}, env)
    with pytest.raises(SlipwayError, match="the proxy has an address that is not http") as caught:
        config.proxy_for("http://m.example/x")
    assert "sesame" not in str(caught.value)
    assert caught.value.found.endswith("://p.example:1")


@pytest.mark.parametrize(("settings", "env", "url", "proxy"), PROXIES)
def test_proxies(
    settings: str, env: Dict[str, str], url: str, proxy: Optional[str], tmp_path: Path
) -> None:
    env = {**env, **write_tool(tmp_path, "apt-config", settings + "\n")}
    assert read(tmp_path, {"sources.list": ONE_LINE}, env).proxy_for(url) == proxy


AUTH = """
    # comment
    machine repo.example login anna password s3cret
    machine other.example/debian
      login bert
      password hunter2
    machine http://plain.example login carl password open
    machine port.example:8443 login dora password p
"""

LOGINS = (
    ("https://repo.example/debian/pool/x.deb", "anna:s3cret"),
    ("http://repo.example/debian/pool/x.deb", None),  # never without TLS, unless the user allows it
    ("https://repo.example.evil.example/x", None),
    ("https://other.example/debian/x", "bert:hunter2"),
    ("https://other.example/debian-security/x", None),
    ("https://other.example/", None),
    ("http://plain.example/x", "carl:open"),
    ("https://plain.example/x", None),
    ("https://port.example:8443/x", "dora:p"),
    ("https://port.example/x", None),
    ("https://nobody.example/x", None),
)


@pytest.mark.parametrize(("url", "pair"), LOGINS)
def test_logins(url: str, pair: Optional[str], tmp_path: Path) -> None:
    config = read(tmp_path, {"sources.list": ONE_LINE, "auth.conf.d/a.conf": AUTH})
    assert config.login(url) == (basic(pair) if pair else None)


def test_a_login_in_an_address_is_taken_out_of_it(tmp_path: Path) -> None:
    line = "deb http://eva:p%40ss@one.example/debian bookworm main\n"
    config = read(tmp_path, {"sources.list": line})
    assert config.mirrors == ("http://one.example/debian",)
    assert config.login("http://one.example/debian/pool/x.deb") == basic("eva:p@ss")
    assert config.login("http://one.example/other/x.deb") is None
    mine = read(tmp_path, mirror="https://tok:en@mine.example/deb")
    assert mine.mirrors == ("https://mine.example/deb",)
    assert mine.login("https://mine.example/deb/x") == basic("tok:en")


def test_no_secret_appears_in_a_text(tmp_path: Path) -> None:
    line = "deb http://eva:sesame@one.example/debian bookworm main\n"
    env = write_tool(tmp_path, "apt-config", "Acquire::http::Proxy=http://u:sesame@p:1\n")
    env["http_proxy"] = "http://u:sesame@p:2"
    auth = "machine one.example login eva password sesame\n"
    config = read(tmp_path, {"sources.list": line, "auth.conf": auth}, env)
    shown = repr(config) + str(config.logins)
    assert "sesame" not in shown
    assert basic("eva:sesame")[6:] not in shown
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, mirror="ftp://eva:sesame@one.example")
    assert "sesame" not in str(caught.value)
    no_mirror = {"sources.list": "deb http://e:sesame@x.example/ubuntu jammy main\n"}
    with pytest.raises(SlipwayError) as caught:
        read(tmp_path, no_mirror)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "strict"),
    [
        ("", True),
        ("Acquire::https::Verify-Peer=false", False),
        ("Acquire::https::Verify-Peer=true", True),
    ],
)
def test_trust_in_certificates(settings: str, strict: bool, tmp_path: Path) -> None:
    env = write_tool(tmp_path, "apt-config", settings + "\n")
    config = read(tmp_path, {"sources.list": ONE_LINE}, env)
    assert config.strict_ssl == strict
    assert config.ca_texts() == ([], False)


def test_an_own_authority_stands_in_for_the_systems(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    env = write_tool(tmp_path, "apt-config", f"Acquire::https::CaInfo={tmp_path}/ca.pem\n")
    assert read(tmp_path, {"sources.list": ONE_LINE}, env).ca_texts() == (["certificate"], True)
    (tmp_path / "ca.pem").write_bytes(b"# M\xfcller\ncertificate")
    (text,), _ = read(tmp_path, {"sources.list": ONE_LINE}, env).ca_texts()
    assert text.endswith("\ncertificate")
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(SlipwayError, match="cannot read the CA file") as caught:
        read(tmp_path, {"sources.list": ONE_LINE}, env).ca_texts()
    assert caught.value.next == f"ls -l {tmp_path}/ca.pem"


def test_files_that_this_user_may_not_read_or_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt" / "auth.conf").mkdir()
    (tmp_path / "apt" / "sources.list").write_bytes(b"\xff\xfe\n" + ONE_LINE.encode())
    assert read(tmp_path).mirrors == ("http://one.example/debian",)
