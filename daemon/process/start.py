"""Starting a program by posix_spawn(3): only the thread that does it waits for the file systems that it needs.

Popen and os.posix_spawn hold the interpreter's lock until the program is there: on a dead mount that is for ever.
"""

import ctypes
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

_libc = ctypes.CDLL(None)
_SETSIGDEF, _SETSID = 0x04, 0x80
_ENOUGH = 1024
"""Bytes for each of libc's records: glibc's largest has 336."""
_DEFAULT_SIGNALS = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}
"""A program expects no signal to be ignored, neither by the interpreter's doing nor by that of nohup."""
_CAN_CLOSE = hasattr(_libc, "posix_spawn_file_actions_addclosefrom_np")


def start(path: str, command: Sequence[str], *, cwd: str, env: Mapping[str, str], pipes: Sequence[int]) -> int:
    """Run ``path`` in a session of its own; its pid.

    Args:
        path: of the program; a relative one begins at ``cwd``. command: its arguments, its name first.
        pipes: its stdin, stdout and stderr, which are not this daemon's own. It has no other descriptor.

    Raises:
        OSError: the program cannot be started, or ``cwd`` cannot be entered.
        ValueError: an argument or a variable has a NUL.
    """
    pid = ctypes.c_int()
    with ExitStack() as undo:
        actions, attributes = (ctypes.create_string_buffer(_ENOUGH) for _ in range(2))
        _do("posix_spawn_file_actions_init", actions)
        undo.callback(_libc.posix_spawn_file_actions_destroy, actions)
        _do("posix_spawnattr_init", attributes)
        undo.callback(_libc.posix_spawnattr_destroy, attributes)
        _do("posix_spawnattr_setflags", attributes, ctypes.c_short(_SETSIGDEF | _SETSID))
        _do("posix_spawnattr_setsigdefault", attributes, _signals())
        for number, pipe in enumerate(pipes):
            _do("posix_spawn_file_actions_adddup2", actions, pipe, number)
        if _CAN_CLOSE:  # an older libc: descriptors that the daemon inherited go on to the child
            _do("posix_spawn_file_actions_addclosefrom_np", actions, 3)
        _do("posix_spawn_file_actions_addchdir_np", actions, _text(cwd))
        variables = [f"{name}={value}" for name, value in env.items()]
        _do("posix_spawn", ctypes.byref(pid), _text(path), actions, attributes, _array(command), _array(variables))
    return pid.value


def _do(function: str, *args: object) -> None:
    if code := getattr(_libc, function)(*args):
        raise OSError(code, os.strerror(code))


def _signals() -> ctypes.Array[ctypes.c_char]:
    """A sigset_t."""
    mask = sum(1 << (number - 1) for number in _DEFAULT_SIGNALS)
    return ctypes.create_string_buffer(mask.to_bytes(8, "little"), 128)


def _text(text: str) -> bytes:
    data = os.fsencode(text)
    if b"\0" in data:
        raise ValueError("embedded null byte")
    return data


def _array(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(texts) + 1))(*map(_text, texts), None)
