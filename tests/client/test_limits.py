"""Limits as options: read exactly, and refused before anything is sent."""

import argparse
from typing import Any

import pytest

from roost.client import limits, render


def parsed(*argv: str, clearable: bool = False) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    limits.add(parser, clearable=clearable)
    return limits.given(parser.parse_args(argv))


def test_only_what_was_named_is_given() -> None:
    assert parsed() == {}
    assert parsed("--memory-max", "1.5GiB", "--nofile", "1024") == {"memory_max": 1_610_612_736, "nofile": 1024}
    assert parsed("--pids-max=20", "--cpu-max=1.5") == {"pids_max": 20, "cpu_max": 1.5}


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--memory-max", "2GB", "'2GB' is no size: write 512MiB, 2GiB or 1G"),
        ("--memory-max", "0", "must be from 1 byte to 8 EiB"),
        ("--memory-max", "none", "is no size"),
        ("--pids-max", "0", "'0' is no number from 1"),
        ("--pids-max", "-1", "is no number from 1"),
        ("--pids-max", "1.5", "is no number from 1"),
        ("--nofile", "9223372036854775808", "is no number from 1"),
        ("--cpu-max", "0", "'0' is no number of processors: write 0.5, 2 or 1.5"),
        ("--cpu-max", "nan", "is no number of processors"),
        ("--cpu-max", "inf", "is no number of processors"),
        ("--cpu-max", "two", "is no number of processors"),
    ],
)
def test_what_is_none_is_said(option: str, text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentError, match=message):
        parsed(option, text)


def test_one_that_there_is_can_be_taken_away() -> None:
    assert parsed("--memory-max", "none", "--cpu-max", "2", clearable=True) == {"memory_max": "none", "cpu_max": 2.0}
    with pytest.raises(argparse.ArgumentError, match="is no number from 1"):
        parsed("--pids-max", "no", clearable=True)


def test_they_are_shown_as_they_are_typed() -> None:
    own = {"memory_max": 2**31, "pids_max": None, "cpu_max": 1.5, "nofile": 1_000_000}
    assert render.session_limits({"limits": own}) == "memory-max 2GiB, cpu-max 1.5, nofile 1000000"
    assert render.session_limits({}) == ""
