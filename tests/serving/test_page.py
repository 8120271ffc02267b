"""The page at /: without scripts a form, with its script live, and never markup from a text."""

import base64
import hashlib
import json
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from clients import Running, Start

from sentiment_cli.inference.predictor import Predictor
from sentiment_cli.serving.model import Served

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from chromium import Browser, browser, find_chromium

FORM = {"content_type": "application/x-www-form-urlencoded"}
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</textarea><h1>x",
    "</script>",
    "<svg onload=a()>",
    "&lt;b&gt;",
]


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def shape(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def submit(running: Running, text: str) -> Any:
    return running.ask("POST", "/", urlencode({"text": text}).encode(), **FORM)


def test_the_form_is_answered_without_a_script(everyone: Running, predictor: Predictor) -> None:
    text = "I just really loved the movie"
    answer = submit(everyone, text)
    (expected,) = predictor.predict([text])
    assert answer.status == 200
    page = Page(answer.body.decode())
    assert f"{expected.label}, {expected.probability:.1%}" in page.text
    assert "polyline" in page.shape()
    forms = [attributes for tag, attributes in page.tags if tag == "form"]
    assert [form["method"] for form in forms] == ["post"]


@pytest.mark.parametrize("text", EVIL)
def test_a_text_is_never_markup(everyone: Running, text: str) -> None:
    harmless = Page(submit(everyone, "a film").body.decode())
    page = Page(submit(everyone, text).body.decode())
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.shape() <= harmless.shape() | {"details", "summary", "table", "tr", "th", "td", "ul", "li", "line"}
    assert not [one for _, one in page.tags if one.keys() & {"onerror", "onload", "src"}]


def test_the_policy_names_the_style_and_the_script_by_hash(everyone: Running) -> None:
    answer = everyone.ask("GET", "/")
    html = answer.body.decode()
    policy = answer.headers["content-security-policy"]
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?!data:,)', html)
    assert " style=" not in html


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"text=a", {"content_type": "text/plain"}, 415),
        (b"text=a", {}, 415),
        (b"", FORM, 400),
        (b"text=a&text=b", FORM, 400),
        (b"other=a", FORM, 400),
        (b"&".join([b"text=a"] * 100), FORM, 400),
        (b"text=" + b"a" * 100_001, FORM, 413),
    ],
)
def test_forms_of_another_shape_are_refused_on_the_page(
    everyone: Running, body: bytes, headers: Any, status: int
) -> None:
    answer = everyone.ask("POST", "/", body, content_length=str(len(body)), **headers)
    assert answer.status == status
    assert "No answer: " in Page(answer.body.decode()).text


def test_there_need_be_no_page(start: Start) -> None:
    assert start(has_page=False).ask("GET", "/").status == 404


class At:
    """An address, as the browser's helper wants a path."""

    def __init__(self, url: str) -> None:
        self._url = url

    def resolve(self) -> "At":
        return self

    def as_uri(self) -> str:
        return self._url


def wait_for(page: Browser, condition: str) -> None:
    for _ in range(600):
        if page.evaluate(condition):
            return
        time.sleep(0.05)
    raise AssertionError(condition)


def choose(page: Browser, name: str, content: str) -> None:
    page.evaluate(
        "(() => { const all = new DataTransfer();"
        f"all.items.add(new File([{json.dumps(content)}], {json.dumps(name)}));"
        "const chooser = document.getElementById('file'); chooser.files = all.files;"
        "chooser.dispatchEvent(new Event('change')); })()"
    )


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here")
def test_the_page_answers_while_one_types_and_judges_files(
    everyone: Running, served: Served, predictor: Predictor, tmp_path: Path
) -> None:
    text = "I just really loved <script>alert(1)</script> the movie"
    (expected,) = predictor.predict([text])
    with browser(str(find_chromium()), tmp_path / "profile") as page:
        for width, scheme in ((400, "light"), (1600, "dark")):
            page.open(At(everyone.server.url), width, scheme)  # type: ignore[arg-type]
            wait_for(page, "document.activeElement?.id === 'text'")
            page.ask("Input.insertText", text=text)  # into the field, which has the focus
            wait_for(page, "!!document.querySelector('#answer polyline')")
            assert page.evaluate("document.querySelector('#answer strong').textContent") == expected.label
            assert page.evaluate("document.querySelector('#answer .text').textContent") == text
            assert page.evaluate("document.querySelectorAll('#answer script').length") == 0
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        choose(page, "my.csv", 'id,text\n1,"lovely, ""great""\nfilm"\n2,=dull()\n3,فيلم\n')
        wait_for(page, "!!document.querySelector('#table a')")
        assert page.evaluate("document.querySelectorAll('#table tbody tr').length") == 3
        assert (
            page.evaluate(
                "getComputedStyle(document.querySelector('#table tbody tr:last-child td:last-child')).direction"
            )
            == "rtl"
        )
        page.evaluate("fetch(document.querySelector('#table a').href).catch(() => 0)")
        download = "writeTable(readFile('my.csv', 'id,text\\n2,=dull()\\n'), [{label: 'neg', probability: 0.5}])"
        assert page.evaluate(download) == "id,text,label,probability\r\n2,'=dull(),neg,0.5\r\n"
        for name, content in (
            ("a.csv", "id,number\n1,2\n"),
            ("b.csv", 'text\n"open\n'),
            ("c.csv", "a,text\n1\n"),
            ("d.txt", ""),
        ):
            choose(page, name, content)
            wait_for(page, f"(document.querySelector('#table [role=alert]')?.textContent || '').startsWith('{name}: ')")
        choose(page, "lines.txt", "lovely\r\n\r\ndull")
        wait_for(page, "document.querySelectorAll('#table tbody tr').length === 3")
        asked = [one["params"]["request"]["url"] for one in page.events if one["method"] == "Network.requestWillBeSent"]
        assert all(url.startswith((everyone.server.url, "data:", "blob:")) for url in asked)
        assert not [one for one in page.events if one["method"] == "Runtime.exceptionThrown"]
