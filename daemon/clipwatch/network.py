"""Which way a connection goes: straight, or through the proxy that the environment names.

Loopback is always dialled straight. For every other host the usual variables count, lower case before upper case
(empty: none), `no_proxy` included. All clients are given what is decided here, so that none reads the environment
itself: each reads it in another way, for loopback too, and fails on values that others take.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from clipwatch.errors import ConfigError

_VARIABLES: Final = {
    "http": ("http_proxy", "all_proxy"),
    "https": ("https_proxy", "all_proxy"),
    "grpc": ("grpc_proxy", "https_proxy", "http_proxy"),
    "grpcs": ("grpc_proxy", "https_proxy", "http_proxy"),
}
"""By the scheme of the address, the first that is set: curl's for HTTP, the gRPC library's own for gRPC."""

_PORTS: Final = {"http": 80, "https": 443}

_LOCAL_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Proxy:
    """*url* with its scheme, and with the user and password that it may hold; *variable* named it."""

    url: str
    variable: str

    def __str__(self) -> str:
        """For sentences: without user and password."""
        scheme, _, rest = self.url.partition("://")
        place = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        return f"{scheme}://{place} (from {self.variable})"


def is_this_machine(host: str) -> bool:
    """Whether *host*, a name or a numeric address in any spelling, is loopback; nothing is looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    address = _numeric(name)
    return address is not None and (address.is_loopback or address.is_unspecified)


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy on the way to *url* (http, https, grpc, grpcs), or None: straight. Never raises for any environment."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or _PORTS.get(parts.scheme)
    if is_this_machine(host) or _is_excepted(host, port, _value("no_proxy", environment)[1]):
        return None
    for name in _VARIABLES.get(parts.scheme, ()):
        variable, value = _value(name, environment)
        if value:
            return Proxy(value if "://" in value else f"http://{value}", variable)
    return None


def http_transport(url: str, proxy: Proxy | None, *, authority: str = "", limits: httpx.Limits) -> httpx.HTTPTransport:
    """What an httpx client sends to *url* with; *authority*: certificates in PEM form, "" for the usual ones.

    Raises `ConfigError`, naming the variable, where the environment's proxy or certificates cannot be used.
    """
    secure = urlsplit(url).scheme == "https"
    verify: ssl.SSLContext | bool = _certificates(authority) if secure else False  # never read for plain HTTP
    try:
        if proxy is not None:
            _check(proxy)
        return httpx.HTTPTransport(verify=verify, trust_env=False, limits=limits, proxy=proxy.url if proxy else None)
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise unusable(proxy, url, str(error)) from error


def grpc_proxy_options(url: str, proxy: Proxy | None) -> dict[str, str | int]:
    """Channel options: without them the gRPC library reads the environment itself, for loopback too.

    Raises `ConfigError` for a proxy that gRPC cannot go through.
    """
    if proxy is None:
        return {"grpc.enable_http_proxy": 0}
    try:
        _check(proxy)
    except ValueError as error:
        raise unusable(proxy, url, str(error)) from error
    if urlsplit(proxy.url).scheme != "http":
        raise unusable(proxy, url, "gRPC goes through http:// proxies only")
    return {"grpc.http_proxy": proxy.url}


def unusable(proxy: Proxy | None, url: str, reason: str) -> ConfigError:
    """What is raised where no client can be made for *url*."""
    host = urlsplit(url).hostname
    if proxy is None:
        return ConfigError(f"No client can be made for {url}: {reason.rstrip('.')}.")
    login = proxy.url.partition("://")[2].rpartition("@")[0]
    words = (reason.replace(login, "***") if login else reason).rstrip(".")
    return ConfigError(
        f"The proxy {proxy} cannot be used to reach {host}: {words}.",
        hint=f"Correct the variable, or name {host} in no_proxy to reach it straight.",
    )


def _check(proxy: Proxy) -> None:
    """Raises `ValueError` for what is no address: libraries find out when they dial, each in its own way."""
    parts = urlsplit(proxy.url)
    host = parts.hostname or ""
    if not (host and proxy.url.isascii() and proxy.url.isprintable() and " " not in proxy.url and parts.port != 0):
        raise ValueError("it is no address")
    host.encode("idna")  # the parts of a name are neither empty nor too long


def _value(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The variable's name as it is spelled there, and its value, "" where it has none."""
    if name in environment:
        return name, environment[name].strip()
    upper = name.upper()
    # Under CGI a request's header "Proxy:" arrives as HTTP_PROXY.
    if upper == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
        return upper, ""
    return upper, environment.get(upper, "").strip()


def _is_excepted(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether an entry of *no_proxy* means *host*: a name with all below it, an address, a network, or `*`."""
    return any(_means(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()) if entry)


def _means(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2]
    address = _numeric(host)
    bare, _, given_port = entry.rpartition(":")
    if bare and ("]" in bare or ":" not in bare):  # host:port, not an IPv6 address without brackets
        if given_port != str(port):
            return False
        entry = bare
    entry = entry.strip("[]")
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except (ValueError, TypeError):
            return False
    suffix = entry.removeprefix("*").strip(".")
    return bool(suffix) and (host == suffix or host.endswith(f".{suffix}"))


def _numeric(host: str) -> _Address | None:
    """*host* as an address; also as `127.1` or `0x7f000001`, which the system's resolver takes."""
    try:
        address: _Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if not re.fullmatch(r"[0-9a-fx.]+", host) or not host[:1].isdigit():
            return None
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _certificates(authority: str) -> ssl.SSLContext:
    if authority:
        return ssl.create_default_context(cadata=authority)
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be used: {error.strerror or error}.",
            hint="Correct the variable or unset it.",
        ) from error
