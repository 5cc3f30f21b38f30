"""How a worker holds its end of the wire: descriptors, order of requests, violations, and its own end."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.worker_driver import SHELL, THINKING, Driver, script, wait_gone
from roost.protocol import rpc
from roost.protocol.errors import (
    DuplicateMsgid,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ProtocolMismatch,
    SessionBusy,
)
from roost.worker import command, ending

MOODS = script("moods")


def test_print_and_commands_cannot_touch_the_protocol(tmp_path: Path) -> None:
    with Driver(script("noisy"), tmp_path) as worker:
        worker.initialize()
        assert worker.turn("")["status"] == "completed"
        stdin, descriptors = worker.items.values()
        assert stdin.text == "''"
        # 3 is the folder that ls itself reads
        assert descriptors.text.split() == ["0", "1", "2", "3"]
        assert worker.call("ping") == {}


def test_what_is_printed_goes_to_stderr(tmp_path: Path) -> None:
    with Driver(script("noisy"), tmp_path) as worker:
        worker.initialize()
        worker.turn("")
        assert {"printed", "written", "from a command"} <= set(worker.stderr.splitlines())
        assert "0 -> /dev/null" in worker.stderr
        assert "pipe:" not in worker.stderr


def test_nothing_but_ping_is_answered_before_initialize(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        assert worker.call("ping") == {}
        with pytest.raises(InvalidRequest, match=r"send initialize.*before turn\.run"):
            worker.turn("tells")
        worker.initialize()
        assert worker.turn("tells")["status"] == "completed"
        with pytest.raises(InvalidRequest, match="already"):
            worker.initialize()


def test_initialize_says_what_the_worker_is(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        told = {"protocol": 1, "capabilities": ["checkpoint", "clear"], "name": "moods", "version": "1.2"}
        assert worker.initialize() == told
    with Driver(script("stateless"), tmp_path) as worker:
        assert worker.initialize() == {"protocol": 1, "capabilities": []}


def test_another_protocol_is_refused_and_both_are_named(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        with pytest.raises(ProtocolMismatch, match=r"protocol 7, this worker 1"):
            worker.initialize(protocol=7)
        assert worker.initialize()["protocol"] == 1


def test_unknown_methods_and_wrong_params_are_answered(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        with pytest.raises(MethodNotFound, match=r"turn\.dance"):
            worker.call("turn.dance")
        with pytest.raises(InvalidParams, match="number must be int"):
            worker.call("turn.run", turn="t-1", number="one", input="")
        with pytest.raises(InvalidParams, match="unknown field 'hurry'"):
            worker.call("ping", hurry=True)
        assert worker.turn("tells")["status"] == "completed"


def test_requests_are_answered_while_a_turn_runs(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        running = worker.start("waits")
        worker.wait_output("waiting")
        assert worker.call("ping") == {}
        assert worker.call("state.get") == worker.call("checkpoint") == {"state": {"turns": 0}}
        with pytest.raises(SessionBusy, match="turn t-1 still runs"):
            worker.call("turn.run", turn="t-2", number=2, input="tells")
        with pytest.raises(SessionBusy):
            worker.call("state.clear")
        worker.cancel()
        assert worker.answer(running)["status"] == "cancelled"


def test_long_text_is_sent_in_pieces_of_at_most_64_kib_and_waits_for_a_reader_unbuffered(tmp_path: Path) -> None:
    """What cannot be delivered makes the sender wait; it is neither dropped nor kept elsewhere."""
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        running = worker.start("floods")
        ping = worker.ask("ping")
        assert select.select([worker.stdout], [], [], 20)[0]
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        assert int(status.partition("VmHWM:")[2].split()[0]) < 40_000
        assert worker.answer(running)["status"] == "completed"
        assert worker.answer(ping) == {}
        [item] = worker.items.values()
        assert item.text == "é" * 10_000_000
        assert max(len(delta.encode()) for delta in item.deltas) == 32768


@pytest.mark.parametrize("command", [MOODS, SHELL, THINKING])
def test_shutdown_is_answered_and_then_the_process_ends(command: list[str], tmp_path: Path) -> None:
    with Driver(command, tmp_path) as worker:
        worker.initialize()
        assert worker.call("shutdown") == {}
        assert worker.wait_exit() == 0


def test_shutdown_ends_the_process_also_while_a_turn_runs(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.start("waits")
        worker.wait_output("waiting")
        assert worker.call("shutdown") == {}
        assert worker.wait_exit() == 0


@pytest.mark.parametrize("command", [MOODS, SHELL, THINKING])
def test_a_worker_ends_when_stdin_closes(command: list[str], tmp_path: Path) -> None:
    """When nobody can send to it any more, it ends by itself."""
    with Driver(command, tmp_path) as worker:
        worker.initialize()
        worker.stdin.close()
        assert worker.wait_exit() == 0


@pytest.mark.parametrize("prompt", ["wait", "leave"])
def test_what_a_worker_started_ends_with_it_though_it_ignores_sigterm(prompt: str, tmp_path: Path) -> None:
    with Driver(script("starter"), tmp_path) as worker:
        worker.initialize()
        worker.start(prompt)
        worker.wait_until(lambda: worker.output != "")
        command = os.pidfd_open(int(worker.output))
        worker.stdin.close()
        wait_gone(command)
        worker.wait_exit()


def test_a_worker_whose_reader_is_gone_ends(tmp_path: Path) -> None:
    """A caller that went away is noticed when it is written to, though stdin is still open."""
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.stdout.close()
        worker.start("floods")
        assert worker.wait_exit() == os.EX_IOERR
        assert "roostd cannot be written to: Broken pipe" in worker.stderr


@pytest.mark.parametrize(
    ("rubbish", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "send [0, msgid, method, [params]]"),
        (b"\xc1", "this is not MessagePack-RPC"),
        (rpc.pack([7, 1, "ping", []]), "send [0, msgid, method, [params]]"),
    ],
)
def test_rubbish_on_stdin_ends_the_worker_and_it_says_why(rubbish: bytes, why: str, tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.stdin.write(rubbish)
        assert worker.wait_exit() == os.EX_PROTOCOL
        assert f"roost worker: roostd broke the worker protocol: {why}" in worker.stderr


def test_an_answer_that_nobody_waits_for_does_not_end_the_worker(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.stdin.write(rpc.response(99, {}))
        assert worker.call("ping") == {}


def test_half_a_message_before_the_end_is_named(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.stdin.write(rpc.request(9, "ping", {})[:-3])
        worker.stdin.close()
        assert worker.wait_exit() == os.EX_PROTOCOL
        assert "stdin ended in the middle of a message" in worker.stderr


def test_a_violation_with_a_readable_msgid_is_answered_first(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.stdin.write(rpc.pack([rpc.REQUEST, 77, 5, []]))
        assert worker.wait_exit() == os.EX_PROTOCOL
        [answer] = worker.wire.receive(os.read(worker.stdout.fileno(), 65536))
        assert isinstance(answer, rpc.Response) and answer.error["name"] == "invalid_request"


def test_a_msgid_in_use_is_refused_and_notifications_are_ignored(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        running = worker.start("waits")
        worker.wait_output("waiting")
        worker.stdin.write(rpc.notification("weather.changed", {}))
        worker.stdin.write(rpc.request(running, "ping", {}))
        with pytest.raises(DuplicateMsgid):
            worker.answer(running)
        worker.cancel()
        assert worker.answer(running)["status"] == "cancelled"


def test_built_in_workers_load_nothing_heavy() -> None:
    """What they import is most of what they weigh: 5 MB is the most a waiting one may have."""
    heavy = ["typing", "re", "enum", "json", "signal", "subprocess", "asyncio", "dataclasses", "inspect", "pydantic"]
    program = f"""if True:
        import sys
        sys.path = {sys.path!r}
        import roost.worker.shell, roost.worker.thinking
        print([name for name in {heavy!r} if name in sys.modules])
    """
    # -S: what the environment's own .pth files import is not the worker's
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_signal_numbers_are_this_machine_s() -> None:
    """They are written as numbers, because importing `signal` costs each worker 0.25 MB."""
    here = (signal.SIGKILL, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)
    assert here == (ending.SIGKILL, ending.SIGTERM, command.SIGPIPE, command.SIGXFSZ)
