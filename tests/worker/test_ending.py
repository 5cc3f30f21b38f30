"""How a worker ends what it started, seen from outside of the process that does it."""

import json
import subprocess
import sys
import uuid

import pytest

from helpers.children import ENV, marked
from helpers.daemon import alive

PROGRAM = """
import json, os, subprocess, sys, time
from roost.worker import ending
looks = 0

def audit(event, args):
    global looks
    looks += event == "os.listdir" and args[0] == "/proc"

sys.addaudithook(audit)
pids = []
{code}
ending.end_started()
print(json.dumps([looks, pids]))
"""


def ended(code: str) -> tuple[int, list[int]]:
    """How often it looked through /proc, and what the code started."""
    command = [sys.executable, "-c", PROGRAM.format(code=code)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 0, done.stderr
    looks, pids = json.loads(done.stdout)
    return looks, pids


def test_one_that_started_nothing_does_not_look_for_it() -> None:
    assert ended("") == (0, [])


@pytest.mark.parametrize(
    "code",
    [
        "pids.append(subprocess.Popen(['sleep', '600']).pid)",
        "pids.append(int(subprocess.run(['sh', '-c', 'sleep 600 >&- 2>&- & echo $!'], capture_output=True).stdout))",
    ],
    ids=["a child", "what a child left"],
)
def test_what_it_started_is_ended(code: str) -> None:
    looks, [pid] = ended(code)
    assert looks and not alive(pid)


def test_what_ignores_sigterm_is_killed_however_long_a_look_takes() -> None:
    """On a busy machine the first look may be over when all its time is."""
    mark = f"MARK={uuid.uuid4().hex}"
    slow = f"""
os.environ.update([{mark!r}.split('=')])
look, kill = ending.started, os.kill

class YoungestFirst(set):
    def __iter__(self):
        return iter(sorted(frozenset(self), reverse=True))

ending.started = lambda: (YoungestFirst(look()), time.sleep(2 * (ending.TERM_GRACE + ending.KILL_GRACE)))[0]
os.kill = lambda *args: (kill(*args), time.sleep(0.02))
deaf = ['sh', '-c', "trap '' TERM; echo; while :; do sleep 600; done"]
for it in [subprocess.Popen(deaf, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(8)]:
    it.stdout.readline()
"""
    ended(slow)
    assert not list(marked(mark)), "nor what it forked between two looks"
