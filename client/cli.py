"""``roost``: the verbs, each a line here and a file in ``commands/``; only the one that was asked for is imported."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module

from .. import __version__
from ..protocol.errors import RoostError
from . import arguments, status
from .invocation import Invocation

VERBS = {
    "run": "send a prompt to a new session, show what comes, exit with its status",
    "new": "make a session",
    "send": "queue a prompt in a session",
    "attach": "see a session's history, follow it, type prompts",
    "ls": "list sessions",
    "ps": "show what sessions' processes use",
    "show": "show a session or a turn",
    "log": "print what happened in a session, or in all",
    "wait": "wait for a turn's end, or until a session is at rest",
    "cancel": "cancel a turn, or what a session runs",
    "queue": "list, edit, move and remove the prompts that wait",
    "release": "let the queue of a session on hold go on",
    "start": "start a session's child",
    "stop": "cancel what runs, save the state, end the child",
    "state": "print a copy of the engine's state",
    "clear": "empty the engine's state; the session stays",
    "checkpoint": "save the engine's state under a name, or list what was saved",
    "archive": "put an idle session away",
    "unarchive": "take an archived session back",
    "rename": "name a session",
    "limit": "show or change what a session's processes may use",
    "rm": "delete a session and all that it holds",
    "daemon": "status, stats, engines, start, stop, reload, restart, run or install of roostd",
    "doctor": "tell what is fine on this host and what is not",
    "schema": "print the protocol as an OpenRPC document",
    "call": "call any method of the protocol",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; the result is its exit status."""
    # A stream that was closed by whoever started us is None; what the output cannot encode must not end it.
    sys.stdin = sys.stdin or open(os.devnull)
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        try:
            return _main(sys.argv[1:] if argv is None else argv)
        except SystemExit:  # argparse has printed its help
            sys.stdout.flush()
            raise
    except KeyboardInterrupt:
        return status.INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return status.BROKEN_PIPE
    except OSError as exc:
        if exc.filename is not None:
            raise
        # What else fails was named where it failed; what is left is writing the output.
        _give_up_output()
        sys.stderr.write(f"roost: the output cannot be written: {exc.strerror}\n")
        return status.FAILED


def _give_up_output() -> None:
    """What is still buffered must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(argv: list[str]) -> int:
    options = argparse.Namespace(socket=None, state=None, no_start=False, json=False, quiet=False)
    if not argv or argv[0] not in VERBS:
        argv = _top(argv, options)
    verb = import_module(f".commands.{argv[0]}", __package__)
    parser = arguments.Parser(prog=f"roost {argv[0]}", description=verb.__doc__, formatter_class=arguments.formatter)
    verb.arguments(parser)
    arguments.add_global(parser)
    parsed = parser.parse(argv[1:], options)
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as __main__ leaves it: now a Ctrl-C can be dealt with
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return _run(verb.run, parsed)


def _run(verb: Callable[[Invocation], int], options: argparse.Namespace) -> int:
    invocation = Invocation(options, os.environ)
    try:
        result = verb(invocation)
        invocation.writer.flush()
        return result
    except RoostError as exc:
        invocation.writer.error(exc)
        return status.of_error(exc.wire_name, exc.code)
    finally:
        invocation.close()


def _top(argv: list[str], options: argparse.Namespace) -> list[str]:
    """Read the options that stand before the verb into ``options``; the rest is the verb and its own."""
    verbs = "".join(f"  {verb:<12}{line}\n" for verb, line in VERBS.items())
    parser = arguments.Parser(
        prog="roost",
        usage="roost [options] VERB ...",
        description="Supervise sessions of AI agents. `roost VERB --help` tells more.",
        epilog=f"verbs:\n{verbs}",
        formatter_class=arguments.formatter,
    )
    arguments.add_global(parser)
    parser.add_argument("--version", action="version", version=f"roost {__version__}")
    parser.add_argument("words", nargs=argparse.PARSER, help=argparse.SUPPRESS)
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(status.USAGE)
    words: list[str] = parser.parse_args(argv, options).words
    if words[0] not in VERBS:
        parser.error(f"there is no verb {words[0]!r}{_nearest(words[0])}")
    return words


def _nearest(verb: str) -> str:
    from difflib import get_close_matches

    return "".join(f", did you mean {name}?" for name in get_close_matches(verb, VERBS, 1))
