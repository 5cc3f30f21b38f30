"""The shipped template under a real systemd: readiness, truthful stops, crashes, hangs, reloads, hardening."""

from collections.abc import Iterator

import pytest

from helpers.installed import UNIT, Installed

pytestmark = pytest.mark.container

SESSIONS = 3
STATE = "/var/lib/roost/agent"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
CLEAN = f"""
systemctl kill --signal=CONT {UNIT}
systemctl stop {UNIT}
systemctl reset-failed {UNIT}
rm -rf /var/lib/roost /etc/roost/roost.toml
[ ! -e {DROP_INS} ] || {{ rm -r {DROP_INS}; systemctl daemon-reload; }}
"""


@pytest.fixture
def unit(machine: Installed) -> Iterator[Installed]:
    """The account's daemon, for a test to start with settings of its own; its state starts empty."""
    machine.forget_journal()
    yield machine
    machine.run("sh", "-c", CLEAN)


@pytest.fixture
def service(unit: Installed) -> Installed:
    """The account's daemon, started."""
    unit.run("sh", "-c", f"systemctl start {UNIT} || {{ journalctl -u {UNIT} --no-pager; exit 1; }}")
    return unit


def test_start_returns_when_the_daemon_answers(service: Installed) -> None:
    assert service.call("daemon.status")["phase"] == "running"
    assert service.show(UNIT, "StatusText") == "serving /run/roost/agent/roost.sock"
    times = service.shown(UNIT, "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    begun, active = map(int, times)
    assert active - begun > 10_000, (
        "microseconds: Python alone takes longer, so it was not taken for ready at its start"
    )
    modes = service.run(
        "stat", "-c", "%U %a", "/run/roost/agent", "/run/roost/agent/roost.sock", "/var/lib/roost/agent"
    )
    assert modes.stdout.splitlines() == ["agent 700", "agent 600", "agent 700"]


def test_a_stop_in_mid_turn_saves_every_session_and_says_so(service: Installed) -> None:
    cut_off: dict[str, str] = {}
    for number in range(SESSIONS):
        session = service.create()
        service.printed(session, f"export EARLY={number}")
        cut_off[session] = service.begun(session, f"cd /tmp; export LATE={number}")
    service.run("systemctl", "stop", UNIT)
    assert service.shown(UNIT, "Result", "ExecMainStatus") == ["success", "0"]
    assert service.pids("sleep 600") == [], "an orphan"
    assert service.run("test", "-e", "/run/roost/agent", check=False).returncode == 1
    saved = f"stopped (SIGTERM): {SESSIONS} sessions, {SESSIONS} saved, 0 unchanged, 0 failed, 0 timed out; "
    assert f"{saved}{SESSIONS} turns interrupted; batches: 1 ok, 0 failed, 0 timed out" in service.journal()

    service.run("systemctl", "start", UNIT)
    (report,) = service.call("events.read", all=True, kinds=["daemon.stopped"])["events"]
    assert (report["data"]["status"], report["data"]["saved"]) == (0, SESSIONS)
    for number, (session, turn) in enumerate(cut_off.items()):
        assert service.call("session.checkpoints", session=session)["checkpoints"], session
        ended = service.call("turn.get", turn=turn)["turn"]
        assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_shutdown")
        assert service.printed(session, "echo $EARLY-$LATE-$PWD") == f"{number}-{number}-/tmp"


def test_a_crash_is_followed_by_a_start_that_ends_interrupts_and_doubles_nothing(service: Installed) -> None:
    kept = service.create(name="kept", after={"interrupted": "continue"})
    service.printed(kept, "export MARK=here")
    cut_off = service.begun(kept, "setsid sleep 601 & (sleep 602 &)")
    behind = service.send(kept, "echo $MARK")
    main = service.show(UNIT, "MainPID")
    service.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
    service.shows(UNIT, NRestarts="1", ActiveState="active")
    assert service.show(UNIT, "MainPID") != main
    ended = service.call("turn.get", turn=cut_off)["turn"]
    assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_restart")
    assert service.wait(behind)["state"] == "completed"
    assert service.pids("sleep 60[0-2]") == []
    assert len(service.pids("bin/roostd")) == 1 and len(service.pids("roost.worker.shell")) == 1
    kinds = ["turn.started", "turn.interrupted", "turn.completed"]
    events = service.call("events.read", session=kept, kinds=kinds)["events"]
    assert [event["kind"] for event in events if event["turn"] == cut_off] == ["turn.started", "turn.interrupted"]
    assert [event["kind"] for event in events if event["turn"] == behind] == ["turn.started", "turn.completed"]


@pytest.mark.parametrize(("cgroup", "survivors"), [("auto", 0), ("off", 2)])
def test_what_changed_session_and_environment_ends_with_its_session(
    unit: Installed, cgroup: str, survivors: int
) -> None:
    """By cgroup.kill in what the unit delegates: without a cgroup nothing leads back to the session."""
    unit.configure(f'[daemon]\ncgroup = "{cgroup}"\n')
    unit.run("systemctl", "restart", UNIT)
    session = unit.create()
    unit.printed(session, "for n in 1 2; do (env -i setsid sleep 604 >/dev/null 2>&1 &); done")
    unit.wait_until("sh", "-c", '[ "$(pgrep -c -u agent -f "^sleep 604")" = 2 ]')
    unit.call("session.stop", session=session)
    assert len(unit.pids("^sleep 604")) == survivors


def drop_in(service: Installed, text: str) -> None:
    """More settings of the unit; the daemon is started anew with them."""
    service.run("sh", "-c", f'mkdir -p {DROP_INS}; printf "%s" "$1" >{DROP_INS}/test.conf', "sh", text)
    service.run("systemctl", "daemon-reload")
    service.run("systemctl", "restart", UNIT)


def test_a_daemon_that_hangs_is_ended_by_the_watchdog_and_comes_back(unit: Installed) -> None:
    drop_in(unit, "[Service]\nWatchdogSec=1\n")  # the shipped 30 s are too long for a test
    kept = unit.create()
    unit.printed(kept, "export MARK=here")
    unit.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", UNIT)
    unit.shows(UNIT, NRestarts="1", ActiveState="active")
    assert "Watchdog timeout" in unit.journal()
    assert unit.printed(kept, "echo $MARK") == "here"


def not_started(service: Installed, status: str) -> str:
    """A start that fails with this exit status and is not tried again; the journal."""
    assert service.run("systemctl", "start", UNIT, check=False).returncode != 0
    stays_down(service, status)
    return service.journal()


def stays_down(service: Installed, status: str) -> None:
    shown = service.shown(UNIT, "ActiveState", "Result", "ExecMainStatus", "NRestarts")
    assert shown == ["failed", "exit-code", status, "0"]
    # RestartSec= is 1 s: what systemd does next is decided when the main process has ended, not after that.
    assert service.run("systemctl", "list-jobs", "--no-legend").stdout == ""


def test_a_wrong_configuration_is_not_started_again(unit: Installed) -> None:
    unit.configure("no_such_key = 1\n")
    assert "roost.toml:1: there is no setting no_such_key" in not_started(unit, "2")


def test_a_refused_database_is_not_started_again(unit: Installed) -> None:
    unit.run("install", "-d", "-o", "agent", "-g", "agent", "-m", "700", STATE)
    unit.as_agent("sh", "-c", f"echo no database >{STATE}/roost.db")
    assert f"{STATE}/roost.db" in not_started(unit, "10")


def test_a_lock_that_is_taken_is_not_waited_for(unit: Installed) -> None:
    unit.run("install", "-d", "-o", "agent", "-g", "agent", "-m", "700", STATE)
    unit.as_agent("sh", "-c", f"setsid flock {STATE}/lock sleep 603 >/dev/null 2>&1 &")
    unit.wait_until("pgrep", "-f", "^sleep 603")
    assert "daemon_running" in not_started(unit, "11")
    unit.run("pkill", "-f", "sleep 603")


def test_a_stop_that_loses_something_tells_the_truth_and_is_not_started_again(unit: Installed) -> None:
    unit.configure("[checkpoints]\nbatch_timeout = '200ms'\n")
    unit.run("systemctl", "start", UNIT)
    session = unit.create()
    turn = unit.begun(session, "export LATE=1")
    unit.run("pkill", "-STOP", "-u", "agent", "-f", "roost.worker.shell")
    unit.run("systemctl", "stop", UNIT)
    stays_down(unit, "9")
    assert f"timed out: {session}" in unit.journal()
    assert unit.pids("sleep 600|roost.worker") == []
    unit.run("systemctl", "start", UNIT)
    assert unit.call("turn.get", turn=turn)["turn"]["state"] == "interrupted"


def test_a_reload_touches_no_session_and_its_status_is_truthful(service: Installed) -> None:
    session = service.create()
    turn = service.begun(session, "export A=1")
    before = service.call("session.get", session=session)["session"]
    main = service.show(UNIT, "MainPID")
    service.configure("[limits]\nqueue = 2\n[engines.new]\ncommand = ['new']\n")
    service.run("systemctl", "reload", UNIT)
    hello = {"protocol": 1, "client": {"name": "test"}}
    assert service.call("hello", **hello)["limits"]["queue"] == 2
    assert "new" in [engine["name"] for engine in service.call("engine.list")["engines"]]

    service.configure("[limits]\nqueue = 3\nprompt = 'long'\n")
    failed = service.run("systemctl", "reload", UNIT, check=False)
    assert failed.returncode != 0
    assert service.call("hello", **hello)["limits"]["queue"] == 2
    wrong = "/etc/roost/roost.toml:3: limits.prompt must be a valid integer"
    assert wrong in service.show(UNIT, "StatusText") and wrong in service.journal()
    shown = service.shown(UNIT, "ActiveState", "SubState", "MainPID", "NRestarts")
    assert shown == ["active", "running", main, "0"]
    assert service.call("session.get", session=session)["session"] == before
    assert service.call("turn.get", turn=turn)["turn"]["state"] == "running"

    service.configure("[limits]\nqueue = 4\n")
    service.run("systemctl", "kill", "--signal=HUP", "--kill-whom=main", UNIT)
    service.wait_until("sh", "-c", f"systemctl show -p StatusText {UNIT} | grep -v reloaded")
    assert service.call("hello", **hello)["limits"]["queue"] == 4


def test_another_account_is_let_in_by_settings_and_a_drop_in(unit: Installed) -> None:
    unit.run("sh", "-c", "id other || useradd other")
    uid = unit.run("id", "-u", "other").stdout.strip()
    unit.configure(f"[daemon]\nallowed_uids = [{uid}]\n")
    ask = ["runuser", "-u", "other", "--", "env", "ROOST_SOCKET=/run/roost/agent/roost.sock"]
    ask += ["ROOST_TRUSTED_UIDS=agent", "roost", "ls"]
    drop_in(unit, "")
    assert unit.run(*ask, check=False).returncode == 7, "its directory is closed"
    drop_in(unit, "[Service]\nRuntimeDirectoryMode=0711\n")
    assert "(peer_refused)" in unit.run(*ask, check=False).stdout, "a stranger, as the daemon sees it"
    drop_in(unit, "[Service]\nRuntimeDirectoryMode=0711\nPrivateUsers=no\n")
    unit.run(*ask)
    refused = unit.run(*ask[:6], "roost", "ls", check=False)
    assert refused.returncode == 7 and "(peer_untrusted)" in refused.stdout, "another account's, whom nobody trusts"


def test_agents_work_under_the_template(service: Installed) -> None:
    session = service.create()
    if service.run("sh", "-c", "command -v bwrap", check=False).returncode == 0:
        sandbox = "bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all --hostname box uname -n"
        assert service.printed(session, sandbox) == "box"
    if service.run("sh", "-c", "command -v node", check=False).returncode == 0:
        assert service.printed(session, "node -e 'console.log([1,2,3].map(x => x * 2).join())'") == "2,4,6"
    # What is delegated can be written, though cgroups are read-only otherwise.
    own = "/sys/fs/cgroup$(grep ^0:: /proc/self/cgroup | cut -d: -f3)"
    assert service.printed(session, f"mkdir {own}/made && rmdir {own}/made && echo delegated") == "delegated"
    assert service.wait(service.send(session, "mkdir /sys/fs/cgroup/made"))["state"] == "failed"
    assert service.printed(session, "test ! -e /proc/1 && test -e /proc/$$ && echo hidden") == "hidden"


def test_what_the_template_takes_a_drop_in_gives_back(service: Installed) -> None:
    """As the table of docs/operations.md has it."""
    probes = {
        "ls /dev/net/tun": "PrivateDevices=no\nProtectClock=no",
        "[ $(nice -n 5 nice) -gt $(nice) ] && taskset 1 true": "SystemCallFilter=@resources\nRestrictRealtime=no",
        "touch ~/bit && chmod u+s ~/bit": "RestrictSUIDSGID=no",
        "ls /proc/1": "ProtectProc=default",
    }
    session = service.create()
    states = {probe: service.wait(service.send(session, probe))["state"] for probe in probes}
    assert states == dict.fromkeys(probes, "failed")
    drop_in(service, "\n".join(["[Service]", *probes.values(), ""]))
    for probe in probes:
        service.printed(session, probe)


def test_the_shell_works_under_strict_conf(unit: Installed) -> None:
    unit.run("sh", "-c", f"mkdir -p {DROP_INS}; cp /mnt/units/roost@.service.d/strict.conf {DROP_INS}")
    unit.run("systemctl", "daemon-reload")
    unit.run("systemctl", "restart", UNIT)
    session = unit.create()
    unit.printed(session, "export A=1; cd /var/tmp")
    assert unit.printed(session, "echo $A-$PWD; python3 -c 'print(6 * 7)' | tr 2 3") == "1-/var/tmp\n43"
    assert unit.wait(unit.send(session, "unshare --user true"))["state"] == "failed", "it is in force"
    assert unit.printed(session, "stat -c %a ~/made 2>/dev/null || { touch ~/made; stat -c %a ~/made; }") == "600"
    turn = unit.begun(session, "export A=2")
    unit.run("systemctl", "stop", UNIT)
    assert unit.shown(UNIT, "Result", "ExecMainStatus") == ["success", "0"]
    unit.run("systemctl", "start", UNIT)
    assert unit.call("turn.get", turn=turn)["turn"]["state"] == "interrupted"
    assert unit.printed(session, "echo $A") == "2"
