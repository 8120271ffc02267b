import json
import math
import re
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
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import Tensor

from sentiment_cli import console, extras
from sentiment_cli.cli import explain as shown
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.data.tokens.tokenizer import build_tokenizer
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.errors import UsageError
from sentiment_cli.inference.explain import attribution as explaining
from sentiment_cli.inference.explain import integrated_gradients
from sentiment_cli.inference.explain.attribution import Explainer
from sentiment_cli.inference.explain.html import page_end, page_part, page_start
from sentiment_cli.inference.explain.integrated_gradients import integrate, integrate_row
from sentiment_cli.inference.explain.linear_weights import load_ngram_weights
from sentiment_cli.inference.explain.trace import trace_text
from sentiment_cli.inference.explain.words import cut_text
from sentiment_cli.inference.export import graphs_of
from sentiment_cli.inference.predictor import Predictor, open_predictor
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.layers.ngrams import count_ngrams
from sentiment_cli.runs.saved_model import Calibration, open_artefact, pack_artefact, save_artefact
from sentiment_cli.storage import store

CONFIGS = [name for name in recipe_names() if load_experiment(name).task == "classify"]
CONFIGS = [name for name in CONFIGS if name not in ("pocket", "linear-teacher", "linear-taught")]  # as `linear`
ENTRIES = "the a film plot was is not good bad very dull lovely but it we of and . , !".split()
TEXTS = [
    "The plot was very good, but the film is not good.",
    "dull! A lovely, lovely zzzz film. We was not of it, and it is very bad and very dull and not a film of good plot.",
]
TEMPERATURE = 1.5

LINEAR = [f"model.linear.{one}" for one in ("ngrams=3", "char_ngrams=[]", "min_count=3", "weighting=bayes")]
LINEAR += ["model.linear.normalize=false", "model.linear.penalty=4.0"]  # what follows from IMDb
Run = Callable[..., Path]
Ask = Callable[..., Predictor]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Write the model of a shipped experiment, small and with random weights, as training would."""

    def write(config: str, *settings: str, labels: tuple[str, ...] = ("neg", "pos")) -> Path:
        small = ["model.embedding.width=6", "model.embedding.std=1"]
        small += ["model.embedding.buckets=50"] if config == "bag" else ["model.encoder.width=8"]
        if config == "own":  # what follows from data otherwise
            small += ["model.embedding.dropout=0.1", "model.wide.use=both", "model.wide.dropout=0.8", *LINEAR]
            small.remove("model.linear.char_ngrams=[]")
        experiment = load_experiment(config, [*(LINEAR if config == "linear" else small), *settings])
        own = experiment.vocabulary.unknown == "own"
        specials = ["<pad>", *(["<start>"] if experiment.text.start else []), *(["<unk>"] if own else [])]
        vocabulary = Vocabulary((*specials, *ENTRIES), len(specials) - 1, 1 if experiment.text.start else None)
        tokenizer = build_tokenizer(experiment.text, vocabulary.entries, specials[-1])
        torch.manual_seed(7)
        model = build_classifier(experiment, vocabulary, len(labels))
        linear = model if experiment.model.kind == "linear" else model.wide and model.wide.linear
        if linear is not None:
            rows = [[*tokenizer.encode(text).ids, 0] for text in TEXTS]
            row_T = np.repeat(np.arange(2, dtype=np.int32), [len(row) for row in rows])
            sizes: dict[str, int] = {"n_entries": linear.n_entries, "unknown_id": linear.unknown_id}
            counted = count_ngrams(np.concatenate(rows), row_T, **sizes, longest=linear.longest, min_count=1)
            linear.keys = torch.from_numpy(counted.key_K)
            linear.weight = torch.randn(linear.n_entries + len(linear.keys), linear.n_logits)
            linear.bias = torch.randn(linear.n_logits)
            if linear.is_normalized:
                linear.size = torch.ones(len(linear.weight))
        if linear is not model:
            torch.nn.init.normal_(model.output.weight)
            if model.embedding.ngrams is not None:
                torch.nn.init.normal_(model.embedding.ngrams.weight[1:])
        corpus: Any = SimpleNamespace(
            labels=labels, key="toy-0123456789abcdef", vocabulary=vocabulary, tokenizer_json=tokenizer.to_str().encode()
        )
        path = tmp_path / f"{config}-{len(list(tmp_path.iterdir()))}"
        save_artefact(path, experiment, corpus, model.state_dict(), Calibration(TEMPERATURE, 0.1, 0.1, 0.5, 0.5))
        (path / "experiment.yaml").touch()
        return path

    return write


@pytest.fixture
def ask(run: Run) -> Ask:
    def build(config: str, *settings: str, labels: tuple[str, ...] = ("neg", "pos")) -> Predictor:
        return open_predictor(run(config, *settings, labels=labels))

    return build


def log_odds(predictor: Predictor, text: str) -> float:
    """What is explained, by way of the answer alone."""
    (answer,) = predictor.predict([text])
    return math.log(answer.probabilities["pos"] / answer.probabilities["neg"])


@pytest.mark.parametrize("config", CONFIGS)
def test_words_of_every_shipped_model_add_up_to_its_answer(ask: Ask, config: str) -> None:
    predictor = ask(config)
    explainer = Explainer(predictor)
    assert explainer.method == ("weights" if config == "linear" else "gradients")
    together = predictor.predict(TEXTS)
    for text, answer in zip(TEXTS, together, strict=True):
        found = explainer.explain(text)
        assert found.of == "log-odds of pos"
        assert found.output == pytest.approx(
            math.log(answer.probabilities["pos"] / answer.probabilities["neg"]), abs=1e-4
        )
        rest = found.output - found.baseline
        assert abs(sum(found.added) - rest) == pytest.approx(abs(found.gap), abs=1e-9)
        by_network = re.match(r"of which ([+-][\d.]+) by the network", found.note or "")  # which alone is integrated
        integrated = abs(float(by_network[1])) + 0.005 if by_network else abs(rest)
        assert abs(found.gap) <= max(0.01 * integrated, 2e-3 if config != "linear" else 1e-5)
        assert np.isfinite(found.added).all()
        assert len(found.added) == len(found.words) == answer.tokens
        assert all(text[word.start : word.end] == word.text for word in found.words)
        assert [word.text for word in found.words if word.unknown] == re.findall("zzzz", text)
        assert any(abs(added) > 1e-3 for added in found.added)


@pytest.mark.parametrize("config", CONFIGS)
def test_occlusion_is_what_the_answer_loses_with_a_word_unknown(ask: Ask, config: str) -> None:
    """Against one answer at a time: no row depends on those read beside it."""
    predictor, text = ask(config), TEXTS[0]
    found = Explainer(predictor, "occlusion").explain(text)
    whole = log_odds(predictor, text)
    assert found.output == pytest.approx(whole, abs=1e-4)
    nothing = "zzzz " * len(found.words)
    assert found.baseline == pytest.approx(log_odds(predictor, nothing), abs=1e-4)
    for word, added in zip(found.words, found.added, strict=True):
        assert added == pytest.approx(
            whole - log_odds(predictor, f"{text[: word.start]} zzzz {text[word.end :]}"), abs=1e-4
        )
    assert found.gap == pytest.approx(sum(found.added) - (found.output - found.baseline), abs=1e-9)


def test_captum_agrees_on_the_lstm(ask: Ask) -> None:
    predictor = ask("lstm", "model.pooling=mean")
    model = load_model(predictor.model.first)
    ((ids,),) = predictor.encode(TEXTS[1:])
    ids_1L = torch.from_numpy(ids).long()[None]
    unknown_1L, length_1 = torch.full_like(ids_1L, predictor.members[0].vocabulary.unknown_id), torch.tensor([len(ids)])
    ours = integrate_row(model, unknown_1L[0].numpy(), ids_1L[0].numpy(), np.ones(1)).added_L

    def read(embedded_BLD: Tensor) -> Tensor:
        n = len(embedded_BLD)
        return model(ids_1L.expand(n, -1), length_1.expand(n), embedded_BLD)

    with torch.no_grad():
        from_1LD, to_1LD = model.embedding(unknown_1L), model.embedding(ids_1L)
    points = IntegratedGradients(read).attribute(to_1LD, from_1LD, n_steps=100)
    np.testing.assert_allclose(ours, points.sum(2)[0].numpy(), atol=1e-4)

    def read_ids(ids_BL: Tensor) -> Tensor:
        return model(ids_BL, length_1.expand(len(ids_BL)))

    layer = LayerIntegratedGradients(read_ids, model.embedding).attribute(ids_1L, unknown_1L, n_steps=100)
    np.testing.assert_allclose(ours, layer.sum(2)[0].detach().numpy(), atol=1e-4)
    assert np.abs(ours).max() > 0.01


def test_vectors_of_ngrams_belong_to_the_word_that_ends_them(ask: Ask) -> None:
    """A mean is linear: each word adds its vector's and its n-gram's product with the output's weights."""
    predictor = ask("bag")
    model = load_model(predictor.model.first)
    ((ids,),) = predictor.encode(TEXTS[:1])
    ids_1L = torch.from_numpy(ids).long()[None]
    with torch.no_grad():
        moved_LD = (model.embedding(ids_1L) - model.embedding(torch.full_like(ids_1L, 1)))[0]
        expected_L = (moved_LD @ model.output.weight[0] / len(ids) / TEMPERATURE).numpy()
    np.testing.assert_allclose(Explainer(predictor).explain(TEXTS[0]).added, expected_L, atol=1e-5)


def test_integrals_of_functions_that_are_known() -> None:
    start_LD, end_LD = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [5.0, 0.0]])
    product = integrate(lambda points_BLD: points_BLD[:, 0, 0] * points_BLD[:, 1, 0], start_LD, end_LD)
    # ∫ 2 (2 + 3 a) da and ∫ 3 (1 + 2 a) da
    np.testing.assert_allclose(product.added_L, [7, 6], rtol=1e-6)
    assert (product.before, product.after) == (2, 15)
    kink = integrate(lambda points_BLD: (points_BLD.sum((1, 2)) - 4.1).relu() * 100, start_LD, end_LD)
    assert kink.after - kink.before == pytest.approx(390, abs=1e-3)
    assert abs(kink.gap) <= 0.01 * 390
    np.testing.assert_allclose(kink.added_L, [390 * 2 / 5, 390 * 3 / 5], rtol=0.011)


def test_a_jump_too_steep_for_float32_is_found_in_float64(ask: Ask) -> None:
    """h = tanh(2 h + x) keeps the sign of its first input, and 30 steps make of 0 a cliff of slope 2^30."""
    model = load_model(
        ask("elman", "model.encoder.width=1", "model.embedding.width=1", "model.pooling=last").model.first
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        (cell,) = model.encoder.forward_layers
        cell.weight_ih_l0.fill_(1)
        cell.weight_hh_l0.fill_(2)
        model.embedding.weight[5:7, 0] = torch.tensor([-1.1, 1.0])
        model.output.weight.fill_(3)
    first_L, last_L = (np.array([word, *[7] * 30]) for word in (5, 6))
    found = integrate_row(model, first_L, last_L, np.ones(1))
    assert found.after - found.before > 5
    assert abs(found.gap) <= 0.01 * (found.after - found.before)
    assert found.added_L[0] == pytest.approx(found.after - found.before, rel=0.01)
    assert next(model.parameters()).dtype == torch.float32


def test_what_float64_would_not_find_either_is_not_read_twice(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(ask("lstm").model.first)
    read = []
    real = integrated_gradients.integrate
    monkeypatch.setattr(
        integrated_gradients,
        "integrate",
        lambda *row: read.append(row) or real(*row)._replace(before=9.0, is_ended=True),
    )
    found = integrate_row(model, np.array([1, 1]), np.array([5, 6]), np.ones(1))
    assert abs(found.gap) > found.allowed
    assert len(read) == 1


@pytest.mark.parametrize(("length", "most"), [(1, 4096), (1000, 400), (20_000, 20)])
def test_what_takes_too_many_points_ends_and_shows_its_gap(length: int, most: int) -> None:
    n_read = 0

    def read(points_BLD: Tensor) -> Tensor:
        nonlocal n_read
        n_read += len(points_BLD)
        return (1e6 * points_BLD).sin().sum((1, 2)) + points_BLD.sum((1, 2))

    found = integrate(read, torch.zeros(length, 1).double(), torch.ones(length, 1).double())
    assert most <= n_read <= 3 * most
    assert found.is_ended
    assert found.gap == pytest.approx(found.added_L.sum() - (found.after - found.before))
    assert abs(found.gap) > 0.1


def test_a_linear_model_is_explained_by_its_weights(ask: Ask) -> None:
    predictor = ask("linear")
    model = load_model(predictor.model.first)
    entries = list(predictor.members[0].vocabulary.entries)
    good, film, not_ = (entries.index(word) for word in ("good", "film", "not"))
    found = Explainer(predictor).explain("good zzzz good film, not good")
    weight_F = model.weight[:, 0].double() / TEMPERATURE
    key = torch.searchsorted(model.keys, torch.tensor(not_ * len(entries) + good))
    not_good = float(weight_F[len(entries) + key])  # the only n-gram of this text that a training row holds, too
    assert found.baseline == pytest.approx(float(model.bias) / TEMPERATURE)
    each = float(weight_F[good]) / 3
    expected = [each, 0, each, weight_F[film], weight_F[entries.index(",")], weight_F[not_] + not_good / 2]
    np.testing.assert_allclose(found.added, [*map(float, expected), each + not_good / 2], atol=1e-6)
    assert abs(found.gap) < 1e-5
    assert [text for text, _ in found.ngrams] == sorted(
        ["good", "film", ",", "not", "not good"], key=lambda text: -abs(dict(found.ngrams)[text])
    )
    assert dict(found.ngrams)["not good"] == pytest.approx(not_good)


@pytest.mark.parametrize("settings", [(), ("text.start=true",)])
@pytest.mark.parametrize("use", ["skip", "both"])
def test_a_wide_model_is_explained_by_its_two_parts(ask: Ask, use: str, settings: tuple[str, ...]) -> None:
    predictor = ask("lstm-bi", f"model.wide.use={use}", *settings)
    (member,) = predictor.members
    model = load_model(member.artefact)
    text = "the plot was good but not very good"
    found = Explainer(predictor, "gradients").explain(text)
    assert abs(found.gap) <= max(0.01 * abs(found.output - found.baseline), 2e-3)
    assert found.output == pytest.approx(log_odds(predictor, text), abs=1e-4)
    parts = re.fullmatch(r"of which ([+-][\d.]+) by the network and ([+-][\d.]+) by its linear part", found.note)
    by_network, by_linear = map(float, parts.groups())
    assert by_network + by_linear == pytest.approx(sum(found.added), abs=0.02)
    (ids_L,) = member.encode([text])
    with torch.no_grad():
        bias = float(model.wide.linear.bias)
        start = [1] if settings else []
        alone = float(
            model.wide.linear(torch.tensor([start + ids_L.tolist()]), torch.tensor([len(ids_L) + len(start)]))
        )
        own = float(model.wide.linear.weight[1]) if settings else 0.0  # the start token is a word of no text
    assert by_linear == pytest.approx((alone - bias - own) / TEMPERATURE, abs=0.01)
    weights = load_ngram_weights(member.artefact)
    entries = list(member.vocabulary.entries)
    words = {ngram: added for ngram, added in found.ngrams if " " not in ngram}
    assert words
    for word, added in words.items():
        assert added == pytest.approx(float(weights.weight_FC[entries.index(word), 0]) / TEMPERATURE, rel=1e-5)
    occluded = Explainer(predictor, "occlusion").explain(text)
    assert occluded.output == pytest.approx(found.output, abs=1e-4)
    assert trace_text(predictor, text).steps[-1].value == pytest.approx(
        predictor.predict([text])[0].probabilities[trace_text(predictor, text).steps[-1].label], abs=1e-6
    )


@pytest.mark.parametrize("damage", ["shape", "name", "kind", "nan", "bytes"])
def test_m02_other_weights_than_the_models_are_refused(run: Run, damage: str) -> None:
    import safetensors.torch

    path = run("linear")
    files = {file.name: file.read_bytes() for file in (path / "model").iterdir()}
    weights = safetensors.torch.load(files["weights.safetensors"])
    if damage == "shape":
        weights["weight"] = weights["weight"][:-1].clone()
    elif damage == "name":
        weights["wait"] = weights.pop("weight")
    elif damage == "kind":
        weights["keys"] = weights["keys"].int()
    else:
        weights["weight"][0, 0] = torch.nan
    files["weights.safetensors"] = safetensors.torch.save(weights) if damage != "bytes" else b"\xff" * 64
    about = json.loads(files["model.json"])
    files["model.json"] = store.dump_json({**about, "format": 2})  # which holds no hashes of the other files
    store.remove_directory(path / "model")
    with store.new_directory(path / "model") as draft:
        for name in files.keys() - {store.MANIFEST}:
            draft.write(name, files[name])
    artefact = open_artefact(path)
    with pytest.raises(store.IntegrityError):
        load_ngram_weights(artefact)


def test_attention_shows_weights_that_are_no_contributions(ask: Ask) -> None:
    predictor = ask("gru-attention")
    found = Explainer(predictor, "attention").explain(TEXTS[0])
    assert sum(found.added) == pytest.approx(1, abs=1e-6)
    assert min(found.added) > 0
    assert (found.output, found.baseline, found.gap) == (None, None, None)
    assert "not contributions" in found.summary()
    words = found.to_json()["words"]
    assert all("weight" in word and "contribution" not in word for word in words)


@pytest.mark.parametrize(
    ("config", "method", "says"),
    [
        ("lstm", "attention", "attention explains a model with model.pooling: attention, which this one has not"),
        ("lstm", "weights", "weights explain a linear model, and this one is of kind recurrent"),
        ("linear", "gradients", "a linear model has no word vectors"),
        ("linear", "attention", "attention explains a model with"),
    ],
)
def test_a_method_that_is_not_of_the_model_is_refused(ask: Ask, config: str, method: Any, says: str) -> None:
    predictor = ask(config)
    with pytest.raises(UsageError, match=says) as caught:
        Explainer(predictor, method)
    assert str(caught.value.hint).startswith(f"sentiment predict --run {predictor.model.path} --explain ")


def test_without_weights_or_without_torch_words_are_occluded(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = ask("lstm")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert Explainer(predictor).method == "occlusion"
    monkeypatch.undo()
    files = predictor.model.files.entries
    monkeypatch.delitem(files, "weights.safetensors")
    assert Explainer(predictor).method == "occlusion"
    with pytest.raises(UsageError, match="holds no weights, which gradients need"):
        Explainer(predictor, "gradients")


@pytest.mark.parametrize("labels", [("neg", "pos"), ("neg", "so-so", "pos")])
@pytest.mark.parametrize("longest", [1, 3])
def test_a_packed_linear_model_is_explained_by_the_weights_in_its_graph(
    ask: Ask, labels: tuple[str, ...], longest: int, tmp_path: Path
) -> None:
    whole = ask("linear", f"model.linear.ngrams={longest}", labels=labels)
    pack_artefact(whole.model.first, tmp_path / "packed", graphs_of(whole.model.first, ["fp32"])["fp32"].data)
    packed = open_predictor(tmp_path / "packed")
    explainer = Explainer(packed)
    assert explainer.method == "weights"
    for text in TEXTS:
        found, expected = explainer.explain(text), Explainer(whole).explain(text)
        assert found.added == pytest.approx(expected.added, abs=1e-6)
        assert found.baseline == pytest.approx(expected.baseline, abs=1e-6)
    ours, theirs = load_ngram_weights(packed.model.first), load_ngram_weights(whole.model.first)
    np.testing.assert_array_equal(ours.key_K, theirs.key_K)
    np.testing.assert_array_equal(ours.weight_FC, theirs.weight_FC)


def test_a_packed_linear_model_whose_graph_has_other_numbers_is_occluded(ask: Ask, tmp_path: Path) -> None:
    """A normalized one has a second vector as long as the weights, the sizes."""
    whole = ask("linear", "model.linear.normalize=true")
    pack_artefact(whole.model.first, tmp_path / "packed", graphs_of(whole.model.first, ["fp32"])["fp32"].data)
    packed = open_predictor(tmp_path / "packed")
    assert Explainer(packed).method == "occlusion"
    with pytest.raises(UsageError, match="holds no weights"):
        Explainer(packed, "weights")


def test_invariant_12_what_explains_imports_no_torch_before_it_needs_it() -> None:
    program = "from sentiment_cli.inference.explain import attribution, html, trace"
    code = f"import sys; {program}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_of_several_labels_the_answer_is_explained_against_the_others(ask: Ask) -> None:
    predictor = ask("lstm-bi", labels=("bad", "so-so", "good"))
    (answer,) = predictor.predict(TEXTS[:1])
    found = Explainer(predictor).explain(TEXTS[0])
    assert found.of == f"logit of {answer.label} less the others' mean"
    logs = {label: math.log(probability) for label, probability in answer.probabilities.items()}
    others = [value for label, value in logs.items() if label != answer.label]
    assert found.output == pytest.approx(logs[answer.label] - sum(others) / 2, abs=1e-4)
    assert abs(found.gap) <= max(0.01 * abs(found.output - found.baseline), 2e-3)


def test_stars_are_explained_in_stars(ask: Ask) -> None:
    predictor = ask("lstm", "data.target=stars", "data.source=imdb")
    (answer,) = predictor.predict(TEXTS[:1])
    for method in ("gradients", "occlusion"):
        found = Explainer(predictor, method).explain(TEXTS[0])
        assert found.of == "stars"
        assert found.output == pytest.approx(answer.stars, abs=1e-4)


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
def test_words_beyond_what_is_read_are_said_not_to_be(ask: Ask, method: Any) -> None:
    predictor = ask("lstm-bi", "text.max_tokens=8", "text.truncate=ends")
    found = Explainer(predictor, method).explain(TEXTS[0])
    unread = [i for i, word in enumerate(found.words) if not word.read]
    assert unread == list(range(2, len(found.words) - 6))
    assert all(found.added[i] == 0 for i in unread)
    assert sum(map(abs, found.added)) > 0.01


@pytest.mark.parametrize("text", ["", "   ", "zzzz qqqq", "!!!", "<br />", "\x00"])
@pytest.mark.parametrize("config", ["lstm-bi", "linear", "keras-lstm", "tutorial-rnn"])
def test_b06_what_says_nothing_is_answered_plainly(ask: Ask, config: str, text: str) -> None:
    predictor = ask(config)
    found = Explainer(predictor).explain(text)
    assert "low evidence" in found.summary()
    assert abs(found.gap) < 2e-3
    assert all(not added for word, added in zip(found.words, found.added, strict=True) if word.unknown)
    assert trace_text(predictor, text).summary()


def test_many_words_are_read_as_unknown_several_at_a_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = ask("lstm")
    text = "the film was good , " * 16
    monkeypatch.setattr(explaining, "_TOKENS_READ", 80 * 40)
    rows: list[int] = []
    outputs = predictor.outputs
    monkeypatch.setattr(predictor, "outputs", lambda ids, **how: rows.append(len(ids[0])) or outputs(ids, **how))
    found = Explainer(predictor, "occlusion").explain(text)
    assert rows[-1] == 2 + 40
    assert "2.0 words at a time" in found.summary()
    assert found.added[::2] == found.added[1::2]
    halves = [
        f"{text[: word.start]}zzzz zzzz {text[found.words[i + 2].start :]}" for i, word in enumerate(found.words[:-2])
    ]
    lost = log_odds(predictor, text) - log_odds(predictor, halves[4])
    assert found.added[4] + found.added[5] == pytest.approx(lost, abs=1e-4)
    monkeypatch.setattr(explaining, "_MOST_WITH_GRADIENTS", 79)
    long = Explainer(predictor).explain(text)
    assert long.method == "occlusion"
    assert "up to 79 tokens" in long.summary()


@pytest.mark.parametrize("text", ["", " a  film!\n", "caf\u0065\u0301 e\u0301\u0302 film", "good\u200bfilm <br />zzzz"])
def test_words_and_what_is_between_them_are_the_text(ask: Ask, text: str) -> None:
    words = explaining.read_text(ask("lstm"), text)[0].words
    pieces = list(cut_text(text, words))
    assert "".join(piece for piece, _ in pieces) == text
    assert [piece for piece, i in pieces if i is not None] == [word.text for word in words]


def test_levels_are_shares_of_the_strongest_word(ask: Ask) -> None:
    found = Explainer(ask("lstm"), "occlusion").explain("good film")._replace(added=[-2.0, 0.9])
    assert found.levels(4) == [-4, 2]
    assert found._replace(added=[0.0, 0.0]).levels(4) == [0, 0]
    assert found._replace(added=[]).levels(4) == []


HOSTILE = (
    'good "film" <script>alert(1)</script>\'><img src=x onerror=y> \x1b]52;c;x\x07\x1b[2J \u202egood\u2066 '
    "[red]bad[/red] &lt;b&gt;"
)


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[tuple[str, tuple[str, ...]]] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_m09_texts_are_text_in_the_page_and_nothing_else(ask: Ask) -> None:
    predictor = ask("lstm-bi")
    pages = []
    for text in ("good film , bad film", HOSTILE):
        (answer,) = predictor.predict([text])
        answer = answer._replace(label=answer.label if text != HOSTILE else "<script>label")
        found = Explainer(predictor).explain(text)
        found = found._replace(ngrams=[(text[::-1], 1.0)])
        page = Page()
        page.feed(page_start() + page_part(answer, [found], trace_text(predictor, text)) + page_end())
        pages.append(page)
    plain, hostile = pages
    assert {tag for tag, _ in hostile.tags} == {tag for tag, _ in plain.tags}
    assert {name for _, names in hostile.tags for name in names} <= {
        *("lang", "charset", "http-equiv", "content", "name", "class", "dir", "title", "scope", "role"),
        *("viewbox", "x1", "x2", "y1", "y2", "points", "x", "y", "text-anchor", "transform"),
    }
    assert "script" not in {tag for tag, _ in hostile.tags}
    assert console.sanitize(HOSTILE) in hostile.text
    assert console.sanitize(HOSTILE[::-1]) in hostile.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", hostile.text)
    policy = re.search(r"Content-Security-Policy\" content=\"([^\"]+)", page_start())
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")


class Terminal:
    """Standard output as a terminal would take it."""

    encoding, written = "utf-8", ""

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def answers_on(terminal: Any, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, **env: str) -> str:
    monkeypatch.setattr(sys, "stdout", terminal)
    for name in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": "1000", **env}.items():
        monkeypatch.setenv(name, value)
    wishes = shown.ExplainOptions(explain=True, method=shown.Method.auto, trace=True, html=None, as_json=False)
    shown.answer_with_reasons(predictor, [[HOSTILE]], wishes, lambda answer: answer.label)
    monkeypatch.undo()
    return terminal.written


def test_m10_a_terminal_gets_our_colours_and_no_escape_of_the_text(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = ask("lstm-bi")
    coloured = answers_on(Terminal(), predictor, monkeypatch, TERM="xterm-256color")
    assert "\x1b[" in coloured
    bare = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert "\x1b" not in bare
    assert console.sanitize(HOSTILE) in bare
    assert "[red]bad[/red]" in bare
    for env in ({"TERM": "dumb"}, {"TERM": "xterm-256color", "NO_COLOR": "1"}, {}):
        plain = answers_on(Terminal(), predictor, monkeypatch, **env)
        assert "\x1b" not in plain
        assert re.search(r"^  [+-]\d\.\d{4}\tgood$", plain, re.M)


def test_b17_a_terminal_that_knows_ascii_alone_gets_no_boxes(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    terminal.encoding = "ascii"
    said = answers_on(terminal, ask("lstm-bi"), monkeypatch, TERM="dumb")
    assert said.isascii()
    assert re.search(r"^  [_.:=+*#-]{9,}$", said, re.M)


def test_predict_explains_and_traces_on_the_command_line(run: Run, cli, tmp_path: Path) -> None:
    path, page = run("lstm-bi"), tmp_path / "why.html"
    done = cli(
        "predict", "--run", str(path), TEXTS[0], "bad film", "--explain", "--trace", "--json", "--html", str(page)
    )
    assert done.returncode == 0, done.stderr
    assert "loading torch" in done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert list(first["explanation"]) == ["method", "of", "output", "baseline", "gap", "words", "note", "ngrams"]
    assert list(first["explanation"]["words"][0]) == ["text", "start", "end", "contribution", "unknown", "read"]
    assert list(first["trace"][0]) == ["word", "start", "end", "label", "probability"]
    assert first["trace"][-1]["probability"] == pytest.approx(first["probability"], abs=1e-5)
    assert [step["word"] for step in second["trace"]] == ["bad", "film"]
    assert page.read_text().count("<section>") == 2


def test_explanations_go_where_out_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wishes = shown.ExplainOptions(explain=False, method=shown.Method.occlusion, trace=False, html=None, as_json=True)
    predictor, out = open_predictor(run("lstm")), tmp_path / "out.jsonl"
    shown.answer_with_reasons(predictor, [["good film"], ["bad"]], wishes, str, out)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [answer["explanation"]["method"] for answer in found] == ["occlusion", "occlusion"]
    assert "trace" not in found[0]
    plain = wishes._replace(as_json=False)
    shown.answer_with_reasons(predictor, [["good \x1b[2J film"]], plain, lambda answer: answer.text, out)
    assert "\x1b" not in out.read_text()
    assert "\\x1b" in out.read_text()


@pytest.mark.parametrize("config", CONFIGS)
def test_a_trace_of_every_shipped_model_is_what_it_says_of_each_beginning(ask: Ask, config: str) -> None:
    predictor, text = ask(config), TEXTS[0]
    found = trace_text(predictor, text)
    (answer,) = predictor.predict([text])
    assert found.steps[-1].value == pytest.approx(answer.probability, abs=1e-5)
    for step in found.steps[1:]:
        assert step.word is not None
        (alone,) = predictor.predict([text[: step.word.end]])
        assert step.value == pytest.approx(alone.probabilities[answer.label], abs=1e-5)
