"""A place on the web that has an archive: how it is asked, and what of its answers is believed."""

import base64
import email.utils
import http.client
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from sentiment_cli.data.sources.pace import PacedHTTP, PacedHTTPS, PacedResponse
from sentiment_cli.errors import Change, UsageError

SCHEMES = ("https",)
_TAG = re.compile(r'"[!#-~]{0,200}"')
_DATE = re.compile(r"[A-Za-z]{3,9},? [A-Za-z0-9: -]{8,40}")


@dataclass(frozen=True)
class Mirror:
    """A place of the archive, and the sha256 its bytes must have. Raises UsageError for what can be neither."""

    url: str
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise UsageError(
                f"--sha256 is {self.sha256!r}, not 64 of 0-9 a-f", Change(without=["--mirror", "--sha256"])
            )
        if re.search("[^!-~]", self.url) or not self._is_safe():
            raise UsageError(
                "--mirror is not a URL that starts with https://", Change(without=["--mirror", "--sha256"])
            )

    def _is_safe(self) -> bool:
        try:
            return self.parts.scheme in SCHEMES and bool(self.parts.hostname) and self.parts.port != 0
        except ValueError:  # brackets, or a port that is not a number
            return False

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it: user, password, query."""
        return self.parts._replace(netloc=self.parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def ask(self, headers: dict[str, str], timeout_s: float) -> PacedResponse:
        """Ask for the raw bytes; user and password go to this host alone, not where it redirects."""
        bare = self.parts._replace(netloc=self.parts.netloc.rpartition("@")[2], fragment="").geturl()
        always = {"Accept-Encoding": "identity", "User-Agent": "sentiment-cli"}
        request = urllib.request.Request(bare, headers=always | headers)
        if self.parts.username is not None:
            secret = f"{unquote(self.parts.username)}:{unquote(self.parts.password or '')}"
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
        response = urllib.request.build_opener(_StaysSafe, PacedHTTP, PacedHTTPS).open(request, timeout=timeout_s)
        assert isinstance(response, PacedResponse)
        return response


class _StaysSafe(urllib.request.HTTPRedirectHandler):
    """Follow redirects, ten at most (as the parent does), but none away from https or to an invalid URL."""

    def http_error_302(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage
    ) -> Any:
        try:
            target = urlsplit(urljoin(req.full_url, headers.get("Location") or headers.get("URI") or ""))
            is_url = (bool(target.hostname) and target.port != 0) or target.scheme not in SCHEMES
        except ValueError:  # of brackets, or of a port
            is_url = False
        if not is_url:
            raise urllib.error.HTTPError(req.full_url, code, "redirects to what is no URL", headers, fp)
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except TimeoutError:  # of a body without end, which it reads first
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in SCHEMES:
            raise urllib.error.HTTPError(req.full_url, code, "redirects to what is not https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def validator_of(headers: Message) -> str | None:
    """Return what If-Range takes to know this version of the file by: a strong ETag, or else the date."""
    tag = headers.get("ETag")
    return checked_validator(tag) or checked_validator(headers.get("Last-Modified"))


def checked_validator(value: object) -> str | None:
    """Return a strong ETag or a date as it is; None for anything else, which may be no header at all."""
    is_one = isinstance(value, str) and (_TAG.fullmatch(value) or _DATE.fullmatch(value))
    return str(value) if is_one else None


def retry_after_s(headers: Message) -> float:
    """Return how long the server asks to wait, in seconds or until a date."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
