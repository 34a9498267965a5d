"""Hosts that refuse a deploy: the reason that is reported, and that nothing changed there."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from slipway.core.errors import SlipwayError
from tests.deploy.plain_host import NAME, NUMBER, PlainHost, plain_host
from tests.deploy.sites import Site, namespace_site, site_of
from tests.e2e import harness


@pytest.fixture(scope="module")
def host() -> Iterator[PlainHost]:
    with plain_host() as made:
        yield made


@pytest.fixture
def plain(host: PlainHost, tmp_path: Path) -> Iterator[Site]:
    site = site_of(host)
    site.releases = tmp_path
    yield site
    site.clean()


@pytest.fixture(scope="module")
def made() -> Iterator[Site]:
    with namespace_site() as site:
        yield site


@pytest.fixture
def root(site: Site) -> Site:
    return site


# --- The way there.


def test_a_host_key_that_is_not_known(plain: Site, host: PlainHost) -> None:
    known = host.folder / "known_hosts"
    text = known.read_text()
    try:
        known.write_text("")
        said = plain.ship("1.0.0")
    finally:
        known.write_text(text)
    assert (said.status, said.text[:34]) == ("unreachable", "the host key is not in known_hosts")


def test_a_host_key_that_has_changed(plain: Site, host: PlainHost, tmp_path: Path) -> None:
    known = host.folder / "known_hosts"
    text = known.read_text()
    other = str(tmp_path / "other")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    kind, key, *_ = Path(f"{other}.pub").read_text().split()
    try:
        known.write_text(f"{NAME} {kind} {key}\n")
        said = plain.ship("1.0.0")
    finally:
        known.write_text(text)
    assert said.status == "unreachable"
    assert said.text.startswith("the host key differs from the key in known_hosts")


def test_a_user_without_a_login_shell(plain: Site, host: PlainHost) -> None:
    host.set_shell("/usr/sbin/nologin")
    try:
        said = plain.ship("1.0.0")
    finally:
        host.set_shell("/bin/sh")
    assert said.status == "unreachable"
    assert said.text.startswith("the user cannot run commands because it has no login shell")


def test_a_login_shell_that_exits_immediately(plain: Site, host: PlainHost) -> None:
    host.set_shell("/bin/false")
    try:
        said = plain.ship("1.0.0")
    finally:
        host.set_shell("/bin/sh")
    assert said.status == "unreachable"
    assert said.text == (
        "the session ended immediately and without output: "
        "does the user have a login shell that runs commands?"
    )


def test_a_login_shell_that_exits_immediately_after_a_warning_of_ssh(
    plain: Site, host: PlainHost
) -> None:
    options = plain.deployment.ssh_options
    added = ("-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/dev/null")
    plain.configure(ssh_options=(*options, *added))
    host.set_shell("/bin/false")
    try:
        said = plain.ship("1.0.0")
    finally:
        host.set_shell("/bin/sh")
    assert said.text == (
        "the session ended immediately and without output: "
        "does the user have a login shell that runs commands?"
    )


def test_a_login_shell_that_prints_its_own_text(plain: Site, host: PlainHost) -> None:
    shell = host.folder / "disabled"
    shell.write_text("#!/bin/sh\necho Account disabled by IT\nexit 1\n")
    shell.chmod(0o755)
    host.set_shell(str(shell))
    try:
        said = plain.ship("1.0.0")
    finally:
        host.set_shell("/bin/sh")
    assert said.status == "unreachable"
    assert said.text == (
        "the session ended after the line 'Account disabled by IT': "
        "the user is not allowed to run commands, or its login shell prints text and exits"
    )


def test_a_user_for_sftp_only(plain: Site, host: PlainHost) -> None:
    keys = host.folder / "authorized_keys"
    text = keys.read_text()
    keys.write_text(f'command="internal-sftp" {text}')
    try:
        said = plain.ship("1.0.0")
    finally:
        keys.write_text(text)
    assert said.text == (
        "the session ended after the line 'This service allows sftp connections only.': "
        "the user is not allowed to run commands, or its login shell prints text and exits"
    )


def test_a_host_key_that_is_revoked(plain: Site, host: PlainHost) -> None:
    known = host.folder / "known_hosts"
    text = known.read_text()
    known.write_text(f"@revoked {text}")
    try:
        said = plain.ship("1.0.0")
    finally:
        known.write_text(text)
    assert said.status == "unreachable"
    assert said.text == (
        "the host key is revoked: someone may be impersonating this host. Do not log in; "
        "ask the administrator of the host"
    )


def test_a_banner_is_not_why_a_session_is_lost(plain: Site, host: PlainHost) -> None:
    banner = host.folder / "banner"
    banner.write_text("*****\n* Authorized use only *\n*****\n")
    config = host.folder / "sshd_config"
    text = config.read_text()
    config.write_text(f"{text}Banner {banner}\n")
    os.kill(host.sshd, signal.SIGHUP)
    try:
        harness.wait_until(lambda: "Authorized" in banner_of(host), 10, "the banner")
        said = plain.ship("1.0.0", start="kill -9 $(pgrep -u $(id -u) -f 'slipway-agent .* serve')")
    finally:
        config.write_text(text)
        os.kill(host.sshd, signal.SIGHUP)
        harness.wait_until(lambda: banner_of(host) == "", 10, "no banner")
    assert (said.status, said.text) == ("lost", "the session ended")


def banner_of(host: PlainHost) -> str:
    ssh = ["ssh", "-F", str(host.ssh_config), NAME, "true"]
    return subprocess.run(ssh, capture_output=True, text=True, check=False).stderr


# --- The path.


def test_a_path_on_which_no_program_starts(plain: Site, host: PlainHost) -> None:
    plain._run(f"mkdir -p {plain.top}")
    options = f"noexec,mode=755,uid={NUMBER},gid={NUMBER}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", plain.top]
    subprocess.run([*host.enter(), *mount], check=True)
    try:
        said = plain.ship("1.0.0")
    finally:
        subprocess.run([*host.enter(), "umount", "-l", plain.top], check=True)
    assert said.status == "refused"
    assert "cannot run programs in" in said.text


def test_a_tmp_that_is_read_only(root: Site) -> None:
    root._run("mount -t tmpfs -o ro none /tmp")
    try:
        assert root.ship("1.0.0").status == "healthy"
    finally:
        root._run("umount /tmp")


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("tar", "echo tar: file: Cannot write: No space; echo tar: Exiting with failure status"),
        ("zstd", "echo tar: file: Cannot write: No space"),
    ],
)
def test_the_first_error_line_of_a_failed_unpack_is_reported(
    root: Site, program: str, words: str
) -> None:
    root._run(
        f"mkdir -p ~/bin; printf '#!/bin/sh\\n{{ {words}; }} >&2; exit 2\\n' >~/bin/fails; "
        f"chmod +x ~/bin/fails; mount --bind ~/bin/fails $(readlink -f $(command -v {program}))"
    )
    try:
        said = root.ship("1.0.0")
    finally:
        root._run(f"umount $(readlink -f $(command -v {program}))")
    assert said.text == "cannot unpack the archive: tar: file: Cannot write: No space"


# --- Whose folder it is.


def test_root_in_a_folder_of_another_user_is_refused(root: Site) -> None:
    root._run(f"mkdir -p {root.top} /home/elsewhere; chown 1000 {root.top}")
    said = root.ship("1.0.0")
    assert said.status == "refused"
    assert f"users other than root can change {root.top} " in said.text
    assert list(root.folder.iterdir()) == []


@pytest.mark.parametrize("name", [".", "releases", ".slipway"])
def test_root_in_a_folder_where_anybody_can_write_is_refused(root: Site, name: str) -> None:
    assert root.ship("1.0.0").status == "healthy"
    root._run(f"chmod 1777 {root.top}/{name}")
    said = root.ship("1.1.0")
    assert said.status == "refused"
    assert "users other than root can change " in said.text


def test_root_runs_nothing_at_boot_that_others_can_replace(root: Site) -> None:
    assert root.ship("1.0.0").status == "healthy"
    id = os.readlink(root.folder / "current").rpartition("/")[2]
    root._run(f"kill {' '.join(map(str, root.processes(id)))}; chown 1000 {root.top}")
    assert root._run(f"sh {root.top}/.slipway/agent {root.top} boot").returncode == 1
    assert root.processes(id) == []
    root._run(f"chown 0 {root.top}")
    assert root._run(f"sh {root.top}/.slipway/agent {root.top} boot").returncode == 0
    assert root.served() == "1.0.0"


@pytest.mark.parametrize("path", ["", "/bin", "/bin/app", "/node_runtime/bin/node", "/lib/a.js"])
def test_root_runs_no_release_that_others_can_change(root: Site, path: str) -> None:
    assert root.ship("1.0.0", files={"lib/a.js": "1"}).status == "healthy"
    first = os.readlink(root.folder / "current")
    root._run(f"chown 1000 {root.top}/{first}{path}")
    said = root.ship("1.1.0")
    assert said.status == "refused"
    assert f"users other than root can change {root.top}/{first}{path} " in said.text
    assert root._run(f"sh {root.top}/.slipway/agent {root.top} boot").returncode == 1


def test_root_does_not_roll_back_to_a_release_that_others_can_change(root: Site) -> None:
    root.ship("1.0.0")
    first = os.readlink(root.folder / "current")
    root.ship("1.1.0")
    root._run(f"chown 1000 {root.top}/{first}/bin/app")
    with pytest.raises(SlipwayError, match=r"users other than root can change [^ ]*/bin/app "):
        root.run(lambda coordinator: coordinator.rollback())
    assert root.served() == "1.1.0"


def test_root_runs_nothing_where_the_link_leads_to_a_folder_of_another_user(root: Site) -> None:
    app = (
        "printf '#!/bin/sh\\nid -un >/home/who' >/home/other/bin/app; chmod +x /home/other/bin/app"
    )
    root._run(f"mkdir -p {root.top} /home/other/bin; {app}; chown -R 1000 /home/other")
    root._run(f"ln -s /home/other {root.top}/current")
    try:
        said = root.ship("1.0.0")
        assert said.status == "refused"
        assert "users other than root can change /home/other " in said.text
        assert root._run("cat /home/who").returncode == 1
    finally:
        root._run("rm -rf /home/other")


def test_root_follows_no_link_below_shared(root: Site) -> None:
    root._run(
        f"mkdir -p {root.top}/shared /home/elsewhere; ln -s /home/elsewhere {root.top}/shared/var"
    )
    root.configure(shared=("var/uploads",))
    try:
        said = root.ship("1.0.0")
    finally:
        root.configure(shared=())
    assert said.status == "refused"
    assert (
        "cannot link the shared path var/uploads: it already exists, or leads elsewhere"
        in said.text
    )
    assert root._run("ls -A /home/elsewhere").stdout == ""


def test_root_boots_with_a_copy_of_the_agent_outside_the_deployment(root: Site) -> None:
    root.configure(boot="auto")
    try:
        assert root.ship("1.0.0").text == ""
    finally:
        root.configure(boot="off")
    entry = root._run("crontab -l").stdout.split()
    assert entry[2].startswith("/root/.slipway-boot/slipway-")
    assert root._run(f"stat -c '%U %a' {entry[2]}").stdout == "root 644\n"
    id = os.readlink(root.folder / "current").rpartition("/")[2]
    root._run(f"kill {' '.join(map(str, root.processes(id)))}")
    # Whoever has the folder by then.
    root._run(f"chown -R 1000 {root.top}; echo 'id >/home/who' >{root.top}/.slipway/agent")
    assert root._run(" ".join(entry[1:])).returncode == 1
    assert root._run("cat /home/who").returncode == 1


@pytest.mark.parametrize("name", [".slipway", "releases", "shared"])
def test_a_planted_link_is_not_followed(root: Site, name: str) -> None:
    root._run(f"mkdir -p {root.top} /home/elsewhere; ln -s /home/elsewhere {root.top}/{name}")
    said = root.ship("1.0.0")
    assert said.status == "refused"
    assert said.text == f"{root.top}/{name} is a symlink: remove it"
    assert root._run("ls -A /home/elsewhere").stdout == ""


def test_a_folder_that_belongs_to_another_user_is_refused(plain: Site, host: PlainHost) -> None:
    plain._run(f"mkdir -p {plain.top}")
    subprocess.run(["mkdir", "-m", "777", str(plain.folder / ".slipway")], check=True)
    try:
        said = plain.ship("1.0.0")
    finally:
        subprocess.run(["rm", "-r", str(plain.folder / ".slipway")], check=True)
    assert said.status == "refused"
    assert f"{plain.top}/.slipway belongs to another user (id 0)" in said.text
