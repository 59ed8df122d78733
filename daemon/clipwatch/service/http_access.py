"""Who may ask over HTTP: the right name, the right page, the right token. Pure decisions over header values."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from dataclasses import dataclass, field
from typing import Final

from clipwatch.config import HttpConfig

COOKIE: Final = "clipwatch"
OPEN_TOKEN: Final = "none"  # noqa: S105 - the word for having none
"""`http.token` for an address that everyone may use."""


@dataclass(frozen=True, slots=True)
class Access:
    """What one configuration lets in.

    Without a token, only names that are certainly this machine's may be asked for: a web page whose own name was made
    to lead here (DNS rebinding) still says its own name. With one, such a page has nothing to show, and a proxy in
    front may have any name.
    """

    token: bytes
    names: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(cls, config: HttpConfig) -> Access:
        """From the settings; the listened-to host, this machine's name and localhost are its names."""
        token = "" if config.token == OPEN_TOKEN else config.token
        host = host_of(config.listen)
        return cls(token.encode(), frozenset({"localhost", socket.gethostname().lower(), host or "localhost"}))

    def knows_host(self, header: str) -> bool:
        """Whether a `Host` header names this machine; an address cannot come of rebinding, a name can."""
        host = host_of(header)
        if host is None:
            return False
        return bool(self.token) or host in self.names or _is_address(host)

    @property
    def cookie(self) -> str:
        """What a browser keeps instead of the token; it ends with the token."""
        return hmac.new(self.token, b"clipwatch page", hashlib.sha256).hexdigest()

    def admits(self, *, authorization: str, cookie: str, query: str = "") -> bool:
        """Whether one of `Authorization: Bearer TOKEN`, the page's cookie or `?token=` is right."""
        if not self.token:
            return True
        scheme, _, bearer = authorization.partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else ""
        # all three are compared, each in constant time
        right = (
            _same(given, self.token),
            _same(query, self.token),
            _same(cookie, self.cookie.encode()),
        )
        return any(right)


def same_origin(*, origin: str | None, host: str, site: str | None) -> bool:
    """Whether a request comes from our own page or from no page at all.

    *origin*: `Origin`, which browsers send with every POST; *site*: `Sec-Fetch-Site`, which they send with
    everything to a host they trust.
    """
    if site is not None and site not in ("same-origin", "none"):
        return False
    return origin is None or origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def host_of(header: str) -> str | None:
    """The host of `host:port`, `host` or `[v6]:port`, lower case; None where it is neither."""
    header = header.strip().lower()
    if header.startswith("["):
        host, bracket, rest = header[1:].partition("]")
        return host if bracket and _is_port(rest) and _is_address(host) else None
    host, colon, port = header.partition(":")
    return host.rstrip(".") if host and _is_port(colon + port) else None


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text[1:].isdecimal())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted)
