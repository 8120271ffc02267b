"""The settings of a model."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sentiment_cli.config.values import MOST_TOKENS as MOST_TOKENS
from sentiment_cli.config.values import (
    Count,
    Rate,
    Width,
    from_to,
    odd,
    rising,
)
from sentiment_cli.config.values import Section as Section
from sentiment_cli.config.values import join_pair as join_pair
from sentiment_cli.config.values import listed_pairs as listed_pairs
from sentiment_cli.config.values import split_pair as split_pair


class Embedding(Section):
    """The table of word vectors."""

    width: Width = Field(128, description="numbers per word")
    std: Annotated[float, Field(gt=0)] = Field(1.0, description="standard deviation of the initial vectors")
    uniform: Annotated[float, Field(gt=0)] | None = Field(
        None, description="draw the initial vectors uniformly between minus and plus this value instead"
    )
    ngrams: Annotated[int, Field(ge=1, le=5)] = Field(
        1,
        description="longest n-gram of words; the vectors of the n-grams that end with a word are added to its vector",
    )
    buckets: Annotated[int, Field(ge=1, le=2**24)] = Field(
        200_000, description="number of vectors that the n-grams share by hashing"
    )
    dropout: Rate | None = Field(
        0.0,
        description="share of the components zeroed, with one mask for all steps of a row (variational dropout); null: "
        "chosen from the data (task: classify)",
    )
    word_dropout: Rate = Field(0.0, description="share of the words of a row read as unknown in training")
    element_dropout: Rate = Field(0.0, description="share of the components zeroed, with a new mask at every step")
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
    ] = Field("lstm", description="recurrent cell; `sentiment models` describes each one")
    width: Width = Field(128, description="state width of one direction")
    layers: Annotated[int, Field(ge=1, le=16)] = Field(1, description="stacked layers")
    bidirectional: bool = Field(False, description="read each row in both directions")
    dropout: Rate = Field(0.0, description="share zeroed between layers, with one mask for all steps of a row")
    weight_dropout: Rate = Field(
        0.0, description="share of the recurrent weights zeroed, with one mask for all steps (DropConnect)"
    )
    state_dropout: Rate = Field(
        0.0, description="share of the state zeroed before each step, with one mask for all steps of a row; slow"
    )
    skip: Literal["none", "residual", "highway"] = Field(
        "none", description="skip connection around a layer: none, a sum, or a learned gate between input and output"
    )
    direction_maps: bool = Field(False, description="apply a separate linear map to the states of each direction")
    chop: Count | None = Field(
        None, description="read each row in pieces of this many tokens, each from the initial state; null: as a whole"
    )
    heads: Annotated[int, Field(ge=1, le=64)] = Field(4, description="attention heads per layer (kind: transformer)")
    forget_bias: float | None = Field(
        None, description="initial bias of the forget gate (lstm, lstm-peephole); null draws it"
    )


class Language(Section):
    """What a language model predicts, and how (task: language-model); the softmax is also that of a decoder."""

    softmax: Literal["full", "sampled", "adaptive"] = Field(
        "sampled",
        description="softmax over all words, sampled (one set of negatives for all tokens), or adaptive (rare "
        "words in clusters)",
    )
    samples: Annotated[int, Field(ge=2)] = Field(1024, description="negative samples (softmax: sampled; task: vectors)")
    cutoffs: Annotated[tuple[Count, ...], AfterValidator(rising)] = Field(
        (2_000, 10_000),
        min_length=1,
        strict=False,
        description="ranks at which the clusters of rarer words begin (softmax: adaptive)",
    )
    tied: bool = Field(True, description="tie the input and output embeddings")
    reverse: bool = Field(False, description="read each review backward")
    label: bool = Field(False, description="condition the model on each review's label, where it has one")


class Decoding(Section):
    """What writes a sequence again (task: autoencoder, pairs)."""

    attention: Literal["none", "bahdanau", "luong"] = Field(
        "none", description="attention of each step to the encoder's states: none, additive, or multiplicative"
    )
    reverse: bool = Field(False, description="generate the target backward (Sutskever et al. 2014 reverse the source)")


class Linear(Section):
    """The linear model (kind: linear)."""

    ngrams: Annotated[int, Field(ge=1, le=5)] | None = Field(
        3, description="longest n-gram of words that is a feature; null: chosen from the data"
    )
    char_ngrams: Annotated[tuple[Annotated[int, Field(ge=1, le=8)], ...], AfterValidator(from_to)] | None = Field(
        (),
        strict=False,
        description="shortest and longest n-grams of characters within words, such as [2, 5]; [] for none, null: "
        "chosen from the data",
    )
    min_count: Count | None = Field(
        2, description="minimum number of training rows that contain an n-gram of words; null: chosen from the data"
    )
    weighting: Literal["bayes", "idf"] | None = Field(
        "bayes",
        description="weight of a feature: its log-count ratio per label (naive Bayes), or its inverse document "
        "frequency; "
        "null: chosen from the data",
    )
    smoothing: Annotated[float, Field(gt=0)] = Field(1.0, description="added to each count before the log-count ratio")
    normalize: bool | None = Field(
        False, description="divide a row's sum by the square root of its number of features; null: chosen from the data"
    )
    penalty: Annotated[float, Field(gt=0)] | None = Field(
        1.0, description="L2 penalty: weight of the squared weights in the loss; null: chosen from the data"
    )


class Wide(Section):
    """A linear model on n-grams beside a network (task: classify); model.linear holds its settings."""

    use: Literal["none", "channel", "skip", "both"] | None = Field(
        "none",
        description="what a network makes of a linear model of the training rows: channel, the weights of the n-grams "
        "that end at a token beside its vector; skip, its logits added to the network's; or both; null follows from "
        "the data",
    )
    folds: Annotated[int, Field(ge=2, le=50)] = Field(
        5,
        description="cross-fitting: a training row reads a linear model that was fitted without its fold; rows of a "
        "group share a fold",
    )
    width: Width = Field(16, description="numbers per token that the n-grams' weights are mapped to (use: channel)")
    dropout: Rate | None = Field(
        0.0,
        description="share of a batch's rows that are trained without the linear model's logits (use: skip, both); "
        "null follows from the data",
    )


class Regions(Section):
    """Region embeddings: a vector for the words around each place (task: regions), read beside the word vectors."""

    use: Literal["none", "frozen", "tuned"] = Field(
        "none",
        description="whether a classifier reads the region embedding of init_from, as it is or trained further "
        "(task: classify)",
    )
    width: Width = Field(128, description="numbers per word, and per region")
    window: Annotated[int, Field(ge=3, le=15), AfterValidator(odd)] = Field(5, description="words in a region, odd")
    weights: Literal["frequency", "labels"] = Field(
        "labels",
        description="weight of a word that regions predict: less for frequent words, or how much the word tells of the "
        "labels of training rows, its log-count ratio (task: regions)",
    )


class Model(Section):
    """What is trained."""

    kind: Literal["recurrent", "transformer", "bag", "linear"] = Field(
        "recurrent", description="recurrent, self-attention, pooled embeddings without an encoder, or linear on n-grams"
    )
    embedding: Embedding = Embedding()
    encoder: Encoder = Encoder()
    pooling: Literal["last", "mean", "max", "both", "concat", "attention"] = Field(
        "last",
        description="how the states become one vector per review; both concatenates mean and max, concat last, "
        "mean and max",
    )
    context: Literal["none", "global", "local"] = Field(
        "none", description="concatenate to each state the attention over all states so far, or over the last few"
    )
    context_window: Count = Field(16, description="number of states that local context attends to")
    head: Literal["pooled", "steps"] = Field(
        "pooled",
        description="classify the pooled vector, or every step, with the loss at each step and the prediction at "
        "the last",
    )
    dropout: Rate = Field(0.0, description="share of the pooled vector zeroed in training")
    init: Literal["layer", "uniform", "glorot", "he", "orthogonal", "keras"] = Field(
        "layer", description="initialization of matrices: each layer's own rule, one rule for all, or as in Keras"
    )
    linear: Linear = Linear()
    wide: Wide = Wide()
    regions: Regions = Regions()
    language: Language = Language()
    decoding: Decoding = Decoding()
