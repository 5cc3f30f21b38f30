"""Tell what is fine here and what is not, and what to do. No daemon is started.

Exit status: 0 all is fine, 1 something is not.
"""

from .. import checks
from ..arguments import Parser
from ..invocation import Invocation
from ..render import Table, clean
from ..status import FAILED, OK


def arguments(parser: Parser) -> None:
    pass


def run(invocation: Invocation) -> int:
    found = list(checks.all_checks(invocation.environ))
    writer = invocation.writer
    if writer.json:
        for check in found:
            writer.record(check)
    else:
        rows = [("ok" if check["ok"] else "NOT OK", check["name"], clean(check["message"])) for check in found]
        writer.table(Table(("", "CHECK", "FOUND"), rows))
    return OK if all(check["ok"] for check in found) else FAILED
