"""TLS in front of a server that has none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """Signed by itself, so that it is its own authority."""

    certificate: Path
    key: Path


def certificate_for(names: str, directory: Path) -> Certificate:
    """*names* as of subjectAltName: `IP:127.0.0.1`, `DNS:elsewhere`. Needs the `openssl` command."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem")
    extensions = (f"subjectAltName={names}", "keyUsage=critical,digitalSignature,keyCertSign")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=clipwatch-test", "-keyout", made.key, "-out", made.certificate),
            *(word for extension in extensions for word in ("-addext", extension)),
        ],
        check=True,
        capture_output=True,
    )
    return made


@contextlib.contextmanager
def tls_in_front_of(port: int, certificate: Certificate) -> Iterator[int]:
    """The port of 127.0.0.1 where TLS ends, for HTTP and for gRPC, before *port* of the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    threads: list[threading.Thread] = []

    def start(target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        threads.append(thread)
        thread.start()

    def serve(raw: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(raw)
            try:
                outside = stack.enter_context(context.wrap_socket(raw, server_side=True))
                inside = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            except OSError:  # ssl.SSLError is one: the other side does not believe us
                return
            back = threading.Thread(target=_pump, args=(inside, outside), daemon=True)
            back.start()
            _pump(outside, inside)
            back.join()

    def accept() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            start(serve, raw)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        start(accept)
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
