"""Who may ask: a request is judged by its head, before any of its body is read."""

import base64
import binascii
import hmac
from typing import Any
from urllib.parse import urlsplit

from sentiment_cli.serving.bodies import Refusal
from sentiment_cli.serving.settings import LOOPBACK, Settings

_LONGEST_TARGET = 8192
_OPEN = ("/health", "/ready")  # to those without the token, as load balancers are
Headers = list[tuple[bytes, bytes]]


def check_head(scope: dict[str, Any], settings: Settings) -> None:
    """Raise Refusal for a request whose head says that it is not to be answered."""
    headers: Headers = scope["headers"]
    if scope["http_version"] not in ("1.0", "1.1"):
        raise Refusal(505, "this server speaks HTTP/1.1", "malformed")
    target = len(scope["raw_path"]) + len(scope["query_string"])
    if target > _LONGEST_TARGET:
        raise Refusal(414, f"the address has more than {_LONGEST_TARGET:,} bytes", "head")
    if target + sum(len(name) + len(value) + 4 for name, value in headers) > settings.header_bytes:
        raise Refusal(431, f"the headers have more than {settings.header_bytes:,} bytes", "head")
    names = [name for name, _ in headers]
    if b"content-encoding" in names:
        raise Refusal(415, "bodies are not decompressed: send it without Content-Encoding", "encoding")
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Refusal(400, "Transfer-Encoding and Content-Length exclude each other", "malformed")
    _check_host(scope, settings)
    _check_origin(scope, settings)


def check_token(scope: dict[str, Any], settings: Settings) -> None:
    """Raise Refusal for a request without the token, where there is one."""
    headers: Headers = scope["headers"]
    if settings.token is not None and scope["path"] not in _OPEN and not _has_token(headers, settings.token):
        how = "Basic" if scope["path"] == "/" else "Bearer"
        raise Refusal(401, "this needs the token", "token", {"www-authenticate": f'{how} realm="sentiment"'})


def header(scope: dict[str, Any], name: bytes) -> bytes | None:
    """Return the value of a header that may stand once; of several the first that differs is refused."""
    values = {value for key, value in scope["headers"] if key == name}
    if len(values) > 1:
        raise Refusal(400, f"{name.decode().title()} stands twice", "malformed")
    return next(iter(values), None)


def origin_allowed(scope: dict[str, Any], settings: Settings) -> str | None:
    """Return the Origin of a page elsewhere that may ask, by --allow-origin."""
    origin = header(scope, b"origin")
    text = None if origin is None else origin.decode("latin-1")
    return text if text in settings.allowed_origins else None


def _check_host(scope: dict[str, Any], settings: Settings) -> None:
    """Refuse other names than this server's: a page elsewhere may have its name resolve to this machine."""
    name = _host_name((header(scope, b"host") or b"").decode("latin-1"))
    own = scope["server"][0] if scope.get("server") else None
    if name not in {*LOOPBACK, settings.host, own, *settings.allowed_hosts}:
        raise Refusal(421, "this server does not go by that name; --allow-host NAME lets it", "host")


def _check_origin(scope: dict[str, Any], settings: Settings) -> None:
    """Refuse what a page of another site sends."""
    origin = header(scope, b"origin")
    if origin is None or origin_allowed(scope, settings) is not None:
        return
    host = (header(scope, b"host") or b"").decode("latin-1").lower()
    try:
        sent = urlsplit(origin.decode("latin-1").lower())
    except ValueError:
        sent = urlsplit("null")
    if sent.scheme not in ("http", "https") or sent.netloc != host:
        raise Refusal(403, "pages of other sites may not ask; --allow-origin URL lets one", "origin")


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, without its port."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _has_token(headers: Headers, token: str) -> bool:
    """Say whether the request bears the token, or has it as a password, which is what browsers ask for."""
    sent = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, value = sent.partition(b" ")
    value = value.strip()
    if scheme.lower() == b"basic":
        try:
            value = base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            value = b""
    elif scheme.lower() != b"bearer":
        value = b""
    return hmac.compare_digest(value, token.encode())
