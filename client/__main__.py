"""``python -m roost.client`` is the command ``roost``."""

import sys

from .cli import main

sys.exit(main())
