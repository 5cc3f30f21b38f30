"""The user's units as files: what is put where, what is known again, and that nothing of the user's own is touched."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roost.client import units
from roost.client.units import DROP_IN, SHIPPED, UnitInTheWay, UserUnits
from roost.protocol.errors import InvalidSettings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose ~/.local/bin has the command, as pip and pipx leave it there."""
    folder = tmp_path / ".local" / "bin"
    folder.mkdir(parents=True)
    program(folder / "roostd")
    monkeypatch.setattr(sys, "argv", [str(folder / "roost")])
    return tmp_path


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def of(home: Path, **environ: str) -> UserUnits:
    return UserUnits({"HOME": str(home), **environ})


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_both_units_are_put_there_and_taken_away(home: Path) -> None:
    made = of(home)
    folder = home / ".config" / "systemd" / "user"
    assert made.put() == [folder / "roost.service", folder / "roost.socket"]
    for name, text in files(folder).items():
        assert text.partition("\n")[2] == (SHIPPED / name).read_text()
    assert made.put() == [], "again changes nothing"
    (folder / "own.service").write_text("mine")
    assert made.take() == [folder / "roost.service", folder / "roost.socket"]
    assert files(folder) == {"own.service": "mine"}
    assert made.take() == []


def test_the_configuration_directory_is_obeyed(home: Path) -> None:
    assert of(home, XDG_CONFIG_HOME="/x").folder == Path("/x/systemd/user")
    assert of(home, XDG_CONFIG_HOME="relative").folder == home / ".config" / "systemd" / "user"
    with pytest.raises(InvalidSettings, match="HOME"):
        UserUnits({})


@pytest.mark.parametrize("name", ["roost.service", "roost.socket", DROP_IN])
@pytest.mark.parametrize("kind", ["own", "changed", "link", "masked", "folder"])
def test_what_is_not_ours_is_named_and_nothing_is_touched(home: Path, name: str, kind: str) -> None:
    made = of(home, XDG_STATE_HOME="/state")
    made.put()
    path = made.folder / name
    text = path.read_text()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind in ("link", "masked"):
        (home / "elsewhere").write_text(text)
        path.symlink_to(home / "elsewhere" if kind == "link" else "/dev/null")
    else:
        path.write_text("[Service]\n" if kind == "own" else f"{text}Nice=5\n")
    before = files(home)
    for change in (made.put, made.take):
        with pytest.raises(UnitInTheWay) as refused:
            change()
        assert refused.value.data == {"path": str(path)} and str(path) in refused.value.message
    assert files(home) == before and os.path.lexists(path)


def test_what_an_older_version_put_there_is_replaced(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old"
    shutil.copytree(SHIPPED, old)
    with (old / "roost.service").open("a") as file:
        file.write("# as it was\n")
    with monkeypatch.context() as earlier:
        earlier.setattr(units, "SHIPPED", old)
        of(home).put()
    made = of(home)
    assert made.put() == [made.folder / "roost.service"]
    assert "as it was" not in (made.folder / "roost.service").read_text()


def test_what_was_copied_by_hand_is_taken_over(home: Path) -> None:
    made = of(home)
    made.folder.mkdir(parents=True)
    for name in ("roost.service", "roost.socket"):
        shutil.copy(SHIPPED / name, made.folder)
    assert len(made.put()) == 2
    assert made.take()


def test_a_folder_that_cannot_be_made_is_named(home: Path) -> None:
    (home / ".config").write_text("a file")
    with pytest.raises(InvalidSettings, match="cannot be changed") as refused:
        of(home).put()
    assert str(refused.value.data["path"]).startswith(str(home / ".config"))


# What a user without rights is told; the rights that root has over files are taken from it.
LOOKS = """
import os, sys
from roost.client.checks import user_units
from roost.client.units import UserUnits
from roost.protocol.errors import InvalidSettings
sys.argv = [sys.argv[1]]
made = UserUnits(os.environ)
print(user_units([made.folder])["message"])
for look in (made.present, made.put, made.take):
    try:
        look()
    except InvalidSettings as exc:
        print(exc.message)
"""


def told(home: Path) -> list[str]:
    rights = "-dac_override,-dac_read_search"
    weak = () if os.geteuid() else ("setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}")
    command = [*weak, sys.executable, "-c", LOOKS, str(home / ".local" / "bin" / "roost")]
    environ = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_STATE_HOME": ""}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_unit_that_cannot_be_read_is_named(home: Path) -> None:
    made = of(home)
    made.put()
    (made.folder / "roost.service").chmod(0)
    refused = (
        f"the units in {made.folder} cannot be read ({made.folder}/roost.service: Permission denied); correct that"
    )
    assert told(home) == [f"roost.service is in {made.folder}", *[refused] * 3]


def test_a_folder_that_cannot_be_looked_into_is_named(home: Path) -> None:
    made = of(home)
    made.put()
    made.folder.chmod(0)
    service = f"{made.folder}/roost.service"
    refused = f"the units in {made.folder} cannot be read ({service}: Permission denied); correct that"
    try:
        looked, *others = told(home)
    finally:
        made.folder.chmod(0o700)
    assert looked == f"{service} cannot be looked at: Permission denied; correct that"
    assert others == [refused] * 3


def drop_in(made: UserUnits) -> list[str]:
    made.put()
    path = made.folder / DROP_IN
    return re.findall(r"^Environment=(.*)$", path.read_text(), re.MULTILINE) if path.exists() else []


def test_a_program_that_the_unit_would_not_find_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = home / 'a "b" 100%'
    elsewhere.mkdir()
    program(elsewhere / "roostd")
    monkeypatch.setattr(sys, "argv", [str(elsewhere / "roost")])
    path = str(elsewhere).replace("%", "%%").replace('"', '\\"')
    assert drop_in(of(home)) == [f'"PATH={path}:%h/.local/bin:/usr/local/bin:/usr/bin:/bin"'], "another one is there"
    (home / ".local" / "bin" / "roostd").unlink()
    assert len(drop_in(of(home))) == 1
    (home / ".local" / "bin" / "roostd").symlink_to(elsewhere / "roostd")
    assert drop_in(of(home)) == [], "as pipx has it"
    assert not (of(home).folder / DROP_IN).parent.exists(), "what is not needed any more is gone"


def test_a_state_directory_elsewhere_is_that_of_the_service(home: Path) -> None:
    assert drop_in(of(home, XDG_STATE_HOME="/state")) == ['"ROOST_STATE_DIRECTORY=/state/roost"']
    assert drop_in(of(home, XDG_STATE_HOME=str(home / ".local" / "state"))) == []


def test_a_drop_in_of_the_users_own_stays(home: Path) -> None:
    made = of(home, XDG_STATE_HOME="/state")
    made.put()
    own = made.folder / "roost.service.d" / "override.conf"
    own.write_text("[Service]\nNice=5\n")
    made.take()
    assert list(files(made.folder)) == ["roost.service.d/override.conf"]


def test_a_command_without_its_daemon_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(home / "roost")])
    monkeypatch.setattr(sys, "executable", str(home / "python"))
    with pytest.raises(InvalidSettings, match="roostd is not beside"):
        of(home).put()
