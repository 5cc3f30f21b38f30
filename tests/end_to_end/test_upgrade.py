"""An upgrade under systemd: a newer wheel over the older one, a restart, and every session goes on."""

import pytest

from helpers.installed import NEWER, UNIT, Installed, build, newer
from roost import __version__

pytestmark = pytest.mark.container

DROP_IN = f"/etc/systemd/system/{UNIT}.d"


@pytest.fixture
def upgradable(machine: Installed, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The account's daemon, from a virtual environment that this test may change."""
    machine.run("cp", "-r", "/opt/roost", "/opt/changing")
    machine.run("sed", "-i", "1s|/opt/roost/|/opt/changing/|", "/opt/changing/bin/roost", "/opt/changing/bin/roostd")
    build(newer(tmp_path_factory.mktemp("source") / "roost"), machine.newer)
    text = "[Service]\nEnvironment=PATH=/opt/changing/bin:/usr/bin:/bin\n"
    machine.run("sh", "-ec", f'mkdir {DROP_IN}; printf "%s" "$1" >{DROP_IN}/path.conf', "sh", text)
    machine.run("systemctl", "daemon-reload")
    return machine


def test_a_newer_version_takes_over_queue_and_state(upgradable: Installed) -> None:
    machine = upgradable
    machine.run("systemctl", "start", UNIT)
    machine.command = "/opt/changing/bin/roost"
    try:
        assert machine.call("daemon.status")["version"] == __version__
        kept, held = machine.create(), machine.create(name="held")
        going = machine.create(after={"interrupted": "continue"})
        machine.printed(kept, "export A=1; cd /usr")
        cut_off = {session: machine.begun(session, f"export LATE={session}") for session in (held, going)}
        queued = {session: machine.send(session, "echo $LATE") for session in (held, going)}

        machine.install("/opt/changing", "/mnt/newer")
        noticed = machine.as_agent(machine.command, "ls").stdout
        assert f"the daemon is version {__version__}, this command {NEWER}" in noticed
        machine.run("systemctl", "restart", UNIT)

        assert machine.call("daemon.status")["version"] == NEWER
        for turn in cut_off.values():
            ended = machine.call("turn.get", turn=turn)["turn"]
            assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_shutdown")
        assert machine.printed(kept, "echo $A-$PWD") == "1-/usr"
        assert machine.wait(queued[going])["state"] == "completed"
        hold = machine.call("session.get", session="held")["session"]
        assert hold["queued"] == 1 and hold["hold"]
        machine.call("session.release", session="held")
        assert machine.wait(queued[held])["state"] == "completed"
        for session, turn in queued.items():
            items = machine.call("turn.get", turn=turn)["items"]
            assert session in "".join(item["content"] for item in items)
    finally:
        del machine.command
        machine.run("systemctl", "stop", UNIT)
        machine.run("sh", "-c", f"rm -rf /var/lib/roost {DROP_IN}; systemctl daemon-reload")
