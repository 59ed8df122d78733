"""Clients: from an address and a key to a `QdrantClient` that has not spoken yet."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpcore
import httpx
from httpcore._backends.sync import SyncStream
from qdrant_client import QdrantClient

from clipwatch.config import StoreConfig
from clipwatch.errors import ConfigError

_GRPC_OPTIONS: Final = {
    # A channel that failed waits by itself before it dials again, up to two minutes by default: the retries
    # above would find a store long back and still be told "unavailable".
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 1000,
    "grpc.max_reconnect_backoff_ms": 5000,
}


def public_address(url: str) -> str:
    """*url* as it may be shown: no user, password or query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def server_client(config: StoreConfig, *, api_key: str) -> QdrantClient:
    """A client for `config.url`. Raises `ConfigError` where the certificate authority cannot be read."""
    parts = urlsplit(config.url)
    secure = parts.scheme in ("https", "grpcs")
    arguments: dict[str, Any] = _common(config.timeout_seconds, api_key)
    authority = _authority(config.tls_ca_file) if secure and config.tls_ca_file else None
    if authority is not None:
        arguments["verify"] = ssl.create_default_context(cadata=authority)
    if parts.scheme in ("http", "https"):
        return QdrantClient(url=public_address(config.url), **arguments)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    options: dict[str, Any] = dict(_GRPC_OPTIONS)
    if authority is not None:
        options["root_certificates"] = authority.encode()
    client = QdrantClient(
        url=f"{'https' if secure else 'http'}://{host}",
        grpc_port=parts.port or 6334,
        prefer_grpc=True,
        grpc_options=options,
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
        text = Path(file).read_text(encoding="ascii")
        ssl.create_default_context(cadata=text)
    except (OSError, UnicodeDecodeError, ssl.SSLError) as error:
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
