"""Every setting from file and environment; every mistake named by its place."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from roost.daemon.settings import Settings, load
from roost.protocol.errors import InvalidSettings, SocketPathTooLong
from roost.protocol.model import Limits

HOME = {"HOME": "/home/me"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "roost.toml"


def from_file(file: Path, text: str, **environ: str) -> Settings:
    file.write_text(text)
    return load({**HOME, "ROOST_CONFIG": str(file), **environ})


def refused(file: Path, text: str, **environ: str) -> InvalidSettings:
    with pytest.raises(InvalidSettings) as caught:
        from_file(file, text, **environ)
    return caught.value


def test_defaults() -> None:
    settings = load(HOME)
    assert settings.limits.model_dump() == {
        "max_live": 256,
        "max_running_turns": 256,
        "queue": 50_000,
        "prompt": 1_000_000,
        "max_output": 67_108_864,
        "clients": 256,
        "start_timeout": 30.0,
        "request_frame": 16_777_216,
        "unenforceable": "say",
    }
    assert settings.checkpoints.model_dump() == {"batch": 50, "batch_timeout": 30.0, "parallel_batches": 4}
    assert (settings.sessions.idle_unload, settings.sessions.idle_sweep, settings.sessions.poll) == (1800, 300, 0.4)
    assert (settings.retention.max_age, settings.daemon.allowed_uids) == (None, ())
    assert settings.daemon.log_level == "info" and settings.daemon.stop_deadline == 120
    assert settings.daemon.cgroup == "auto" and settings.engines["shell"].limits == Limits()
    assert settings.engines["shell"].command == (sys.executable, "-P", "-m", "roost.worker.shell")
    assert settings.engines["thinking"].command == (sys.executable, "-P", "-m", "roost.worker.thinking")
    assert {engine.kind for engine in settings.engines.values()} == {"worker"}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        setattr(load(HOME).limits, "max_live", 3)  # noqa: B010 - a type checker would refuse it


def test_whole_file(file: Path) -> None:
    settings = from_file(
        file,
        """
        [daemon]
        state_directory = "~/roost"
        log_level = "debug"
        allowed_uids = [0, 1000]
        [limits]
        max_live = 0
        [sessions]
        default_engine = "mine"
        [retention]
        max_age = "30d"
        [engines.mine]
        kind = "command"
        command = ["agent", "--yes"]
        prompt = "stdin"
        env = { MODE = "fast" }
        env_from = { KEY = "credential:key", TOKEN = "file:/run/token", OTHER = "env:OTHER" }
        """,
    )
    assert settings.daemon.state_directory == Path("/home/me/roost")
    assert settings.daemon.allowed_uids == (0, 1000)
    assert settings.limits.max_live == 0
    assert settings.retention.max_age == 30 * 86400
    mine = settings.engines["mine"]
    assert (mine.kind, mine.command, mine.prompt) == ("command", ("agent", "--yes"), "stdin")
    assert mine.env == {"MODE": "fast"} and mine.env_from["KEY"] == "credential:key"
    assert set(settings.engines) == {"mine", "shell", "thinking"}


def test_limits_of_an_engine(file: Path) -> None:
    written = 'memory_max = "1.5GiB"\npids_max = 100\ncpu_max = 2\nnofile = 1024'
    limits = from_file(file, f"[engines.shell]\n{written}").engines["shell"].limits
    assert limits == Limits(memory_max=1_610_612_736, pids_max=100, cpu_max=2.0, nofile=1024)
    assert from_file(file, "engines.shell.memory_max = 4096").engines["shell"].limits == Limits(memory_max=4096)
    assert from_file(file, "", ROOST_DAEMON_CGROUP="/sys/fs/cgroup/mine").daemon.cgroup == "/sys/fs/cgroup/mine"


def test_built_in_engine_is_overridden_key_by_key(file: Path) -> None:
    shell = from_file(file, '[engines.shell]\nenv = {A = "b"}\n').engines["shell"]
    assert shell.env == {"A": "b"} and shell.command[-1] == "roost.worker.shell"
    assert from_file(file, '[engines.shell]\ncommand = ["mine"]\n').engines["shell"].command == ("mine",)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5", 5.0), ("0.25", 0.25), ('"500ms"', 0.5), ('"30s"', 30.0), ('"5min"', 300.0), ('"1.5 h"', 5400.0)],
)
def test_durations(file: Path, written: str, seconds: float) -> None:
    assert from_file(file, f"[sessions]\nidle_unload = {written}").sessions.idle_unload == pytest.approx(seconds)


@pytest.mark.parametrize("written", ['"5 parsecs"', '"-5s"', "-1", "nan", "inf", "true", '""', '"5"'])
def test_what_is_no_duration(file: Path, written: str) -> None:
    error = refused(file, f"[sessions]\n\nidle_unload = {written}")
    assert error.data == {"key": "sessions.idle_unload", "file": str(file), "line": 3}


@pytest.mark.parametrize("key", ["sessions.poll", "sessions.idle_sweep", "retention.sweep"])
def test_period_of_zero_is_refused(file: Path, key: str) -> None:
    assert "greater than or equal to 0.01" in refused(file, f"{key} = 0").message


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[limits]\nmax_life = 3", 2, "there is no setting limits.max_life; did you mean max_live?"),
        ("[limit]\nmax_live = 3", 1, "there is no setting limit; did you mean limits?"),
        ("# mine\n\nmax_live = 3", 3, "there is no setting max_live; did you mean limits.max_live?"),
        ("[limits]\nzzz = 3", 2, "there is no setting limits.zzz; known are max_live, max_running_turns, queue, "),
        ("[limits]\nmax_live = 'ten'", 2, "limits.max_live must be a valid integer; correct it"),
        ("[limits]\nmax_live = true", 2, "limits.max_live must be a valid integer; correct it"),
        ("[limits]\nprompt = 1000001", 2, "limits.prompt must be less than or equal to 1000000; correct it"),
        ("[limits]\nqueue = 0", 2, "limits.queue must be greater than or equal to 1; correct it"),
        ("limits = 3", 1, "limits must be a table; correct it"),
        ("daemon = 3", 1, "daemon must be a table; correct it"),
        ("engines = 3", 1, "engines must be a table; correct it"),
        ("engines.shell = 3", 1, "engines.shell must be a table; correct it"),
        ("[daemon]\nlog_level = 'loud'", 2, "daemon.log_level must be 'debug', 'info', 'warning' or 'error'"),
        ("[daemon]\nsocket = 'roost.sock'", 2, "daemon.socket must be an absolute path; correct it"),
        ("[daemon]\nsocket = 3", 2, "daemon.socket must be an absolute path; correct it"),
        ("[daemon]\nallowed_uids = [\n 0,\n 'me',\n]", 2, "daemon.allowed_uids.1 must be a valid integer; correct it"),
        ("[engines.a]\nkind = 'worker'", 1, "engines.a.command is missing; add it"),
        ("[engines.a]\ncommand = []", 2, "engines.a.command must have at least 1 item"),
        ("[engines.a]\ncommand = 'agent --yes'", 2, "engines.a.command must be a list; correct it"),
        ("[engines.a]\ncommand = ['a']\nkind = 'acp'", 3, "engines.a.kind must be 'worker' or 'command'; correct it"),
        ("[engines.a]\ncommand = ['a']\nenv = {'A=B' = 'c'}", 3, "engines.a.env.A=B must match pattern"),
        ("[engines.a]\ncomand = ['a']", 2, "there is no setting engines.a.comand; did you mean command?"),
        ("[engines.a]\ncommand = ['a']\nenvfrom = {}", 3, "no setting engines.a.envfrom; did you mean env_from?"),
        ("[engines.'my engine']\ncommand = ['a']", 1, "engines.my engine must match pattern"),
        ("[engines.shell]\nmemory_max = '2GB'", 2, "memory_max must be a number of bytes, or a string like"),
        ("[engines.shell]\nmemory_max = 0", 2, "engines.shell.memory_max must be greater than or equal to 1; correct"),
        ("[engines.shell]\nmemory_max = true", 2, "engines.shell.memory_max must be a valid integer; correct it"),
        ("[engines.shell]\npids_max = 1.5", 2, "engines.shell.pids_max must be a valid integer; correct it"),
        ("[engines.shell]\ncpu_max = inf", 2, "engines.shell.cpu_max must be a finite number; correct it"),
        ("[engines.shell]\nno_file = 7", 2, "there is no setting engines.shell.no_file; did you mean nofile?"),
        ("[daemon]\ncgroup = 'mine'", 2, 'daemon.cgroup must be "auto", "off", or the absolute path'),
        ("[limits]\nunenforceable = 'no'", 2, "limits.unenforceable must be 'say' or 'refuse'; correct it"),
        ("[sessions]\ndefault_engine = 'x'", 2, "sessions.default_engine must be one of shell, thinking; correct it"),
    ],
)
def test_mistakes_in_the_file(file: Path, text: str, line: int, message: str) -> None:
    error = refused(file, text)
    assert error.message.startswith(f"{file}:") and message in error.message
    assert (error.data["file"], error.data["line"]) == (str(file), line)


def test_value_that_may_be_a_secret_is_not_shown(file: Path) -> None:
    error = refused(file, "[engines.a]\ncommand = ['a']\n[engines.a.env_from]\nKEY = 'sk-12345'")
    assert 'engines.a.env_from.KEY must be "env:NAME", "file:/path" or "credential:NAME"' in error.message
    assert error.data["line"] == 4
    assert "sk-12345" not in repr(error.to_wire())


@pytest.mark.parametrize(("text", "line"), [("a = 1\n[limits\n", 2), ("a = 1\n\nb = ", 3), ("a = '''\n\n", 2)])
def test_file_that_is_not_toml(file: Path, text: str, line: int) -> None:
    error = refused(file, text)
    assert error.message.startswith(f"{file}:{line}: ")
    assert error.data == {"file": str(file), "line": line}


def test_file_that_was_named_must_be_readable(file: Path) -> None:
    with pytest.raises(InvalidSettings, match="does not exist"):
        load({**HOME, "ROOST_CONFIG": str(file)})
    with pytest.raises(InvalidSettings, match="does not exist"):
        load(HOME, file=str(file))
    with pytest.raises(InvalidSettings, match="Is a directory"):
        load({**HOME, "ROOST_CONFIG": str(file.parent)})
    file.write_bytes(b"\xff")
    with pytest.raises(InvalidSettings, match="not UTF-8"):
        load(HOME, file=str(file))


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000])
def test_what_is_too_much_for_its_reader_is_refused_and_not_a_bug(file: Path, value: str) -> None:
    error = refused(file, f"[limits]\nmax_live = {value}")
    assert error.data["file"] == str(file) and "a number in it is too long, or its lists" in error.message
    with pytest.raises(InvalidSettings, match="ROOST_LIMITS_MAX_LIVE: "):
        load({**HOME, "ROOST_LIMITS_MAX_LIVE": value})


@pytest.mark.parametrize("key", ["max_live", "request_frame"])
def test_a_number_that_no_message_holds_is_refused(file: Path, key: str) -> None:
    assert key in refused(file, f"[limits]\n{key} = 0x{'f' * 5000}").message


def test_where_the_file_is_looked_for(tmp_path: Path) -> None:
    """The one that was named, systemd's, the user's; a default one may be missing."""
    places: list[dict[str, str]] = []
    for number, (variable, below) in enumerate(
        [("HOME", ".config/roost"), ("XDG_CONFIG_HOME", "roost"), ("CONFIGURATION_DIRECTORY", ""), ("ROOST_CONFIG", "")]
    ):
        directory = tmp_path / variable / below
        directory.mkdir(parents=True)
        (directory / "roost.toml").write_text(f"[limits]\nqueue = {number + 1}")
        places.append({variable: str(tmp_path / variable / ("roost.toml" if variable == "ROOST_CONFIG" else ""))})
    environ: dict[str, str] = {}
    for number, place in enumerate(places):
        environ |= place
        assert load(environ).limits.queue == number + 1
    assert load({"HOME": str(tmp_path)}).limits.queue == 50_000


def test_variables_win_over_the_file(file: Path) -> None:
    settings = from_file(
        file,
        "[limits]\nmax_live = 3\nqueue = 4",
        ROOST_LIMITS_MAX_LIVE="10",
        ROOST_SESSIONS_POLL="50ms",
        ROOST_SESSIONS_DEFAULT_ENGINE="thinking",
        ROOST_DAEMON_ALLOWED_UIDS="[7]",
        ROOST_CHECKPOINTS_BATCH="",
    )
    assert (settings.limits.max_live, settings.limits.queue, settings.sessions.poll) == (10, 4, 0.05)
    assert (settings.sessions.default_engine, settings.daemon.allowed_uids) == ("thinking", (7,))
    assert settings.checkpoints.batch == 50


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ROOST_LIMITS_MAX_LIFE", "3", "there is no setting limits.max_life; did you mean max_live?"),
        ("ROOST_LIMITS_MAX_LIVE", "ten", "limits.max_live must be a valid integer; correct it"),
        ("ROOST_LIMITS_MAX_LIVE", "1\nx = 2", "limits.max_live must be a valid integer; correct it"),
        ("ROOST_LOG_LEVEL", "7", "daemon.log_level must be 'debug', 'info', 'warning' or 'error'; correct it"),
        ("ROOST_STATE_DIRECTORY", "here", "daemon.state_directory must be an absolute path; correct it"),
        ("ROOST_DAEMON_POLL", "1", "there is no setting daemon.poll; did you mean sessions.poll?"),
    ],
)
def test_mistakes_in_the_environment(variable: str, value: str, message: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        load({**HOME, variable: value})
    assert caught.value.message == f"{variable}: {message}"
    assert caught.value.data["variable"] == variable


def test_variables_that_are_no_settings() -> None:
    others = ("ROOST_SESSION", "ROOST_DAEMON", "ROOST_NO_START", "ROOST_STATE", "ROOST_LIMITS_", "LIMITS_QUEUE")
    assert load({**HOME, **dict.fromkeys(others, "7")}) == load(HOME)


@pytest.mark.parametrize(
    ("environ", "state", "socket"),
    [
        ({}, "/home/me/.local/state/roost", "/home/me/.local/state/roost/run/roost.sock"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, "/home/me/.local/state/roost", "/run/user/7/roost/roost.sock"),
        ({"STATE_DIRECTORY": "/a:/b", "RUNTIME_DIRECTORY": "/c:/d", "XDG_STATE_HOME": "/x"}, "/a", "/c/roost.sock"),
        ({"ROOST_STATE_DIRECTORY": "/mine", "XDG_RUNTIME_DIR": "/run/user/7"}, "/mine", "/mine/run/roost.sock"),
        ({"ROOST_STATE_DIRECTORY": "/mine", "ROOST_SOCKET": "/my.sock"}, "/mine", "/my.sock"),
    ],
)
def test_paths(environ: dict[str, str], state: str, socket: str) -> None:
    daemon = load({**HOME, **environ}).daemon
    assert (str(daemon.state_directory), str(daemon.socket)) == (state, socket)


def test_directory_of_the_file_leaves_the_socket_where_clients_look(file: Path) -> None:
    daemon = from_file(file, "[daemon]\nstate_directory = '/disk'", XDG_RUNTIME_DIR="/run/user/7").daemon
    assert (str(daemon.state_directory), str(daemon.socket)) == ("/disk", "/run/user/7/roost/roost.sock")


def test_arguments_win_over_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text("[daemon]\nlog_level = 'error'")
    environ = {**HOME, "ROOST_STATE_DIRECTORY": "/theirs", "ROOST_LOG_LEVEL": "info"}
    arguments: dict[str, Any] = {"file": "roost.toml", "state_directory": "mine", "log_level": "debug"}
    daemon = load(environ, **arguments).daemon
    assert (daemon.state_directory, daemon.log_level) == (file.parent / "mine", "debug")
    assert daemon.socket == file.parent / "mine" / "run" / "roost.sock"
    assert load(environ, socket="my.sock").daemon.socket == file.parent / "my.sock"


def test_socket_path_that_is_too_long(file: Path) -> None:
    with pytest.raises(SocketPathTooLong):
        load({**HOME, "ROOST_SOCKET": "/" + "x" * 200})
    with pytest.raises(SocketPathTooLong):
        from_file(file, f"[daemon]\nsocket = '/{'x' * 200}'")
