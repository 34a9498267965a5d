"""Hosts that lack a program, and two deployments of one user."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

from slipway.deploy import cli
from slipway.deploy.session import Session
from tests.deploy.sites import Site, namespace_site
from tests.tiers import long_except


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    with namespace_site() as site:
        yield site


@pytest.fixture
def without_flock(made: Site) -> Iterator[None]:
    made._run("mount --bind /dev/null $(readlink -f $(command -v flock))")
    try:
        yield
    finally:
        made._run("umount /usr/bin/flock")


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("number", long_except(["1-0"], ["1", "1-0", "999999-5", "odd"]))
def test_a_lock_whose_process_id_was_reused_is_taken_over(site: Site, number: str) -> None:
    site.ship("1.0.0")
    site.run_there(f"ln -s {number} .slipway/lock.pid")  # init lives, and began at another time
    assert site.ship("1.1.0").status == "healthy"
    assert not (site.folder / ".slipway" / "lock.pid").is_symlink()


@pytest.mark.usefixtures("without_flock")
def test_a_lock_of_a_live_process_is_reported_with_its_holder(site: Site) -> None:
    release = site.release("1.0.0")
    site.deploy(release)
    holder: Session = site.connect(site.name)
    try:
        holder.ask("begin", 30, by="ann@elsewhere")
        (host,) = site.attempt(release).hosts
        assert host.status == "refused"
        assert "another deploy holds the lock of this host: ann@elsewhere, since 20" in host.text
    finally:
        holder.close()
    assert site.attempt(release).hosts[0].status == "healthy"


@pytest.mark.usefixtures("without_flock")
def test_only_one_of_many_processes_takes_over_a_stale_lock(site: Site) -> None:
    """Each takes its time between looking at the lock and removing it."""
    site.ship("1.0.0")
    site._run(
        "mkdir -p ~/bin; cp $(readlink -f $(command -v rm)) ~/bin/real-rm; "
        "printf '#!/bin/sh\\ncase $* in */lock.*) sleep 0.$(($$ %% 6)) ;; esac\\n"
        'exec ~/bin/real-rm "$@"\\n\' >~/bin/rm; '
        "chmod +x ~/bin/rm; mount --bind ~/bin/rm $(readlink -f $(command -v rm))"
    )
    sessions = [session_of(site, site.top) for _ in range(8)]
    try:
        for _ in range(3):
            site.run_there("rm -f .slipway/lock.pid; ln -s 1-0 .slipway/lock.pid")
            with ThreadPoolExecutor(len(sessions)) as pool:
                said = [*pool.map(lambda one: one.ask("begin", 60, by="me")[-1]["say"], sessions)]
            assert sorted(said) == ["locked"] * (len(sessions) - 1) + ["ok"]
    finally:
        site._run("umount $(readlink -f $(command -v rm))")
        for one in sessions:
            one.close()


@pytest.mark.parametrize("lock", ["flock", "no flock"])
def test_two_deployments_of_one_user_both_come_up_after_a_reboot(
    site: Site, lock: str, request: pytest.FixtureRequest
) -> None:
    """At the same moment, on a machine whose crontab takes its time."""
    site._run(
        "mkdir -p ~/bin; cp $(command -v crontab) ~/bin/real; "
        "printf '#!/bin/sh\\nsleep 0.3\\nexec ~/bin/real \"$@\"\\n' >~/bin/crontab; "
        "chmod +x ~/bin/crontab; mount --bind ~/bin/crontab $(command -v crontab)"
    )
    if lock == "no flock":
        request.getfixturevalue("without_flock")
    tops = ["/home/app/app1", "/home/app/app2", "/home/app/app/3", "/home/app/app-3"]
    sessions = [session_of(site, top) for top in tops]
    try:
        for one in sessions:
            one.ask("look", 60)  # they are all there
        for top in tops:
            site._run(f"mkdir -p {top}/.slipway; echo : >{top}/.slipway/agent")
        with ThreadPoolExecutor() as pool:
            said = [*pool.map(lambda one: one.ask("boot", 60, boot="auto")[-1]["boot"], sessions)]
        assert said == ["cron"] * len(tops)
        table = site._run("crontab -l").stdout.splitlines()
        assert sorted(table) == sorted(boot_line(top) for top in tops)
    finally:
        for one in sessions:
            one.close()
        site._run("umount $(command -v crontab)")


def boot_line(top: str) -> str:
    # Of root, whose text for it is in no folder of a deployment.
    name = f"slipway{top.replace('/', '-')}-{hashlib.sha256(top.encode()).hexdigest()[:8]}"
    return f"@reboot sh /root/.slipway-boot/{name} {top} boot"


def session_of(site: Site, top: str) -> Session:
    return Session(cli.ssh_command(dataclasses.replace(site.deployment, path=top), site.name))


def test_a_crontab_without_a_line_break_at_its_end(site: Site) -> None:
    site._run(r"printf '1 2 3 4 5 mine' >~/table; mv ~/table /var/spool/cron/crontabs/root")
    site.configure(boot="auto")
    assert site.ship("1.0.0").text == ""
    entry = boot_line(site.top)
    assert site._run("crontab -l").stdout.splitlines() == ["1 2 3 4 5 mine", entry]


def test_a_release_that_is_a_mount_is_not_emptied(site: Site) -> None:
    site.configure(keep=2, boot="off")
    site.ship("1.0.0")
    folder = site.run_there("readlink -f current").strip()
    site._run("mkdir -p /home/data; echo mine >/home/data/file")
    site.ship("1.1.0")
    site._run(f"mount --bind /home/data {folder}")
    try:
        assert "a file system is mounted in it" in site.ship("1.2.0").text
        assert site._run("cat /home/data/file").stdout == "mine\n"
    finally:
        site._run(f"umount {folder}")


def test_crontab_lines_of_an_earlier_agent_and_of_boot_off_are_removed(
    site: Site,
) -> None:
    old = f"@reboot sh {site.top}/.slipway/agent {site.top} boot"
    site._run(f"printf '1 2 3 4 5 mine\\n{old}\\n' | crontab -")
    site.configure(boot="auto")
    site.ship("1.0.0")
    assert site._run("crontab -l").stdout.splitlines() == ["1 2 3 4 5 mine", boot_line(site.top)]
    site.configure(boot="off")
    site.ship("1.1.0")
    assert site._run("crontab -l").stdout.splitlines() == ["1 2 3 4 5 mine"]


@pytest.mark.long
def test_a_file_system_mounted_in_a_release_is_not_removed(site: Site) -> None:
    site.configure(keep=2, boot="off")
    site.ship("1.0.0")
    site._run(
        f"mkdir -p /home/data {site.top}/current/data; echo mine >/home/data/file; "
        f"mount --bind /home/data {site.top}/current/data"
    )
    try:
        site.ship("1.1.0")
        host = site.ship("1.2.0")
        assert "a file system is mounted in it" in host.text
        assert site._run("cat /home/data/file").stdout == "mine\n"
    finally:
        site._run(f"umount {site.top}/releases/*/data")


def test_a_device_whose_name_has_spaces(site: Site) -> None:
    site._run(f"mkdir -p {site.top}; mount -t tmpfs -o size=1m '//server/my share' {site.top}")
    try:
        host = site.ship("1.0.0", files={"large": "x" * 2_000_000})
    finally:
        site._run(f"umount {site.top}")
    assert host.status == "refused"
    assert host.text.startswith("not enough disk space: 1024 kB free, ")


@pytest.mark.long
def test_a_temporary_folder_that_is_full_is_not_taken(site: Site) -> None:
    site.configure(keep=2, boot="off")
    site._run("mount -t tmpfs -o size=4k none /tmp; echo x >/tmp/full")
    try:
        for version in ("1.0.0", "1.1.0", "1.2.0"):
            assert site.ship(version).status == "healthy"
        assert site.kept() == ["1.1.0", "1.2.0"]
    finally:
        site._run("umount /tmp")


def test_a_home_folder_is_not_a_deployment_by_hand(site: Site) -> None:
    site._run("echo '{}' >~/package.json; mkdir -p ~/.ssh")
    one = Site(site.name, "/root", site.folder, Path(), site._run)
    one.deployment = dataclasses.replace(site.deployment, path="/root")
    one.releases = site.releases
    host = one.ship("1.0.0")
    assert "as a release: cannot move /root" in host.text
    assert site._run("ls -d ~/.ssh ~/package.json").returncode == 0
    site._run("rm -rf ~/package.json ~/releases ~/.slipway ~/current")


def test_a_crontab_that_cannot_be_read_is_left_alone(site: Site) -> None:
    site._run("echo '1 2 3 4 5 mine' | crontab -")
    site._run(
        "mkdir -p ~/bin; printf '#!/bin/sh\\necho crontab: the spool is on fire >&2; exit 1\\n' "
        ">~/bin/crontab; chmod +x ~/bin/crontab; mount --bind ~/bin/crontab $(command -v crontab)"
    )
    try:
        site.configure(boot="auto")
        host = site.ship("1.0.0")
        assert host.status == "healthy"
        assert "the release does not start after a reboot" in host.text
    finally:
        site.configure(boot="off")
        umount: subprocess.CompletedProcess[str] = site._run("umount $(command -v crontab)")
        assert umount.returncode == 0
    assert "mine" in site._run("crontab -l").stdout
