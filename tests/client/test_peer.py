"""A client says nothing to a listener that is another user's, and says whose it is."""

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roost.client import aio, peer
from roost.client.connection import Connection
from roost.protocol.errors import InvalidSettings, PeerUntrusted

NOBODY = 65534
LISTEN = """
import os, socket, sys
os.setgid(65534), os.setuid(65534)
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("listening", flush=True)
for _ in range(int(sys.argv[2])):
    client, _ = server.accept()
    print(len(client.recv(65536)), flush=True)
    client.close()
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can have another user listen")


@contextmanager
def listening(path: Path, clients: int = 1) -> Generator["subprocess.Popen[str]"]:
    """A program of uid 65534 that listens there, and prints how many bytes each client said first."""
    command = [sys.executable, "-c", LISTEN, str(path), str(clients)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout and program.stdout.readline() == "listening\n"
        try:
            yield program
        finally:
            program.kill()


def heard(program: "subprocess.Popen[str]") -> int:
    assert program.stdout is not None
    return int(program.stdout.readline())


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A directory that everybody may write to, as /tmp is, where a path is short."""
    folder = Path(f"/tmp/roost-peer-{os.getpid()}")
    folder.mkdir(mode=0o777)
    folder.chmod(0o1777)
    yield folder
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def test_a_client_of_the_command_line_says_nothing_to_another_user(place: Path) -> None:
    with listening(place / "s") as program:
        with pytest.raises(PeerUntrusted, match=f"uid {NOBODY}.*ROOST_TRUSTED_UIDS={NOBODY}") as caught:
            Connection(str(place / "s"))
        assert heard(program) == 0
    assert caught.value.data == {"uid": NOBODY, "path": str(place / "s")}


async def test_a_trio_client_says_nothing_to_another_user(place: Path) -> None:
    with listening(place / "s") as program:
        with pytest.raises(PeerUntrusted):
            async with aio.connect(str(place / "s")):
                raise AssertionError("it was greeted")
        assert heard(program) == 0


def test_the_command_says_whose_it_is_and_exits_with_7(place: Path) -> None:
    environ = {**os.environ, "ROOST_SOCKET": str(place / "s")}
    with listening(place / "s", clients=2) as program:
        done = subprocess.run([sys.executable, "-m", "roost.client", "ls"], env=environ, capture_output=True, text=True)
        assert done.returncode == 7 and "peer_untrusted" in done.stderr and heard(program) == 0
        trusted = {**environ, peer.VARIABLE: f"1, {NOBODY}"}
        done = subprocess.run([sys.executable, "-m", "roost.client", "ls"], env=trusted, capture_output=True, text=True)
        assert done.returncode == 7 and "peer_untrusted" not in done.stderr and heard(program) > 0


def test_a_directory_of_another_user_is_not_trusted_though_the_listener_is(place: Path) -> None:
    os.chown(place, NOBODY, NOBODY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place / "s"))
        server.listen()
        with pytest.raises(PeerUntrusted, match=f"{place}, where the socket .* belongs to uid {NOBODY}"):
            Connection(str(place / "s"))
        client, _ = server.accept()
        with client:
            assert client.recv(100) == b""


def test_users_are_trusted_by_name_too_and_an_unknown_one_is_an_error(place: Path) -> None:
    credentials = (1).to_bytes(4, sys.byteorder) + NOBODY.to_bytes(4, sys.byteorder) + bytes(4)
    peer.check(credentials, str(place / "s"), {peer.VARIABLE: "nobody"})
    with pytest.raises(InvalidSettings, match="'no-such-user'"):
        peer.check(credentials, str(place / "s"), {peer.VARIABLE: "no-such-user"})
