"""The configuration of fetching: which source wins, and which login is sent where."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.fetch.http_transport import HttpProblem
from slipway.fetch.settings import PROJECT_VARIABLES
from slipway.npm_registry import config as npm_config
from slipway.npm_registry.config import NpmConfig, Registry

TOKEN = "npm_secret"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def _load(
    home: Path,
    *lines: str,
    option: Optional[str] = None,
    project: Optional[Path] = None,
    env: Optional[Dict[str, str]] = None,
) -> NpmConfig:
    if lines:
        (home / ".npmrc").write_text("\n".join(lines))
    return npm_config.load(
        option_registry=option,
        project_npmrc=str(project) if project else None,
        home=str(home),
        env={"PATH": "/nowhere", "HOME": str(home), **(env or {})},
    )


class TestRegistry:
    def test_the_strongest_source_wins(self, home: Path, tmp_path: Path) -> None:
        project = tmp_path / "project.npmrc"
        tools = tmp_path / "prefix"
        (tools / "bin").mkdir(parents=True)
        (tools / "etc").mkdir()
        for tool, body in (("node", ""), ("npm", "echo https://npm.example/")):
            (tools / "bin" / tool).write_text(f"#!/bin/sh\n{body}\n")
            (tools / "bin" / tool).chmod(0o755)
        env = {"PATH": f"{tools}/bin:/usr/bin:/bin"}

        def winner(**more: Any) -> Tuple[str, str]:
            found = _load(home, **more).registry_for("left")
            return found.url, found.source

        assert winner(env=env) == ("https://npm.example/", "npm config get registry")
        (tools / "etc" / "npmrc").write_text("registry=https://global.example")
        assert winner(env=env) == ("https://global.example/", f"{tools}/etc/npmrc:1")
        (home / ".npmrc").write_text("\nregistry=https://user.example")
        assert winner(env=env) == ("https://user.example/", f"{home}/.npmrc:2")
        project.write_text("registry=https://project.example/npm")
        assert winner(env=env, project=project) == (
            "https://project.example/npm/",
            f"{project}:1",
        )
        env["NPM_CONFIG_REGISTRY"] = "https://env.example/"
        assert winner(env=env, project=project) == (
            "https://env.example/",
            "environment: NPM_CONFIG_REGISTRY",
        )
        assert winner(env=env, project=project, option="https://option.example/") == (
            "https://option.example/",
            "[slipway].npm_registry",
        )

    def test_userconfig_moves_the_users_file(self, home: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.write_text("registry=https://other.example/")
        config = _load(
            home, "registry=https://user.example", env={"NPM_CONFIG_USERCONFIG": str(other)}
        )
        assert config.registry_for("left").url == "https://other.example/"

    def test_a_scope_has_its_own(self, home: Path) -> None:
        config = _load(home, "registry=https://r.example", "@team:registry=https://team.example/x")
        assert config.registry_for("@team/left").url == "https://team.example/x/"
        assert config.registry_for("@other/left").url == "https://r.example/"
        assert config.registry_for("left").url == "https://r.example/"

    def test_a_scopes_registry_is_enough_for_its_packages(self, home: Path) -> None:
        config = _load(home, "@team:registry=https://team.example/")
        assert config.registry_for("@team/left").url == "https://team.example/"
        with pytest.raises(SlipwayError, match="no npm registry is configured"):
            config.registry_for("left")

    def test_empty_and_null_are_no_registry(self, home: Path) -> None:
        for value in ("", "null", "undefined"):
            with pytest.raises(SlipwayError, match="no npm registry is configured"):
                _load(home, f"registry={value}").registry_for("left")


BAD = {
    "registry=ftp://r.example/": ("is not an http or https address", "ftp://r.example/"),
    # A value that is not an address may be a secret in the wrong place.
    "registry=r.example": ("is not an http or https address", ""),
    f"registry={TOKEN}": ("is not an http or https address", ""),
    "registry=https://": ("is not an http or https address", ""),
    "registry=http://[::1": ("is not an http or https address", ""),
    f"registry=https://user:{TOKEN}@r.example/": ("contains a login", "https://r.example/"),
    f'registry="https://user:{TOKEN}#x@r.example/"': ("is not an http or https address", ""),
    f"registry=https://user:{TOKEN}/x@r.example/": ("is not an http or https address", ""),
    f"registry=https://r.example/?token={TOKEN}": ("has a query", "https://r.example/"),
    f'registry="https://r.example/#{TOKEN}"': ("has a query", "https://r.example/"),
    "registry=https://${NO}/": ('"registry" uses an environment variable that is not set', "${NO}"),
}


@pytest.mark.parametrize("line", BAD)
def test_a_registry_that_cannot_be_used(home: Path, line: str) -> None:
    what, found = BAD[line]
    with pytest.raises(SlipwayError) as caught:
        _load(home, line).registry_for("left")
    assert what in caught.value.what
    assert caught.value.found == found
    assert caught.value.where == f"{home}/.npmrc:1"
    assert caught.value.next
    assert TOKEN not in str(caught.value)


# A line, and what a message shows of it.
WITH_VARIABLES = {
    "registry=${NPM_X}": "",
    "registry=ftp://x.example/${NPM_X}": "ftp://x.example/${NPM_X}",
    "registry=https://u:${NPM_X}@r.example/": "https://r.example/",
    "registry=https://r.example/?a=${NPM_X}": "https://r.example/",
    "proxy=socks5://${NPM_X}/": "socks5://${NPM_X}",
    "proxy=http://u:${NPM_X}#x@p.example/": "",
    "proxy=http://[${NPM_X}/": "",
    "cafile=/nowhere/${NPM_X}": "/nowhere/${NPM_X}",
    'cafile="/nowhere/${NPM_X}\\u0000"': "/nowhere/${NPM_X}\\x00",
}


@pytest.mark.parametrize("line", WITH_VARIABLES)
def test_no_message_has_the_value_of_a_variable(home: Path, line: str) -> None:
    config = _load(home, line, env={"NPM_X": TOKEN})
    with pytest.raises(SlipwayError) as caught:
        # What a fetch asks for.
        _ = config.ca_texts(), config.proxy_for("http://x.example/"), config.registry_for("left")
    assert caught.value.found == WITH_VARIABLES[line]
    assert caught.value.where == f"{home}/.npmrc:1"
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://r.example/npm", "https://r.example/npm/"),
        ("https://r.example/${NPM_X}", "https://r.example/${NPM_X}/"),
        ("https://${NPM_X}.example", "https://${NPM_X}.example/"),
        ("https://r.example:${NPM_PORT}/", "https://…/"),
        ("${NPM_URL}", "https://…/"),
    ],
)
def test_a_registry_is_shown_without_the_values_of_variables(
    home: Path, address: str, shown: str
) -> None:
    env = {"NPM_X": TOKEN, "NPM_PORT": "123", "NPM_URL": f"https://{TOKEN}.example/"}
    registry = _load(home, f"registry={address}", env=env).registry_for("left")
    assert registry.shown == shown
    assert registry.key == shown.split(":", 1)[1]
    problem = registry.without_values(HttpProblem("status", f"{registry.url}: HTTP 404", 404))
    assert problem.text == f"{shown}: HTTP 404"


def test_nor_has_what_is_told_of_a_proxy(home: Path) -> None:
    url = "http://r.example/"
    config = _load(home, f"proxy=http://u:{TOKEN}@p.example:1/")
    assert config.shown_proxy(url) == "http://p.example:1"
    config = _load(home, "proxy=http://${NPM_X}/", env={"NPM_X": TOKEN})
    assert config.shown_proxy(url) == f"of {home}/.npmrc:1"


BASIC = base64.b64encode(b"user:pass").decode()
PASSWORD = base64.b64encode(b"pass").decode()
REGISTRY = "registry=https://r.example/npm/"
TARBALL = "https://r.example/npm/left/-/left-1.0.0.tgz"

# name: (lines, address, the header that is sent)
LOGINS: Dict[str, Tuple[List[str], str, Optional[str]]] = {
    "token": ([REGISTRY, f"//r.example/npm/:_authToken={TOKEN}"], TARBALL, f"Bearer {TOKEN}"),
    "without a slash": ([f"//r.example/npm:_authToken={TOKEN}"], TARBALL, f"Bearer {TOKEN}"),
    "of the host": ([f"//r.example/:_authToken={TOKEN}"], TARBALL, f"Bearer {TOKEN}"),
    "the longest prefix": (
        ["//r.example/:_authToken=short", "//r.example/npm/:_authToken=long"],
        TARBALL,
        "Bearer long",
    ),
    "_auth": ([f"//r.example/npm/:_auth={BASIC}"], TARBALL, f"Basic {BASIC}"),
    "user and password": (
        ["//r.example/npm/:username=user", f"//r.example/npm/:_password={PASSWORD}"],
        TARBALL,
        f"Basic {BASIC}",
    ),
    "a user alone": (["//r.example/npm/:username=user"], TARBALL, None),
    "token before basic": (
        [f"//r.example/npm/:_auth={BASIC}", f"//r.example/npm/:_authToken={TOKEN}"],
        TARBALL,
        f"Bearer {TOKEN}",
    ),
    "another path of the host": (
        [REGISTRY, f"//r.example/npm/:_authToken={TOKEN}"],
        "https://r.example/files/1",
        f"Bearer {TOKEN}",
    ),
    "another host": (
        [REGISTRY, f"//r.example/npm/:_authToken={TOKEN}"], "https://cdn.example/npm/x", None,
    ),
    "another port": (
        [REGISTRY, f"//r.example/npm/:_authToken={TOKEN}"], "https://r.example:8443/files/1", None,
    ),
    "a host that begins alike": (
        [f"//r.example/:_authToken={TOKEN}"], "https://r.example.evil.example/npm/x", None,
    ),
    "without TLS on another path": (
        [REGISTRY, f"//r.example/npm/:_authToken={TOKEN}"], "http://r.example/files/1", None,
    ),
    "old common token": ([REGISTRY, f"_authToken={TOKEN}"], TARBALL, f"Bearer {TOKEN}"),
    "old common login": ([REGISTRY, f"_auth={BASIC}"], TARBALL, f"Basic {BASIC}"),
    "old common login for others": (
        [REGISTRY, f"_auth={BASIC}"], "https://cdn.example/left.tgz", None,
    ),
    "a variable": ([REGISTRY, "//r.example/:_authToken=${MINE}"], TARBALL, "Bearer mine"),
    "a variable that is not set": ([REGISTRY, "//r.example/:_authToken=${NO}"], TARBALL, None),
    "without TLS on a registry that has it": (
        [REGISTRY, f"//r.example/:_authToken={TOKEN}"], "http://r.example/npm/left.tgz", None,
    ),
    "no ASCII": ([REGISTRY, "//r.example/:_authToken=abc→"], TARBALL, None),
    "a line break": ([REGISTRY, '//r.example/:_authToken="a\\r\\nX: y"'], TARBALL, None),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGINS)
def test_logins(home: Path, name: str) -> None:
    lines, url, header = LOGINS[name]
    config = _load(home, *lines, env={"MINE": "mine"})
    assert config.login(url, Registry("https://r.example/npm/", "test")) == header


def test_an_address_of_the_users_own_gets_only_what_is_configured_for_it(home: Path) -> None:
    config = _load(home, REGISTRY, f"_authToken={TOKEN}", "//r.example/npm/:_authToken=other")
    assert config.login("https://r.example/files/1", None) is None
    assert config.login("https://r.example/npm-more/x.tgz", None) is None
    assert config.login("https://r.example/npm/x.tgz", None) == "Bearer other"


def test_a_scopes_registry_does_not_get_the_old_common_token(home: Path) -> None:
    config = _load(home, REGISTRY, "@team:registry=https://team.example/", f"_authToken={TOKEN}")
    team = config.registry_for("@team/left")
    assert config.login("https://team.example/@team/left/-/left-1.0.0.tgz", team) is None


@pytest.mark.parametrize(
    "login",
    [[f"_authToken={TOKEN}"], [f"_auth={BASIC}"], ["username=user", f"_password={PASSWORD}"]],
)
def test_a_login_without_an_address_is_for_the_registry_that_npm_has_where_no_line_names_one(
    home: Path, tmp_path: Path, login: List[str]
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho https://npm.example/\n")
    npm.chmod(0o755)
    project = tmp_path / "project.npmrc"
    project.write_text("@team:registry=https://team.example/")
    config = _load(home, *login, project=project, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    team, common = config.registry_for("@team/left"), config.registry_for("left")
    assert config.login("https://team.example/left.tgz", team) is None
    assert config.login("https://npm.example/left.tgz", common) is not None


def test_logins_come_from_the_environment_too(home: Path) -> None:
    config = _load(home, env={"npm_config_//r.example/:_authToken": TOKEN})
    assert config.login(TARBALL, None) == f"Bearer {TOKEN}"


def test_a_login_goes_without_tls_only_to_a_registry_that_is_configured_so(home: Path) -> None:
    token = f"//team.example/:_authToken={TOKEN}"
    config = _load(home, REGISTRY, "@team:registry=http://team.example/npm/", token)
    assert config.login("http://team.example/npm/left.tgz", None) == f"Bearer {TOKEN}"
    assert config.login("http://team.example:8080/npm/left.tgz", None) is None
    config = _load(home, REGISTRY, "@team:registry=https://team.example/npm/", token)
    assert config.login("http://team.example/npm/left.tgz", None) is None
    assert config.login("https://team.example/npm/left.tgz", None) == f"Bearer {TOKEN}"


class TestProjects:
    """What a project's own .npmrc, which anyone may have written, does with a user's secrets."""

    def project(self, tmp_path: Path, *lines: str) -> Path:
        path = tmp_path / "project.npmrc"
        path.write_text("\n".join(lines))
        return path

    @pytest.mark.parametrize("login", [f"_authToken={TOKEN}", f"_auth={BASIC}"])
    def test_its_registry_does_not_get_the_user_s_login_without_an_address(
        self, home: Path, tmp_path: Path, login: str
    ) -> None:
        project = self.project(tmp_path, "registry=https://p.example/")
        config = _load(home, REGISTRY, login, project=project)
        registry = config.registry_for("left")
        assert registry.url == "https://p.example/"
        assert config.login("https://p.example/left.tgz", registry) is None
        project = self.project(tmp_path, "registry=https://p.example/", login)
        config = _load(home, REGISTRY, project=project)
        assert config.login("https://p.example/left.tgz", registry) is not None

    @pytest.mark.parametrize("name", ["NPM_TOKEN", "MY_NPM_LOGIN", "NODE_AUTH_TOKEN", "OURS"])
    def test_variables_for_registries_are_filled_in(
        self, home: Path, tmp_path: Path, name: str
    ) -> None:
        project = self.project(tmp_path, f"//p.example/:_authToken=${{{name}}}")
        config = npm_config.load(
            option_registry=None,
            project_npmrc=str(project),
            home=str(home),
            env={name: TOKEN},
            project_variables=(*PROJECT_VARIABLES, "OURS"),
        )
        assert config.login("https://p.example/left.tgz", None) == f"Bearer {TOKEN}"

    @pytest.mark.parametrize(
        "line",
        [
            "//p.example/:_authToken=${CLOUD_SECRET}",
            "//p.example/:_authToken=a${CLOUD_SECRET?}b",
            "//p.example/:_auth=${CLOUD_SECRET}",
            r'//p.example/:_authToken="\u0024{CLOUD_SECRET}"',
            r'//p.example/:_authToken="$\u007bCLOUD_SECRET}"',
            "registry=https://${CLOUD_SECRET}.p.example/",
            "https-proxy=http://p.example/${CLOUD_SECRET}",
        ],
    )
    def test_no_other_variable_of_the_user_is_sent(
        self, home: Path, tmp_path: Path, line: str
    ) -> None:
        project = self.project(tmp_path, "; a comment", line)
        config = _load(home, REGISTRY, project=project, env={"CLOUD_SECRET": TOKEN})
        address = "https://p.example/left.tgz"
        with pytest.raises(
            SlipwayError, match="uses a variable that is not allowed there"
        ) as caught:
            # What a fetch asks for.
            _ = config.registry_for("left"), config.proxy_for(address), config.login(address, None)
        assert caught.value.where == f"{project}:2"
        assert caught.value.found == "${CLOUD_SECRET}"
        assert caught.value.next.endswith('[slipway] npmrc_variables.add = ["CLOUD_SECRET"]')
        assert TOKEN not in str(caught.value)

    @pytest.mark.parametrize(
        "line",
        [
            "registry=http://p.example/${NPM_TOKEN}/",
            "sharp_binary_host=https://p.example/${NPM_TOKEN}",
        ],
    )
    def test_the_token_of_a_registry_goes_nowhere_else(
        self, home: Path, tmp_path: Path, line: str
    ) -> None:
        key = line.partition("=")[0]
        project = self.project(tmp_path, line)
        config = _load(home, project=project, env={"NPM_TOKEN": TOKEN})
        with pytest.raises(SlipwayError, match="uses a variable that is not allowed there"):
            config.usable(key)

    def test_a_registry_that_the_user_s_variable_names_needs_no_tls(
        self, home: Path, tmp_path: Path
    ) -> None:
        project = self.project(tmp_path, "registry=${NPM_REGISTRY}")
        config = _load(home, project=project, env={"NPM_REGISTRY": "http://r.example/"})
        assert config.registry_for("left").url == "http://r.example/"

    def test_the_user_s_own_file_may_name_every_variable(self, home: Path) -> None:
        config = _load(home, "//p.example/:_authToken=${CLOUD_SECRET}", env={"CLOUD_SECRET": TOKEN})
        assert config.login("https://p.example/left.tgz", None) == f"Bearer {TOKEN}"

    def test_it_cannot_have_a_login_sent_with_the_checks_of_tls_off(
        self, home: Path, tmp_path: Path
    ) -> None:
        project = self.project(tmp_path, "strict-ssl=false")
        config = _load(home, REGISTRY, f"//r.example/:_authToken={TOKEN}", project=project)
        with pytest.raises(SlipwayError, match="disables certificate checks") as caught:
            config.login(TARBALL, None)
        assert (caught.value.where, caught.value.found) == (f"{project}:1", "strict-ssl=false")
        # Nothing is lost where no login is sent, or where the user says so.
        assert config.login("https://other.example/left.tgz", None) is None
        config = _load(home, "strict-ssl=false", f"//r.example/:_authToken={TOKEN}")
        assert config.login(TARBALL, None) == f"Bearer {TOKEN}"

    LOGIN = f"//r.example/:_authToken={TOKEN}"

    @pytest.mark.parametrize("line", ["cafile=ca.pem", "ca=PEM"])
    def test_it_cannot_have_a_login_of_the_user_sent_by_its_own_ca(
        self, home: Path, tmp_path: Path, line: str
    ) -> None:
        project = self.project(tmp_path, line, "https-proxy=http://p.example/")
        config = _load(home, REGISTRY, self.LOGIN, project=project)
        with pytest.raises(SlipwayError, match="sets the trusted CA") as caught:
            config.login(TARBALL, None)
        assert caught.value.where == f"{project}:1"
        assert "add to ~/.npmrc: cafile=" in caught.value.next
        assert config.login("https://other.example/left.tgz", None) is None
        # A project knows its own login, so this login is not secret for it.
        project = self.project(tmp_path, line, self.LOGIN)
        assert _load(home, project=project).login(TARBALL, None) == f"Bearer {TOKEN}"
        # A password of the user is secret, even if the project wrote the user name.
        project = self.project(tmp_path, line, "//r.example/:username=user")
        config = _load(home, f"//r.example/:_password={PASSWORD}", project=project)
        with pytest.raises(SlipwayError, match="sets the trusted CA"):
            config.login(TARBALL, None)

    @pytest.mark.parametrize(
        ("url", "checks"), [("http://r.example/", "true"), ("https://r.example/", "false")]
    )
    def test_its_proxy_cannot_read_a_login_of_the_user(
        self, home: Path, tmp_path: Path, url: str, checks: str
    ) -> None:
        project = self.project(tmp_path, "", "proxy=http://p.example/")
        lines = (f"registry={url}", self.LOGIN, f"strict-ssl={checks}")
        config = _load(home, *lines, project=project)
        registry = config.registry_for("left")
        with pytest.raises(SlipwayError, match="sets a proxy") as caught:
            config.login(f"{url}left.tgz", registry)
        assert caught.value.where == f"{project}:2"
        assert "add to ~/.npmrc: proxy=" in caught.value.next
        # Through a proxy of the user, or without proxy, it is sent.
        config = _load(home, *lines, "proxy=http://p.example/")
        assert config.login(f"{url}left.tgz", registry) == f"Bearer {TOKEN}"
        config = _load(home, *lines, project=project, env={"npm_config_noproxy": "r.example"})
        assert config.login(f"{url}left.tgz", registry) == f"Bearer {TOKEN}"

    def test_with_tls_its_proxy_reads_nothing(self, home: Path, tmp_path: Path) -> None:
        project = self.project(tmp_path, "proxy=http://p.example/")
        config = _load(home, REGISTRY, self.LOGIN, project=project)
        assert config.login(TARBALL, None) == f"Bearer {TOKEN}"

    @pytest.mark.parametrize("key", ["registry", "@team:registry"])
    def test_its_registry_cannot_have_a_login_of_the_user_sent_without_tls(
        self, home: Path, tmp_path: Path, key: str
    ) -> None:
        plain = "http://r.example/npm/"
        project = self.project(tmp_path, f"{key}={plain}")
        config = _load(home, REGISTRY, self.LOGIN, project=project)
        registry = config.registry_for("@team/left")
        with pytest.raises(SlipwayError, match="registry has no TLS") as caught:
            config.login(f"{plain}left.tgz", registry)
        assert caught.value.where == f"{project}:1"
        assert caught.value.next.endswith("add there: //r.example/npm/:_authToken=${NPM_TOKEN}")
        assert config.login(f"{plain}left.tgz", None) is None
        # The user may configure this, and so may the project for its own login.
        config = _load(home, f"registry={plain}", self.LOGIN, project=project)
        assert config.login(f"{plain}left.tgz", registry) == f"Bearer {TOKEN}"
        project = self.project(tmp_path, f"{key}={plain}", self.LOGIN)
        config = _load(home, REGISTRY, project=project)
        assert config.login(f"{plain}left.tgz", registry) == f"Bearer {TOKEN}"


def test_no_secret_is_in_a_repr(home: Path) -> None:
    config = _load(home, f"//r.example/:_authToken={TOKEN}", env={"X": TOKEN})
    assert TOKEN not in repr(config)


# name: (lines, environment, address, the proxy)
PROXIES: Dict[str, Tuple[List[str], Dict[str, str], str, Optional[str]]] = {
    "none": ([], {}, "https://r.example/", None),
    "https": (["https-proxy=http://p.example:1/"], {}, "https://r.example/", "http://p.example:1/"),
    "https-proxy is not for http": (["https-proxy=http://p.example/"], {}, "http://r.example/", None),
    "proxy is for both": (["proxy=http://p.example/"], {}, "https://r.example/", "http://p.example/"),
    "without a scheme": (["proxy=p.example:3128"], {}, "http://r.example/", "http://p.example:3128"),
    "environment": ([], {"HTTPS_PROXY": "http://p.example/"}, "https://r.example/", "http://p.example/"),
    "lower case": ([], {"https_proxy": "http://p.example/"}, "https://r.example/", "http://p.example/"),
    "settings first": (
        ["https-proxy=http://p.example/"], {"HTTPS_PROXY": "http://q.example/"},
        "https://r.example/", "http://p.example/",
    ),
    "null falls back": (
        ["proxy=null"], {"HTTP_PROXY": "http://p.example/"}, "http://r.example/", "http://p.example/",
    ),
    "false is off": (["proxy=false"], {"HTTP_PROXY": "http://p.example/"}, "http://r.example/", None),
    "noproxy": (["proxy=http://p.example/", "noproxy=.example"], {}, "http://r.example/", None),
    "noproxy of a part": (
        ["proxy=http://p.example/", "noproxy=ample"], {}, "http://r.example/", "http://p.example/",
    ),
    "NO_PROXY with IPv6": ([], {"HTTP_PROXY": "http://p.example/", "NO_PROXY": "a,::1"}, "http://[::1]:4873/", None),
    "NO_PROXY with IPv6 in brackets": (
        [], {"HTTP_PROXY": "http://p.example/", "NO_PROXY": "[::1]:4873"}, "http://[::1]:4873/", None,
    ),
    "NO_PROXY of another address": (
        [], {"HTTP_PROXY": "http://p.example/", "NO_PROXY": "::1"}, "http://[::2]/", "http://p.example/",
    ),
    "NO_PROXY": (
        [], {"HTTP_PROXY": "http://p.example/", "NO_PROXY": "a, r.example"}, "http://r.example/", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROXIES)
def test_proxies(home: Path, name: str) -> None:
    lines, env, url, proxy = PROXIES[name]
    assert _load(home, *lines, env=env).proxy_for(url) == proxy


def test_a_proxy_that_cannot_be_used_is_told_without_its_password(home: Path) -> None:
    with pytest.raises(SlipwayError) as caught:
        _load(home, f"proxy=socks5://u:{TOKEN}@p.example").proxy_for("http://r.example/")
    assert TOKEN not in str(caught.value)
    assert caught.value.found == "socks5://p.example"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "npm_config_proxy"])
@pytest.mark.parametrize(
    "address",
    [
        f"http://u:{TOKEN}#x@p.example:9",
        f"http://u:{TOKEN}/x@p.example:9",
        f"http://u:{TOKEN}?x@p.example:9",
        f"socks5://u:{TOKEN}#x@p.example:9",
        f"http://u:{TOKEN}@[p.example:9",
        f"u:{TOKEN}#x@p.example:9",
    ],
)
def test_a_proxy_whose_password_is_not_escaped_is_told_without_it(
    home: Path, name: str, address: str
) -> None:
    with pytest.raises(SlipwayError, match="the proxy address is not valid") as caught:
        _load(home, env={name: address}).proxy_for("http://r.example/")
    assert caught.value.where == f"environment: {name}"
    assert 'in a password, write "#" as %23' in caught.value.next
    assert TOKEN not in str(caught.value)


def test_a_registry_that_cannot_be_read_is_no_registry_without_tls(home: Path) -> None:
    login = f"//r.example/:_authToken={TOKEN}"
    config = _load(home, REGISTRY, login, "@team:registry=http://[")
    assert config.login("http://r.example/left.tgz", None) is None


class TestCertificates:
    def test_a_file_without_end_is_told(self, home: Path) -> None:
        with pytest.raises(SlipwayError, match="File too large") as caught:
            _load(home, "cafile=/dev/zero").ca_texts()
        assert caught.value.found == "/dev/zero"

    def test_a_configured_file_stands_alone(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("PEM")
        config = _load(home, f"cafile={tmp_path}/ca.pem", env={"SSL_CERT_FILE": "/etc/hosts"})
        assert config.ca_texts() == (["PEM"], True)

    def test_a_relative_path_is_meant_from_the_file_that_has_it(self, home: Path) -> None:
        (home / "ca.pem").write_text("PEM")
        assert _load(home, "cafile=ca.pem").ca_texts() == (["PEM"], True)
        assert _load(home, "cafile=~/ca.pem").ca_texts() == (["PEM"], True)

    def test_the_environments_are_further_ones(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("PEM")
        env = {"NODE_EXTRA_CA_CERTS": f"{tmp_path}/ca.pem", "SSL_CERT_FILE": "/no/such/file"}
        assert _load(home, env=env).ca_texts() == (["PEM"], False)

    @pytest.mark.parametrize(
        ("lines", "env", "strict"),
        [
            ([], {}, True),
            (["strict-ssl=false"], {}, False),
            (["strict-ssl=true"], {"NODE_TLS_REJECT_UNAUTHORIZED": "0"}, True),
            ([], {"NODE_TLS_REJECT_UNAUTHORIZED": "0"}, False),
        ],
    )
    def test_checks_can_be_switched_off(
        self, home: Path, lines: List[str], env: Dict[str, str], strict: bool
    ) -> None:
        assert _load(home, *lines, env=env).strict_ssl is strict


def test_a_file_that_cannot_be_read_is_told(home: Path) -> None:
    (home / ".npmrc").mkdir()
    with pytest.raises(SlipwayError, match="cannot read") as caught:
        _load(home)
    assert caught.value.next == f"ls -l {home}/.npmrc"
