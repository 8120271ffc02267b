"""What an experiment can say: every key, its type, its range, its default and its meaning.

Nothing here can name code: choices are spelled out, and text is only ever a name or a path.
"""

import codecs
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
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
MOST_TOKENS = 1_000_000  # of a row, as `data.reading` has it
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Width = Annotated[int, Field(ge=1, le=65_536)]
_NOT_OF_FILES = ("undefined", "unicode_escape", "raw_unicode_escape", "idna", "punycode", "unicode-escape", "mbcs")


def _without_repeats(rows: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(rows)) < len(rows):
        raise ValueError("an entry stands twice")
    return rows


def _listed(names: object) -> object:
    return () if names is None else (names,) if isinstance(names, str) else names


def _rising(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if list(numbers) != sorted(set(numbers)):
        raise ValueError("each should be greater than the one before")
    return numbers


def _from_to(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if numbers and (len(numbers) != 2 or numbers[0] > numbers[1]):
        raise ValueError(f"{list(numbers)} is neither [] nor two numbers, from and to")
    return numbers


def split_pair(pair: str) -> tuple[str, str] | None:
    r"""Return OLD and NEW of `OLD=NEW`, where `\=` is an equals sign of OLD and `\\` a backslash; None for no pair."""
    found = re.fullmatch(r"((?:[^=\\]|\\[\\=]|\\(?![\\=]))*)=(.*)", pair, re.DOTALL)
    return None if found is None else (re.sub(r"\\([\\=])", r"\1", found[1]).strip(), found[2].strip())


def join_pair(old: str, new: str) -> str:
    """Return the pair that `split_pair` takes apart."""
    escaped = re.sub(r"[\\=]", r"\\\g<0>", old)
    return f"{escaped}={new}"


def listed_pairs(value: object) -> object:
    """Return a mapping of labels as OLD=NEW pairs; an empty target stays empty."""
    if not isinstance(value, dict):
        return () if value is None else value
    texts = {True: "true", False: "false", None: ""}
    pairs = []
    for old, new in value.items():
        if isinstance(new, (dict, list)):
            raise ValueError(f"{old!r} is renamed to {new!r:.60}, which is no label")
        pairs.append(join_pair(str(old), texts[new] if new is None or isinstance(new, bool) else str(new)))
    return pairs


def _label_pairs(pairs: tuple[str, ...]) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for pair in pairs:
        if not (found := split_pair(pair)) or not found[0]:
            raise ValueError(f"{pair!r} is not OLD=NEW")
        if found[0] in seen and seen[found[0]] != found[1]:
            raise ValueError(f"{found[0]!r} is renamed twice, to {seen[found[0]]!r} and to {found[1]!r}")
        seen[found[0]] = found[1]
    return _without_repeats(pairs)


def _column(name: object) -> object:
    """Take a column's place for its name: 2 is the second column, unless one is called so."""
    is_place = isinstance(name, int) and not isinstance(name, bool)
    return str(name) if is_place else [_column(one) for one in name] if isinstance(name, list) else name


def _encoding(name: str) -> str:
    if name == "auto":
        return name
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        raise ValueError(f"{name!r} is not an encoding; try utf-8, latin-1, cp1252, cp1251, utf-16") from None
    if not getattr(found, "_is_text_encoding", True) or found.name in _NOT_OF_FILES:
        raise ValueError(f"{name!r} is not an encoding of text files; try utf-8, latin-1, cp1252, cp1251, utf-16")
    return name


def _delimiter(text: str) -> str:
    if text in ("auto", "tab", "\\t") or (len(text) == 1 and text not in '"\\\r\n'):
        return text
    raise ValueError(f"{text!r} is not one character, tab, or auto")


class Section(BaseModel):
    """Strict and frozen: no conversion between types, no unknown keys, no change after validation."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        defer_build=True,
        allow_inf_nan=False,
        validate_default=True,
        validate_by_name=True,
    )


class Valid(Section):
    """How validation rows are taken out of the training rows."""

    by: Literal["auto", "movie", "group", "row"] = Field(
        "auto",
        description="keep each movie's (each group's) rows on one side, or draw rows; auto: by group if there are",
    )
    source: str | None = Field(
        None, min_length=1, description="file or folder of validation rows; null holds some of the training rows out"
    )
    share: Share = Field(0.1, description="share of the training rows held out")
    unsup_share: Share = Field(
        0.02,
        description="share of the unlabelled rows that pretraining is validated on, by movie where movies are known",
    )
    seed: int = Field(0, ge=0, description="draw of the split; apart from `seed`, so that seeds share one split")
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None, description="cut the training rows into so many folds instead, near equal, and hold one out"
    )
    fold: Count | None = Field(None, description="which one, from 1 on; `sentiment train --folds N` takes each in turn")


class Data(Section):
    """Where reviews come from."""

    source: Annotated[str, Field(min_length=1)] = Field(
        "imdb",
        description="imdb, sample (the bundled synthetic one), a CSV, TSV, JSON, Parquet or fastText file, or a folder",
    )
    test: str | None = Field(None, description="file or folder of test rows, where the source has none of its own")
    test_share: Share = Field(0.1, description="share of the rows held out for test, where none are given")
    unlabelled: str | None = Field(None, description="file or folder of rows without labels")
    header: Literal["auto", True, False] = Field(
        "auto", description="whether the first line of a CSV or TSV file names the columns; auto finds out"
    )
    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        "auto", description="encoding of text files, such as utf-8, latin-1 or cp1251; auto finds out"
    )
    delimiter: Annotated[str, AfterValidator(_delimiter)] = Field(
        "auto", description="what separates the fields of a CSV or TSV file: a character, or tab; auto finds out"
    )
    quoting: Literal["auto", "double", "backslash", "none"] = Field(
        "auto",
        description='quotes in a quoted field are doubled (""), or escaped (\\"), or no quote encloses a field; auto '
        "finds out",
    )
    text_column: Annotated[
        str | Annotated[tuple[str, ...], Field(min_length=1, strict=False)] | None, BeforeValidator(_column)
    ] = Field(
        None,
        description="column of the texts, or several that are joined, such as [title, body], by name or place; null "
        "finds it by its name or what it holds",
    )
    label_column: Annotated[str | None, BeforeValidator(_column)] = Field(
        None, description="column of the labels, by name or place; null finds it by its name or what it holds"
    )
    group_column: Annotated[str | None, BeforeValidator(_column)] = Field(
        None, description="column whose equal values must stay in one split"
    )
    label_map: Annotated[
        tuple[str, ...],
        BeforeValidator(listed_pairs, json_schema_input_type=list[str] | dict[str, str | int | float | bool | None]),
        AfterValidator(_label_pairs),
    ] = Field(
        (),
        strict=False,
        description="labels to rename, as a mapping (Positive: pos) or a list of OLD=NEW; rows of a label with an "
        "empty target (2: or 2=) are left out",
    )
    without_label: Literal["refuse", "unlabelled"] = Field(
        "refuse", description="rows whose label is missing are an error, or are the unlabelled rows"
    )
    on_error: Literal["stop", "skip"] = Field(
        "stop", description="a row that cannot be read stops the work, or is left out and listed"
    )
    deduplicate: bool = Field(False, description="leave out training rows whose text stood before")
    target: Literal["label", "stars"] = Field(
        "label", description="what is learnt: the label, or the star rating by regression (IMDb and the sample have it)"
    )
    valid: Valid = Valid()


class Text(Section):
    """How text becomes tokens, and how many of them a model reads."""

    tokenizer: Literal["words", "whitespace", "bpe"] = Field(
        "words", description="words and punctuation marks, what white space separates, or byte pairs learnt from them"
    )
    characters: Literal["plain", "raw"] = Field(
        "plain",
        description="read typographic quotes, full-width and invisible characters as their plain forms, and scripts "
        "without spaces by characters; or read characters as they are",
    )
    lowercase: bool = Field(True, description="lower-case the text")
    markup: Literal["break", "keep"] = Field(
        "break", description="read <br /> as a line break and (characters: plain) &#39; as an apostrophe, or as text"
    )
    punctuation: Literal["keep", "delete"] = Field("keep", description="keep ASCII punctuation, or delete it first")
    max_tokens: Tokens | None = Field(400, description="longest row a model reads; null reads whole reviews")
    truncate: Literal["head", "tail", "ends"] = Field(
        "ends", description="what of a longer review is read: its start, its end, or a quarter of start and the end"
    )
    start: bool = Field(False, description="put a start token, entry 1, before each row; truncation may cut it off")
    pad: Literal["none", "left"] = Field("none", description="left makes padding to pad_to part of the input")
    pad_to: Tokens | None = Field(None, description="fixed length in tokens, padded on the left (with pad: left)")


class Vocabulary(Section):
    """Which words a model knows."""

    size: Annotated[int, Field(ge=3)] | None = Field(
        30_000, description="most frequent entries kept; null keeps all words, and of byte pairs 8,000 entries"
    )
    min_count: Count | None = Field(
        2, description="words seen fewer times are unknown; null: follows from the data (kind: linear)"
    )
    from_: Annotated[tuple[Literal["train", "valid", "unsup"], ...], AfterValidator(_without_repeats)] = Field(
        ("train",), alias="from", min_length=1, strict=False, description="rows whose words are counted"
    )
    unknown: Literal["own", "padding"] = Field("own", description="unknown words get an entry, or share padding's 0")
    vectors: str | None = Field(
        None, min_length=1, description="file of word vectors to start from, as text: a word and its numbers per line"
    )


class Embedding(Section):
    """The table of word vectors."""

    width: Width = Field(128, description="numbers per word")
    std: Annotated[float, Field(gt=0)] = Field(1.0, description="standard deviation of the fresh vectors")
    uniform: Annotated[float, Field(gt=0)] | None = Field(
        None, description="draw the fresh vectors evenly between minus and plus this instead"
    )
    ngrams: Annotated[int, Field(ge=1, le=5)] = Field(
        1, description="add to each word the vectors of the n-grams of up to so many words that end with it"
    )
    buckets: Annotated[int, Field(ge=1, le=2**24)] = Field(
        200_000, description="vectors that the n-grams share, by a hash of each"
    )
    dropout: Rate = Field(0.0, description="share of the numbers zeroed, the same ones at every step of a row")
    word_dropout: Rate = Field(0.0, description="share of the words of a row read as unknown while training")
    element_dropout: Rate = Field(0.0, description="share of the numbers zeroed, other ones at every step")
    type_dropout: Rate = Field(0.0, description="share of the vocabulary's vectors zeroed, each wherever it is read")


class Encoder(Section):
    """The recurrent layers."""

    cell: Literal[
        "lstm",
        "lstm-1997",
        "lstm-peephole",
        "rnn",
        "rnn-relu",
        "rnn-output",
        "gru",
        "orthogonal",
        "goru",
        "mingru",
        "sru",
        "qrnn",
        "lstm-2d",
        "lstm-grid",
    ] = Field("lstm", description="recurrent cell; `sentiment models` says what each one is")
    width: Width = Field(128, description="state width of one direction")
    layers: Annotated[int, Field(ge=1, le=16)] = Field(1, description="layers on top of each other")
    bidirectional: bool = Field(False, description="read each row from both ends")
    dropout: Rate = Field(0.0, description="share zeroed between layers, the same at every step of a row")
    weight_dropout: Rate = Field(0.0, description="share of the recurrent weights zeroed, the same at every step")
    state_dropout: Rate = Field(
        0.0, description="share of the state zeroed before it is read, the same at every step of a row; slow"
    )
    skip: Literal["none", "residual", "highway"] = Field(
        "none", description="what carries a layer's input past it: nothing, a sum, or a learnt gate between the two"
    )
    direction_maps: bool = Field(False, description="a linear map of its own on the states of each direction")
    chop: Count | None = Field(
        None, description="read each row in pieces of so many tokens, each from a fresh state; null: as a whole"
    )
    heads: Annotated[int, Field(ge=1, le=64)] = Field(4, description="attention heads of a layer (kind: transformer)")
    forget_bias: float | None = Field(
        None, description="fresh bias of the forget gate (lstm, lstm-peephole); null draws it"
    )


class Language(Section):
    """What a language model predicts, and how (task: language-model); the softmax is also that of a decoder."""

    softmax: Literal["full", "sampled", "adaptive"] = Field(
        "sampled", description="over all words, over some that all tokens share, or over rare words by classes"
    )
    samples: Annotated[int, Field(ge=2)] = Field(
        1024, description="words that the true ones are told from (softmax: sampled; task: vectors)"
    )
    cutoffs: Annotated[tuple[Count, ...], AfterValidator(_rising)] = Field(
        (2_000, 10_000), min_length=1, strict=False, description="where rarer classes begin (softmax: adaptive)"
    )
    tied: bool = Field(True, description="the vectors that are read also judge what comes next")
    reverse: bool = Field(False, description="read each review from its end")
    label: bool = Field(False, description="tell the model each review's label, where it has one")


class Decoding(Section):
    """What writes a sequence again (task: autoencoder, pairs)."""

    attention: Literal["none", "bahdanau", "luong"] = Field(
        "none", description="what each step looks up in the encoder's states: nothing, by a sum, or by a product"
    )
    reverse: bool = Field(False, description="write the target from its end (Sutskever et al. 2014 reverse the source)")


class Linear(Section):
    """The linear model (kind: linear)."""

    ngrams: Annotated[int, Field(ge=1, le=5)] | None = Field(
        3, description="longest n-gram of words that is a feature; null: follows from the data"
    )
    char_ngrams: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], AfterValidator(_from_to)] | None = Field(
        (),
        strict=False,
        description="n-grams of characters within words, from and to so many, such as [2, 5]; [] takes none, null: "
        "follows from the data",
    )
    min_count: Count | None = Field(
        2, description="training rows an n-gram of words must stand in; null: follows from the data"
    )
    weighting: Literal["bayes", "idf"] | None = Field(
        "bayes",
        description="scale of a feature: its log-count ratio of each label, or how few rows have it; null: follows "
        "from the data",
    )
    smoothing: Annotated[float, Field(gt=0)] = Field(1.0, description="added to each count before the log-count ratio")
    normalize: bool | None = Field(
        False, description="divide a row's sum by the root of the number of its features; null: follows from the data"
    )
    penalty: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="weight of the squared weights in the loss; null: follows from the data"
    )


class Model(Section):
    """What is trained."""

    kind: Literal["recurrent", "transformer", "bag", "linear"] = Field(
        "recurrent", description="recurrent, self-attention, the embeddings pooled as they are, or linear on n-grams"
    )
    embedding: Embedding = Embedding()
    encoder: Encoder = Encoder()
    pooling: Literal["last", "mean", "max", "both", "concat", "attention"] = Field(
        "last",
        description="one vector per review from the states; both is mean and max side by side, concat last, mean, max",
    )
    context: Literal["none", "global", "local"] = Field(
        "none", description="join to each state what attention makes of all states so far, or of the last few"
    )
    context_window: Count = Field(16, description="how many states local context attends to")
    head: Literal["pooled", "steps"] = Field(
        "pooled",
        description="judge the pooled vector, or every step, trained on the label at each and read at the last",
    )
    dropout: Rate = Field(0.0, description="share of the pooled vector zeroed while training")
    init: Literal["layer", "uniform", "glorot", "he", "orthogonal", "keras"] = Field(
        "layer", description="fresh matrices: by each layer's own rule, all by one, or as Keras draws them"
    )
    linear: Linear = Linear()
    language: Language = Language()
    decoding: Decoding = Decoding()


class Train(Section):
    """How it is trained."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda, cuda:1 or mps"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto takes bf16 where it is faster; fp16, with loss scaling, is for CUDA"
    )
    deterministic: bool = Field(False, description="on CUDA only algorithms that repeat themselves; on a CPU always so")
    threads: Count | None = Field(None, description="CPU threads; null leaves torch's choice")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="AdamW decays weights apart from the gradient; SGD takes train.momentum"
    )
    lr: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="on matrices; biases and embeddings spared")
    schedule: Literal["constant", "linear", "cosine", "one-cycle", "plateau"] = Field(
        "constant", description="how the learning rate falls over the planned steps; plateau: when validation stalls"
    )
    warmup: Rate = Field(0.0, description="share of the planned steps in which the learning rate rises")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(None, description="clip the gradient to this norm")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="factor of the learning rate from each layer to the one below it"
    )
    unfreeze: Count | None = Field(
        None, description="train the output alone at first, and one layer more after every so many epochs"
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(10, description="passes over the training rows")
    max_steps: Count | None = Field(None, description="stop after this many steps, wherever the epoch is")
    batch_tokens: Count = Field(16_384, description="rows times width of a batch, padding included")
    window: Count = Field(
        70,
        description="tokens of a stream that a step reads and its gradient spans (task: language-model, vectors)",
    )
    activation_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared states in a language model's loss"
    )
    temporal_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared change of the states from token to token in a language model's loss"
    )
    monitor: Literal["loss", "accuracy", "f1", "auc"] = Field(
        "loss", description="validation figure that chooses the best epoch"
    )
    patience: Count | None = Field(None, description="stop after this many epochs without a better figure")
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = Field(
        10.0, description="save a checkpoint this often within an epoch; each epoch ends with one"
    )
    checkpoint_steps: Count | None = Field(None, description="save a checkpoint every so many steps, too")
    keep: Count = Field(2, description="checkpoints kept; each holds the best state so far beside the present one")
    keep_finished: bool = Field(
        False, description="keep the last checkpoints of a run that is finished, which no command reads"
    )
    slices: Count = Field(1, description="slices of rows a batch is read in, one after the other or by processes")
    on_memory_error: Literal["stop", "split"] = Field(
        "stop", description="stop, or go on with twice the slices of the same batch"
    )
    eps: Annotated[float, Field(gt=0)] = Field(1e-8, description="added to the root in Adam's and AdamW's division")
    momentum: Rate = Field(0.9, description="share of the last update that SGD adds to the next")
    lazy_embeddings: bool = Field(
        False, description="update the word vectors that a batch reads, and leave the others' moments as they are"
    )
    plateau_factor: Share = Field(0.5, description="what the learning rate is multiplied by (schedule: plateau)")
    plateau_patience: Annotated[int, Field(ge=0)] = Field(
        1, description="epochs without a better figure before that happens"
    )
    ema: Share | None = Field(
        None, description="decay of a moving average of the weights, which is then what is validated and kept"
    )
    refit: bool = Field(
        False, description="train once more for the chosen number of steps, on validation's rows too, and keep that"
    )
    tensorboard: bool = Field(
        False, description="write each evaluation for TensorBoard, too; needs the extra of the name"
    )
    label_smoothing: Rate = Field(0.0, description="share of the truth spread evenly over the labels")


class Teacher(Section):
    """Other runs whose answers are learnt along with the labels (task: classify)."""

    run: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(_listed, json_schema_input_type=str | list[str] | None),
        AfterValidator(_without_repeats),
    ] = Field(
        (),
        strict=False,
        description="run that teaches, of whatever kind, or its experiment, trained where no run of it is finished; "
        "of several, the mean of what they say",
    )
    rows: Literal["unsup", "train", "both"] = Field(
        "unsup", description="which rows it answers: the unlabelled ones, the labelled ones of training, or both"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="its calibrated logits are divided by this: above 1 softer answers are learnt"
    )
    confident: Share | None = Field(
        None, description="learn its likeliest label instead, of rows where that has this probability at least"
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="its part in what is learnt of a labelled row, beside the label (rows: train, both)"
    )


class Experiment(Section):
    """One experiment: data, text, vocabulary, model and training."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = Field(
        description="a name for its runs: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first"
    )
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = Field(
        0, description="every random draw of training follows from it"
    )
    task: Literal["classify", "language-model", "autoencoder", "pairs", "vectors"] = Field(
        "classify",
        description="tell labels apart, or pretrain: predict each next word, write a review again, write the second "
        "sequence of a pair from the first, or learn word vectors (skip-gram)",
    )
    data: Data = Data()
    text: Text = Text()
    vocabulary: Vocabulary = Vocabulary()
    model: Model = Model()
    train: Train = Train()
    teacher: Teacher = Teacher()
    init_from: str | None = Field(
        None,
        min_length=1,
        description="run whose model training starts from, or the experiment of a pretraining, trained where no run of "
        "it is finished; its data, vocabulary and widths hold unless others are set",
    )
    init_backward: str | None = Field(
        None, min_length=1, description="the same for the layers that read backward: a language model with reverse"
    )

    @property
    def pieces(self) -> tuple[int, int] | None:
        """From and to how many characters the pieces of words have that tokens are made of; None without any."""
        orders = self.model.linear.char_ngrams
        return (orders[0], orders[1]) if self.model.kind == "linear" and orders else None

    @property
    def command(self) -> str:
        """The command that trains it."""
        return "sentiment train" if self.task == "classify" else "sentiment pretrain"
