"""Run the service of a bundle on a port, until it is told to stop."""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from raytrain.config import Section
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Forecaster, Runtime
from raytrain.deploy.inputs import BundleInput
from raytrain.deploy.invented import invented_rows
from raytrain.deploy.limits import ServiceLimits
from raytrain.deploy.remote import process_env
from raytrain.deploy.service import Service, make_app
from raytrain.errors import ConfigError

DEFAULT_PORT = 8080


class ServeOptions(Section):
    """Where and how a bundle is served."""

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0`, which anyone may reach, only behind something that asks who is there."""
    port: int | None = Field(None, ge=0, le=65535)
    """Port to listen on; 0 takes a free one. When not given, AIP_HTTP_PORT or PORT of the environment, else 8080."""
    runtime: Runtime = "native"
    """`native` reproduces the run to the bit; `onnx` needs no training library."""
    limits: ServiceLimits = ServiceLimits()
    """What is refused."""


def serve(folder: Path, options: ServeOptions) -> None:
    """Open, check and load the bundle, then answer until SIGTERM or SIGINT.

    Raises:
        BundleRefused: the bundle is not whole, of another version, or has no graph for `onnx`.
        ConfigError: the port is taken, or the packages are not there.
    """
    require_packages()
    bundle = Bundle.open(folder)
    # Before the bundle's library loads: this process is its own.
    os.environ.update(process_env(bundle))
    listening = _listen(options.host, options.port if options.port is not None else port_of(os.environ))
    with listening:
        service = Service(Forecaster.load(bundle, options.runtime), options.runtime, options.limits)
        try:
            with suppress(BundleInput):  # invented rows do not suit every bundle
                service.warm_up(invented_rows(bundle))
            host, port = listening.getsockname()[:2]
            print(f"serving {bundle.digest[:12]} ({options.runtime}) on http://{host}:{port}", flush=True)
            with suppress(KeyboardInterrupt):  # which uvicorn sends itself again, once all is answered
                _server(service, options).run([listening])
        finally:
            service.close()


def require_packages() -> None:
    """See that the web server is there.

    Raises:
        ConfigError: it is not.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"serving needs {error.name}; install raytrain with the extra `serve`") from None


def port_of(environ: Mapping[str, str]) -> int:
    """What Vertex AI or Cloud Run say, else 8080.

    Raises:
        ConfigError: no port number.
    """
    for name in ("AIP_HTTP_PORT", "PORT"):
        if text := environ.get(name):
            if not text.isdigit() or int(text) > 65535:
                raise ConfigError(f"{name} must be a port from 0 to 65535, got {text}; unset it, or give --port")
            return int(text)
    return DEFAULT_PORT


def vertex_routes(environ: Mapping[str, str]) -> dict[str, str]:
    """Where Vertex AI wants to find health and forecasts."""
    names = {"health": "AIP_HEALTH_ROUTE", "predict": "AIP_PREDICT_ROUTE"}
    found = {kind: environ[name] for kind, name in names.items() if environ.get(name)}
    for kind, place in found.items():
        if not place.startswith("/") or "{" in place:
            raise ConfigError(f"{names[kind]} must be a path that begins with /, got {place}; correct it")
    return found


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, or asyncio leaves Nagle's algorithm on: head and body of an answer would wait 40 ms for each other.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)  # before it says where it is; who comes early waits
    except OSError as error:
        listening.close()
        raise ConfigError(f"{host}:{port} must be free, got {error.strerror or error}; name another --port") from None
    return listening


def _server(service: Service, options: ServeOptions) -> Any:
    import uvicorn

    from raytrain.deploy.protocol import bounded_protocol

    limits = options.limits
    config = uvicorn.Config(
        make_app(service, vertex_routes(os.environ)),
        http=bounded_protocol(limits.head_s),
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=max(1, round(limits.idle_s)),
        timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        # Only what a person sets may say who the caller is.
        proxy_headers=False,
    )
    _log_to_stderr()
    return uvicorn.Server(config)


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
