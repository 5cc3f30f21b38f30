"""The stderr of a session's children: the kept part of it, its last lines, or on and on."""

import codecs
import time

from ..protocol.errors import SessionNotFound
from .invocation import Invocation, Record
from .status import OK, of_end

_PAGE_BYTES = 262_144
_LOOK_SECONDS = 0.25
"""Between two looks at whether there is more."""


def show(invocation: Invocation, session: Record) -> int:
    """Print it, from ``--after`` on, or the last ``-n`` lines; with ``-f`` for ever. The result is the exit status."""
    args, writer, text = invocation.args, invocation.writer, Text()
    pages = _kept(invocation, session["id"], args.after or 0, text)
    _print(invocation, session["id"], pages if args.n is None else _last_lines(pages, args.n))
    while args.follow:
        writer.flush()
        time.sleep(_LOOK_SECONDS)
        try:
            pages = _kept(invocation, session["id"], pages[-1]["next"], text)
        except SessionNotFound:
            writer.warn("roost: the session was deleted, and what it wrote with it")
            return of_end("session_deleted")
        _print(invocation, session["id"], pages)
    return OK


class Text:
    """The characters of pages that are cut at bytes; what is no UTF-8 is replaced."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def of(self, page: Record, *, whole: bool) -> str:
        """The page's text; ``whole``: it is all there is, and a character that it cuts stays cut."""
        return self._decode(page["data"], whole)


def _kept(invocation: Invocation, session: str, offset: int, text: Text) -> list[Record]:
    """One page at least, from ``offset`` to what is the end now: a child may write faster than anybody reads.

    ``missed`` of a page: bytes before it that are not kept any more.
    """
    pages: list[Record] = []
    while not pages or (pages[-1]["data"] and offset < pages[0]["bytes"]):
        page = invocation.call("session.stderr", session=session, offset=offset, limit=_PAGE_BYTES)
        whole = not invocation.args.follow and page["next"] >= page["bytes"]
        pages.append({**page, "missed": max(page["offset"] - offset, 0), "content": text.of(page, whole=whole)})
        offset = page["next"]
    return pages


def _last_lines(pages: list[Record], count: int) -> list[Record]:
    *whole, rest = "".join(page["content"] for page in pages).split("\n")
    lines = [line + "\n" for line in whole] + [rest] * bool(rest)
    return [{**pages[-1], "content": "".join(lines[max(len(lines) - count, 0) :]), "missed": 0}]


def _print(invocation: Invocation, session: str, pages: list[Record]) -> None:
    writer = invocation.writer
    for page in pages:
        if page["missed"] and not writer.json:
            writer.warn(f"roost: {page['missed']} bytes of older output are gone")
        if not page["content"]:
            continue
        if writer.json:
            about = {"missed": page["missed"], "next": page["next"]}
            writer.record({"session": session, "content": page["content"], **about})
        else:
            writer.write(page["content"])
