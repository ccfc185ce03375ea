"""Whether a cluster is there, asked before Ray is: Ray itself waits for minutes, a person wants to know at once."""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
    maybe_enable_token_auth_if_token_available,
)
from ray._private.services import GcsClient, find_node_ids
from ray.exceptions import RayError

from raytrain.errors import ConfigError

T = TypeVar("T")

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""HTTP/2's preface and empty settings (RFC 9113, 3.4); Ray's head speaks gRPC, which is HTTP/2."""
_SETTINGS = 4
"""The type of the frame that every HTTP/2 server sends first; the fourth byte of what it says."""


def require_reachable(address: str, timeout_s: float) -> None:
    """Refuse an address at which no cluster is, or one that this machine is no node of.

    Args:
        address: what RAY_ADDRESS says.
        timeout_s: seconds to wait for an answer, the look-up of the name included.

    Raises:
        ConfigError: in time, with what was found instead.
    """
    if address in ("auto", "local"):
        return
    place, end = _split(address), time.monotonic() + timeout_s
    # Looking up a name, and Ray's own client, heed no time limit of ours.
    trouble = _within(timeout_s, lambda: _greet(place, timeout_s))
    if trouble is None:
        trouble = f"no answer within {timeout_s:g} s"
    if trouble:
        raise ConfigError(
            f"RAY_ADDRESS must name a running cluster, got {address} ({trouble}); start it, or unset RAY_ADDRESS"
        )
    here = find_node_ids()
    members = _within(max(1.0, end - time.monotonic()), lambda: _node_ids(address)) if here else set()
    if members is None or isinstance(members, str):
        raise ConfigError(
            f"RAY_ADDRESS must name a cluster that lets us in, got {address} ({members or 'no answer'}); copy the "
            "token of its head to ~/.ray/auth_token, or name it with RAY_AUTH_TOKEN_PATH"
        )
    if not here & members:
        raise ConfigError(
            f"RAY_ADDRESS must name a cluster that this machine is a node of, got {address}; join it with `ray start "
            f"--address={address}`, or send the job to it with jobs/ray/submit.sh"
        )


def _within(timeout_s: float, ask: Callable[[], T]) -> T | None:
    """The answer; None when it takes longer, and nobody waits for it any more."""
    said: list[T] = []
    thread = threading.Thread(target=lambda: said.append(ask()), daemon=True)
    thread.start()
    thread.join(timeout_s)
    return said[0] if said else None


def _node_ids(address: str) -> set[str] | str:
    """The nodes of a cluster, or why it does not say."""
    # Ray sends its token only when told to, although the head that it starts by default asks for one.
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    try:
        ensure_token_if_auth_enabled(create_token_if_missing=False)
        return {node.hex() for node in GcsClient(address=address).get_all_node_info()}
    except (RayError, ConnectionError, RuntimeError) as error:
        return str(error).strip().partition(". ")[0]


def _split(address: str) -> SplitResult:
    place = urlsplit(address if "//" in address else f"//{address}")
    try:
        whole = place.hostname is not None and place.port is not None
    except ValueError:
        whole = False
    if place.scheme:
        raise ConfigError(
            f"RAY_ADDRESS must be host:port or auto, got {address!r}: fits are sent from a node of the cluster; run "
            "there, or send the job with jobs/ray/submit.sh"
        )
    if not whole:
        raise ConfigError(f"RAY_ADDRESS must be host:port or auto, got {address!r}; the port is 6379 unless changed")
    return place


def _greet(place: SplitResult, timeout_s: float) -> str:
    """What is wrong with the place; empty when something answers as Ray does."""
    end = time.monotonic() + timeout_s
    try:
        with socket.create_connection((place.hostname, place.port or 0), timeout=timeout_s) as connection:
            connection.sendall(_HELLO)
            connection.settimeout(max(0.1, end - time.monotonic()))
            answer = connection.recv(9)
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except OSError as error:
        return str(error)
    if os.environ.get("RAY_USE_TLS") == "1" and answer:
        return ""
    return "" if answer[3:4] == bytes([_SETTINGS]) else "something else than Ray listens there"
