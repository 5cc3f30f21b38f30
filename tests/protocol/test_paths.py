"""Where the state directory and the socket are."""

import pytest

from roost.protocol.errors import InvalidSettings, SocketPathTooLong
from roost.protocol.paths import Paths, resolve

H = "/h/.local/state/roost"


@pytest.mark.parametrize(
    ("environ", "state", "socket"),
    [
        ({"HOME": "/h"}, H, f"{H}/run/roost.sock"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "/x/roost", "/x/roost/run/roost.sock"),
        ({"HOME": "/h", "XDG_STATE_HOME": "x"}, H, f"{H}/run/roost.sock"),
        ({"HOME": "/h", "XDG_RUNTIME_DIR": "/run/u"}, H, "/run/u/roost/roost.sock"),
        ({"ROOST_STATE_DIRECTORY": "/s/", "XDG_RUNTIME_DIR": "/run/u"}, "/s", "/s/run/roost.sock"),
        ({"ROOST_STATE_DIRECTORY": "/s", "ROOST_SOCKET": "/a.sock"}, "/s", "/a.sock"),
        # A client in some other service must not take that service's directories for the daemon's.
        (
            {"HOME": "/h", "STATE_DIRECTORY": "/o", "RUNTIME_DIRECTORY": "/o", "XDG_RUNTIME_DIR": "/r"},
            H,
            "/r/roost/roost.sock",
        ),
    ],
)
def test_the_environment_says_where(environ: dict[str, str], state: str, socket: str) -> None:
    found = resolve(environ)
    assert found == Paths(state, socket, f"{state}/lock", "ROOST_SOCKET" in environ)


def test_the_daemon_under_systemd_takes_the_directories_made_for_it() -> None:
    environ = {"STATE_DIRECTORY": "/var/lib/roost/me:/more", "RUNTIME_DIRECTORY": "/run/roost", "HOME": "/h"}
    paths = resolve(environ, service=True)
    assert (paths.state, paths.socket) == ("/var/lib/roost/me", "/run/roost/roost.sock")


def test_an_argument_wins_over_the_environment() -> None:
    environ = {"ROOST_STATE_DIRECTORY": "/s", "ROOST_SOCKET": "/a.sock"}
    assert resolve(environ, state="/t", socket="/b.sock") == Paths("/t", "/b.sock", "/t/lock", True)


def test_without_home_it_says_what_to_set() -> None:
    with pytest.raises(InvalidSettings, match="ROOST_STATE_DIRECTORY"):
        resolve({})


def test_a_socket_path_the_kernel_would_refuse_is_named() -> None:
    assert resolve({"HOME": "/h"}, socket="/" + "x" * 106).socket == "/" + "x" * 106
    with pytest.raises(SocketPathTooLong, match="107 bytes"):
        resolve({"HOME": "/h"}, socket="/" + "x" * 107)


def test_a_client_that_was_told_the_socket_needs_no_home() -> None:
    """A session's child may have an empty environment but for its marks."""
    assert resolve({"ROOST_SOCKET": "/run/roost/roost.sock"}).socket == "/run/roost/roost.sock"
    assert resolve({}, socket="/run/roost/roost.sock").socket == "/run/roost/roost.sock"
    with pytest.raises(InvalidSettings):
        resolve({"ROOST_SOCKET": "/run/roost/roost.sock"}, service=True)


@pytest.mark.parametrize("variable", ["ROOST_STATE_DIRECTORY", "ROOST_SOCKET"])
def test_a_path_that_is_not_utf_8_is_refused(variable: str) -> None:
    with pytest.raises(InvalidSettings, match="not UTF-8") as caught:
        resolve({"HOME": "/h", variable: "/x/\udcff"})
    assert caught.value.data == {"variable": variable}
    caught.value.message.encode()


def test_a_tilde_that_no_shell_has_put_in_place_is_the_home() -> None:
    paths = resolve({"HOME": "/h", "ROOST_STATE_DIRECTORY": "~/x"})
    assert (paths.state, paths.socket) == ("/h/x", "/h/x/run/roost.sock")
    assert resolve({"HOME": "/h", "ROOST_SOCKET": "~/x.sock"}).socket == "/h/x.sock"
