"""What RAY_ADDRESS may say, and what a person is told when nothing like Ray is there."""

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from raytrain.cluster import address
from raytrain.cluster.address import require_reachable
from raytrain.errors import ConfigError


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def web() -> Iterator[str]:
    """A port with a web server, like that of Ray's dashboard."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def http2() -> Iterator[str]:
    """A port that greets as every gRPC server does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
                while connection.recv(100):
                    pass

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def test_a_port_that_stays_silent_is_given_up_in_time(silent: str) -> None:
    with pytest.raises(ConfigError, match=r"running cluster, got 127.0.0.1:\d+ \(no answer within 0.5 s\); start it"):
        require_reachable(silent, 0.5)


def test_a_closed_port_is_named() -> None:
    with pytest.raises(ConfigError, match=r"running cluster, got 127.0.0.1:1 .*refused"):
        require_reachable("127.0.0.1:1", 5)


def test_a_name_that_does_not_resolve_is_named() -> None:
    with pytest.raises(ConfigError, match=r"running cluster, got no-such-host.invalid:6379"):
        require_reachable("no-such-host.invalid:6379", 5)


def test_a_name_whose_look_up_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()

    def hang(*_: object, **__: object) -> None:
        done.wait(60)
        raise OSError("late")

    monkeypatch.setattr(socket, "create_connection", hang)
    with pytest.raises(ConfigError, match=r"no answer within 0.2 s"):
        require_reachable("slow.example:6379", 0.2)
    done.set()


def test_another_server_is_not_taken_for_ray(web: str) -> None:
    with pytest.raises(ConfigError, match="something else than Ray listens there"):
        require_reachable(web, 5)


def test_a_machine_outside_the_cluster_is_told_how_to_get_in(http2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "find_node_ids", set)
    with pytest.raises(ConfigError, match=r"ray start --address=127.0.0.1:\d+`, or send the job .* jobs/ray/submit.sh"):
        require_reachable(http2, 5)


def test_a_node_of_the_cluster_is_let_through(http2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "find_node_ids", lambda: {"a1"})
    monkeypatch.setattr(address, "_node_ids", lambda _: {"a1", "b2"})
    require_reachable(http2, 5)


def test_a_node_of_another_cluster_is_not(http2: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "find_node_ids", lambda: {"c3"})
    monkeypatch.setattr(address, "_node_ids", lambda _: {"a1", "b2"})
    with pytest.raises(ConfigError, match="this machine is a node of"):
        require_reachable(http2, 5)


def test_a_cluster_that_says_nothing_of_its_nodes_is_given_up_in_time(
    http2: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(address, "find_node_ids", lambda: {"a1"})
    monkeypatch.setattr(address, "_node_ids", lambda _: done.wait(60))
    with pytest.raises(ConfigError, match=r"lets us in, got 127.0.0.1:\d+ \(no answer\); copy the token"):
        require_reachable(http2, 0.5)
    done.set()


@pytest.mark.parametrize("wrong", ["head", "head:port", "6379", "head:99999999"])
def test_an_address_needs_host_and_port(wrong: str) -> None:
    with pytest.raises(ConfigError, match=f"must be host:port or auto, got '{wrong}'"):
        require_reachable(wrong, 5)


@pytest.mark.parametrize("elsewhere", ["ray://head:10001", "http://head:8265"])
def test_doors_for_people_outside_lead_to_submit(elsewhere: str) -> None:
    with pytest.raises(ConfigError, match=r"jobs/ray/submit.sh"):
        require_reachable(elsewhere, 5)
