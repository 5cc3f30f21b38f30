"""What a session's child is told at its start: whatever was kept, all of it fits into one message."""

from pathlib import Path

import pytest

from helpers.rooms import rooms
from roost.daemon.sessions import launch
from roost.daemon.store import reads
from roost.protocol import rpc
from roost.protocol import worker as wire
from roost.protocol.model import TurnState


def test_the_largest_state_and_all_that_stands_beside_it_fit_into_a_message() -> None:
    history = [{"turn": "t" * 20, "number": 2**53, "input": "好" * reads.HISTORY_CHARS, "state": "interrupted"}]
    room = rpc.Limits().frame - launch.BESIDE - wire.MOST_STATE
    assert room == 768 * 1024
    cut_off = {"turn": "t" * 20, "number": 2**53, "input": "x" * room, "reason": "x" * 4096}
    told = {
        "protocol": wire.PROTOCOL,
        "session": "s" * 20,
        "workspace": "w" * 4096,
        "state": b"x" * wire.MOST_STATE,
        "history": history * launch.HISTORY,
        "interrupted": cut_off,
        "limits": {"frame": rpc.Limits().frame, "nesting": rpc.Limits().nesting},
    }
    assert len(rpc.request(1, "initialize", told)) < rpc.Limits().frame


async def test_a_prompt_that_was_cut_off_is_told_as_far_as_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "BESIDE", rpc.Limits().frame - 8)
    async with rooms(tmp_path) as house:
        session, live = await house.started()
        turn = await house.begun(session, "hang ééé")
        live.stop.interrupt("daemon_stop")
        assert (await house.wait(turn)).state is TurnState.interrupted
        live.child.kill()
        await live.wait_over()
        await house.supervisor.start(session)
        told = house.engines[session].launch.interrupted
        assert told is not None and told["input"] == "hang é", "whole characters"
