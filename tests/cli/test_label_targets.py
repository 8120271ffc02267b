"""Labels as they come, each from the first command to the last: several a row, ranks, very many, and very few rows."""

import csv
import json
import random
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sentiment_cli as sentiment
from sentiment_cli.errors import UsageError
from sentiment_cli.evaluation.metrics import log_loss
from sentiment_cli.inference.predictor import class_probabilities
from sentiment_cli.runs.predictions import load_validation
from sentiment_cli.serving.model import open_served
from sentiment_cli.serving.predicting import fields_of

TOPICS = {
    "sport": "goal match team",
    "money": "bank tax shares",
    "food": "soup bread chef",
    "trips": "train hotel beach",
}
WORDS = {"1": "awful dreadful", "2": "poor weak", "3": "plain usual", "4": "nice solid", "5": "superb perfect"}
SEPARATOR = 'data.label_separator="|"'
FILLER = "the a today we saw about it was and new".split()
SMALL = (
    "model.embedding.width=16 model.encoder.width=16 text.max_tokens=16 train.batch_tokens=128 train.lr=2e-2".split()
)
SMALL += ["train.device=cpu", "train.epochs=8", "model.embedding.word_dropout=0", "vocabulary.min_count=1"]
SETTINGS = [word for setting in SMALL for word in ("--set", setting)]
_FITTED = ["--set", "train.epochs=14", "--set", "train.lr=2e-2", "--set", "model.embedding.dropout=0.1"]


def several(n: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Texts with a word of each of their topics, of which there are none to three."""
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        topics = draw.sample(list(TOPICS), draw.choices([0, 1, 2, 3], [1, 5, 5, 1])[0])
        words = draw.sample(FILLER, 4) + [draw.choice(TOPICS[topic].split()) for topic in topics]
        draw.shuffle(words)
        rows.append((" ".join(words), topics))
    return rows


def ranked(n: int, seed: int = 0) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    stars = [draw.choice(list(WORDS)) for _ in range(n)]
    return [(f"the plot was {draw.choice(WORDS[star].split())} {draw.choice(FILLER)}", star) for star in stars]


def table(path: Path, rows: list[tuple[str, str]]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


def json_lines(folder: Path) -> str:
    lines = (json.dumps({"text": text, "labels": topics}) + "\n" for text, topics in several(240))
    (folder / "rows.jsonl").write_text("".join(lines))
    return str(folder / "rows.jsonl")


def separated(folder: Path) -> str:
    return table(folder / "rows.csv", [(text, "|".join(topics)) for text, topics in several(260) if topics])


def fasttext(folder: Path) -> str:
    lines = (f"{' '.join(f'__label__{one}' for one in topics)} {text}\n" for text, topics in several(260) if topics)
    (folder / "rows.txt").write_text("".join(lines))
    return str(folder / "rows.txt")


def done(said: Any) -> Any:
    assert said.code == 0, (said.error, said.hint)
    return said


@pytest.mark.parametrize(("make", "model"), [(json_lines, "linear"), (separated, "gru"), (fasttext, "linear")])
def test_several_labels_a_row_are_learnt_scored_predicted_explained_and_exported(
    typed: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], str], model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS if model == "gru" else []
    run = done(typed("train", make(tmp_path), "--model", model, *settings)).out.strip()

    scores = json.loads(done(typed("eval", run, "--json")).out)
    assert scores["micro_f1"] > 0.9
    assert scores["f1"] > 0.9
    assert scores["hamming"] < 0.1
    assert scores["accuracy"] > 0.7
    assert list(scores["rows_per_label"]) == sorted(TOPICS)
    assert scores["confusion"] == []

    packed = str(tmp_path / "topics.model")
    done(typed("export", run, "--pack", packed))
    texts = ("the team saw soup today", "it was the new a")
    by_run, by_pack = (
        [json.loads(line) for line in done(typed("predict", "--run", one, "--json", *texts)).out.splitlines()]
        for one in (run, packed)
    )
    assert [set(answer["labels"]) for answer in by_run] == [{"sport", "food"}, set()]
    for answer, other in zip(by_run, by_pack, strict=True):
        assert answer["labels"] == other["labels"]
        assert answer["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].__getitem__)

    lines = done(typed("predict", "--run", packed, *texts)).out.splitlines()
    assert set(lines[0].split("\t")[0].split(", ")) == {"sport", "food"}
    assert lines[1].startswith("(none)\t0.")

    explained = json.loads(done(typed("predict", "--run", run, "--explain", "--json", texts[0])).out)
    found = {
        one["of"]: {word["text"]: word["contribution"] for word in one["words"]} for one in explained["explanations"]
    }
    assert set(found) == {"log-odds of sport", "log-odds of food"}
    assert found["log-odds of sport"]["team"] > 1 > found["log-odds of sport"]["soup"]
    assert found["log-odds of food"]["soup"] > 1 > found["log-odds of food"]["team"]

    served, (busy, none) = open_served(Path(run)), by_run
    assert [set(answer.labels or ()) for answer in served.predict(texts)] == [set(busy["labels"]), set(none["labels"])]

    model = sentiment.load(packed)
    for label in ("sport", "food"):
        said = model.explain(texts[0], label=label)
        words = dict(zip([word.text for word in said.words], said.added, strict=True))
        assert (said.of, words["team"] > words["soup"]) == (f"log-odds of {label}", label == "sport")
    with pytest.raises(UsageError, match="Did you mean 'sport'"):
        model.explain(texts[0], label="spotr")
    answer = fields_of((served.predict(texts)[0], {"explanation": served.explain(texts[0])}))
    assert {one["of"] for one in answer["explanations"]} == {f"log-odds of {label}" for label in busy["labels"]}
    assert answer.keys() == explained.keys() - {"text"}, "a server's fields are those of predict --json"

    page = Path(done(typed("report", run)).out.strip()).read_text()
    assert "micro F1" in page
    assert "subset accuracy" in page


def test_predictions_of_a_table_are_read_again_as_rows_with_several_labels(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    run = done(typed("train", separated(tmp_path), "--model", "linear")).out.strip()
    done(typed("predict", "--run", run, "--file", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "said.csv")))
    with (tmp_path / "said.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"labels", "probability_sport", "low_evidence"} <= rows[0].keys()
    settings = ("--label-column", "labels", "--set", "data.without_label=none")
    scores = json.loads(done(typed("eval", run, "--data", str(tmp_path / "said.csv"), *settings, "--json")).out)
    assert (scores["accuracy"], scores["micro_f1"]) == (1.0, 1.0)
    alone = table(tmp_path / "alone.csv", [("we saw a bank", "money"), ("the new goal", "sport")])
    assert json.loads(done(typed("eval", run, "--data", alone, "--json")).out)["rows_per_label"]["money"] == 1


def test_the_ensemble_of_two_models_of_several_labels_answers_with_several(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    data = json_lines(tmp_path)
    # The same validation rows for both: alone, the linear model of a file of few rows is cross-validated.
    held_out = ["train", "linear", "--data", data, "--set", "data.target=multilabel", "--set", "vocabulary.min_count=1"]
    commands = held_out, ["train", data, "--model", "gru", *SETTINGS]
    runs = [done(typed(*command)).out.strip() for command in commands]
    run = done(typed("ensemble", *runs)).out.strip()
    answer = json.loads(done(typed("predict", "--run", run, "--json", "we saw a bank and the beach")).out)
    assert set(answer["labels"]) == {"money", "trips"}
    assert json.loads(done(typed("eval", run, "--json")).out)["micro_f1"] > 0.9


@pytest.mark.parametrize("model", ["linear", "gru"])
def test_ordered_labels_are_learnt_as_ranks_with_scores_of_their_own(
    typed: Callable[..., Any], tmp_path: Path, model: str
) -> None:
    data = table(tmp_path / "stars.csv", ranked(300))
    settings = SETTINGS if model == "gru" else []
    run = done(typed("train", data, "--model", model, "--set", "data.target=ordinal", *settings)).out.strip()
    scores = json.loads(done(typed("eval", run, "--json")).out)
    assert scores["qwk"] > 0.9
    assert scores["rank_mae"] < 0.2
    assert scores["within_one"] > 0.95
    packed = str(tmp_path / "stars.model")
    done(typed("export", run, "--pack", packed))
    low, high = (
        json.loads(done(typed("predict", "--run", packed, "--json", text)).out)
        for text in ("the plot was awful", "the plot was perfect")
    )
    assert (low["label"], high["label"]) == ("1", "5")
    assert sum(low["probabilities"].values()) == pytest.approx(1)
    assert min(low["probabilities"].values()) >= 0
    explained = json.loads(done(typed("predict", "--run", run, "--explain", "--json", "the plot was perfect")).out)
    added = {word["text"]: word["contribution"] for word in explained["explanation"]["words"]}
    assert max(added, key=added.__getitem__) == "perfect"
    assert "quadratic weighted kappa" in Path(done(typed("report", run)).out.strip()).read_text()


def test_words_are_ranked_in_the_order_that_is_given(typed: Callable[..., Any], tmp_path: Path) -> None:
    names = dict(zip(WORDS, ("bad", "so-so", "fair", "good", "great"), strict=True))
    data = table(tmp_path / "words.csv", [(text, names[star]) for text, star in ranked(200)])
    ask = ("train", data, "--model", "linear", "--set", "data.target=ordinal")
    refused = typed(*ask)
    assert refused.code == 2
    assert "data.label_order says their order" in refused.error
    order = f"data.label_order={json.dumps(list(names.values()))}"
    run = done(typed(*ask, "--set", order)).out.strip()
    scores = json.loads(done(typed("eval", run, "--json")).out)
    assert list(scores["f1_per_label"]) == list(names.values())
    assert scores["qwk"] > 0.9
    short = typed(*ask, "--set", 'data.label_order=["bad", "good"]')
    assert short.code == 3
    assert "data.label_order is bad, good" in short.error


@pytest.mark.parametrize("model", ["linear", "gru"])
def test_150_labels_are_learnt_scored_predicted_explained_and_exported(
    typed: Callable[..., Any], tmp_path: Path, model: str
) -> None:
    rows = [(f"{FILLER[i % 7]} word{i % 150} {FILLER[i % 3]}", f"intent {i % 150}") for i in range(1200)]
    data = table(tmp_path / "intents.csv", rows)
    settings = [*SETTINGS, *_FITTED] if model == "gru" else []
    run = done(typed("train", data, "--model", model, *settings)).out.strip()
    scores = json.loads(done(typed("eval", run, "--json")).out)
    assert len(scores["f1_per_label"]) == len(scores["average_precision_per_label"]) == 150
    assert scores["accuracy"] > 0.8
    packed = str(tmp_path / "intents.model")
    done(typed("export", run, "--pack", packed))
    answer = json.loads(done(typed("predict", "--run", packed, "--json", "the word77 a")).out)
    assert answer["label"] == "intent 77"
    assert len(answer["probabilities"]) == 150
    explained = json.loads(done(typed("predict", "--run", run, "--explain", "--json", "the word77 a")).out)
    added = {word["text"]: word["contribution"] for word in explained["explanation"]["words"]}
    assert max(added, key=added.__getitem__) == "word77"


def test_40_rows_are_learnt_scored_predicted_explained_and_exported(typed: Callable[..., Any], tmp_path: Path) -> None:
    rows = [(f"{text} {star}", "good" if star in "45" else "bad") for text, star in ranked(40)]
    data = table(tmp_path / "few.csv", rows)
    run = done(typed("train", data)).out.strip()
    scores = json.loads(done(typed("eval", run, "--json")).out)
    assert 0 < scores["n"] < 40
    assert scores["accuracy"] >= 0.5
    packed = str(tmp_path / "few.model")
    done(typed("export", run, "--pack", packed))
    answer = json.loads(done(typed("predict", "--run", packed, "--json", "the plot was superb")).out)
    assert answer["label"] == "good"
    assert "explanation" in json.loads(done(typed("predict", "--run", run, "--explain", "--json", "superb")).out)


@pytest.mark.parametrize(
    ("rows", "settings", "said", "hint"),
    [
        ([("a b", "x"), ("c d", "y")] * 30, ["data.target=multilabel"], "no row of", "data.target=label"),
        ([("a b", "x|y"), ("c d", "y")] * 30, ["data.target=multilabel"], "'|' may separate", "data.label_separator="),
        ([("a b", "x|y"), ("c d", "y"), ("c", "")] * 9, ["data.target=multilabel", SEPARATOR], "missing",
         "data.without_label=none"),
        ([("a b", '["x", "y"]'), ("c d", "y")] * 30, ["train.class_weight={z: 2}"], "names 'z'", "train.class_weight"),
        ([("a b", "x"), ("c d", "y")] * 30, ["train.class_weight={z: 2}"], "names 'z'", "train.class_weight"),
        ([("a b", "x"), ("c d", "y")] * 30, ["data.target=ordinal"], "of two none is between", "data.target=label"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_a_command_that_does(
    typed: Callable[..., Any], tmp_path: Path, rows: list[tuple[str, str]], settings: list[str], said: str, hint: str
) -> None:
    data = table(tmp_path / "rows.csv", rows)
    found = typed("train", "linear", "--data", data, *(word for one in settings for word in ("--set", one)))
    assert found.code in (2, 3)
    assert said in found.error
    assert hint in found.hint


@pytest.mark.parametrize("setting", ["data.without_label=none", "data.label_separator='|'", "data.target=multilabel"])
def test_a_file_whose_labels_are_found_to_be_several_takes_each_setting_of_them(
    typed: Callable[..., Any], tmp_path: Path, setting: str
) -> None:
    rows = [*[("a b x", "x|y"), ("c d y", "y"), ("b x", "x")] * 12, ("c", "")]
    data = table(tmp_path / "rows.csv", rows)
    refused = typed("train", data, "--set", setting)
    if refused.code == 0:
        assert setting == "data.without_label=none"
        return
    done(typed(*shlex.split(refused.hint)[1:]))  # one setting more, and not refused again


def rare(path: Path, n: int = 1000) -> str:
    """Rows of which one in ten is labelled yes; four words in five of these are odd, and a third of the others'."""
    draw = random.Random(3)
    rows = []
    for i in range(n):
        share = 0.35 if i % 10 else 0.8
        words = [draw.choice(["odd", "rare"] if draw.random() < share else ["plain", "usual"]) for _ in range(4)]
        rows.append((" ".join(words), "no" if i % 10 else "yes"))
    return table(path, rows)


@pytest.mark.parametrize("model", ["linear", "gru"])
def test_class_weights_find_more_of_a_rare_label_and_the_loss_that_is_reported_has_none(
    typed: Callable[..., Any], tmp_path: Path, model: str
) -> None:
    data, recalls = rare(tmp_path / "rare.csv"), []
    quick = ("--set", "train.monitor=loss", "--set", "train.epochs=5") if model == "gru" else ()
    for weight in ("none", "balanced", '{"yes": 11}'):
        ask = ("train", data, "--model", model, "--set", f"train.class_weight={weight}")
        run = Path(done(typed(*ask, *(SETTINGS if model == "gru" else ()), *quick)).out.strip())
        found = json.loads(done(typed("eval", str(run), "--json")).out)
        recalls.append(found["recall_per_label"]["yes"])
        kept = load_validation(run)
        assert kept is not None
        own = log_loss(kept.label_N, class_probabilities(kept.logits))
        assert json.loads((run / "summary.json").read_text())["valid"]["loss"] == pytest.approx(own, abs=1e-6)
    assert min(recalls[1:]) > recalls[0] + 0.1


def test_fitted_thresholds_are_stored_with_the_model_said_and_used(typed: Callable[..., Any], tmp_path: Path) -> None:
    data = rare(tmp_path / "rare.csv")
    biased = ("--set", "train.class_weight={no: 20}", "--set", "data.valid.share=0.3")  # so that yes is never likely
    plain, moved = (
        done(typed("train", data, "--model", "linear", *biased, "--set", f"train.thresholds={one}")).out.strip()
        for one in ("fixed", "fitted")
    )
    stored = json.loads((Path(moved) / "model" / "calibration.json").read_text())["thresholds"]
    assert set(stored) == {"no", "yes"}
    packed = str(tmp_path / "moved.model")
    done(typed("export", moved, "--pack", packed))
    text = "odd rare plain new"
    by_plain, by_run, by_pack = (
        json.loads(done(typed("predict", "--run", one, "--json", text)).out) for one in (plain, moved, packed)
    )
    assert by_run["probabilities"] == pytest.approx(by_plain["probabilities"], abs=1e-6)
    ratio = by_run["probabilities"]["yes"] / stored["yes"] - by_run["probabilities"]["no"] / stored["no"]
    assert by_run["label"] == by_pack["label"] == ("yes" if ratio >= 0 else "no")
    scores = [json.loads(done(typed("eval", one, "--json")).out) for one in (plain, moved)]
    assert scores[1]["recall_per_label"]["yes"] > scores[0]["recall_per_label"]["yes"]
    assert "Fitted on validation" in Path(done(typed("report", moved)).out.strip()).read_text()


def test_data_info_and_check_read_several_labels_a_row_as_train_does(typed: Callable[..., Any], tmp_path: Path) -> None:
    for data in (json_lines(tmp_path), separated(tmp_path)):
        assert json.loads(done(typed("data", "info", "--data", data, "--json")).out)["labels"] == sorted(TOPICS)
        assert "maybe" not in done(typed("data", "check", "--data", data, "--json")).out
    combined = json.loads(done(typed("data", "info", "--data", data, "--set", "data.target=label", "--json")).out)
    assert "food|sport" in combined["labels"]


@pytest.mark.parametrize("labels", [("sport|money", "money"), ("sport|money", "money", "sport")])
def test_data_check_hints_at_labels_that_may_be_several(
    typed: Callable[..., Any], tmp_path: Path, labels: tuple[str, ...]
) -> None:
    """Two labels with two parts may be either; with three it is clear, and an experiment file decides all the same."""
    data = table(tmp_path / "rows.csv", [(f"a row {i}", labels[i % len(labels)]) for i in range(60)])
    (tmp_path / "own.yaml").write_text(f"extends: linear\ndata: {{source: {data}}}\n")
    words = ["--data", data] if len(labels) == 2 else [str(tmp_path / "own.yaml")]
    findings = json.loads(done(typed("data", "check", *words, "--json")).out)["findings"]
    (found,) = [one for one in findings if one["what"].startswith("maybe ")]
    assert found["severity"] == "note"
    assert found["count"] == 60 // len(labels)
    hint = found["what"].partition("try: sentiment ")[2]
    scores = json.loads(done(typed("eval", done(typed(*shlex.split(hint))).out.strip(), "--json")).out)
    assert list(scores["rows_per_label"]) == ["money", "sport"]
    told = typed("data", "check", *words, "--set", "data.target=label", "--json")
    assert "maybe" not in done(told).out
    plain = table(tmp_path / "plain.csv", [(f"a row {i}", ("movies, music", "sport")[i % 2]) for i in range(60)])
    assert "maybe" not in done(typed("data", "check", "--data", plain, "--json")).out
