"""Embedding → encoder → pooling → logits."""

import torch
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.corpus.ratings import LEAST, MOST
from sentiment_cli.data.corpus.targets import TargetName, n_outputs
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.cells.lstm_2d import end_marks, sentence_ends
from sentiment_cli.models.layers.context import Context
from sentiment_cli.models.layers.embedding import WordEmbedding
from sentiment_cli.models.layers.encoders import Bag, Encoded, RecurrentEncoder, drop_columns, last_of
from sentiment_cli.models.layers.pooling import Pooling
from sentiment_cli.models.layers.transformer import TransformerEncoder
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.models.regions import RegionEmbedding
from sentiment_cli.models.wide import WidePart


class Classifier(nn.Module):
    """A neural classifier: one logit, that of the second label, for two labels; otherwise one logit per label.

    Of other targets it has as many logits as `targets.n_outputs` says.

    `is_mark_V` marks the vocabulary entries that end a sentence, for an encoder that needs sentence ends. With `rates`
    there is a second head for star ratings, which training alone reads.
    """

    is_mark_V: Tensor

    def __init__(
        self,
        settings: schema.Model,
        n_entries: int,
        unknown_id: int,
        n_labels: int,
        *,
        pad_is_input: bool,
        is_mark_V: Tensor | None = None,
        target: TargetName = "label",
        rates: bool = False,
    ) -> None:
        super().__init__()
        assert n_labels >= 2
        self.n_logits = n_outputs(target, n_labels)
        self.embedding = WordEmbedding(settings.embedding, n_entries, unknown_id, pad_is_input=pad_is_input)
        self.wide, self.regions = None, None
        if settings.wide.use != "none":
            self.wide = WidePart(settings, n_entries, unknown_id, n_labels, target)
        if settings.regions.use != "none":
            self.regions = RegionEmbedding(settings.regions, n_entries)
        beside = sum(part.width for part in (self.wide, self.regions) if part is not None)
        self.encoder = _build_encoder(settings, settings.embedding.width + beside)
        if self.encoder.needs_ends:
            self.register_buffer("is_mark_V", is_mark_V, persistent=False)
        width, self.context, self.pooling = self.encoder.width, None, None
        if settings.context != "none":
            self.context = Context(width, settings.context_window if settings.context == "local" else None)
            width = self.context.width
        if settings.head == "pooled":
            self.pooling = Pooling(settings.pooling, width)
            width = self.pooling.width
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(width, self.n_logits)
        self.ratings = nn.Linear(width, MOST - LEAST) if rates else None

    def forward(
        self, ids_BL: Tensor, length_B: Tensor, inputs_BLD: Tensor | None = None, fold_B: Tensor | None = None
    ) -> Tensor:
        """Return logit_B for two labels, logit_BC for more, in float32 whatever the precision.

        `inputs_BLD` replaces what `inputs` makes of the ids; the ends of sentences and what the wide part adds to the
        logits still follow from the ids. `fold_B` are the folds of training rows, for the wide part.
        """
        own_BLD, added = self.inputs(ids_BL, length_B, fold_B)
        return self.judge(self.pool(ids_BL, length_B, own_BLD if inputs_BLD is None else inputs_BLD), added)

    def pool(self, ids_BL: Tensor, length_B: Tensor, inputs_BLD: Tensor) -> Tensor:
        """Return pooled_BD; with `head: steps`, which has a logit per step, the last state: there is the prediction."""
        encoded = self.encode(ids_BL, length_B, inputs_BLD)
        return last_of(encoded.states_BLD, length_B) if self.pooling is None else self.pooling(encoded, length_B)

    def judge(self, pooled_BD: Tensor, added: Tensor | None) -> Tensor:
        """Return the logits of pooled states, with dropout in training."""
        logits = self._judge(self.dropout(pooled_BD))
        return logits if added is None else logits + added

    def inputs(self, ids_BL: Tensor, length_B: Tensor, fold_B: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return inputs_BLD of the encoder and the added logits.

        The inputs are word vectors, with the channels of the wide part and the region embeddings beside them.
        """
        parts, added = [self.embedding(ids_BL)], None
        if self.wide is not None:
            channel_BLD, added = self.wide(ids_BL, length_B, fold_B)
            parts += [] if channel_BLD is None else [channel_BLD]
        if self.regions is not None:
            parts.append(self.regions(ids_BL, length_B))
        if len(parts) == 1:
            return parts[0], added
        return torch.cat([part_BLD.to(parts[0].dtype) for part_BLD in parts], dim=2), added

    def step_logits(self, ids_BL: Tensor, length_B: Tensor, fold_B: Tensor | None = None) -> Tensor:
        """Return logit_BL for two labels, logit_BLC for more: the logits of a model with `head: steps` at every step.

        Dropout uses the same mask at every step of a row.
        """
        assert self.pooling is None
        states_BLD = self.encode(ids_BL, length_B, self.inputs(ids_BL, length_B, fold_B)[0]).states_BLD
        return self._judge(drop_columns(states_BLD, self.dropout.p, self.training))

    def encode(self, ids_BL: Tensor, length_B: Tensor, inputs_BLD: Tensor) -> Encoded:
        """Return the states to pool, with their context where the model has one."""
        told = (sentence_ends(ids_BL, self.is_mark_V),) if self.encoder.needs_ends else ()
        encoded: Encoded = self.encoder(inputs_BLD, length_B, *told)
        if self.context is not None:
            encoded = self.context(encoded, length_B)
        return encoded

    def rate(self, pooled_BD: Tensor) -> Tensor:
        """Return logit_BJ of pooled states: whether a row has at least 2 stars, at least 3, and so on up to 10."""
        assert self.ratings is not None
        logit_BJ: Tensor = self.ratings(self.dropout(pooled_BD)).float()
        return logit_BJ

    def _judge(self, values: Tensor) -> Tensor:
        logits: Tensor = self.output(values).float()
        return logits.squeeze(-1) if self.n_logits == 1 else logits


AnyClassifier = Classifier | LinearClassifier


def build_classifier(experiment: schema.Experiment, vocabulary: Vocabulary, n_labels: int) -> AnyClassifier:
    """Build the experiment's model, with weights from torch's global random generator (a linear model draws none)."""
    n_entries = len(vocabulary.entries)
    if experiment.model.kind == "linear":
        linear = experiment.model.linear
        return LinearClassifier(linear, n_entries, vocabulary.unknown_id, n_labels, experiment.data.target)
    with torch.device("cpu"):  # what is no weight is there where weights are not drawn, on the device meta
        is_mark_V = end_marks(vocabulary.entries)
    pad_is_input = experiment.text.pad != "none"
    return Classifier(
        experiment.model,
        n_entries,
        vocabulary.unknown_id,
        n_labels,
        pad_is_input=pad_is_input,
        is_mark_V=is_mark_V,
        target=experiment.data.target,
        rates=experiment.objective.stars.weight > 0,
    )


def _build_encoder(settings: schema.Model, input_width: int) -> Bag | TransformerEncoder | RecurrentEncoder:
    if settings.kind == "bag":
        return Bag(input_width)
    if settings.kind == "transformer":
        return TransformerEncoder(settings.encoder, input_width)
    assert settings.kind == "recurrent"
    return RecurrentEncoder(settings.encoder, input_width)
