"""Tables in a terminal's width: what a person must read is whole, what is long gives way."""

import io

import pytest

from roost.client.render import Table
from roost.client.screen import draw


def drawn(monkeypatch: pytest.MonkeyPatch, table: Table, width: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    draw(table, stream, colour=False)
    return stream.getvalue().splitlines()


def test_in_80_columns_only_what_may_give_way_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    header = ("SESSION", "NAME", "ENGINE", "STATE", "QUEUE", "AGE", "WORKSPACE", "NOTE")
    row = ("s-abcdefghijklmnop", "a-name-of-nineteen", "thinking", "stopping", "12345", "12d", "/home/me/" + "x" * 40)
    lines = drawn(monkeypatch, Table(header, [(*row, "on hold: interrupted")]), 80)
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:1] + lines[1].split()[2:6] == [row[0], *row[2:6]]
    assert lines[1].split()[1].startswith("a-name-")


def test_what_is_found_is_wrapped_and_whether_it_is_fine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    advice = "of the host: run it as a service with Delegate=yes, or name a cgroup that it may use in daemon.cgroup"
    lines = drawn(monkeypatch, Table(("", "CHECK", "FOUND"), [("NOT OK", "cgroup", advice), ("ok", "pidfd", "")]), 60)
    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("NOT OK  cgroup  of the host")
    assert " ".join(" ".join(lines[1:-1]).split()) == f"NOT OK cgroup {advice}"


def test_a_table_without_rows_is_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [line.rstrip() for line in drawn(monkeypatch, Table(("CHECKPOINT", "AGE"), []), 80)] == ["CHECKPOINT  AGE"]
