"""The built-in worker ``shell``: each prompt is a command line, run by bash (sh where there is none) in the workspace.

Working directory and exported environment carry over from turn to turn and are the state. They are learnt from a trap
on the shell's exit, which writes them into a file in memory that no command inherits.
"""

from __future__ import annotations

import os

from ..protocol.errors import InvalidParams, TurnFailed
from .command import Command
from .sdk import run
from .turn import Turn

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

LONGEST_TITLE = 1000
LAST_SIGNAL = 64
OWN = (b"PWD", b"SHLVL", b"_")
"""Exported names that a shell sets by itself."""

_CD = (
    r"""[ \t]*cd(?P<options>(?:[ \t]+-[LPe@]+)*(?:[ \t]+--)?)"""
    r"""(?:[ \t]+(?:'(?P<single>[^'\n]*)'|"(?P<double>[^"$`\\!\n]*)"|(?P<bare>[\w.,:+@%=/~-]+)))?[ \t]*"""
)
"""A prompt that goes to another directory and does nothing else."""

Changes = dict[bytes, bytes | None]


class Shell:
    """A working directory and a changed environment, and turns that use and change them."""

    def __init__(self) -> None:
        self._base = dict(os.environb)
        self._cwd = self._home = os.getcwdb()
        self._changes: Changes = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._report = os.memfd_create("roost-report")
        self._preface = os.memfd_create("roost-preface")

    def __repr__(self) -> str:
        return f"<Shell cwd={os.fsdecode(self._cwd)} changed={len(self._changes)}>"

    # --- state ---

    def checkpoint(self) -> dict[str, Any]:
        """``{cwd, env}``: env holds what differs from the environment that the worker was started with, null = unset.

        Values are str, or bytes where they are not UTF-8. Secrets given to the worker are not in it.
        """
        env = {name.decode(): None if value is None else _portable(value) for name, value in self._changes.items()}
        return {"cwd": _portable(self._cwd), "env": env}

    def restore(self, state: Any) -> None:
        """Go on from a state, or from the beginning (None).

        Raises:
            InvalidParams: it is not a state of this worker.
        """
        match state:
            case None:
                self._cwd, self._changes = self._home, {}
            case {"cwd": cwd, "env": dict()} if len(state) == 2:
                variables: dict[str, Any] = state["env"]
                changes = dict(_variable(name, value) for name, value in variables.items())
                self._cwd = _bytes("cwd", cwd)
                self._changes = {name: value for name, value in changes.items() if _carried(name)}
            case _:
                raise InvalidParams("this is not a state of the shell worker: it has cwd and env", field="state")

    # --- a turn ---

    def turn(self, turn: Turn) -> None:
        """Run the prompt as a command line; its exit status decides."""
        line, lost = self._entered(turn)
        environment = self._environment()
        with turn.item("command", title=turn.input[:LONGEST_TITLE]) as item:
            command = self._start(line, environment)
            turn.on_cancel(lambda: os.eventfd_write(self._wake, 1))
            code = turn.exit_code = command.run(item.write)
            state = "cancelled" if turn.cancelled.is_set() else "failed" if code else "completed"
            item.end(state, exit_code=code)
        if not (lost and code):  # else the directory that it ran in is none that anybody has chosen
            self._learn(turn)
        if code:
            signal = f" (signal {code - 128})" if 128 < code <= 128 + LAST_SIGNAL else ""
            raise TurnFailed(f"the command ended with status {code}{signal}", exit_code=code)

    def _entered(self, turn: Turn) -> tuple[str, bool]:
        """The line to run; and whether the working directory is lost, so that the line only leaves it.

        Raises:
            TurnFailed: the working directory cannot be entered. Run elsewhere, the line would hit other files.
        """
        try:
            os.chdir(self._cwd)
            return turn.input, False
        except OSError as exc:
            import re  # else no worker needs it, and it is large

            leaving = re.fullmatch(_CD, turn.input)
            if leaving is None:
                gone = f"the working directory {_shown(self._cwd)} cannot be entered ({exc.strerror})"
                other = "DIRECTORY" if self._cwd == turn.workspace.encode() else turn.workspace
                text = f"{gone}, and nothing was run; make it again, or go to another: cd {other}"
                raise TurnFailed(text, directory=_shown(self._cwd), workspace=turn.workspace) from exc
        os.chdir("/")
        return self._absolute(turn.input, leaving.groupdict()), True

    def _absolute(self, line: str, cd: dict[str, Any]) -> str:
        """The same ``cd``; a relative directory begins at the one that is gone."""
        target = cd["single"] or cd["double"] or cd["bare"]
        if not target or target == "-" or target.startswith("/") or (cd["bare"] or "").startswith("~"):
            return line
        path = os.path.normpath(os.path.join(self._cwd, target.encode()))
        return f"cd {cd['options']} {_quoted(path).decode(errors='surrogateescape')}"

    def _environment(self) -> dict[bytes, bytes]:
        changed = {**self._base, **self._changes, b"PWD": self._cwd}
        return {name: value for name, value in changed.items() if value is not None}

    def _start(self, line: str, environment: dict[bytes, bytes]) -> Command:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass  # no cancel of an earlier turn came late
        os.ftruncate(self._report, 0)
        tell = r'command pwd; command printf "\0"; /usr/bin/env -0 && echo'  # PWD need not be exported, nor be true
        trap = f"trap '{{ {tell}; }} 2>/dev/null >|{_path(self._report)}' EXIT\n"
        try:
            try:
                self._write_preface(trap, environment)
                bash = {**environment, b"BASH_ENV": _path(self._preface).encode()}
                return Command(["bash", "-c", "--", line], bash, self._wake)
            except FileNotFoundError:
                return Command(["sh", "-c", trap + line], environment, self._wake)
        except (OSError, ValueError) as error:
            text = f"the command cannot be started: {error}; a line has at most 131,071 bytes and no NUL: use a file"
            raise TurnFailed(text, bytes=len(line.encode())) from error

    def _write_preface(self, trap: str, environment: dict[bytes, bytes]) -> None:
        """What bash reads by BASH_ENV before the line, whose line numbers and ``$0`` so stay its own."""
        user = environment.get(b"BASH_ENV")
        own = b"unset BASH_ENV\n"
        if user is not None:
            own = b'BASH_ENV=%b\n[ -r "$BASH_ENV" ] && . "$BASH_ENV"\n' % _quoted(user)
        os.ftruncate(self._preface, 0)
        os.pwrite(self._preface, trap.encode() + own, 0)

    def _learn(self, turn: Turn) -> None:
        """Take over directory and environment, if the shell lived to tell."""
        report = os.pread(self._report, os.fstat(self._report).st_size, 0)
        if report.endswith(b"\0\n"):
            self._take_over(*report[:-2].split(b"\0"))
        elif turn.cancelled.is_set():
            pass
        elif report.find(b"\0") == len(report) - 1 >= 0:
            self._cwd = report[:-1].removesuffix(b"\n") or self._cwd
            text = "/usr/bin/env cannot be run, as beside an exported variable over 128 KiB, to tell the environment"
            turn.emit("status", f"{text}: the variables from before the command stay")
        else:
            text = "the shell did not tell its directory and environment (exec, a kill, or its own trap on EXIT)"
            turn.emit("status", f"{text}: those from before the command stay")

    def _take_over(self, directory: bytes, *entries: bytes) -> None:
        env = dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)
        self._cwd = directory.removesuffix(b"\n") or env.get(b"PWD", self._cwd)
        names = {name for name in self._base.keys() | env.keys() if _carried(name)}
        self._changes = {name: env.get(name) for name in names if env.get(name) != self._base.get(name)}


def _carried(name: bytes) -> bool:
    return name not in OWN and not name.startswith(b"ROOST_") and name.isascii()


def _path(descriptor: int) -> str:
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _quoted(value: bytes) -> bytes:
    return b"'" + value.replace(b"'", b"'\\''") + b"'"


def _portable(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "replace")


def _variable(name: str, value: Any) -> tuple[bytes, bytes | None]:
    if not name or "=" in name:
        raise InvalidParams(f"the shell's state has a variable named {name!r}", field="env")
    return _bytes("a name", name), None if value is None else _bytes(name, value)


def _bytes(name: str, value: Any) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    if not isinstance(encoded, bytes) or b"\0" in encoded:
        raise InvalidParams(f"the shell's state: {name} must be text or bytes without NUL", field=name)
    return encoded


def main() -> None:
    shell = Shell()
    run(shell.turn, checkpoint=shell.checkpoint, restore=shell.restore, name="shell")


if __name__ == "__main__":
    main()
