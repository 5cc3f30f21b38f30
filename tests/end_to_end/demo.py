"""``make demo``: a real daemon does its whole job on real work, in a temporary directory, and each claim is checked.

``demo_acts`` says what is done, ``demo_checks`` what must be so, ``demo_stage`` runs the daemon and its two clients.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # the tests' own modules, as pytest finds them
    from end_to_end.demo_run import main

    sys.exit(main(sys.argv[1:]))
