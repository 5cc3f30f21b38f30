"""The command's arguments, without a daemon."""

import argparse
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from roost.client import arguments, cli
from roost.protocol.methods import METHODS

NEED_NO_VERB = {
    "hello": "every connection begins with it",
    "rpc.cancel": "a deadline or Ctrl-C does it",
    "events.unsubscribe": "leaving does it",
}


def parse(*argv: str) -> argparse.Namespace:
    """What a verb would be run with."""
    verb = import_module(f"roost.client.commands.{argv[0]}")
    parser = arguments.Parser(prog="roost", formatter_class=arguments.formatter)
    verb.arguments(parser)
    arguments.add_global(parser)
    return parser.parse(list(argv[1:]), argparse.Namespace(json=False))


def named_in_first_line(verb: str) -> set[str]:
    first = (import_module(f"roost.client.commands.{verb}").__doc__ or "").splitlines()[0]
    return set(re.findall(r"[a-z]+\.[a-z]+", first))


def test_every_method_has_a_verb_that_names_it_or_needs_none() -> None:
    named = set[str]().union(*(named_in_first_line(verb) for verb in cli.VERBS))
    assert named | set(NEED_NO_VERB) == set(METHODS)
    assert not named & set(NEED_NO_VERB)


def source_of(module: str) -> str:
    return Path(str(import_module(f"roost.client.{module}").__file__)).read_text()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_names_methods_that_it_asks(verb: str) -> None:
    source = source_of(f"commands.{verb}")
    for shared in re.findall(r"from \.\.(content|creation|history|sessions|stderr|stopping|stream) import", source):
        source += source_of(shared)
    named = named_in_first_line(verb) - {"rpc.discover"}
    assert [method for method in named if f'"{method}"' not in source] == []


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_tells_what_it_does(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(verb, "--help")
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_options_may_stand_among_the_words_of_a_prompt() -> None:
    args = parse("send", "api", "-w", "make", "--timeout", "5m", "test")
    assert (args.session, args.prompt, args.wait, args.timeout) == ("api", ["make", "test"], True, 300_000)
    assert parse("run", "make test", "-d").prompt == ["make test"]
    assert parse("run", "--", "ls", "-la").prompt == ["ls", "-la"]


def test_an_option_of_the_prompts_own_is_not_taken_silently(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("run", "make", "-j4")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("roost: ")


@pytest.mark.parametrize(
    ("text", "milliseconds"), [("90", 90_000), ("1.5s", 1500), ("200ms", 200), ("5m", 300_000), ("2h", 7_200_000)]
)
def test_durations(text: str, milliseconds: int) -> None:
    assert arguments.duration(text) == milliseconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-1", "0", "nan", "inf", "1e999", "5 m 3"])
def test_no_durations(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration"):
        arguments.duration(text)


def test_what_follows_an_end() -> None:
    assert parse("new", "--after", "failed=retry", "--after", "cancelled=continue").after == [
        ("failed", "retry"),
        ("cancelled", "continue"),
    ]
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.after("completed=hold")


@pytest.mark.parametrize("text", ["-1", "x", "²", ""])
def test_no_counts(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.count(text)


def roost(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "roost.client", *argv], capture_output=True, text=True)


def test_help_lists_every_verb_in_a_line() -> None:
    lines = roost("--help").stdout.splitlines()
    for verb, line in cli.VERBS.items():
        assert any(re.fullmatch(rf"  {verb} +{re.escape(line)}", found) for found in lines)


def test_without_a_verb_it_is_wrong_usage_and_says_what_there_is() -> None:
    done = roost()
    assert (done.returncode, done.stdout) == (2, "")
    assert "verbs:" in done.stderr


def test_an_unknown_verb_names_the_nearest() -> None:
    done = roost("--json", "lss")
    assert done.returncode == 2
    assert done.stderr == "roost: there is no verb 'lss', did you mean ls?; see `roost --help` (usage)\n"


def test_the_version_is_told_without_a_daemon() -> None:
    assert re.fullmatch(r"roost \d+\.\d+.*\n", roost("--version").stdout)


def test_schema_needs_no_daemon() -> None:
    assert '"openrpc"' in roost("schema").stdout
