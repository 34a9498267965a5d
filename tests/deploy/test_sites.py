"""What a deploy touches and what it leaves alone, on hosts that were made in two ways."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

from slipway.core.errors import SlipwayError
from slipway.deploy import flow
from slipway.deploy.deployment import Health, Hooks
from tests.deploy.sites import SITES, Site, snapshot
from tests.tiers import long_except

NOBODY_LISTENS = Health(url="http://127.0.0.1:9/", retries=1, interval=0, timeout=2, hold=0)


def _sites() -> Iterator[Any]:
    """An ordinary user's host in the quick tier, which can do less than root; both in the long one."""
    for name in SITES:
        yield pytest.param(name, marks=(pytest.mark.long,) if name.startswith("root") else ())


@pytest.fixture(scope="module", params=_sites())
def made(request: Any) -> Iterator[Site]:
    with SITES[request.param]() as site:
        yield site


def older_layout(site: Site) -> Path:
    """A Capistrano-style folder whose service is not Slipway's to know; its release."""
    site._run(f"mkdir -p {site.top}/releases/20240101120000 {site.top}/releases/manual-backup")
    site.run_there(
        "echo '{}' >releases/20240101120000/package.json; echo mine >releases/manual-backup/file; "
        f"ln -s {site.top}/releases/20240101120000 current"
    )
    return site.folder / "releases"


# --- Whose files.


def test_releases_of_others_are_never_removed(site: Site) -> None:
    releases = older_layout(site)
    foreign = ("20240101120000", "manual-backup")
    before = [snapshot(releases / one) for one in foreign]
    site.configure(keep=2)
    for version in ("1.0.0", "1.1.0", "1.2.0", "1.3.0"):
        assert site.ship(version).status == "healthy"
    assert site.kept() == ["1.2.0", "1.3.0", *foreign]
    assert [snapshot(releases / one) for one in foreign] == before


@pytest.mark.parametrize(
    "years",
    [
        pytest.param((2021, 2022, 2023, 2024), marks=pytest.mark.long),
        (2001, 2030, 2020, 2019),
    ],
)
def test_releases_that_served_last_are_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch, years: Tuple[int, ...]
) -> None:
    """1.0, 1.1, 1.0 again and 1.2, also by coordinators whose clocks say what they like."""
    site.configure(keep=2)
    first = site.release("1.0.0")
    clocks = iter(years)
    monkeypatch.setattr(flow, "_now", lambda: f"{next(clocks)}0101T000000Z")
    site.deploy(first)
    assert site.ship("1.1.0").status == "healthy"
    site.deploy(first)
    assert site.ship("1.2.0").status == "healthy"
    assert site.kept() == ["1.0.0", "1.2.0"]
    monkeypatch.setattr(flow, "_now", lambda: "20000101T000000Z")
    site.run(lambda coordinator: coordinator.rollback())
    assert site.served() == "1.0.0"


def test_a_second_rollback_finds_a_target(site: Site) -> None:
    """What the first one left is kept beside those that `keep` counts."""
    site.configure(keep=2)
    for version in ("1.0.0", "1.1.0"):
        site.ship(version)
    site.configure(keep=3)
    site.ship("1.2.0")
    site.configure(keep=2)
    for version in ("1.1.0", "1.0.0"):
        site.run(lambda coordinator: coordinator.rollback())
        assert site.served() == version
    # Of those that were left, the last.
    assert site.kept() == ["1.0.0", "1.1.0"]
    assert site.ship("1.3.0").status == "healthy"
    assert site.kept() == ["1.0.0", "1.1.0", "1.3.0"]


@pytest.mark.parametrize("neighbour", ["v1-0", "v1.0-old"])
def test_processes_of_a_folder_with_a_similar_name_are_left_alone(
    site: Site, neighbour: str
) -> None:
    """A dot in a name is a dot; both are another tool's, with the host's own Node."""
    site._run(f"mkdir -p {site.top}/releases/v1.0 {site.top}/releases/{neighbour} ~/bin")
    site._run("cp $(readlink -f $(command -v sleep)) ~/bin/node")
    site.run_there("ln -s releases/v1.0 current; echo '{}' >current/package.json")
    site._run(f"cd {site.top}/releases/{neighbour}; ~/bin/node 988 >/dev/null 2>&1 </dev/null &")
    try:
        site.ship("1.0.0")
        assert site._run("pgrep -f 'bin/node 988'").returncode == 0
    finally:
        site._run("pkill -f 'bin/node 988'")


@pytest.mark.long
def test_files_that_cannot_be_removed_are_reported(site: Site) -> None:
    if site.name != "plain":
        pytest.skip("root can remove what is read-only")
    site.configure(keep=2)
    site.ship("1.0.0")
    site.run_there("mkdir -p current/locked/in && chmod a-w current/locked")
    site.ship("1.1.0")
    host = site.ship("1.2.0")
    assert host.status == "healthy"
    assert "cannot remove old releases: " in host.text
    assert "-1.0.0-prod-" in host.text
    assert "Permission denied" in host.text


@pytest.mark.long
def test_an_absolute_link_to_elsewhere_is_put_back_as_it_was(site: Site) -> None:
    site._run(f"mkdir -p {site.top} ~/elsewhere; echo '{{}}' >~/elsewhere/package.json")
    site.run_there("ln -s ~/elsewhere current")
    before = os.readlink(site.folder / "current")
    host = site.ship("1.0.0", health="false")
    assert host.status in ("returned", "DOWN")
    assert os.readlink(site.folder / "current") == before
    assert site.ship("1.0.1").status == "healthy"
    assert site.served() == "1.0.1"


def test_a_link_of_another_tool_into_releases_is_put_back_as_it_was(site: Site) -> None:
    older_layout(site)
    before = os.readlink(site.folder / "current")
    site.ship("1.0.0", health="false")
    assert os.readlink(site.folder / "current") == before


# --- What an application wrote into its folder.


def test_what_an_application_wrote_stays_with_its_release(site: Site) -> None:
    site.ship("1.0.0", files={"a": "1", "b": "x" * 500_000, "written": "w"})
    old = Path(os.path.realpath(site.folder / "current"))
    site.run_there(
        "cd current && mkdir cache && echo 1 >cache/one && echo 2 >notes.log && chmod 600 notes.log "
        "&& chmod u+w written && ln -s /etc/passwd added-link"
    )
    before = snapshot(old)
    host = site.ship("1.1.0", files={"a": "2", "b": "x" * 500_000, "written": "w"})
    assert host.status == "healthy"
    assert "cache/one" in host.text
    assert "notes.log" in host.text
    assert host.plan is not None
    assert host.sent == host.plan.bytes < 100_000
    assert snapshot(old) == before
    new = Path(os.path.realpath(site.folder / "current"))
    assert not {"cache", "notes.log", "added-link"} & {one.name for one in new.iterdir()}
    assert (new / "written").stat().st_ino != (old / "written").stat().st_ino


@pytest.mark.parametrize(
    "change",
    ["echo x >new && mv new conf.json", pytest.param("rm -f conf.json", marks=pytest.mark.long)],
)
def test_a_file_that_was_replaced_is_sent_and_named(site: Site, change: str) -> None:
    large = os.urandom(300_000).hex()
    site.ship("1.0.0", files={"a": "1", "large": large, "conf.json": "{}"})
    site.run_there(f"cd current && {change}")
    host = site.ship("1.1.0", files={"a": "2", "large": large, "conf.json": "{}"})
    assert host.status == "healthy"
    assert host.sent < 100_000
    assert host.text.endswith("were changed on the host and are sent again: conf.json")
    assert site.run_there("cat current/conf.json") == "{}"


@pytest.mark.long
def test_a_pipe_in_place_of_a_file_does_not_block_the_deploy(site: Site) -> None:
    site.ship("1.0.0", files={"a": "1"})
    site.run_there("cd current && rm a && mkfifo a")
    assert site.ship("1.1.0", files={"a": "1"}).status == "healthy"


def test_a_name_with_a_line_break_is_not_read_as_two_names(site: Site) -> None:
    site._run("mkdir -p ~/precious && echo mine >~/precious/data")
    home = site._run("echo ~").stdout.strip()
    site.ship("1.0.0", files={"a": "1", "b": "x" * 200_000})
    site.run_there(
        f"cd current && folder='x\n' && mkdir -p \"$(printf 'x\\n/')$PWD\" && "
        f"mkdir -p \"$(printf 'x\\n.'){home}/precious\" && cd \"$(printf 'x\\n.')\" && "
        f"touch .{home}/precious/data; cd ..; echo 1 >\"$(printf 'a\\npackage.json')\""
    )
    host = site.ship("1.1.0", files={"a": "2", "b": "x" * 200_000})
    assert host.status == "healthy"
    assert site._run("cat ~/precious/data").stdout == "mine\n"
    assert host.plan is not None
    assert host.sent == host.plan.bytes < 100_000


def test_a_file_that_is_made_writable_meanwhile_is_not_touched(site: Site) -> None:
    site.ship("1.0.0", files={"x": "1", "x~": "2", "b": "1"})
    old = site.folder / os.readlink(site.folder / "current")
    site.run_there("chmod u+w current/x")
    host = site.ship("1.1.0", files={"x": "1", "x~": "2", "b": "2"})
    assert host.status == "healthy"
    assert (old / "x").stat().st_mode & 0o777 == 0o644
    assert (site.folder / "current" / "x~").read_text() == "2"


def test_folders_that_an_application_made_read_only_can_be_removed(site: Site) -> None:
    site.ship("1.0.0")
    site.run_there("mkdir current/ro && echo 1 >current/ro/f && chmod 555 current/ro")
    for version in ("1.1.0", "1.2.0"):
        assert site.ship(version).status == "healthy"


@pytest.mark.long
def test_odd_names_beside_the_releases(site: Site) -> None:
    site.ship("1.0.0")
    site.run_there("cd releases && mkdir -- -x '-rf' 'a b' '$(id)' && touch file")
    assert site.ship("1.1.0").status == "healthy"
    assert (site.folder / "releases" / "-x").is_dir()


@pytest.mark.parametrize("change", long_except(["folder"], ["file", "folder"]))
def test_a_rollback_detects_symlinks_in_place_of_files(site: Site, change: str) -> None:
    site.ship("1.0.0", files={"lib/a": "1"})
    name = {"file": "lib/a", "folder": "lib"}[change]
    site.run_there(f"cd current && mv {name} ../../moved && ln -s {site.top}/moved {name}")
    site.ship("1.1.0", files={"lib/a": "2"})
    with pytest.raises(SlipwayError, match="were changed on the host: lib/a"):
        site.run(lambda coordinator: coordinator.rollback())


@pytest.mark.long
def test_a_program_that_is_no_longer_executable_is_reported(site: Site) -> None:
    site.ship("1.0.0")
    first = os.readlink(site.folder / "current")
    site.ship("1.1.0")
    site.run_there(f"chmod a-x {first}/bin/app")
    with pytest.raises(SlipwayError, match="were changed on the host: bin/app"):
        site.run(lambda coordinator: coordinator.rollback())
    assert site.served() == "1.1.0"


def test_a_rollback_reports_added_files(site: Site) -> None:
    site.ship("1.0.0")
    site.run_there("echo x >current/added.js")
    site.ship("1.1.0")
    (host,) = site.run(lambda coordinator: coordinator.rollback()).hosts
    assert (host.status, site.served()) == ("healthy", "1.0.0")
    assert "that Slipway did not ship: added.js" in host.text


@pytest.mark.long
def test_a_rollback_reports_added_symlinks(site: Site) -> None:
    site.ship("1.0.0")
    site.run_there("ln -s /etc/passwd current/added.js")
    site.ship("1.1.0")
    (host,) = site.run(lambda coordinator: coordinator.rollback()).hosts
    assert "that Slipway did not ship: added.js -> /etc/passwd" in host.text


@pytest.mark.long
def test_a_rollback_detects_symlinks_with_another_target(site: Site) -> None:
    site.ship("1.0.0")
    site.run_there("ln -sfn /etc current/service/link")
    site.ship("1.1.0")
    with pytest.raises(SlipwayError, match="were changed on the host: service/link"):
        site.run(lambda coordinator: coordinator.rollback())


@pytest.mark.long
def test_a_rollback_reports_shared_paths_that_it_does_not_link(site: Site) -> None:
    site.ship("1.0.0")
    site.configure(shared=("uploads",))
    site.ship("1.1.0")
    (host,) = site.run(lambda coordinator: coordinator.rollback()).hosts
    assert host.text == "the release was deployed without these shared paths: uploads"


def test_a_shared_path_may_be_a_file(site: Site) -> None:
    site._run(f"mkdir -p {site.top}/shared/config; echo mine >{site.top}/shared/config/app.json")
    site.configure(shared=("config/app.json",))
    assert site.ship("1.0.0").status == "healthy"
    assert site.run_there("cat current/config/app.json") == "mine\n"


@pytest.mark.long
def test_a_path_that_is_shared_later_is_linked(site: Site) -> None:
    first = site.release("1.0.0")
    site.deploy(first)
    site.ship("1.1.0")
    site.configure(shared=("var/uploads",))
    site.deploy(first)
    link = site.folder / "current" / "var" / "uploads"
    assert os.readlink(link) == "../../../shared/var/uploads"
    site.run_there(
        "rm current/var/uploads && mkdir -p current/var/uploads && echo 1 >current/var/uploads/x"
    )
    site.ship("1.2.0")
    (host,) = site.attempt(first).hosts
    assert host.status == "refused"
    assert "cannot link the shared path var/uploads in releases" in host.text
    assert site.served() == "1.2.0"


# --- Whose settings.


def test_a_release_is_judged_by_the_settings_that_it_was_deployed_with(site: Site) -> None:
    site.ship("1.0.0")
    site.ship("1.1.0")
    site.configure(health=NOBODY_LISTENS)
    host = site.ship("1.2.0")
    assert (host.status, site.served()) == ("returned", "1.1.0")
    (host,) = site.run(lambda coordinator: coordinator.rollback()).hosts
    assert (host.status, site.served()) == ("healthy", "1.0.0")


def test_an_older_release_of_another_tool_is_not_judged_by_the_new_settings(site: Site) -> None:
    releases = older_layout(site)
    site._run("mkdir -p ~/bin; cp $(readlink -f $(command -v sleep)) ~/bin/node")
    folder = f"{site.top}/releases/20240101120000"
    site._run(f"mkdir {folder}/bin; echo '#!/bin/sh' >{folder}/bin/app; chmod +x {folder}/bin/app")
    start = "cd $(dirname $0)/.. && { ~/bin/node 977 >/dev/null 2>&1 & }"
    (releases / "20240101120000" / "bin" / "app").write_text(
        f"#!/bin/sh\n[ $1 != start ] || {{ {start}; }}\n[ $1 != health ]\n"
    )
    site.run_there("current/bin/app start")
    site.configure(health=NOBODY_LISTENS)
    try:
        host = site.ship("1.0.0")
        assert (host.status, host.served) == ("returned", "20240101120000")
    finally:
        site._run("pkill -f 'bin/node 977'")


def test_settings_that_fail_on_the_very_release_that_serves_are_not_kept(site: Site) -> None:
    release = site.release("1.0.0")
    site.deploy(release)
    site.configure(health=NOBODY_LISTENS)
    (host,) = site.attempt(release).hosts
    assert (host.status, site.served()) == ("returned", "1.0.0")
    (host,) = site.run(lambda coordinator: coordinator.releases()).hosts
    assert host.state is not None
    assert host.state.current is not None
    assert host.state.current.is_target


def test_a_good_release_stays_a_target_after_a_redeploy_with_wrong_settings(site: Site) -> None:
    first = site.release("1.0.0")
    site.deploy(first)
    site.ship("1.1.0")
    health = site.deployment.health
    site.configure(health=NOBODY_LISTENS)
    assert site.attempt(first).hosts[0].status == "returned"
    site.configure(health=health)
    (host,) = site.run(lambda coordinator: coordinator.rollback()).hosts
    assert (host.status, site.served()) == ("healthy", "1.0.0")


# --- Hooks.


def test_a_hook_that_fails_before_anything_stopped_starts_nothing(site: Site) -> None:
    """It has drained the host, so that the service says that it is not well."""
    site.ship("1.0.0", health="[ ! -e ~/told ]")
    link = os.readlink(site.folder / "current").rpartition("/")[2]
    before = site.processes(link)
    site.configure(hooks=Hooks(before_switch="touch ~/told; exit 1", always="rm -f ~/told"))
    host = site.ship("1.1.0")
    assert host.status == "returned"
    assert site.processes(link) == before


def test_hooks_of_a_switch_that_fails(site: Site) -> None:
    site.configure(
        hooks=Hooks(
            before_switch="echo before_switch >>~/told",
            after_switch="echo after_switch >>~/told",
            on_failure="echo on_failure >>~/told",
            always="echo always >>~/told",
        )
    )
    site.ship("1.0.0")
    assert site.run_there("cat ~/told").split() == ["before_switch", "after_switch", "always"]
    site.run_there("rm ~/told")
    site.ship("1.1.0", health="false")
    assert site.run_there("cat ~/told").split() == ["before_switch", "on_failure", "always"]


def test_hooks_know_the_environment_of_the_deployment(site: Site) -> None:
    site.configure(hooks=Hooks(before_switch='echo "$SERVER_ENV" >>~/told'))
    site.ship("1.0.0")
    assert site.run_there("cat ~/told") == "prod\n"


@pytest.mark.long
@pytest.mark.parametrize("name", ["on_failure", "always"])
def test_a_hook_that_fails_while_the_host_goes_back_is_reported(site: Site, name: str) -> None:
    site.ship("1.0.0")
    site.configure(hooks=dataclasses.replace(Hooks(), **{name: "exit 7"}))
    host = site.ship("1.1.0", health="false")
    assert host.status == "returned"
    assert f"the release is not healthy; the hook {name} failed; " in host.text


def test_a_failed_hook_at_the_end_is_reported(site: Site) -> None:
    site.configure(hooks=Hooks(always="false"))
    host = site.ship("1.0.0")
    assert (host.status, host.text) == ("healthy", "the hook always failed")


# --- Starting and stopping.


def test_a_service_has_the_environment_of_a_login(site: Site) -> None:
    exports = "export LANG=zh_CN.UTF-8 own=1 OF_PROFILE=yes SERVER_ENV=dev"
    site._run(f"printf '{exports}\\numask 027\\necho hello\\n' >~/.profile")
    site.ship("1.0.0")
    link = os.readlink(site.folder / "current").rpartition("/")[2]
    (pid,) = site.processes(link)
    variables = site.run_there(f"tr '\\0' '\\n' </proc/{pid}/environ").splitlines()
    assert {"LANG=zh_CN.UTF-8", "OF_PROFILE=yes", "SERVER_ENV=prod"} <= set(variables)
    assert not [one for one in variables if one.startswith("LC_ALL=")]
    assert "Umask:\t0027" in site.run_there(f"cat /proc/{pid}/status")


PROFILES = (
    *("exit 1", "if then", "sleep 100", "set -eu; false", 'trap "echo touch ~/told" 0'),
    *("export SHELLOPTS", "export UID=$(id -u)", "readonly TMOUT=600; export TMOUT"),
)


@pytest.mark.parametrize("profile", long_except(["exit 1", "sleep 100", PROFILES[4]], PROFILES))
def test_a_service_starts_although_a_profile_fails(site: Site, profile: str) -> None:
    site._run(f"echo '{profile}' >~/.profile")
    assert site.ship("1.0.0").status == "healthy"


DRAINS = """\
trap 'echo TERM >>$file; sleep 7; echo drained >>$file; exit' TERM
while :; do sleep 0.1; done
"""


def test_a_stop_script_that_only_asks_leaves_time_to_drain(site: Site, tmp_path: Path) -> None:
    site.configure(stop_timeout=20)
    file = "$HOME/told"
    site.ship(
        "1.0.0",
        program="/bin/dash",
        files={"service.sh": f"file={file}\n{DRAINS}"},
        service='"$node" "$top/service.sh"',
    )
    assert site.ship("1.1.0").status == "healthy"
    assert site.run_there("cat ~/told") == "TERM\ndrained\n"


def test_a_stop_script_that_hangs_leaves_time_for_a_signal(site: Site) -> None:
    site.configure(stop_timeout=2)
    on_term = "trap 'sleep 1; echo ended >>$HOME/told; exit' TERM; while :; do sleep 0.1; done\n"
    site.ship(
        "1.0.0",
        program="/bin/dash",
        files={"service.sh": on_term},
        service='"$node" "$top/service.sh"',
        stop="sleep 60",
    )
    assert site.ship("1.1.0").status == "healthy"
    assert site.run_there("cat ~/told") == "ended\n"


@pytest.mark.long
def test_a_failure_shows_only_log_lines_of_its_own_start(site: Site) -> None:
    site.ship("1.0.0", start="echo of an earlier start")
    host = site.ship("1.1.0", start="printf '\\377\\376 broken %s\\n' bytes; exit 3")
    assert host.status == "returned"
    assert r"\xff\xfe broken bytes" in host.text
    assert "earlier" not in host.text
    shortens = ': >"$(readlink /proc/$$/fd/1)"'
    short = site.ship("1.1.1", start=f"{shortens}; echo after it; exit 3")
    assert short.text.endswith("after it")
    long = site.ship(
        "1.2.0", start="head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end; exit 3"
    )
    assert long.status == "returned"
    assert long.text.endswith("end")
    assert len(long.text) < 3000


def test_releases_reports_a_dead_service(site: Site) -> None:
    site.ship("1.0.0")
    (host,) = site.run(lambda coordinator: coordinator.releases()).hosts
    assert host.state is not None
    current = host.state.current
    assert current is not None
    assert [int(pid) for pid in current.running] == site.processes(current.id)
    began = time.strptime(current.since, "%Y-%m-%dT%H:%M:%SZ")
    assert abs(time.mktime(began) - time.mktime(time.gmtime())) < 60
    site.run_there(f"kill {current.running[0]}")
    (host,) = site.run(lambda coordinator: coordinator.releases()).hosts
    assert host.state is not None
    assert host.state.current is not None
    assert host.state.current.running == ()


def test_what_slipway_keeps_is_for_its_user_alone(site: Site) -> None:
    site.ship("1.0.0")
    assert (site.folder / ".slipway").stat().st_mode & 0o777 == 0o700
