"""Settings with engines for tests: the odd worker in each of its modes, and programs of kind command."""

import json
import sys
from pathlib import Path

ODD = Path(__file__).parent / "odd_worker.py"
DIARY = Path(__file__).parent / "diary_worker.py"
MODES = ("well", "rubbish", "exit", "mute", "old", "lazy", "stubborn")


def diary(file: Path, answer: str, last: str) -> list[str]:
    """The command of a worker that writes to ``file`` what it meets; see there."""
    return [sys.executable, str(DIARY), str(file), answer, last]


def engines(extra: str = "") -> str:
    """TOML: engine ``odd`` (well), ``odd-rubbish``, …, ``missing`` (no such program), ``echo`` and ``cat``."""
    parts = [extra]
    for mode in MODES:
        name = "odd" if mode == "well" else f"odd-{mode}"
        parts.append(f"[engines.{name}]\nkind = 'worker'\ncommand = {json.dumps([sys.executable, str(ODD), mode])}")
    refusing = [sys.executable, str(ODD), "refuses", "session_archived"]
    parts.append(f"[engines.odd-refuses]\nkind = 'worker'\ncommand = {json.dumps(refusing)}")
    parts.append("[engines.missing]\nkind = 'worker'\ncommand = ['/no/such/program']")
    parts.append("[engines.echo]\nkind = 'command'\ncommand = ['echo']")
    parts.append("[engines.cat]\nkind = 'command'\ncommand = ['cat']\nprompt = 'stdin'")
    parts.append("[engines.sh]\nkind = 'command'\ncommand = ['sh', '-c']")
    return "\n".join(parts)
