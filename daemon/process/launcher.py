"""The launcher, which a child is before it is its program: a line of shell that enters a cgroup, then execs.

The pid and the arguments stay, and the program never runs outside its cgroup. A launcher that cannot do its part ends
with exit status 125 and a line on stderr that begins with ``roost: this child cannot``; see :func:`refusal`.
"""

import errno
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence

STATUS = 125
_SAID = re.compile(r"^roost: (this child cannot .*)$", re.MULTILINE)
_ENTER = f'echo $$ >"$1" || {{ echo "roost: this child cannot enter its cgroup, by $1" >&2; exit {STATUS}; }}; shift'
_LOWER = f'ulimit -n "$1" || {{ echo "roost: this child cannot have $1 descriptors" >&2; exit {STATUS}; }}; shift'
# A shell drops variables whose names it cannot say, and sets these itself.
_CARRIED = re.compile(r"(?!(IFS|OPTIND|PPID|PS4|PWD|OLDPWD|UID|EUID|SHELLOPTS|BASHOPTS)$)[A-Za-z_][A-Za-z0-9_]*")
_EXACT = f"""
import os, resource, sys
procs, nofile, *command = sys.argv[1:]
try:
    if procs:
        told = f"enter its cgroup, by {{procs}}"
        with open(procs, "w") as file:
            file.write(str(os.getpid()))
    if nofile:
        told = f"have {{nofile}} descriptors"
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(nofile), int(nofile)))
    told = f"be {{command[0]}}"
    with open("/proc/self/environ", "rb") as file:
        env = dict(entry.split(b"=", 1) for entry in file.read().split(b"\\0") if b"=" in entry)
    os.execve(command[0], command, env)
except (OSError, ValueError) as error:
    sys.stderr.write(f"roost: this child cannot {{told}}: {{error}}\\n")
    os._exit({STATUS})
"""


def launcher(
    command: Sequence[str], cgroup_procs: str | None, nofile: int | None, *, names: Iterable[str] = ()
) -> list[str]:
    """The command that enters the cgroup, lowers the limit of descriptors, and execs ``command``.

    With nothing to do it is ``command`` itself. Otherwise the program must be a path, see :func:`resolved`.

    Args:
        cgroup_procs: the cgroup's file ``cgroup.procs``.
        names: of the variables that the child has. Where a shell would lose one, the launcher is a Python: 10 ms.
    """
    if cgroup_procs is None and nofile is None:
        return list(command)
    procs, limit = cgroup_procs or "", str(nofile or "")
    if not all(map(_CARRIED.fullmatch, names)):
        return [sys.executable, "-I", "-S", "-c", _EXACT, procs, limit, *command]
    lines = [line for line, asked in ((_ENTER, procs), (_LOWER, limit)) if asked]
    return ["/bin/sh", "-c", "; ".join([*lines, 'exec "$@"']), "sh", *filter(None, (procs, limit)), *command]


def refusal(returncode: int | None, stderr: str) -> str | None:
    """The reason why the launcher could not do its part; None: it did, and the exit status is the program's own."""
    said = _SAID.search(stderr) if returncode == STATUS else None
    return said[1] if said else None


def resolved(program: str, cwd: str, env: Mapping[str, str]) -> str:
    """The path that an exec of ``program`` in ``cwd`` finds: a shell would not say in which way the exec fails.

    Raises:
        FileNotFoundError, PermissionError: as that exec does; also when the interpreter of a script is missing.
    """
    folders = [""] if "/" in program else os.get_exec_path(env)
    found = [path for folder in folders if os.path.isfile(path := os.path.join(cwd, folder, program))]
    usable = next((path for path in found if os.access(path, os.X_OK)), None)
    if usable is None:
        code = errno.EACCES if found else errno.ENOENT
        raise OSError(code, os.strerror(code), program)  # the class follows from the code
    if (interpreter := _interpreter(usable)) and not os.path.exists(interpreter):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), usable)
    return usable


def _interpreter(path: str) -> str | None:
    """The program that a script names in its first line; None: the file is no script, or may not be read."""
    try:
        with open(path, "rb") as file:
            line = file.read(256).partition(b"\n")[0]
    except OSError:
        return None
    words = line[2:].split()
    return os.fsdecode(words[0]) if line.startswith(b"#!") and words else None
