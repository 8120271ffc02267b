"""Settings that follow from the data: the rules, and what becomes of them in an experiment and a run."""

import shlex
from pathlib import Path

import pytest

from sentiment_cli.config.contradictions import contradictions
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.corpus.fit_settings import (
    Facts,
    choose_linear,
    choose_network,
    choose_weights,
    read_facts,
    settle,
    settle_device,
    warn_of_few_steps,
)
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import UsageError

SHORT = "".join(f"a film number {i} and some words,{'pos' if i % 2 else 'neg'}\n" for i in range(60))
LONG = "".join(f"{'a film and some words ' * 40}{i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))
CHINESE = "".join(f"这部电影很好看第{i}部,{'pos' if i % 2 else 'neg'}\n" for i in range(60))
KOREAN = "".join(f"이 영화는 정말 재미있어요 {i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))


def test_facts_are_of_the_training_rows(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + CHINESE)
    found = read_facts(load_experiment("linear", [f"data.source={source}"]).data)
    assert found.n_rows == 48  # less 6 rows for test and 6 for validation
    assert 9 < found.characters < 11
    assert found.unspaced_share == 1.0


@pytest.mark.parametrize(
    ("facts", "pieces", "normalize"),
    [
        (Facts(22_489, 2, 1_333.0, 0.0, 1_333.0 / 5), (), False),  # IMDb
        (Facts(9_000, 2, 100.0, 0.0, 100.0 / 5), (2, 5), True),
        (Facts(9_000, 2, 30.0, 0.9, 30.0 / 5), (), True),
        (Facts(9_000, 2, 3_000.0, 0.9, 3_000.0 / 5), (), True),
        (Facts(1, 2, 1.0, 0.0, 1.0 / 5), (2, 5), True),
    ],
)
def test_the_rules_are_of_script_and_length(facts: Facts, pieces: tuple[int, ...], normalize: bool) -> None:
    chosen = {one.key: one.value for one in choose_linear(facts)}
    assert chosen["model.linear.char_ngrams"] == pieces
    assert chosen["model.linear.normalize"] is normalize
    assert all(one.reason for one in choose_linear(facts))


@pytest.mark.parametrize(
    ("n_labels", "weighting"), [(2, "bayes"), (6, "bayes"), (20, "bayes"), (21, "idf"), (77, "idf")]
)
def test_many_labels_are_weighted_by_idf(n_labels: int, weighting: str) -> None:
    chosen = {one.key: one.value for one in choose_linear(Facts(9_000, n_labels, 60.0, 0.0, 60.0 / 5))}
    assert chosen["model.linear.weighting"] == weighting


def test_imdb_keeps_its_recipe() -> None:
    chosen = {
        one.key.removeprefix("model.linear."): one.value
        for one in choose_linear(Facts(22_489, 2, 1_333.0, 0.0, 1_333.0 / 5))
    }
    assert chosen == {
        "ngrams": 3,
        "char_ngrams": (),
        "min_count": 3,
        "weighting": "bayes",
        "normalize": False,
        "penalty": 4.0,
    }


@pytest.mark.parametrize(("rows", "kind"), [(SHORT, (2, 5)), (LONG, ()), (CHINESE, ()), (KOREAN, (2, 5))])
def test_an_experiment_is_settled_with_plain_values_and_says_why(
    rows: str, kind: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + rows)
    experiment = load_experiment("linear", [f"data.source={source}"])
    settled = settle(experiment, is_said=True)
    said = capsys.readouterr().err
    assert "chosen: model.linear.ngrams" in said
    linear = settled.model.linear
    assert linear.char_ngrams == kind
    assert None not in (linear.ngrams, linear.min_count, linear.normalize, linear.penalty, settled.vocabulary.min_count)
    assert settle(settled) is settled
    assert "chosen" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_rows", "is_unbalanced", "settings", "weights"),
    [
        (5_009, True, [], "balanced"),
        (5_009, False, [], "none"),
        (1_999, True, [], "none"),  # of few rows none were measured
        (5_009, True, ["data.target=ordinal"], "none"),
        (5_009, True, ["teacher.run=imdb"], "none"),
    ],
)
def test_unbalanced_labels_are_weighted_by_a_linear_model(
    n_rows: int, is_unbalanced: bool, settings: list[str], weights: str
) -> None:
    facts = Facts(n_rows, 2, 140.0, 0.0, 25.0, is_unbalanced=is_unbalanced)
    experiment = load_experiment("linear", ["data.source=x.csv", "train.class_weight=null", *settings])
    assert choose_weights(facts, experiment).value == weights


def test_weights_that_follow_from_the_data_are_said_and_those_that_are_set_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "x.csv"
    rows = [f"a film number {i} and some words,{'pos' if i % 3 else 'neg'}" for i in range(3_000)]
    source.write_text("\n".join(["text,label", *rows]))
    experiment = load_experiment("linear", [f"data.source={source}"])
    assert read_facts(experiment.data).is_unbalanced
    assert settle(experiment, is_said=True).train.class_weight == "balanced"
    assert "chosen: train.class_weight balanced: one label has 1.5 times the rows" in capsys.readouterr().err
    told = load_experiment("linear", [f"data.source={source}", "train.class_weight=none"])
    assert settle(told, is_said=True).train.class_weight == "none"
    assert "class_weight" not in capsys.readouterr().err
    network = load_experiment("own", [f"data.source={source}"])
    assert settle(network).train.class_weight == "none"


def test_what_is_set_stays(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + SHORT)
    settings = ["model.linear.penalty=7.0", "model.linear.char_ngrams=[]", "model.linear.min_count=5"]
    settled = settle(load_experiment("linear", [f"data.source={source}", *settings]))
    assert (settled.model.linear.penalty, settled.model.linear.char_ngrams) == (7.0, ())
    assert settled.model.linear.min_count == settled.vocabulary.min_count == 5  # no word is a feature in fewer rows


@pytest.mark.parametrize("rows", [SHORT, LONG, CHINESE])
@pytest.mark.parametrize("tokenizer", ["words", "whitespace", "bpe"])
def test_what_is_chosen_contradicts_no_setting(rows: str, tokenizer: str, tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + rows)
    settings = [f"data.source={source}", f"text.tokenizer={tokenizer}", "vocabulary.size=600"]
    settled = settle(load_experiment("linear", settings))
    assert list(contradictions(settled)) == []
    assert prepare(settled, ("train",)).vocabulary.n_pieces == 0 or tokenizer == "words"


def test_other_models_are_left_as_they_are() -> None:
    experiment = load_experiment(None)
    assert settle(experiment) is experiment


@pytest.mark.parametrize(
    ("facts", "max_tokens", "batch_tokens"),
    [
        (Facts(22_489, 2, 1_333.0, 0.0, 270.0), 400, 32_768),  # IMDb
        (Facts(6_228, 2, 100.0, 0.0, 19.0), 400, 1_024),  # SST-2
        (Facts(4_907, 6, 50.0, 0.0, 10.0), 400, 512),  # TREC
        (Facts(9_710, 2, 25.0, 0.9, 28.0), 400, 2_048),  # Waimai
        (Facts(500, 2, 20.0, 0.0, 4.0), 400, 512),
        (Facts(500, 2, 20.0, 0.0, 4.0), 2_000, 2_000),  # a batch holds one row of the longest at least
        (Facts(5_000_000, 2, 1_333.0, 0.0, 270.0), 400, 32_768),
        (Facts(0, 2, 0.0, 0.0, 0.0), None, 512),
    ],
)
def test_batches_and_epochs_follow_from_the_number_of_tokens(
    facts: Facts, max_tokens: int | None, batch_tokens: int
) -> None:
    chosen = {one.key: one.value for one in choose_network(facts, max_tokens)}
    assert chosen["train.batch_tokens"] == batch_tokens
    n_steps = chosen["train.epochs"] * facts.n_rows * facts.tokens / batch_tokens
    assert n_steps >= 150 or facts.n_rows == 0 or max_tokens == 2_000
    assert chosen["vocabulary.min_count"] == (2 if facts.n_rows > 15_000 else 1)


@pytest.mark.parametrize(
    ("facts", "lr", "dropout"),
    [
        (Facts(22_489, 2, 1_333.0, 0.0, 270.0), 3e-3, 0.3),  # IMDb
        (Facts(6_291, 2, 126.0, 0.99, 135.0), 3e-3, 0.3),  # hotel reviews of chnsenti
        (Facts(6_228, 2, 100.0, 0.0, 21.0), 1e-3, 0.5),  # SST-2
        (Facts(9_709, 2, 25.0, 0.99, 28.0), 1e-3, 0.5),  # Waimai
        (Facts(9_000, 77, 59.0, 0.0, 14.0), 2e-3, 0.5),  # Banking77
        (Facts(4_906, 6, 50.0, 0.0, 10.6), 3e-3, 0.3),  # TREC
    ],
)
def test_the_learning_rate_follows_from_lengths_and_labels(facts: Facts, lr: float, dropout: float) -> None:
    chosen = {one.key: one.value for one in choose_network(facts, 400)}
    assert (chosen["train.lr"], chosen["model.embedding.dropout"]) == (lr, dropout)


def test_more_rows_never_get_smaller_batches_or_more_epochs() -> None:
    sizes = [int(500 * 1.3**i) for i in range(40)]
    chosen = [{one.key: one.value for one in choose_network(Facts(n, 2, 100.0, 0.0, 20.0), 400)} for n in sizes]
    batches = [one["train.batch_tokens"] for one in chosen]
    assert batches == sorted(batches)
    assert chosen[0]["train.epochs"] > chosen[-1]["train.epochs"] > 0


@pytest.mark.parametrize("rows", [SHORT, LONG, CHINESE, KOREAN])
def test_a_network_is_settled_with_plain_values_and_says_why(
    rows: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + rows)
    settled = settle(load_experiment("own", [f"data.source={source}", "train.epochs=3"]), is_said=True)
    said = capsys.readouterr().err
    assert "chosen: train.batch_tokens" in said
    assert "train.epochs" not in said
    assert settled.train.epochs == 3
    assert None not in (settled.train.batch_tokens, settled.vocabulary.min_count)
    assert settle(settled) is settled


@pytest.mark.parametrize(
    ("settings", "n_labels", "use", "dropout"),
    [
        ([], 2, "both", 0.8),
        ([], 30, "none", 0.0),
        (["model.head=steps", "model.pooling=last", "model.encoder.bidirectional=false"], 2, "none", 0.0),
        (["model.wide.use=both"], 30, "both", 0.8),
        (["model.wide.use=skip", "model.wide.dropout=0.1"], 2, "skip", 0.1),
        (["model.wide.use=channel"], 2, "channel", 0.0),
        (["model.wide.use=none"], 2, "none", 0.0),
    ],
)
def test_a_network_gets_a_wide_part_unless_labels_are_many(
    settings: list[str], n_labels: int, use: str, dropout: float, tmp_path: Path
) -> None:
    source = tmp_path / "x.csv"
    source.write_text("text,label\n" + "".join(f"words of row {i},{i % n_labels}\n" for i in range(6 * n_labels)))
    settled = settle(load_experiment("own", [f"data.source={source}", *settings]))
    assert (settled.model.wide.use, settled.model.wide.dropout) == (use, dropout)
    assert None not in settled.model.linear.model_dump().values()
    assert list(contradictions(settled)) == []


@pytest.mark.parametrize(
    ("recipe", "settings", "n_steps", "is_warned"),
    [
        ("default", [], 7, True),
        ("default", [], 199, True),
        ("default", [], 200, False),
        ("default", ["train.max_steps=10"], 10, False),
        ("default", ["data.source=sample"], 7, False),
        ("default", ["data.source=imdb"], 7, False),
    ],
)
def test_too_few_steps_are_warned_of_with_the_command_to_type(
    recipe: str, settings: list[str], n_steps: int, is_warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "it's.csv"
    warn_of_few_steps(load_experiment(recipe, [f'data.source="{source}"', *settings]), n_steps)
    said = capsys.readouterr().err
    assert (f"sentiment train {shlex.quote(str(source))}" in said) is is_warned
    assert ("warning" in said) is is_warned


@pytest.mark.parametrize(
    "key",
    [
        "train.batch_tokens",
        "train.epochs",
        "train.lr",
        "model.embedding.dropout",
        "model.wide.use",
        "model.wide.dropout",
        "vocabulary.min_count",
    ],
)
@pytest.mark.parametrize("recipe", ["imdb-lm", "imdb-vectors", "linear"])
def test_null_is_for_networks_that_classify(recipe: str, key: str) -> None:
    if (recipe, key) == ("linear", "vocabulary.min_count"):
        return
    with pytest.raises(UsageError, match=f"{key} null follows from the data"):
        load_experiment(recipe, [f"{key}=null"])


def test_a_gpu_takes_the_settings_for_gpus_and_says_so(capsys) -> None:
    experiment = load_experiment("sample", ["train.gpu.batch_tokens=4096", "train.gpu.lr=0.02"])
    settled = settle_device(experiment, is_gpu=True, is_said=True)
    assert (settled.train.batch_tokens, settled.train.lr, settled.train.epochs) == (4096, 0.02, experiment.train.epochs)
    assert (
        "chosen: train.lr 0.02, train.batch_tokens 4096: train.gpu, as this trains on a GPU" in capsys.readouterr().err
    )
    assert settle_device(settled, is_gpu=True) == settled  # plain numbers, on every machine
    other = settle_device(experiment, is_gpu=False, is_said=True)
    assert (other.train.batch_tokens, other.train.lr) == (experiment.train.batch_tokens, experiment.train.lr)
    assert settle_device(other, is_gpu=True) == other
    assert capsys.readouterr().err == ""
