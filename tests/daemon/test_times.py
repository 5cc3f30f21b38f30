"""Each step of an ending has a time of its own, shorter than the one around it."""

import re
from pathlib import Path

import pytest

from roost.daemon import app
from roost.daemon.engines import engine
from roost.daemon.process import clearing, spawn
from roost.daemon.server import server
from roost.daemon.sessions import shutdown
from roost.daemon.settings import Settings, load
from roost.daemon.store import store

UNITS = Path(__file__).parents[2] / "systemd"
DEADLINES = Path(__file__).parents[2] / "docs" / "deadlines.md"


@pytest.fixture
def defaults(tmp_path: Path) -> Settings:
    return load({"HOME": str(tmp_path), "ROOST_STATE_DIRECTORY": str(tmp_path)})


def test_a_child_is_ended_within_what_the_stop_has_for_it(defaults: Settings) -> None:
    graces = defaults.sessions.stop_grace + defaults.sessions.term_grace
    assert graces + spawn.DRAIN + clearing.CLEARING < shutdown.ENDING


def test_saving_and_ending_are_within_the_deadline_of_the_stop(defaults: Settings) -> None:
    deadline = defaults.daemon.stop_deadline
    assert shutdown.ENDING <= deadline / 2
    assert defaults.checkpoints.batch_timeout + shutdown.ENDING < deadline


@pytest.mark.parametrize("name", ["roost.service", "roost@.service"])
def test_the_stop_is_over_before_systemd_ends_it(defaults: Settings, name: str) -> None:
    [told] = re.findall(r"^TimeoutStopSec=(\d+)$", (UNITS / name).read_text(), re.MULTILINE)
    sessions = [shutdown.SETTLING, app.REPORTING, server.CLOSING, app.STRAYS]
    tasks = [spawn.PARTING, engine.PARTING]
    behind = sum([*sessions, *tasks, store.END_SECONDS, app.LEAVING])
    assert defaults.daemon.stop_deadline + behind < int(told)
    assert f"at most {behind:g} s" in DEADLINES.read_text()
