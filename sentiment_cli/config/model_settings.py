"""The settings of a model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sentiment_cli.config.values import MOST_TOKENS as MOST_TOKENS
from sentiment_cli.config.values import (
    Count,
    Rate,
    Width,
    from_to,
    rising,
)
from sentiment_cli.config.values import Section as Section
from sentiment_cli.config.values import join_pair as join_pair
from sentiment_cli.config.values import listed_pairs as listed_pairs
from sentiment_cli.config.values import split_pair as split_pair


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
    cutoffs: Annotated[tuple[Count, ...], AfterValidator(rising)] = Field(
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
    char_ngrams: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], AfterValidator(from_to)] | None = Field(
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
