"""Settings that a task has no use for, or cannot do with, are told; and which command trains it."""

from pathlib import Path

import pytest

from sentiment_cli.config.contradictions import CELLS_WITH_MEMORY
from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Encoder, Experiment
from sentiment_cli.errors import UsageError
from sentiment_cli.models.seq2seq import state_widths

START = "text.start=true"


@pytest.fixture
def load(tmp_path: Path):
    (tmp_path / "x.yaml").write_text("name: x\n")

    def load(*settings: str) -> Experiment:
        own = [f"data.source={tmp_path / 'x.csv'}"] if "task=pairs" in settings else []
        return load_experiment(tmp_path / "x.yaml", [*own, *settings])

    return load


def test_each_task_has_its_command(load) -> None:
    for task in ("language-model", "autoencoder", "pairs", "vectors", "regions"):
        assert load(f"task={task}", START).command == "sentiment pretrain"
    assert load().command == "sentiment train"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["task=autoencoder"], "task is autoencoder, in which rows begin and end with the start token"),
        (["task=language-model"], "task is language-model, in which rows begin and end with the start token"),
        (["task=pairs"], "task is pairs, in which rows begin and end with the start token"),
        (["task=autoencoder", START, "text.truncate=tail"], "text.truncate is tail, which may cut off the start token"),
        (["task=pairs", START, "model.encoder.cell=lstm-2d"], "which needs sentence ends, and task is pairs"),
        (
            ["task=language-model", START, "model.encoder.cell=lstm-2d"],
            "needs sentence ends, and task is language-model",
        ),
        (["task=autoencoder", START, "model.encoder.chop=9"], "model.encoder.chop is of task classify, and task is"),
        (["task=pairs", START, "model.embedding.ngrams=2"], "model.embedding.ngrams is of task classify, and task is"),
        (["task=vectors", "text.pad=left", "text.pad_to=512"], "text.pad_to is of task classify, and task is vectors"),
        (["task=vectors", "model.encoder.cell=gru"], "model.encoder.cell is of task classify or language-model or"),
        (["task=vectors", "model.encoder.width=64"], "model.encoder.width is of task classify or language-model or"),
        (["task=vectors", "model.encoder.skip=highway"], "model.encoder.skip is of task classify or language-model"),
        (["task=vectors", "model.encoder.weight_dropout=0.1"], "model.encoder.weight_dropout is of task classify or"),
        (["task=vectors", "model.embedding.dropout=0.1"], "model.embedding.dropout is of task classify or"),
        (["task=vectors", "model.embedding.type_dropout=0.1"], "model.embedding.type_dropout is of task classify or"),
        (["task=vectors", "model.embedding.std=0.1"], "model.embedding.std is of task classify or language-model or"),
        (
            ["task=regions", "model.embedding.width=64"],
            "model.embedding.width is of task classify or language-model or",
        ),
        (["task=vectors", "model.regions.width=64"], "model.regions.width is of task classify or regions, and task is"),
        (["task=regions", "model.regions.use=frozen"], "model.regions.use is of task classify, and task is regions"),
        (["model.regions.weights=frequency"], "model.regions.weights is of task regions, and task is classify"),
        (["task=vectors", "model.init=keras"], "model.init is of task classify or language-model or autoencoder"),
        (["task=autoencoder", START, "train.unfreeze=1"], "train.unfreeze is of task classify, and task is"),
        (["task=language-model", START, "train.layer_decay=0.5"], "train.layer_decay is of task classify, and task is"),
        (
            ["task=pairs", START, "data.source=imdb"],
            "data.source is imdb, and task pairs reads a table with two columns",
        ),
        (["task=pairs", START, "data.deduplicate=true"], "data.deduplicate is of task classify or language-model or"),
        (
            ["task=pairs", START, "vocabulary.from=[train,valid]"],
            "vocabulary.from is of task classify or language-model",
        ),
        (["task=pairs", START, "data.valid.folds=2", "data.valid.fold=1"], "data.valid.folds is of task classify or"),
        (
            ["task=vectors", "train.batch_tokens=401", "train.window=402"],
            "train.batch_tokens is 401, less than one stream",
        ),
        (
            ["task=language-model", START, "train.window=100", "train.slices=2", "train.batch_tokens=500"],
            "the 5 streams",
        ),
        (
            ["task=autoencoder", START, "model.encoder.state_dropout=0.1"],
            "is drawn at each call, of which lstm takes several",
        ),
        (
            [
                "task=pairs",
                START,
                "model.encoder.cell=gru",
                "model.encoder.weight_dropout=0.1",
                "model.decoding.attention=bahdanau",
            ],
            "model.encoder.weight_dropout is drawn at each call, and bahdanau calls the first layer at every step",
        ),
        (["model.language.cutoffs=[9,3]"], "each should be greater than the one before"),
        (["model.language.samples=1"], "model.language.samples is 1"),
    ],
)
def test_b04_settings_that_a_task_cannot_do_with(load, settings: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(*settings)
    assert said in str(caught.value)
    assert str(caught.value).count("\n") <= 4  # told once


def test_what_a_task_can_do_with_is_taken(load) -> None:
    gru = ("model.encoder.cell=gru", "model.encoder.weight_dropout=0.1", "model.decoding.attention=luong")
    assert load("task=autoencoder", START, *gru).model.encoder.weight_dropout == 0.1
    assert load("task=language-model", START, "model.encoder.weight_dropout=0.5")
    assert load("task=vectors", "train.slices=3", "train.batch_tokens=700")
    assert load("task=pairs", START, "train.lazy_embeddings=true", "data.text_column=a", "data.label_column=b")


@pytest.mark.parametrize(
    "cell", [cell for cell in Encoder.model_fields["cell"].annotation.__args__ if cell != "lstm-2d"]
)
def test_cells_with_a_memory_are_those_whose_state_has_more_than_what_is_seen(cell: str) -> None:
    assert (len(state_widths(Encoder(cell=cell), 8)) > 1) == (cell in CELLS_WITH_MEMORY)
