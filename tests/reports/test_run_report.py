"""Reports: what they say, what they say where something is missing, and robustness cases M09 and M11: nothing that came
from outside becomes markup, neither in a page nor in a model card."""

import dataclasses
import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Browser, browser, find_chromium
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sentiment_cli import console, extras
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.errors import MachineError
from sentiment_cli.reports import run_report, svg
from sentiment_cli.reports.blocks import (
    Code,
    Document,
    Figure,
    Fold,
    Items,
    KeyFigures,
    Line,
    LineChart,
    Notice,
    Paragraph,
    Quote,
    ReportSection,
    SideBySide,
    Table,
)
from sentiment_cli.reports.comparison_report import build_comparison
from sentiment_cli.reports.figures import lengths_figure, reliability_figure
from sentiment_cli.reports.html import render_page
from sentiment_cli.reports.markdown import render_card
from sentiment_cli.reports.run_files import RunFiles, find_mistakes, read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.runs.directory import describe_run
from sentiment_cli.runs.predictions import Predictions, read_predictions
from sentiment_cli.storage import store

ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</style><style>body{display:none}</style>",
    "</script></title></body></html><iframe src=https://evil.example>",
    "javascript:alert(1) [click](javascript:alert(1)) <javascript:alert(1)>",
    "![x](https://evil.example/a.png) https://evil.example www.evil.example a@evil.example",
    "<!-- comment --> <![CDATA[ x ]]> <?php ?> &lt;b&gt; &#60;b&#62;",
    "line\u2028line\u2029end \x1b[2J\x1b]52;c;x\x07 \x9b31m \u202eeslaf \x00 \ud800",
    "``` ```` ` ~~~ | a | b |\n---|---\n# head\n> quote\n1. one\n- item\n    code\n\\",
    '=HYPERLINK("https://evil.example") +1 -1 @SUM(1) $x^2$ {{7*7}} ${x}',
    "url(https://evil.example) expression(alert(1)) @import 'https://evil.example'",
]
TAGS = set(
    "html head meta title style body main header section aside h1 h2 p ul li pre code table caption thead tbody tr "
    "th td wbr dl dt dd figure figcaption blockquote details summary div span b svg defs g path use text clippath "
    "rect".split()
)
ATTRIBUTES = set(
    "charset http-equiv content name lang class scope tabindex dir viewbox role aria-label aria-hidden id href d "
    "x y width height transform clip-path fill stroke opacity font-size text-anchor".split()
) | {f"stroke-{name}" for name in "width dasharray dashoffset linecap linejoin opacity miterlimit".split()}


class Structure(HTMLParser):
    """The elements of a page with the names of their attributes, its attributes' values, and its text."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.odd: list[str] = []
        self.feed(page.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    def unknown_decl(self, data: str) -> None:
        self.odd.append(data)

    handle_pi = handle_comment


@pytest.fixture(scope="module")
def hostile_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished, scored run on reviews, labels and a file name that attack a page."""
    from sentiment_cli.evaluation.evaluate import evaluate
    from sentiment_cli.workflows.train import fit

    root = tmp_path_factory.mktemp("hostile")
    table = root / "'><img src=x onerror=alert(1)>.jsonl"
    labels = ["<b>bad</b>", '"><script>alert(1)</script>']
    rows = [
        {"text": f"{ATTACKS[i % len(ATTACKS)]} number {i}", "label": labels[i * 7 % 5 % 2], "group": f"g{i}"}
        for i in range(240)
    ]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        small = ["model.encoder.width=4", "model.embedding.width=4", "train.epochs=2", "train.device=cpu"]
        sources = [f"data.source={json.dumps(str(table))}", "data.test_share=0.3"]
        run = fit(load_experiment("sample", [*small, *sources]), "hostile").directory
        evaluate(run, "test")
    return root


@pytest.fixture
def hostile_run(hostile_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run, with its prepared data in reach."""
    monkeypatch.setenv("SENTIMENT_DATA", str(hostile_root / "data"))
    return Path(shutil.copytree(hostile_root / "runs" / "hostile", tmp_path / "runs" / "hostile"))


def document_of(text: str) -> Document:
    """Put a text wherever a document can hold one."""
    table = Table([text, text], [[text, text], ["x", text]], caption=text, shade=[[0.0], [1.0]])
    lines = [Line(text, [1, 2], [0.5, 0.6]), Line("y", [1, 2], [0.4, 0.5])]
    chart = LineChart("steps", "loss", lines, 1, text)
    blocks = [
        Paragraph(text),
        Items([text, text]),
        Code(text),
        Quote(text, text),
        Quote("", text, [(text, 0), (text, 4), (text, -1)]),
        Notice(text, text),
        Fold(text, [table]),
        Figure("one", text, chart, text, table),
        KeyFigures([(text, text)]),
        SideBySide([[table._replace(bars=[(0.1, 0.5, 0.9), (0, 0, 0.2)])], [Paragraph(text)]]),
    ]
    return Document(text, text, [ReportSection(text, blocks)])


_VISIBLE = st.text(min_size=1).filter(lambda text: console.sanitize(text).strip())


@functools.cache
def plain_page() -> Structure:
    return Structure(render_page(document_of("x")))


@settings(max_examples=10, deadline=None)  # each draws a page with its charts
@given(_VISIBLE)
@example(ATTACKS[0])
@example(ATTACKS[1])
@example(ATTACKS[3])
@example(ATTACKS[4])
@example(ATTACKS[8])
@example("]]>")
def test_m09_no_text_becomes_an_element_or_an_attribute(text: str) -> None:
    plain, page = plain_page(), Structure(render_page(document_of(text)))
    assert page.elements == plain.elements
    assert page.odd == []
    shown = console.sanitize(text)
    assert page.texts.count(shown) >= plain.texts.count("x") - 3  # less the x that stand there for themselves
    assert {value for _, name, value in page.values if name == "aria-label"} == {shown}


@settings(max_examples=200, deadline=None)
@given(_VISIBLE)
@example(ATTACKS[5])
@example(ATTACKS[6])
@example(ATTACKS[7])
@example(ATTACKS[9])
@example(ATTACKS[10])
@example("1. x")
@example("1) x")
@example("2024.")
@example("0 #")
@example("a ##")
@example("---")
@example("\\")
@example("a\\|b")
@example("[x]: https://evil.example")
@example("`" * 40)
def test_m09_no_text_becomes_markdown(text: str) -> None:
    reader = MarkdownIt("commonmark", {"linkify": False}).enable("table")

    def structure(card: bytes) -> list[str]:
        tokens = reader.parse(card.decode())
        return [one.type for token in tokens for one in (token, *(token.children or [])) if one.type != "text"]

    assert structure(render_card(document_of(text))) == structure(render_card(document_of("x")))
    heading = reader.parse(render_card(document_of(text)).decode())[1]
    assert "".join(child.content for child in heading.children or []) == " ".join(console.sanitize(text).split())


def test_m09_bare_addresses_do_not_become_links_where_a_reader_makes_them_so() -> None:
    card = render_card(Document("x", "x", [ReportSection("x", [Paragraph(ATTACKS[6])])])).decode()
    assert not re.search(r"https?://|(?<!\\)@|www\.", card)


def test_m09_a_report_on_hostile_data_is_made_of_our_elements_alone(hostile_run: Path) -> None:
    run = read_run(hostile_run)
    for document in (build_report(run), build_comparison([run, run])):
        page = Structure(render_page(document))
        assert {tag for tag, _ in page.elements} <= TAGS
        assert {name for _, names in page.elements for name in names} <= ATTRIBUTES
        assert page.odd == []
        assert all(value.startswith("#") for _, name, value in page.values if name == "href")
        assert all(value.startswith("url(#") for _, name, value in page.values if name == "clip-path")
        assert not [value for _, _, value in page.values if re.search(r"evil|alert|<|javascript", value)]
        policy = next(value for tag, name, value in page.values if name == "content" and "default-src" in value)
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        ids = [value for _, name, value in page.values if name == "id"]
        assert len(set(ids)) == len(ids)
        assert {value[1:] for _, name, value in page.values if name == "href"} <= set(ids)
    page = Structure(render_page(build_report(run)))
    answers = read_predictions(run.path, "test")
    assert answers is not None
    mistakes = find_mistakes(run, "test", answers, 10)
    assert len(mistakes) == 10
    for mistake in mistakes:
        assert re.fullmatch(
            rf"({'|'.join(map(re.escape, (a.replace(chr(0xD800), chr(0xFFFD)) for a in ATTACKS)))}) number \d+",
            mistake.text,
        )
        assert console.sanitize(mistake.text) in "".join(page.texts)  # its words are elements of their own
    assert any("<script>" in text for text in page.texts)
    text = render_page(build_report(run)).decode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]", text)
    card = render_card(build_report(run)).decode()
    types = {token.type for token in MarkdownIt("commonmark").enable("table").parse(card)}
    assert "html_block" not in types


def test_m11_nothing_in_a_run_is_a_table_that_a_spreadsheet_would_open(hostile_run: Path) -> None:
    store.write_file(hostile_run / "report.html", render_page(build_report(read_run(hostile_run))))
    kinds = {file.suffix for file in hostile_run.rglob("*") if file.is_file()}
    assert kinds <= {".html", ".json", ".jsonl", ".yaml", ".svg", ".safetensors", ".onnx", ".uint64", ".txt"}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("there is no Chromium on the path (Debian: apt install chromium)")
    with browser(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.parametrize("width", [400, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("n_runs", [1, 2])
def test_a_browser_shows_it_without_a_request_an_error_or_a_sideways_scroll(
    chromium: Browser, hostile_run: Path, tmp_path: Path, width: int, scheme: str, n_runs: int
) -> None:
    run = read_run(hostile_run)
    path = tmp_path / "report.html"
    path.write_bytes(render_page(build_report(run) if n_runs == 1 else build_comparison([run, run])))
    chromium.open(path, width, scheme)
    chromium.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    asked = [event["params"]["request"]["url"] for event in chromium.events if "requestWillBeSent" in event["method"]]
    assert {url for url in asked if "ExtraInfo" not in url} == {path.as_uri()}
    said = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Audits.issueAdded"}
    assert [event for event in chromium.events if event["method"] in said] == []
    assert chromium.evaluate("document.documentElement.scrollWidth") == width
    assert chromium.evaluate("document.scripts.length + document.images.length + document.links.length") == 0
    if n_runs == 1:
        assert "<script>alert(1)</script>" in chromium.evaluate("document.body.innerText")
    paper, ink = (chromium.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert (_brightness(paper) > _brightness(ink)) == (scheme == "light")
    line = chromium.evaluate("getComputedStyle(document.querySelector('svg .ink-fill')).fill")
    assert line == ink  # the words of a chart are as dark as the others
    smallest = chromium.evaluate(
        "Math.min(...[...document.querySelectorAll('svg text')].map(one => one.getBoundingClientRect().height))"
    )
    assert smallest >= 9  # pixels


def test_the_browser_test_would_see_a_request_and_an_error(chromium: Browser, tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src=missing.png><script>console.log(1); throw 1</script><div style='width:3000px'>x</div>")
    chromium.open(page, 400)
    methods = [event["method"] for event in chromium.events]
    assert methods.count("Network.requestWillBeSent") == 2
    assert {"Runtime.consoleAPICalled", "Runtime.exceptionThrown"} <= set(methods)
    assert chromium.evaluate("document.documentElement.scrollWidth") > 400


def _brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def sections_of(document: Document) -> dict[str, str]:
    """Return each section as the text of its card."""
    return {s.title: render_card(Document("", "", [s])).decode() for s in document.sections}


def test_it_says_what_the_scores_say(hostile_run: Path) -> None:
    scores = json.loads((hostile_run / "evaluation" / "test.json").read_text())
    (hostile_run / "evaluation" / "ledger.jsonl").write_text(
        '{"at": 1, "split": "test", "command": "sentiment eval"}\n{"at": 2, "split": "train", "command": "x"}\n'
        '{"at": 3, "split": "test", "command": "sentiment eval"}\n{"at": 4, "sp'
    )
    row = {"slice": "stars", "value": "<i>7</i>", "n": 12, "accuracy": 0.75, "accuracy_ci95": [0.4677, 0.9111]}
    scores["slices"] = [row]
    scores["unseen"] = {"n": 70, "accuracy": 0.5, "accuracy_ci95": [0.38, 0.62]}
    (hostile_run / "evaluation" / "test.json").write_text(json.dumps(scores))
    document = build_report(read_run(hostile_run))
    low, high = scores["accuracy_ci95"]
    assert document.lead == (
        f"{scores['accuracy']:.2%} accuracy on {scores['n']} test reviews (95 % interval {low:.2%} to {high:.2%})"
    )
    said = sections_of(document)
    assert f"| test | {scores['n']} | {scores['accuracy']:.2%} | {low:.2%} to {high:.2%} |" in said["Scores"]
    assert "| without rows of the training set | 70 | 50.00% | 38.00% to 62.00% |" in said["Scores"]
    assert "| validation | " in said["Scores"]
    assert "was evaluated on the test reviews 2 times" in said["Scores"]
    shown = {"<b>bad</b>": r"\<b\>bad\</b\>", '"><script>alert(1)</script>': r'"\>\<script\>alert(1)\</script\>'}
    for label, counts in zip(scores["f1_per_label"], scores["confusion"], strict=True):
        assert f"| {shown[label]} | {counts[0]} | {counts[1]} |" in said["Results"]
    assert r"| \<i\>7\</i\> | 12 | 75.00% | 46.77% to 91.11% |" in said["Slices"]
    assert "| train.epochs | 2 | 10 |" in said["Settings"]
    assert "no longer in the cache" not in said["Most confident mistakes"]
    assert str(hostile_run.parent) not in json.dumps(document)  # whoever gets the report need not know our folders
    assert "sentiment reproduce" in said["Reproduce"]


def test_a_calibrated_model_says_what_that_did(hostile_run: Path) -> None:
    found = {"temperature": 1.3, "ece_before": 0.0712, "ece_after": 0.011, "loss_before": 0.41, "loss_after": 0.38}
    with store.new_directory(hostile_run / "again") as draft:
        for file in (hostile_run / "model").iterdir():
            if file.name not in (store.MANIFEST, "calibration.json"):
                draft.write(file.name, file.read_bytes())
        draft.write("calibration.json", store.dump_json(found))
    shutil.rmtree(hostile_run / "model")
    (hostile_run / "again").rename(hostile_run / "model")
    said = sections_of(build_report(read_run(hostile_run)))["Calibration"]
    assert "a temperature of 1.300" in said
    assert "| log loss | 0.4100 | 0.3800 |" in said
    assert "| ECE | 0.0712 | 0.0110 |" in said


def test_a_run_that_was_not_scored_says_so_and_has_the_rest(hostile_run: Path) -> None:
    shutil.rmtree(hostile_run / "evaluation")
    document = build_report(read_run(hostile_run))
    said = sections_of(document)
    assert "hostile has no scores on the test reviews" in said["Results"]
    assert f"sentiment eval {hostile_run}" in said["Results"] or "sentiment eval hostile" in said["Results"]
    assert "| validation | " in said["Scores"]
    assert "validation reviews (95 % interval" in document.lead
    assert "Most confident mistakes" not in said
    assert {"Training", "Data", "Settings", "Environment"} <= said.keys()
    render_page(document)


def test_a_run_that_was_killed_says_so_and_has_the_rest(hostile_run: Path) -> None:
    for name in ("evaluation", "model"):
        shutil.rmtree(hostile_run / name)
    (hostile_run / "summary.json").unlink()
    log = hostile_run / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-20])  # half a line
    document = build_report(read_run(hostile_run))
    said = sections_of(document)
    assert document.lead == "Not scored yet."
    assert "sentiment train --resume hostile" in said["Results"]
    assert said["Training"].count("| 0.") == 1 + 1  # one row of losses, one of accuracy
    render_page(document)
    log.unlink()
    assert "Training" not in sections_of(build_report(read_run(hostile_run)))


def test_a_run_that_diverged_names_a_lower_rate(hostile_run: Path) -> None:
    summary = json.loads((hostile_run / "summary.json").read_text())
    store.write_file(hostile_run / "summary.json", store.dump_json({**summary, "status": "diverged"}))
    run = read_run(hostile_run)
    said = sections_of(build_report(run))["Results"]
    assert f"sentiment train hostile/experiment.yaml --set train.lr={run.experiment.train.lr / 10:.1g}" in said


def test_scores_on_rows_that_the_model_was_trained_on_are_not_shown(hostile_run: Path) -> None:
    scores = json.loads((hostile_run / "evaluation" / "test.json").read_text())
    learnt = store.dump_json({**scores, "trained_on": True, "accuracy": 0.98765})
    store.write_file(hostile_run / "evaluation" / "valid.json", learnt)
    assert "98.8" not in sections_of(build_report(read_run(hostile_run)))["Scores"]
    assert ", which it was trained on" in "\n".join(describe_run(hostile_run))


def test_where_the_cache_is_gone_the_mistakes_are_ids(
    hostile_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTIMENT_DATA", str(tmp_path / "elsewhere"))
    said = sections_of(build_report(read_run(hostile_run)))
    assert "no longer in the cache" in said["Most confident mistakes"]
    assert len(re.findall(r"^- Labelled .* · \d+$", said["Most confident mistakes"], re.M)) == 10
    assert "Length of the training reviews" not in said["Data"]
    assert not (tmp_path / "elsewhere").exists()


def test_runs_side_by_side_show_where_they_differ(hostile_run: Path, quick_run: Path, tmp_path: Path) -> None:
    quick_run = Path(shutil.copytree(quick_run, tmp_path / "quick"))
    shutil.rmtree(quick_run / "evaluation", ignore_errors=True)  # of another test
    said = sections_of(build_comparison([read_run(hostile_run), read_run(quick_run)]))
    assert "| train.epochs | 2 | 1 |" in said["Differing settings"]
    assert "model.pooling" not in said["Differing settings"]
    assert "were scored on different reviews" in said["Scores"]
    assert "sentiment compare" not in said["Scores"]
    assert "| hostile | test | 72 |" in said["Scores"]
    assert "| quick | validation | 204 |" in said["Scores"]
    same = sections_of(build_comparison([read_run(hostile_run)] * 2))
    assert "the same experiment" in same["Differing settings"]
    assert "sentiment compare" in same["Scores"]
    # Two runs of one name are told apart by their paths.
    assert build_comparison([read_run(hostile_run)] * 2).title == f"{hostile_run} and {hostile_run}"


def test_the_same_run_gives_the_same_bytes(hostile_run: Path) -> None:
    one, two = (render_page(build_report(read_run(hostile_run))) for _ in range(2))
    assert one == two


def test_surest_mistakes_come_first_and_are_mistakes(hostile_run: Path) -> None:
    run = read_run(hostile_run)
    answers = read_predictions(run.path, "test")
    assert answers is not None
    found = find_mistakes(run, "test", answers, 5)
    assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
    rows = {row["id"]: row for row in map(json.loads, _lines(hostile_run / "evaluation" / "test-predictions.jsonl"))}
    wrong = {k: max(row["probabilities"].values()) for k, row in rows.items() if _said(row) != row["label"]}
    assert [one.probability for one in found] == sorted(wrong.values(), reverse=True)[:5]
    for one in found:
        assert (one.label, one.said) == (rows[one.id]["label"], _said(rows[one.id]))
        assert one.text is not None
        assert one.text.endswith(f"number {int(one.id) - 1}")  # the id of a table's row is its number, from 1


def test_a_long_text_is_shown_without_its_middle_and_breaks_as_breaks() -> None:
    words = " ".join(f"w{i:03}" for i in range(400))
    shown = run_report._excerpt(f"one<br />two {words}", is_break=True)
    assert shown.startswith("one\ntwo w000 ")
    assert shown.endswith(" w399")
    head, tail = re.split(r" \[… [\d,]+ characters …\] ", shown)
    assert len(head) + len(tail) < 1000
    assert f"one\ntwo {words}".startswith(head + " ")
    assert words.endswith(" " + tail)
    assert run_report._excerpt("one<br />two", is_break=False) == "one<br />two"
    assert len(run_report._excerpt("x" * 5000, is_break=False)) < 1100


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _said(row: dict[str, Any]) -> str:
    return max(reversed(row["probabilities"]), key=row["probabilities"].__getitem__)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("evaluation/test.json", "{"),
        ("evaluation/test-predictions.jsonl", '{"id": "1", "label": "other", "probabilities": {}}\n'),
        ("evaluation/test-predictions.jsonl", "[]\n"),
        ("metrics.jsonl", "nonsense\n"),
        ("model/vocabulary.json", "{}"),
    ],
)
def test_damage_is_an_error_that_names_the_file(hostile_run: Path, file: str, content: str) -> None:
    (hostile_run / file).write_text(content)
    with pytest.raises(store.IntegrityError, match=re.escape(str(hostile_run))):
        build_report(read_run(hostile_run))


@pytest.mark.parametrize("n", [1, 3, 10, 70, 2840])
@pytest.mark.parametrize("is_right", [True, False])
def test_bins_that_are_all_right_or_all_wrong_can_be_drawn(n: int, is_right: bool) -> None:
    chance_N = np.linspace(0.94, 0.99, n)
    label_N = np.full(n, int(is_right))
    answers = Predictions(
        ("neg", "pos"), [str(row) for row in range(n)], label_N, np.stack([1 - chance_N, chance_N], axis=1)
    )
    picture = svg.draw(reliability_figure(answers, "test"))
    assert picture.tag == "svg"


def test_every_review_is_in_the_histogram_of_lengths() -> None:
    length_N = np.array([0, 1, 5, 5, 30, 10_000])
    found = lengths_figure(length_N, 5)
    assert sum(found.chart.counts) == 6
    assert "33.3% of them exceed the model's limit of 5 tokens" in found.alt
    assert "None of them exceed" in lengths_figure(length_N, 20_000).alt
    assert "limit" not in lengths_figure(length_N, None).alt


@pytest.mark.parametrize("longest", [0, 3, 24, 25, 999])
def test_bars_of_the_histogram_are_equally_wide(longest: int) -> None:
    edges = lengths_figure(np.array([0, longest]), None).chart.edges
    assert len(set(np.diff(edges))) == 1


def test_without_matplotlib_a_page_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match="a chart needs matplotlib, which is not installed") as error:
        svg.check_matplotlib()
    assert error.value.hint == "pip install 'sentiment-cli[plot]'"


@pytest.fixture
def finished_of_kind(quick_run: Path, tmp_path: Path) -> Callable[..., RunFiles]:
    """Return a finished run as if it were of another kind: linear, or an ensemble."""

    def build(**changes: Any) -> RunFiles:
        run = read_run(Path(shutil.copytree(quick_run, tmp_path / f"run-{len(changes)}-{changes.get('kind')}")))
        kind, weighing = changes.get("kind"), changes.get("weighing")
        if kind == "linear":
            model = run.experiment.model.model_copy(update={"kind": "linear"})
            run = dataclasses.replace(run, experiment=run.experiment.model_copy(update={"model": model}))
        if weighing is not None:
            ensemble = {"weights": {"one": 0.25, "two": 0.75}, "weighing": weighing}
            run = dataclasses.replace(run, summary={**run.summary, "ensemble": ensemble})
        return run

    return build


@pytest.mark.parametrize(
    ("changes", "expected", "absent"),
    [
        ({}, "chose the epoch", "fitted the temperature"),
        ({"kind": "linear"}, "fitted the temperature", "epoch"),
        ({"weighing": "fitted"}, "fitted the members' weights", "epoch"),
        ({"weighing": "equal"}, "fitted the temperature", "epoch"),
    ],
)
def test_a_report_says_what_validation_was_used_for(finished_of_kind, changes, expected: str, absent: str) -> None:
    """Linear models have no epochs, and the members of an ensemble chose theirs."""
    said = sections_of(build_report(finished_of_kind(**changes)))
    text = said["Scores"] + said["Model"]
    assert expected in text
    assert absent not in text


def test_a_comparison_has_no_settings_for_an_ensemble_but_its_members(finished_of_kind) -> None:
    runs = [finished_of_kind(kind="linear"), finished_of_kind(), finished_of_kind(weighing="fitted")]
    said = sections_of(build_comparison(runs))["Differing settings"]
    assert "| members |  |  | one, two |" in said
    assert "| model.kind | linear | recurrent |  |" in said


@pytest.mark.parametrize(("n", "is_folded"), [(9, False), (10, False), (11, True), (40, True)])
def test_a_slice_shows_its_ten_worst_values_and_folds_the_rest(n: int, is_folded: bool) -> None:
    rows = [{"value": i, "n": 5, "accuracy": i / n, "accuracy_ci95": [0, 1]} for i in range(n)]
    table, *folded = run_report._slice("movie", rows)
    assert len(table.rows) == min(n, 10)
    assert [fold.title for fold in folded] == ([f"{n - 10} more values of movie"] if is_folded else [])
    assert [row[0] for fold in folded for row in fold.blocks[0].rows] == [str(i) for i in range(10, n)]


@pytest.mark.parametrize(
    ("name", "parts"), [("model.embedding.word_dropout", 4), ("train.lr", 2), ("lr", 1), ("a run.1", 1), ("<b>.x", 1)]
)
def test_the_name_of_a_setting_may_break_between_its_words(name: str, parts: int) -> None:
    table = Document("t", "lead", [ReportSection("s", [Table(["setting", "a"], [[name, "1"]], is_numeric=False)])])
    page = Structure(render_page(table))
    assert [tag for tag, _ in page.elements].count("wbr") == parts - 1
    assert name in "".join(page.texts)
