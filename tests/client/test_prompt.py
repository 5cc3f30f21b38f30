"""Where a prompt comes from."""

import io
import sys
from pathlib import Path

import pytest

from roost.client import prompt
from roost.protocol.errors import InvalidParams


def test_words_are_joined() -> None:
    assert prompt.read(["make", "test"], None, {}) == "make test"


@pytest.mark.parametrize(("words", "file"), [(["-"], None), ([], "-")])
def test_a_dash_is_stdin(words: list[str], file: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ü\n".encode())))
    assert prompt.read(words, file, {}) == "ü\n"


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from a file")
    assert prompt.read([], str(tmp_path / "p"), {}) == "from a file"
    with pytest.raises(InvalidParams, match="cannot be read"):
        prompt.read([], str(tmp_path), {})


def test_an_editor_changes_the_text_and_its_file_goes(tmp_path: Path) -> None:
    editor = tmp_path / "an editor"
    editor.write_text(f'#!/bin/sh\necho "$2" > {tmp_path}/name\ncat "$2" > {tmp_path}/seen\necho changed > "$2"\n')
    editor.chmod(0o700)
    assert prompt.edit("before", {"EDITOR": f"'{editor}' --wait"}) == "changed\n"
    assert (tmp_path / "seen").read_text() == "before"
    assert not Path((tmp_path / "name").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("editor", "message"),
    [("false", "exit status 1"), ("true", "is empty"), ("/nowhere/ed", "cannot be started"), ("'", "EDITOR")],
)
def test_an_editor_that_leaves_no_prompt(editor: str, message: str) -> None:
    with pytest.raises(InvalidParams, match=message):
        prompt.edit("", {"VISUAL": editor})
