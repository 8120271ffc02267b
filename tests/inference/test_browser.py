"""A model as a page: its JavaScript against `predict`, in node and in Chromium where they are there."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.paths import bundled_model
from sentiment_cli.data.tokens.tokenizer import build_tokenizer, train_tokenizer
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.browser.export import describe_model, model_page
from sentiment_cli.inference.browser.layout import read_part
from sentiment_cli.inference.browser.patterns import ForeignPattern, translate
from sentiment_cli.inference.browser.refusals import CELLS
from sentiment_cli.inference.explain.attribution import Explainer
from sentiment_cli.inference.explain.trace import trace_text
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.layers.ngrams import count_ngrams
from sentiment_cli.onnx.classifier import build_graph
from sentiment_cli.runs.ensemble_model import open_model
from sentiment_cli.runs.saved_model import Calibration, pack_artefact, save_artefact
from sentiment_cli.workflows.train import fit

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))
from chromium import browser, find_chromium

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node here")
ENTRIES = (
    "the a film plot was is not good bad very dull lovely but it we of and . , ! don't 电 影 é ß σασ".lower().split()
)
ODD = [
    "zzz",
    "<br />",
    "< BR/ >",
    "don't",
    "It’s",
    "É",
    "e\u0301a",
    "电影",
    "İstanbul",
    "ΣΑΣ",
    "\u200d",
    "\U0001f600",
    "\n",
    "\x85",
]
ODD += [
    "_a_",
    "\x00",
    "ﬁ",
    "ｆｉｌｍ",
    "각",
    "\u1100\u1161\u11a8",
    "नमस्ते",
    "١٢٣",
    "rock'n'roll",
    "'tis",
    "x\u0301\u0323",
    "3½",
    "™ x²",
    "soooooo",
    "don’t",
    "&amp;",
    "&eacute;t&eacute;",
    "&amp;eacute;",
    "&amp;nosuch;",
    "&lt1;",
    "&constructor;",
    "&#233;&#x4e2d;&#1;&#128;&#0;&#xD800;&#9999999;&#xFDD0;&#xFFFE;",
    "ไทยดีมาก",
    "好看的电影",
    "👨\u200d👩\u200d👧👍🏽",
    "🇫🇷🇩🇪🇫",
    "❤\ufe0f",
    "က\u103cီး",
]


def texts_of(n: int, seed: int = 0) -> list[str]:
    """Return texts of known words, odd ones and all lengths, the empty one first."""
    draw = random.Random(seed)
    found = ["", " ", "I just really loved the movie"]
    while len(found) < n:
        words = draw.choices([*ENTRIES, *ODD], k=draw.choice([1, 3, 20, 60, 120]))
        found.append(
            "".join(word.title() * draw.choice([0, 1, 1]) + draw.choice([" ", " ", "", ", "]) for word in words)
        )
    return found


Make = Callable[..., Predictor]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a model with random weights, as training would, and open it."""

    def build(config: str, *settings: str, labels: tuple[str, ...] = ("neg", "pos"), graph: bool = True) -> Predictor:
        small = (
            ["model.linear.ngrams=3", "model.linear.normalize=false"]
            if config == "linear"
            else ["model.embedding.width=6"]
        )
        small += [] if config in ("linear", "bag") else ["model.encoder.width=8"]
        experiment = load_experiment(config, [*small, *settings])
        unknown = "<unk>" if experiment.vocabulary.unknown == "own" else "<pad>"
        specials = list(dict.fromkeys(["<pad>", *(["<start>"] if experiment.text.start else []), unknown]))
        if experiment.text.tokenizer == "bpe":
            tokenizer, entries = train_tokenizer(experiment.text, experiment.vocabulary, [texts_of(200)])
        else:
            entries = [*specials, *ENTRIES]
            tokenizer = build_tokenizer(experiment.text, entries, unknown)
        vocabulary = Vocabulary(tuple(entries), entries.index(unknown), 1 if experiment.text.start else None)
        torch.manual_seed(7)
        model = build_classifier(experiment, vocabulary, len(labels))
        linear = model if config == "linear" else model.wide and model.wide.linear
        if linear is not None:
            rows = [[*tokenizer.encode(text, add_special_tokens=False).ids, 0] for text in texts_of(40)]
            row_T = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])
            sizes = {"n_entries": linear.n_entries, "unknown_id": linear.unknown_id, "longest": linear.longest}
            counted = count_ngrams(np.concatenate(rows).astype(np.int64), row_T, **sizes, min_count=1)
            linear.keys = torch.from_numpy(counted.key_K)
            linear.weight = torch.randn(linear.n_entries + len(linear.keys), linear.n_logits) / 4
            linear.bias = torch.randn(linear.n_logits)
            if linear.is_normalized:
                linear.size = torch.randint(0, 4, (len(linear.weight),)).float()
        if config != "linear":
            torch.nn.init.normal_(model.output.weight)
        corpus: Any = SimpleNamespace(
            labels=labels, key="toy-0123456789abcdef", vocabulary=vocabulary, tokenizer_json=tokenizer.to_str().encode()
        )
        path = tmp_path / f"{config}-{len(list(tmp_path.iterdir()))}"
        calibration = Calibration(1.5, 0.1, 0.1, 0.5, 0.5)
        save_artefact(
            path, experiment, corpus, model.state_dict(), calibration, build_graph(model.eval()) if graph else "no"
        )
        return open_predictor(path)

    return build


def ask_node(predictor: Predictor, texts: list[str], tmp_path: Path, storage: Any = "fp32") -> list[dict[str, Any]]:
    """Return what the page's script says of texts: the answer, its tokens, its trace and its explanation."""
    (tmp_path / "model.json").write_text(json.dumps(describe_model(predictor.model.first, storage)))
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    harness = """
    const fs = require("fs"), at = process.argv[2];
    const read = (name) => JSON.parse(fs.readFileSync(`${at}/${name}.json`, "utf8"));
    const model = buildModel(read("model"));
    (async () => {
      const found = [];
      for (const text of read("texts")) {
        const answer = model.predict(text);
        const isShort = text.length < 120, trace = isShort ? await model.trace(text, answer, async () => true) : null;
        found.push({ answer, trace, ids: model.tokenize(text).ids, explanation: isShort ? model.explain(text) : null });
      }
      fs.writeFileSync(`${at}/found.json`, JSON.stringify(found));
    })();"""
    (tmp_path / "run.js").write_text(read_part("model.js") + harness)
    done = subprocess.run([str(NODE), str(tmp_path / "run.js"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((tmp_path / "found.json").read_text())


def assert_parity(predictor: Predictor, texts: list[str], found: list[dict[str, Any]], tolerance: float = 1e-5) -> None:
    for text, ids, one, answer in zip(texts, *predictor.encode(texts), found, predictor.predict(texts), strict=True):
        assert one["ids"] == ids.tolist(), text
        expected, said = answer.to_json(), one["answer"]
        counted = ("tokens", "unknown", "truncated", "low_evidence")
        assert [said[name] for name in counted] == [expected[name] for name in counted], text
        if answer.stars is not None:
            assert said["stars"] == pytest.approx(answer.stars, abs=10 * tolerance)
        else:
            assert said["probabilities"] == pytest.approx(expected["probabilities"], abs=tolerance), text


TWO, THREE = ("neg", "pos"), ("a", "b", "c")
RECURRENT = [
    *(("lstm", f"model.pooling={pooling}") for pooling in ("last", "mean", "max", "both", "concat", "attention")),
    *(
        ("lstm", f"model.encoder.cell={cell}", "model.encoder.layers=2", "model.encoder.bidirectional=true")
        for cell in CELLS
    ),
    *(
        ("lstm", f"model.encoder.cell={cell}", "model.encoder.layers=2", "model.encoder.bidirectional=false")
        for cell in CELLS
    ),
    ("lstm", "model.pooling=concat", "model.encoder.bidirectional=true"),
    ("lstm", "text.max_tokens=16", "text.truncate=head"),
    ("lstm", "text.max_tokens=16", "text.truncate=tail", "text.start=true"),
    ("lstm", "text.max_tokens=16", "text.truncate=ends", "text.start=true"),
    ("lstm", "text.max_tokens=32", "text.pad=left", "text.pad_to=32"),
    ("lstm", "text.tokenizer=whitespace", "text.punctuation=delete"),
    ("lstm", "text.tokenizer=bpe", "vocabulary.size=600", "vocabulary.min_count=1"),
    ("lstm", "text.lowercase=false", "text.markup=keep"),
    ("lstm", "vocabulary.unknown=padding", "model.embedding.word_dropout=0"),
]


@needs_node
@pytest.mark.parametrize("settings", RECURRENT, ids=lambda one: ",".join(part.split(".")[-1] for part in one[1:]))
def test_the_page_says_what_predict_says(make: Make, tmp_path: Path, settings: tuple[str, ...]) -> None:
    predictor, texts = make(*settings), texts_of(48)
    found = ask_node(predictor, texts, tmp_path)
    assert_parity(predictor, texts, found)
    for text, one in zip(texts, found, strict=True):
        if one["trace"] is not None:
            expected = trace_text(predictor, text)
            assert one["trace"]["before"] == pytest.approx(expected.steps[0].value, abs=1e-5)
            if len(one["trace"]["steps"]) == len(expected.steps) - 1:
                values = [step["probability"] for step in one["trace"]["steps"]]
                assert values == pytest.approx([step.value for step in expected.steps[1:]], abs=1e-5)


@needs_node
@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ((), TWO),
        ((), THREE),
        (("model.linear.ngrams=1",), TWO),
        (("model.linear.normalize=true",), THREE),
        (("text.max_tokens=20",), TWO),
    ],
)
def test_a_linear_page_says_what_predict_says_and_why(
    make: Make, tmp_path: Path, settings: tuple[str, ...], labels: Any
) -> None:
    predictor, texts = make("linear", *settings, labels=labels), texts_of(256)
    found = ask_node(predictor, texts, tmp_path)
    assert_parity(predictor, texts, found)
    explainer = Explainer(predictor)
    for text, one in zip(texts[:40], found, strict=False):
        if one["explanation"] is None:
            continue
        expected = explainer.explain(text)
        assert one["explanation"]["of"] == expected.of
        assert len(one["explanation"]["words"]) == len(expected.words)
        for word, said, added in zip(expected.words, one["explanation"]["words"], expected.added, strict=True):
            assert (said["unknown"], said["read"]) == (word.unknown, word.read)
            assert said["contribution"] == pytest.approx(added, abs=1e-5)
            if text.isascii():
                assert (said["text"], said["start"], said["end"]) == (word.text, word.start, word.end)


@needs_node
@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_page_reads_unknown_words_by_their_characters(tmp_path: Path, n_labels: int) -> None:
    draw, rows = random.Random(0), ["text,label"]
    for i in range(90):
        rows.append(
            f"{' '.join(draw.choices(ENTRIES[:14], k=6))} {('gut', 'übel', 'mittel')[i % n_labels]},{i % n_labels}"
        )
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    experiment = load_experiment(
        "linear", [f"data.source={tmp_path / 'rows.csv'}", "model.linear.char_ngrams=[1,4]", "model.linear.min_count=1"]
    )
    predictor = open_predictor(fit(experiment).directory)
    assert predictor.model.first.vocabulary.n_pieces > 20
    odd = ["gutt", "ÜBELST", "mittelmäßig", "g", "gut" * 40, "👍🏽gut", "gu😀t", "filmfilm", "ü" * 70, "it’s guuuuut"]
    texts = [*texts_of(60), *odd, " ".join(odd), *(f"a {word} plot" for word in odd)]
    found = ask_node(predictor, texts, tmp_path)
    assert_parity(predictor, texts, found)
    assert any(len(one["ids"]) > 5 * one["answer"]["unknown"] > 0 for one in found)  # pieces behind unknown words
    explainer = Explainer(predictor)
    for text, one in zip(texts, found, strict=True):
        if one["explanation"] is not None:
            expected = explainer.explain(text)
            said = [(word["unknown"], word["contribution"]) for word in one["explanation"]["words"]]
            assert [is_unknown for is_unknown, _ in said] == [word.unknown for word in expected.words], text
            assert [added for _, added in said] == pytest.approx(list(expected.added), abs=1e-5)
            steps = trace_text(predictor, text).steps[1:]
            assert [step["unknown"] for step in one["trace"]["steps"]] == [step.word.unknown for step in steps]
            values = [step["probability"] for step in one["trace"]["steps"]]
            assert values == pytest.approx([step.value for step in steps], abs=1e-5)


@needs_node
@pytest.mark.parametrize(
    ("use", "labels"),
    [("channel", THREE), ("skip", TWO), ("both", THREE), ("both,model.linear.normalize=true", TWO)],
)
def test_pages_of_a_network_with_a_linear_model_beside_it(make: Make, tmp_path: Path, use: str, labels: Any) -> None:
    settings = (*f"model.wide.use={use}".split(","), "model.encoder.bidirectional=true", "model.pooling=both")
    predictor, texts = make("lstm", *settings, labels=labels), texts_of(48)
    found = ask_node(predictor, texts, tmp_path)
    assert_parity(predictor, texts, found)
    for text, one in zip(texts, found, strict=True):
        if (
            one["trace"] is not None
            and len(one["trace"]["steps"]) == len(steps := trace_text(predictor, text).steps) - 1
        ):
            values = [step["probability"] for step in one["trace"]["steps"]]
            assert values == pytest.approx([step.value for step in steps[1:]], abs=1e-5)


@needs_node
@pytest.mark.parametrize("labels", [("a", "b", "c"), ("<b>", "</script>", '"')])
def test_pages_of_several_labels(make: Make, tmp_path: Path, labels: tuple[str, ...]) -> None:
    predictor, texts = make("lstm", labels=labels), texts_of(32)
    assert_parity(predictor, texts, ask_node(predictor, texts, tmp_path))


@needs_node
def test_256_texts_of_a_trained_run_agree_to_a_ten_thousandth(quick_run: Path, tmp_path: Path) -> None:
    predictor, texts = open_predictor(quick_run), texts_of(256)
    assert_parity(predictor, texts, ask_node(predictor, texts, tmp_path), tolerance=1e-4)


@needs_node
@pytest.mark.parametrize(
    "text", ["x" * 300_000, "a film " * 50_000, "\U0001f600" * 100_000, "é" * 150_000, "\n" * 200_000]
)
def test_long_texts_are_read_too(make: Make, tmp_path: Path, text: str) -> None:
    predictor = make("lstm", "text.max_tokens=50")
    assert_parity(predictor, [text], ask_node(predictor, [text], tmp_path))


@needs_node
@pytest.mark.parametrize(("storage", "most"), [("fp16", 1e-3), ("int8", 3e-2)])
def test_smaller_weights_are_nearly_as_good(make: Make, tmp_path: Path, storage: str, most: float) -> None:
    predictor, texts = make("lstm", "model.pooling=attention"), texts_of(64)
    assert_parity(predictor, texts, ask_node(predictor, texts, tmp_path, storage), tolerance=most)
    sizes = [len(model_page(predictor.model, one)) for one in ("fp32", storage)]
    assert sizes[1] < sizes[0]


PATTERNS = [
    r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_",
    r"<\s*[bB][rR]\s*(?:/\s*)?>",
    r"\p{Han}",
    r"[\p{Han}\p{Hiragana}]|\d{2,3}",
]
PATTERNS += [
    r"\w+(?=\s)|\S",
    r"(?<!a)b+?",
    r"[a-c&&[^b]]+",
    r"\x41|\u00e9|\.",
    r"(a|b)*c",
    r"[[:alpha:]]+",
    r"\P{L}",
    r"\h",
]


@needs_node
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_find_what_the_library_finds(pattern: str, tmp_path: Path) -> None:
    texts = [*texts_of(60, seed=3), "abcab acbb aab A.é", "カタカナ ひらがな 漢字 123 45"]
    splitter = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    expected = [[piece for piece, _ in splitter.pre_tokenize_str(text)] for text in texts]
    source = json.dumps(translate(pattern))
    code = f"const found = {json.dumps(texts)}.map((text) => [...text.matchAll(new RegExp({source}, 'gu'))]"
    (tmp_path / "run.js").write_text(
        f"{code}.map((one) => one[0]).filter((one) => one)); console.log(JSON.stringify(found));"
    )
    done = subprocess.run([str(NODE), str(tmp_path / "run.js")], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("pattern", [r"(?i)a", r"a++", r"^a", r"a$", r"\bword", r"(?>a)", r"\Ga", r"\k<x>", "[a"])
def test_patterns_that_are_not_translated_are_refused(pattern: str) -> None:
    with pytest.raises(ForeignPattern):
        translate(pattern)


@pytest.mark.parametrize(
    ("config", "settings", "why"),
    [
        ("transformer", (), "model.kind is transformer"),
        ("bag", ("model.embedding.buckets=50",), "model.kind is bag"),
        ("lstm", ("model.encoder.cell=sru",), "model.encoder.cell is sru"),
        ("lstm", ("model.encoder.cell=lstm-peephole",), "model.encoder.cell is lstm-peephole"),
        ("lstm", ("model.encoder.skip=residual",), "model.encoder.skip is residual"),
        ("lstm", ("model.encoder.chop=5",), "model.encoder.chop is 5"),
        ("lstm", ("model.context=global",), "model.context is global"),
        ("lstm", ("model.embedding.ngrams=2", "model.embedding.buckets=50"), "model.embedding.ngrams is 2"),
    ],
)
def test_models_that_a_page_cannot_hold_are_refused_by_name(
    make: Make, config: str, settings: tuple[str, ...], why: str
) -> None:
    predictor = make(config, *settings, graph=False) if config in ("transformer", "bag") else make(config, *settings)
    with pytest.raises(UsageError, match=why) as refused:
        model_page(predictor.model, "fp32")
    assert refused.value.hint.startswith("sentiment export ")


def test_a_packed_linear_model_makes_the_page_of_its_run(make: Make, tmp_path: Path) -> None:
    whole = make("linear").model
    pack_artefact(whole.first, tmp_path / "packed.model")
    packed = open_model(tmp_path / "packed.model")
    assert not packed.first.has_weights
    assert describe_model(packed.first, "fp32") == describe_model(whole.first, "fp32")


def test_models_without_weights_and_int8_of_linear_ones_are_refused(make: Make, tmp_path: Path) -> None:
    pack_artefact(make("lstm").model.first, tmp_path / "packed.model")
    with pytest.raises(UsageError, match="without weights"):
        model_page(open_model(tmp_path / "packed.model"), "fp32")
    with pytest.raises(UsageError, match="int8"):
        model_page(make("linear").model, "int8")


@pytest.mark.parametrize(
    "change",
    [
        lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.Metaspace()),
        lambda one: setattr(one, "normalizer", normalizers.Prepend("x")),
        lambda one: setattr(one, "pre_tokenizer", pre_tokenizers.Split(Regex("a"), "merged_with_next")),
        lambda one: setattr(one, "model", models.Unigram([("a", 0.0)], 0)),
        lambda one: one.add_tokens(["film"]),
        lambda one: one.enable_padding(),
    ],
    ids=["metaspace", "prepend", "merged", "unigram", "added", "padding"],
)
def test_tokenizers_of_other_kinds_are_refused(make: Make, change: Any, monkeypatch: Any) -> None:
    from sentiment_cli.runs.saved_model import Artefact

    artefact = make("lstm").model.first
    tokenizer = Tokenizer.from_buffer(artefact.read("tokenizer.json"))
    change(tokenizer)
    read = Artefact.read
    monkeypatch.setattr(
        Artefact,
        "read",
        lambda self, name: tokenizer.to_str().encode() if name == "tokenizer.json" else read(self, name),
    )
    with pytest.raises(UsageError, match="tokenizer"):
        describe_model(artefact, "fp32")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_asks_for_nothing_and_labels_are_no_markup(make: Make) -> None:
    html = model_page(
        make("lstm", labels=("<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>")).model, "fp32"
    )
    tags = Tags()
    tags.feed(html)
    names = [tag for tag, _ in tags.found]
    assert names.count("script") == 2
    assert "img" not in names
    assert not [attributes for _, attributes in tags.found if attributes.keys() & {"src", "onerror", "style", "action"}]
    assert [attributes["href"] for _, attributes in tags.found if "href" in attributes] == ["data:,"]
    (policy,) = [attributes["content"] for tag, attributes in tags.found if attributes.get("http-equiv")]
    assert "default-src 'none'" in str(policy)
    assert "unsafe" not in str(policy)


def test_the_command_writes_a_page_once(cli: Any, quick_run: Path, tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    done = cli("export", str(quick_run), "--page", str(place), "--precision", "fp16", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run": str(quick_run), "page": str(place), "bytes": place.stat().st_size}
    again = cli("export", str(quick_run), "--page", str(place))
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr
    both = cli("export", str(quick_run), "--page", str(tmp_path / "b.html"), "--pack", str(tmp_path / "b.model"))
    assert both.returncode == 2
    assert not (tmp_path / "b.html").exists()


@pytest.mark.skipif(find_chromium() is None, reason="there is no Chromium here")
@pytest.mark.parametrize("model", ["a trained LSTM", "pocket"])
def test_the_page_answers_in_chromium_without_a_request(model: str, quick_run: Path, tmp_path: Path) -> None:
    path, storage = (bundled_model(), "fp16") if model == "pocket" else (quick_run, "fp32")
    predictor, texts = open_predictor(path), texts_of(256)
    place = tmp_path / "page.html"
    place.write_text(model_page(predictor.model, storage), "utf-8")
    with browser(str(find_chromium()), tmp_path / "profile") as page:
        for width in (400, 1600):
            page.open(place, width)
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        said = page.evaluate(f"{json.dumps(texts)}.map((text) => model.predict(text).probabilities)")
        for text, one, answer in zip(texts, said, predictor.predict(texts), strict=True):
            assert one == pytest.approx(answer.probabilities, abs=1e-4), text
        asked = [
            event["params"]["request"]["url"] for event in page.events if event["method"] == "Network.requestWillBeSent"
        ]
        assert {url for url in asked if not url.startswith("data:")} == {place.resolve().as_uri()}
        assert not [event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
