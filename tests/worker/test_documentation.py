"""docs/workers.md tells the truth: its example runs, and its lists are those of the protocol."""

import re
import sys
from pathlib import Path

from helpers.worker_driver import Driver
from roost.daemon.sessions.launch import HISTORY
from roost.daemon.store.reads import HISTORY_CHARS
from roost.protocol.worker import ITEM_KINDS, OPTIONAL, TO_DAEMON, TO_WORKER, taken
from roost.worker.turn import Turn

PAGE = (Path(__file__).parents[2] / "docs" / "workers.md").read_text()


def test_the_example_is_a_worker_of_about_twenty_lines(tmp_path: Path) -> None:
    example = PAGE.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in example.splitlines() if line]) <= 20
    program = tmp_path / "notebook.py"
    program.write_text(example)
    command = [sys.executable, "-P", str(program)]
    with Driver(command, tmp_path) as notebook:
        assert notebook.initialize()["capabilities"] == ["checkpoint", "clear"]
        notebook.turn("+ milk")
        state = notebook.turn("+ bread")["state"]
        assert notebook.said == [("agent_message", "milk\nbread")]
    with Driver(command, tmp_path) as notebook:
        notebook.initialize(state=state)
        notebook.turn("mil")
        assert notebook.said == [("agent_message", "milk")]
        assert notebook.turn("beer")["message"] == "no note contains 'beer'"


def test_what_is_left_out_of_the_history_is_said() -> None:
    [told] = [line for line in PAGE.splitlines() if line.startswith("| `turn.history` |")]
    for text in (told, Turn.__doc__ or ""):
        assert f"at most {HISTORY}," in text and f"first {HISTORY_CHARS:,} characters" in text


def test_every_message_and_kind_stands_on_the_page() -> None:
    for name in TO_WORKER | TO_DAEMON:
        assert re.search(rf"^\|[^|]*`{re.escape(name)}`", PAGE, re.MULTILINE), name
    assert all(f"`{kind}`" in PAGE for kind in ITEM_KINDS)
    fields = {field.rstrip("?") for shape in (TO_WORKER | TO_DAEMON).values() for field in shape}
    assert [field for field in fields if f"`{field}`" not in PAGE] == []


def test_what_is_optional_stands_on_the_page_and_is_there() -> None:
    for capability, names in OPTIONAL.items():
        assert f'`"{capability}"`' in PAGE
        for method, _, field in (name.partition(" ") for name in names):
            assert method in TO_WORKER and (not field or f"{field}?" in TO_WORKER[method])


def test_what_is_optional_is_sent_only_to_a_worker_that_takes_it() -> None:
    assert taken("checkpoint", {"checkpoint"}) and not taken("checkpoint", {"clear", "weather"})
    assert taken("turn.cancel", ())
