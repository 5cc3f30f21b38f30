"""Where a prompt comes from: arguments, stdin (``-``), a file, or the person's editor."""

import sys
from collections.abc import Mapping

from ..protocol.errors import InvalidParams


def read(words: list[str], file: str | None, environ: Mapping[str, str]) -> str:
    """The prompt that was given; an editor opens when none was and a person sits there.

    Raises:
        InvalidParams: none was given, more than one was, it is empty, cannot be read, or is not UTF-8.
    """
    if words and file:
        raise InvalidParams("a prompt comes from arguments or from --file, not from both")
    if file == "-" or words == ["-"]:
        return _checked(_from_stdin())
    if file:
        return _checked(_from_file(file))
    if words:
        return _checked(" ".join(words))
    if sys.stdin.isatty() and sys.stderr.isatty():
        return edit("", environ)
    raise InvalidParams("give a prompt: as arguments, with --file, or - to read it from stdin")


def edit(text: str, environ: Mapping[str, str]) -> str:
    """``text`` after a person changed it in ``$VISUAL`` or ``$EDITOR``.

    Raises:
        InvalidParams: the editor could not be started, failed, or left nothing.
    """
    import subprocess
    import tempfile

    editor = _editor(environ)
    with tempfile.NamedTemporaryFile("w", prefix="roost-", suffix=".md", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        try:
            status = subprocess.run([*editor, file.name]).returncode
        except OSError as exc:
            raise InvalidParams(f"the editor {editor[0]} cannot be started ({exc.strerror}); set EDITOR") from exc
        if status:
            raise InvalidParams(f"the editor {editor[0]} ended with exit status {status}; nothing was sent")
        return _checked(_from_file(file.name))


def _editor(environ: Mapping[str, str]) -> list[str]:
    import shlex

    try:
        return shlex.split(environ.get("VISUAL") or environ.get("EDITOR") or "vi") or ["vi"]
    except ValueError as exc:
        raise InvalidParams(f"VISUAL or EDITOR is no command ({exc}); set it to one") from exc


def _from_stdin() -> str:
    return _decoded(sys.stdin.buffer.read(), "stdin")


def _from_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return _decoded(file.read(), path)
    except OSError as exc:
        raise InvalidParams(f"the prompt's file {path} cannot be read ({exc.strerror})", path=path) from exc


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise InvalidParams(f"the prompt from {source} is not UTF-8; convert it first") from exc


def _checked(text: str) -> str:
    if not text.strip():
        raise InvalidParams("the prompt is empty; nothing was sent")
    return text
