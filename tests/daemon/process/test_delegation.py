"""Where a daemon may make cgroups: found by mount and own path, taken only if it was given."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cgroups import run_in, scratch
from roost.daemon.process import delegation
from roost.daemon.process.cgroup import find
from roost.daemon.process.delegation import Mount, folder, mounts
from roost.protocol.errors import LimitUnenforceable

PURE = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"""
FIND = "from roost.daemon.process.cgroup import find\n"
SHOWN = "print(found.cgroups.root if found.cgroups else found.message)\n"
CGROUP = "print(open('/proc/self/cgroup').read())\n"
SESSION = "s-abcdefgh234567ab"


@pytest.fixture
def root() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.mark.parametrize(
    ("mountinfo", "cgroup", "expected"),
    [
        (PURE, "0::/user.slice/a", "/sys/fs/cgroup/user.slice/a"),
        (PURE, "0::/", "/sys/fs/cgroup"),
        (HYBRID, "4:memory:/deep\n1:cpu:/\n0::/a b", "/sys/fs/cgroup/unified/a b"),
        (HYBRID, "4:memory:/deep\n1:cpu:/", None),
        ("", "0::/a", None),
        # A container that sees a part of its host's tree.
        (PURE.replace(" / /sys", " /box /sys"), "0::/box/a", "/sys/fs/cgroup/a"),
        (PURE.replace(" / /sys", " /box /sys"), "0::/box", "/sys/fs/cgroup"),
        (PURE.replace(" / /sys", " /box /sys"), "0::/boxed", None),
        (PURE.replace("/sys/fs/cgroup", "/my\\040tree"), "0::/a", "/my tree/a"),
    ],
)
def test_own_cgroup_is_found(mountinfo: str, cgroup: str, expected: str | None) -> None:
    assert folder(cgroup, mounts(mountinfo)) == (Path(expected) if expected else None)


def test_only_version_2_counts() -> None:
    assert mounts(HYBRID) == [Mount("/", "/sys/fs/cgroup/unified")]


def test_one_that_systemd_has_marked_is_taken_and_off_is_off(root: Path) -> None:
    os.setxattr(root, "user.delegate", b"1")
    off, auto = run_in(root, f"{FIND}for way in ('off', 'auto'):\n found = find(way)\n {SHOWN}").splitlines()
    assert 'daemon.cgroup is "off"' in off
    assert auto == str(root)
    assert [path.name for path in root.iterdir() if path.is_dir()] == []  # the try has left nothing


def test_one_that_was_not_given_is_left_alone(root: Path) -> None:
    if os.geteuid():
        pytest.skip("what a user owns is a user's")
    assert "was not delegated to roostd" in run_in(root, f"{FIND}found = find('auto')\n{SHOWN}")


def test_a_users_own_is_taken(root: Path) -> None:
    user = os.geteuid() or 65534
    if user != os.geteuid():
        for path in (root, root / "cgroup.procs", root / "cgroup.subtree_control"):
            os.chown(path, user, user)
    code = f"import os\n{FIND}import psutil\nos.getuid() or os.setuid({user})\nfound = find('auto')\n{SHOWN}"
    assert run_in(root, code) == str(root)


def test_one_that_was_named_is_taken_and_made(root: Path) -> None:
    found = find(str(root / "mine"))
    assert found.cgroups is not None and found.cgroups.root == root / "mine"


def test_what_was_named_and_is_no_cgroup_is_said(tmp_path: Path) -> None:
    assert f"daemon.cgroup names {tmp_path}, which is no cgroup" in find(str(tmp_path)).message
    assert "cannot be made: No such file" in find(str(tmp_path / "a" / "b")).message
    (tmp_path / "file").touch()
    assert "cannot be made: File exists" in find(str(tmp_path / "file")).message


def test_one_that_nothing_can_be_moved_into_is_of_no_use(root: Path) -> None:
    (root / "inner").mkdir()
    (root / "inner" / "cgroup.type").write_text("threaded")
    found = find(str(root / "inner"))
    assert found.cgroups is None and "can" in found.message


def test_other_processes_are_a_reason_to_go_without_controllers(tmp_path: Path) -> None:
    # Files in place of the kernel's, for none of its controllers is here; tests/end_to_end/test_limits.py has them.
    for name, text in {"controllers": "cpu memory", "subtree_control": "", "procs": "1\n2\n"}.items():
        (tmp_path / f"cgroup.{name}").write_text(text)
    assert delegation.hand_down(tmp_path, tmp_path).startswith(f"other processes (1, 2) are in the cgroup {tmp_path}")
    assert delegation.enabled(tmp_path) == frozenset()


@pytest.mark.parametrize("owner", [SESSION, "m-abcdefgh234567ab", "h-abcdefgh234567ab"])
def test_a_daemon_that_an_agent_starts_leaves_the_agents_session(root: Path, owner: str) -> None:
    leaf = root / owner / "c-abcdefgh234567ab"
    leaf.mkdir(parents=True)
    os.setxattr(root, "user.delegate", b"1")
    for inside in (root / owner, leaf):
        for setting in ("auto", "off"):
            printed = run_in(inside, f"{FIND}found = find('{setting}')\n{CGROUP}")
            assert f"/{root.name}/daemon\n" in printed + "\n"


def test_a_session_that_cannot_be_left_is_said(tmp_path: Path) -> None:
    with pytest.raises(LimitUnenforceable, match="cannot be left"):
        delegation.leave_owner(tmp_path / "none" / SESSION)
