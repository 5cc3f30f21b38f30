"""A roostd that waits for what hangs only a tenth as long as it would, for tests; all else is the product itself.

``python impatient.py``: what follows on the command line is ignored, so that it can be given to ``Daemon.start``.
"""

import sys

from roost.daemon import __main__ as program
from roost.daemon import app
from roost.daemon.engines import engine
from roost.daemon.process import clearing, leftovers, order
from roost.daemon.sessions import launch, shutdown

COMMAND = [sys.executable, __file__]
SETTINGS = """
[limits]
start_timeout = '5s'
[sessions]
cancel_grace = '300ms'
stop_grace = '300ms'
term_grace = '300ms'
poll = '100ms'
[checkpoints]
batch_timeout = '1s'
"""


def main() -> None:
    launch.FILE_DEADLINE = 1.0
    app.FINDING = 2.0
    clearing.CLEARING = order.AGAIN = 0.8
    leftovers.LAST_PATIENCE = 0.5
    leftovers.end_leftovers.__kwdefaults__ = {"patience": 0.2}
    shutdown.ENDING, shutdown.SETTLING = 2.0, 0.5
    engine.AGAIN = 0.3
    del sys.argv[1:]
    program.main()


if __name__ == "__main__":
    main()
