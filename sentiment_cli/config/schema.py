"""The schema of an experiment: every key, its type, its range, its default and its meaning.

No value can name code: choices are listed, and text is only ever a name or a path. The sections of models and of
training have modules of their own; import them from here.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sentiment_cli.config.model_settings import Decoding as Decoding
from sentiment_cli.config.model_settings import Embedding as Embedding
from sentiment_cli.config.model_settings import Encoder as Encoder
from sentiment_cli.config.model_settings import Language as Language
from sentiment_cli.config.model_settings import Linear as Linear
from sentiment_cli.config.model_settings import Model as Model
from sentiment_cli.config.model_settings import Regions as Regions
from sentiment_cli.config.model_settings import Wide as Wide
from sentiment_cli.config.objective_settings import Terms as Terms
from sentiment_cli.config.train_settings import Gpu as Gpu
from sentiment_cli.config.train_settings import Teacher as Teacher
from sentiment_cli.config.train_settings import Train as Train
from sentiment_cli.config.values import MOST_TOKENS as MOST_TOKENS
from sentiment_cli.config.values import (
    Count,
    Section,
    Share,
    Tokens,
    column_name,
    delimiter_name,
    encoding_name,
    label_pairs,
    listed_pairs,
    without_repeats,
)

CORPORA = ("imdb", "sample")  # what data.source can name beside a path
PATH_KEYS = (
    ("data", "source"),
    ("data", "test"),
    ("data", "unlabelled"),
    ("data", "valid", "source"),
    ("vocabulary", "vectors"),
)
SMALLEST_BPE = 512  # 256 bytes, two specials, and merges
LARGEST_SEED = 2**31 - 1


class Valid(Section):
    """How validation rows are taken out of the training rows."""

    by: Literal["auto", "movie", "group", "row"] = Field(
        "auto",
        description="keep the rows of each movie (each group) in one split, or draw single rows; auto: by group "
        "where groups exist",
    )
    source: str | None = Field(
        None, min_length=1, description="file or folder of validation rows; null holds out a share of the training rows"
    )
    share: Share = Field(0.1, description="share of the training rows held out")
    unsup_share: Share = Field(
        0.02,
        description="share of the unlabelled rows that pretraining holds out for validation, by movie where movies "
        "are known",
    )
    seed: int = Field(
        0, ge=0, description="random seed of the split, separate from `seed`, so that all seeds share one split"
    )
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="number of cross-validation folds to cut the training rows into instead, of nearly equal size; "
        "one is held out",
    )
    fold: Count | None = Field(
        None, description="the fold to hold out, counted from 1; `sentiment train --folds N` holds out each in turn"
    )


class Data(Section):
    """Where reviews come from."""

    source: Annotated[str, Field(min_length=1)] = Field(
        "imdb",
        description="imdb, sample (the bundled synthetic corpus), a CSV, TSV, JSON, Parquet or fastText file, or a "
        "folder",
    )
    test: str | None = Field(None, description="file or folder of test rows, for a source without test rows")
    test_share: Share = Field(0.1, description="share of the rows held out for test, where no test rows are given")
    unlabelled: str | None = Field(None, description="file or folder of rows without labels")
    header: Literal["auto", True, False] = Field(
        "auto", description="whether the first line of a CSV or TSV file names the columns; auto detects it"
    )
    encoding: Annotated[str, AfterValidator(encoding_name)] = Field(
        "auto", description="encoding of text files, such as utf-8, latin-1 or cp1251; auto detects it"
    )
    delimiter: Annotated[str, AfterValidator(delimiter_name)] = Field(
        "auto",
        description="what separates the fields of a CSV or TSV file: a character, or tab, comma, semicolon or pipe; "
        "auto detects it",
    )
    quoting: Literal["auto", "double", "backslash", "none"] = Field(
        "auto",
        description='quotes in a quoted field are doubled (""), or escaped (\\"), or no field is quoted; auto '
        "detects it",
    )
    text_column: Annotated[
        str | Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None, BeforeValidator(column_name)
    ] = Field(
        None,
        description="column of the texts, or several to join, such as [title, body], by name or position; null "
        "finds it "
        "by its name or content",
    )
    label_column: Annotated[str | None, BeforeValidator(column_name)] = Field(
        None, description="column of the labels, by name or position; null finds it by its name or content"
    )
    group_column: Annotated[str | None, BeforeValidator(column_name)] = Field(
        None, description="column of groups: rows with the same value stay in one split"
    )
    label_map: Annotated[
        tuple[str, ...],
        BeforeValidator(listed_pairs, json_schema_input_type=list[str] | dict[str, str | int | float | bool | None]),
        AfterValidator(label_pairs),
    ] = Field(
        (),
        strict=False,
        description="labels to rename, as a mapping (Positive: pos) or a list of OLD=NEW; rows of a label with an "
        "empty target (2: or 2=) are left out",
    )
    label_separator: str | None = Field(
        None,
        min_length=1,
        max_length=8,
        description="what separates the labels of a row in a CSV or TSV file, such as | (target: multilabel); null "
        "reads lists alone, of JSON and of fastText",
    )
    label_order: Annotated[tuple[str, ...], AfterValidator(without_repeats)] = Field(
        (),
        strict=False,
        description="all labels from the lowest to the highest (target: ordinal); numbers need no order",
    )
    without_label: Literal["refuse", "unlabelled", "none"] = Field(
        "refuse",
        description="treat rows without a label as errors, as the unlabelled rows, or as rows that no label applies to "
        "(target: multilabel)",
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="stop at a row that cannot be read, or leave it out and list it"
    )
    deduplicate: bool = Field(False, description="drop duplicate training texts, keeping the first")
    target: Literal["label", "multilabel", "ordinal", "stars"] = Field(
        "label",
        description="what to learn: one label a row, several (multi-label), the rank of an ordered label, or the star "
        "rating by regression (IMDb and the sample have ratings)",
    )
    valid: Valid = Valid()


class Text(Section):
    """How text becomes tokens, and how many of them a model reads."""

    tokenizer: Literal["words", "whitespace", "bpe"] = Field(
        "words",
        description="words and punctuation marks, text between white space, or byte pairs learned from the "
        "training text",
    )
    characters: Literal["plain", "raw"] = Field(
        "plain",
        description="read typographic quotes, full-width and invisible characters as their plain forms, and scripts "
        "without spaces by characters; or read characters as they are",
    )
    lowercase: bool = Field(True, description="lower-case the text")
    markup: Literal["break", "keep"] = Field(
        "break",
        description="read <br /> as a line break and (characters: plain) &#39; as an apostrophe; or keep markup as "
        "text",
    )
    punctuation: Literal["keep", "delete"] = Field("keep", description="keep ASCII punctuation, or delete it first")
    max_tokens: Tokens | None = Field(400, description="maximum tokens per row; null reads whole reviews")
    truncate: Literal["head", "tail", "ends"] = Field(
        "ends",
        description="part of a longer review to read: its start, its end, or a quarter of the tokens from its "
        "start and the rest from its end",
    )
    start: bool = Field(False, description="put a start token, entry 1, before each row; truncation may remove it")
    pad: Literal["none", "left"] = Field("none", description="left makes padding to pad_to part of the input")
    pad_to: Tokens | None = Field(None, description="fixed length in tokens, padded on the left (with pad: left)")


class Vocabulary(Section):
    """Which words a model knows."""

    size: Annotated[int, Field(ge=3)] | None = Field(
        30_000, description="most frequent entries kept; null keeps all words, and of byte pairs 8,000 entries"
    )
    min_count: Count | None = Field(
        2, description="words seen fewer times are out of vocabulary; null: chosen from the data (task: classify)"
    )
    from_: Annotated[tuple[Literal["train", "valid", "unsup"], ...], AfterValidator(without_repeats)] = Field(
        ("train",), alias="from", min_length=1, strict=False, description="rows whose words are counted"
    )
    unknown: Literal["own", "padding"] = Field(
        "own", description="out-of-vocabulary words get their own entry, or share padding's entry 0"
    )
    vectors: str | None = Field(
        None,
        min_length=1,
        description="text file of pretrained word vectors to start from: a word and its numbers per line",
    )


class Experiment(Section):
    """One experiment: data, text, vocabulary, model and training."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="a name for its runs: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = Field(0, description="random seed of all draws in training")
    task: Literal["classify", "language-model", "autoencoder", "pairs", "vectors", "regions"] = Field(
        "classify",
        description="classify, or pretrain: predict each next word, reconstruct a review, generate the second "
        "sequence of a pair from the first, learn word vectors (skip-gram), or learn region embeddings",
    )
    data: Data = Data()
    text: Text = Text()
    vocabulary: Vocabulary = Vocabulary()
    model: Model = Model()
    train: Train = Train()
    objective: Terms = Terms()
    teacher: Teacher = Teacher()
    init_from: str | None = Field(
        None,
        min_length=1,
        description="run whose weights training starts from (fine-tuning), or the experiment of a pretraining, trained "
        "first where it has no finished run; its data, vocabulary and widths apply unless others are set",
    )
    init_backward: str | None = Field(
        None,
        min_length=1,
        description="the same for the layers that read backward: a language model trained with reverse",
    )

    @property
    def pieces(self) -> tuple[int, int] | None:
        """From and to how many characters the pieces of words have that tokens are made of; None without any."""
        orders = self.model.linear.char_ngrams
        return (orders[0], orders[1]) if self.model.kind == "linear" and orders else None

    @property
    def piece_words(self) -> int:
        """How many words of the vocabulary a piece is in at least."""
        return min(2, self.model.linear.min_count or 2)

    @property
    def command(self) -> str:
        """The command that trains it."""
        return "sentiment train" if self.task == "classify" else "sentiment pretrain"
