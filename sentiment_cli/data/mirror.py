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
from typing import IO
from urllib.parse import SplitResult, unquote, urlsplit

from sentiment_cli.errors import Change, UsageError

SCHEMES = ("https",)


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
        except ValueError:  # of brackets, or a port that is no number
            return False

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it: user, password, query."""
        return self.parts._replace(netloc=self.parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

    def ask(self, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
        """Ask for the raw bytes; user and password go to this host alone, not where it redirects."""
        bare = self.parts._replace(netloc=self.parts.netloc.rpartition("@")[2], fragment="").geturl()
        always = {"Accept-Encoding": "identity", "User-Agent": "sentiment-cli"}
        request = urllib.request.Request(bare, headers=always | headers)
        if self.parts.username is not None:
            secret = f"{unquote(self.parts.username)}:{unquote(self.parts.password or '')}"
            request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")
        response = urllib.request.build_opener(_StaysSafe).open(request, timeout=timeout_s)
        assert isinstance(response, http.client.HTTPResponse)
        return response


class _StaysSafe(urllib.request.HTTPRedirectHandler):
    """Follow redirects, ten at most (as the parent does), but none that leaves https."""

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
    return str(tag) if tag and not tag.startswith("W/") else headers.get("Last-Modified")


def retry_after_s(headers: Message) -> float:
    """Return how long the server asks to wait, in seconds or until a date."""
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
