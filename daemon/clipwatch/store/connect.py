"""Clients: from an address and a key to a `QdrantClient` that has not spoken yet."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import httpx
from httpcore._backends.sync import SyncStream
from qdrant_client import QdrantClient

from clipwatch.config import StoreConfig, server_address
from clipwatch.errors import ConfigError
from clipwatch.network import Proxy, grpc_proxy_options, http_transport, is_this_machine, unusable

_GRPC_OPTIONS: Final[dict[str, Any]] = {
    # A channel that failed waits by itself before it dials again, up to two minutes by default: the retries
    # above would find a store long back and still be told "unavailable".
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 1000,
    "grpc.max_reconnect_backoff_ms": 5000,
}

_LIMITS_HERE: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_LIMITS_ELSEWHERE: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
"""As the client itself chooses them, where it is not given a transport."""


def server_client(config: StoreConfig, *, api_key: str, proxy: Proxy | None = None) -> QdrantClient:
    """A client for `config.url`, through *proxy* where one is given.

    Raises `ConfigError` where the certificate authority cannot be read, or the environment's proxy or certificates
    cannot be used.
    """
    url = server_address(config.url)
    secure = urlsplit(url).scheme in ("https", "grpcs")
    authority = _authority(config.tls_ca_file) if secure and config.tls_ca_file else ""
    make = _rest_client if urlsplit(url).scheme in ("http", "https") else _grpc_client
    try:
        return make(url, authority, proxy, _common(config.timeout_seconds, api_key))
    except (ValueError, TypeError, OSError, httpx.InvalidURL) as error:
        raise unusable(proxy, url, str(error)) from error


def _rest_client(url: str, authority: str, proxy: Proxy | None, arguments: dict[str, Any]) -> QdrantClient:
    here = is_this_machine(urlsplit(url).hostname or "")
    limits = _LIMITS_HERE if here else _LIMITS_ELSEWHERE
    transport = http_transport(url, proxy, authority=authority, limits=limits)
    return QdrantClient(url=url, transport=transport, **arguments)


def _grpc_client(url: str, authority: str, proxy: Proxy | None, arguments: dict[str, Any]) -> QdrantClient:
    scheme, place = url.replace("grpc", "http", 1).split("://")
    host, _, port = place.partition("/")[0].rpartition(":")
    options: dict[str, Any] = _GRPC_OPTIONS | grpc_proxy_options(url, proxy)
    if authority:
        options["root_certificates"] = authority.encode()
    client = QdrantClient(
        url=f"{scheme}://{host}",
        grpc_port=int(port),
        prefer_grpc=True,
        grpc_options=options,
        transport=httpx.BaseTransport(),  # for REST, which is not spoken
        **arguments,
    )
    # The client makes its channels at first use without a lock; made here, no two threads can race for it.
    _ = client.grpc_points, client.grpc_collections
    return client


def socket_client(path: Path, *, timeout_seconds: float, api_key: str = "") -> QdrantClient:
    """A client that speaks HTTP over a Unix socket."""
    transport = httpx.HTTPTransport(verify=False)
    transport._pool = httpcore.ConnectionPool(uds=str(path), network_backend=_Dialer())
    return QdrantClient(url="http://localhost", transport=transport, **_common(timeout_seconds, api_key))


def _common(timeout_seconds: float, api_key: str) -> dict[str, Any]:
    # The key travels as a header: given as `api_key` the client warns on every plain connection, a private one too.
    return {
        "timeout": max(1, round(timeout_seconds)),
        "check_compatibility": False,
        "headers": {"api-key": api_key} if api_key else None,
        "event_hooks": {"response": [_Deadline(timeout_seconds)]},
    }


def _authority(file: str) -> str:
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"store.tls_ca_file {file} cannot be used: {error}.", hint="It must hold certificates in PEM form."
        ) from error
    return text


class _Dialer(httpcore.SyncBackend):
    """httpcore's own leaves a socket open when nobody listens: one for each attempt of an outage."""

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: object = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(path)
        except TimeoutError as error:
            connection.close()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            connection.close()
            raise httpcore.ConnectError(str(error)) from error
        return SyncStream(connection)


class _Deadline:
    """Ends an answer whose body takes longer than *seconds* in all; httpx only limits the wait for each piece."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, response: httpx.Response) -> None:
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _TimedStream(response.stream, time.monotonic() + self._seconds)


class _TimedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._stream:
            if time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("the answer dripped")
            yield piece

    def close(self) -> None:
        self._stream.close()
