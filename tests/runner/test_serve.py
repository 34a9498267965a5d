"""The lock that marks a running Pants of this workspace, and the cleanup without one."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict

import pytest

from slipway.runner import serve
from tests.installed_pants import PYTHON
from tests.runner.workbench import Bench, kill_group, wait_until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    root.mkdir()
    (root / serve.LOCK_NAME).write_text("")
    return root


def leave_behind(root: Path) -> None:
    """What Pants leaves when it is killed: read-only folders, links, a canary."""
    inputs = root / "immutable_inputsAbC123" / "digest"
    (inputs / "deep").mkdir(parents=True)
    (inputs / "deep" / "file").write_text("input")
    (inputs / "deep").chmod(0o555)
    inputs.chmod(0o555)
    sandbox = root / "pants-sandbox-XyZ"
    sandbox.mkdir()
    (sandbox / "link").symlink_to(inputs)
    (root / "abc.hardlink_canary").mkdir()


def names(root: Path) -> Dict[str, bool]:
    return {path.name: path.is_dir() for path in root.iterdir()}


def test_what_dead_ones_left_is_removed(root: Path) -> None:
    leave_behind(root)
    assert serve.hold(str(root)) is not None
    assert names(root) == {serve.LOCK_NAME: False}


def test_a_plain_user_can_remove_read_only_folders() -> None:
    if os.geteuid() != 0:
        pytest.skip("the test before shows it for a plain user")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / serve.LOCK_NAME).write_text("")
        leave_behind(root)
        for path in [root, *root.rglob("*")]:
            os.chown(str(path), 65534, 65534, follow_symlinks=False)
        code = (
            f"import os, sys; sys.path.insert(0, {str(Path(serve.__file__).parent)!r})\n"
            f"import serve; os.setgid(65534); os.setuid(65534); serve.hold({folder!r})"
        )
        subprocess.run([PYTHON, "-c", code], check=True)
        assert names(root) == {serve.LOCK_NAME: False}


def test_nothing_is_removed_while_one_lives(root: Path) -> None:
    with open(str(root / serve.LOCK_NAME)) as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        leave_behind(root)
        before = names(root)
        held = serve.hold(str(root))
        assert held is not None
        assert names(root) == before
        os.close(held)
    assert serve.hold(str(root)) is not None
    assert names(root) == {serve.LOCK_NAME: False}


def test_the_lock_is_kept_and_not_inherited(root: Path) -> None:
    held = serve.hold(str(root))
    assert held is not None
    assert not os.get_inheritable(held)
    with open(str(root / serve.LOCK_NAME)) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_files_of_others_stay(root: Path) -> None:
    (root / "mine").mkdir()
    (root / "immutable").write_text("")
    serve.hold(str(root))
    assert names(root) == {serve.LOCK_NAME: False, "mine": True, "immutable": False}


def test_a_folder_of_the_users_own_is_not_touched(tmp_path: Path) -> None:
    leave_behind(tmp_path)
    before = names(tmp_path)
    assert serve.hold(str(tmp_path)) is None
    assert serve.hold(str(tmp_path / "missing")) is None
    assert names(tmp_path) == before


def test_links_are_removed_and_not_followed(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o500)
    (root / "pants-sandbox-link").symlink_to(precious)
    (root / "pants-sandbox-1").mkdir()
    (root / "pants-sandbox-1" / "link").symlink_to(precious)
    serve.hold(str(root))
    assert names(root) == {serve.LOCK_NAME: False}
    assert precious.stat().st_mode & 0o777 == 0o500


@pytest.mark.parametrize(("age", "kept"), [(60, True), (8 * 24 * 3600, False)])
def test_sandboxes_that_the_user_keeps_stay_for_a_week(root: Path, age: int, kept: bool) -> None:
    script = root / "pants-sandbox-kept" / "__run.sh"
    script.parent.mkdir()
    script.write_text("")
    then = time.time() - age
    os.utime(str(script), (then, then))
    serve.hold(str(root))
    assert script.exists() is kept


def test_nothing_is_deleted_through_a_mount(root: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a folder")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    target = root / "pants-sandbox- a" / "root"
    target.mkdir(parents=True)
    mount = ["mount", "--bind", str(precious), str(target)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        pytest.skip("needs the right to mount a folder")
    try:
        serve.hold(str(root))
        assert (precious / "file").exists()
    finally:
        subprocess.run(["umount", str(target)], check=True)
    held = serve.hold(str(root))
    assert held is not None
    assert (precious / "file").exists()


def execution_root(bench: Bench) -> Path:
    return Path(bench.run().seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"])


ENDS: Dict[str, Callable[[subprocess.Popen[bytes]], object]] = {
    "ended": lambda pants: pants.communicate(),
    "killed": kill_group,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_living_pants_keeps_its_folders(warm: Bench, end: str) -> None:
    root = execution_root(warm)
    leave_behind(root)
    living = warm.start(STUB_SERVE="1", STUB_SECONDS="6")
    wait_until(lambda: names(root) == {serve.LOCK_NAME: False})
    leave_behind(root)
    assert warm.run(STUB_SERVE="1").ok
    assert "pants-sandbox-XyZ" in names(root)
    ENDS[end](living)
    assert warm.run(STUB_SERVE="1").ok
    assert names(root) == {serve.LOCK_NAME: False}


def test_folders_of_other_workspaces_are_not_touched(warm: Bench) -> None:
    other = warm.folder / "other"
    other.mkdir()
    (other / "pants.toml").write_text("[GLOBAL]\n")
    others = Path(warm.run(cwd=other).seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"])
    leave_behind(others)
    assert warm.run(STUB_SERVE="1").ok
    assert "pants-sandbox-XyZ" in names(others)


def test_the_folder_of_a_workspace_that_is_gone_goes_too(warm: Bench) -> None:
    gone = warm.folder / "gone"
    gone.mkdir()
    (gone / "pants.toml").write_text("[GLOBAL]\n")
    root = Path(warm.run(cwd=gone).seen["PANTS_LOCAL_EXECUTION_ROOT_DIR"])
    leave_behind(root)
    (gone / "pants.toml").unlink()
    gone.rmdir()
    with open(str(root / serve.LOCK_NAME)) as living:
        fcntl.flock(living, fcntl.LOCK_SH)
        assert warm.run().ok
        assert root.exists()
    other = warm.folder / "other"
    other.mkdir()
    (other / "pants.toml").write_text("[GLOBAL]\n")
    assert warm.run(cwd=other).ok
    assert not root.exists()


def test_an_encoding_that_pants_refuses_is_put_right(warm: Bench) -> None:
    """C without Python's own exceptions for it stands for any locale that is not UTF-8."""
    warm.environ.update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    result = warm.run("goal", "工 作", STUB_SERVE="1")
    assert result.ok
    assert result.out.decode() == "pants goal 工 作\n"
    encoding = "import locale; print(locale.getpreferredencoding(False))"
    done = subprocess.run(
        [PYTHON, "-c", encoding], env=warm.environ, stdout=subprocess.PIPE, check=True
    )
    assert b"UTF-8" not in done.stdout
