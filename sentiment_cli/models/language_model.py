"""The language model: embedding → recurrent layers, forward only → softmax over the vocabulary.

A text is read window by window (truncated BPTT); the hidden state is carried from each window to the next, and is zero
before the first. For a backward model the caller reverses the texts.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.cells.recurrence import State
from sentiment_cli.models.layers.embedding import WordEmbedding
from sentiment_cli.models.layers.encoders import CELLS, Skip, drop_columns
from sentiment_cli.models.layers.lookup import look_up
from sentiment_cli.models.layers.softmax import Softmax, build_softmax

LayerStates = list[State]  # one tuple of tensors per layer; their first dimension is the row


class LanguageModel(nn.Module):
    """A model of the next word, with the regularizers of AWD-LSTM (Merity et al. 2018).

    `widths` are those of the layers, whose weights have the same names as a RecurrentEncoder's `forward_layers`. The
    softmax sets its input width, which is the embedding's with tied embeddings; a last layer of another width is mapped
    to it. With `n_labels`, a vector of the text's label is added to each word vector; label 0, for unlabelled texts,
    adds nothing.
    """

    def __init__(
        self,
        embedding: nn.Embedding,
        softmax: Softmax,
        *,
        cell: str,
        widths: Sequence[int],
        dropout: float = 0.0,
        output_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        state_dropout: float = 0.0,
        skip: str = "none",
        n_labels: int = 0,
    ) -> None:
        super().__init__()
        assert cell != "lstm-2d", "it carries no state from one window to the next"
        self.embedding, self.softmax = embedding, softmax
        self.dropout, self.output_dropout = dropout, output_dropout
        options: dict[str, float] = {"weight_dropout": weight_dropout, "state_dropout": state_dropout}
        if cell == "lstm-grid":  # one layer, with all of them inside
            assert len(set(widths)) == 1
            options["depth"] = len(widths)
            widths = widths[:1]
        inputs = [embedding.embedding_dim, *widths[:-1]]
        self.layers = nn.ModuleList(
            CELLS[cell](before, width, **options) for before, width in zip(inputs, widths, strict=True)
        )
        pairs = zip(inputs, widths, strict=True) if skip != "none" else ()
        self.skips = nn.ModuleList(Skip(before, width, skip == "highway") for before, width in pairs)
        self.label = None
        if n_labels:
            zeros = torch.zeros(n_labels + 1, embedding.embedding_dim)
            self.label = nn.Embedding(n_labels + 1, embedding.embedding_dim, padding_idx=0, _weight=zeros)
        self.map = nn.Identity() if widths[-1] == softmax.width else nn.Linear(widths[-1], softmax.width)
        self.input_widths = inputs

    def forward(
        self, ids_BL: Tensor, state: LayerStates | None = None, label: Tensor | None = None
    ) -> tuple[Tensor, LayerStates]:
        """Return hidden_BLD, the states of the last layer, and the state after the last step, detached.

        Without a state the rows start from zeros. Labels are given per row or per token.
        """
        values_BLD = self.embedding(ids_BL)
        if self.label is not None and label is not None:
            values_BLD = values_BLD + look_up(label if label.dim() == 2 else label[:, None], self.label)
        if torch.is_autocast_enabled(ids_BL.device.type):
            values_BLD = values_BLD.to(torch.get_autocast_dtype(ids_BL.device.type))
        last: LayerStates = []
        for i, layer in enumerate(self.layers):
            carried_BLD = values_BLD
            if i:
                values_BLD = drop_columns(values_BLD, self.dropout, self.training)
            values_BLD, after = layer(values_BLD, None if state is None else state[i])
            if self.skips:
                values_BLD = self.skips[i](carried_BLD, values_BLD)
            last.append(tuple(tensor_BD.detach() for tensor_BD in after))
        return values_BLD, last

    def drop(self, hidden_BLD: Tensor) -> Tensor:
        """Apply output dropout, with the same mask at every step of a row."""
        return drop_columns(hidden_BLD, self.output_dropout, self.training)

    def loss(self, hidden_TD: Tensor, target_T: Tensor) -> Tensor:
        """Return the mean loss in nats of the targets, one for each hidden state, in rows or flat."""
        return self.softmax.loss(self.map(hidden_TD).flatten(0, -2), target_T.flatten())

    def log_probabilities(self, hidden_TD: Tensor) -> Tensor:
        """Return log_probability_TV of the word after each hidden state."""
        return self.softmax.log_probabilities(self.map(hidden_TD))

    def zero_state(self, n_rows: int, device: torch.device) -> LayerStates:
        """Return the initial hidden state, zeros in the dtype of the weights."""
        weight = self.embedding.weight
        return [
            tuple(
                weight.new_zeros(n_rows, width, device=device)
                for width in _state_widths(layer, weight.new_zeros(1, 1, before))
            )
            for layer, before in zip(self.layers, self.input_widths, strict=True)
        ]


def build_language_model(experiment: Experiment, vocabulary: Vocabulary, n_labels: int) -> LanguageModel:
    """Build the experiment's language model, with weights from torch's global random generator."""
    settings, encoder, n_entries = experiment.model, experiment.model.encoder, len(vocabulary.entries)
    embedding = WordEmbedding(settings.embedding, n_entries, vocabulary.unknown_id, pad_is_input=False)
    width = embedding.embedding_dim if settings.language.tied else encoder.width
    return LanguageModel(
        embedding,
        build_softmax(settings.language, n_entries, width, tied=embedding if settings.language.tied else None),
        cell=encoder.cell,
        widths=[encoder.width] * encoder.layers,
        dropout=encoder.dropout,
        output_dropout=settings.dropout,
        weight_dropout=encoder.weight_dropout,
        state_dropout=encoder.state_dropout,
        skip=encoder.skip,
        n_labels=n_labels if settings.language.label else 0,
    )


@torch.no_grad()
def _state_widths(layer: nn.Module, input_BLD: Tensor) -> list[int]:
    """Return the widths of a layer's state tensors, found by a forward pass."""
    was_training = layer.training
    layer.eval()
    _, state = layer(input_BLD)
    layer.train(was_training)
    return [tensor_BD.shape[1] for tensor_BD in state]


def vocabulary_rows(state: LayerStates, row_B: Tensor) -> LayerStates:
    """Select rows of a state."""
    return [tuple(tensor_ND.index_select(0, row_B) for tensor_ND in layer) for layer in state]


def forget(state: LayerStates, is_forgotten_B: Tensor) -> LayerStates:
    """Return a state with these rows reset to zero."""
    return [tuple(tensor_BD.masked_fill(is_forgotten_B[:, None], 0.0) for tensor_BD in layer) for layer in state]


def put_rows(state: LayerStates, row_B: Tensor, new: LayerStates) -> None:
    """Write distinct rows back into a state, in place."""
    for layer, new_layer in zip(state, new, strict=True):
        for tensor_ND, tensor_BD in zip(layer, new_layer, strict=True):
            tensor_ND.index_copy_(0, row_B, tensor_BD.to(tensor_ND.dtype))


def activation_penalty(dropped_TD: Tensor) -> Tensor:
    """Return the mean square of the last layer's states after dropout (AR of Merity et al. 2017, squared).

    The authors' weight is alpha = 2.
    """
    return dropped_TD.float().square().mean()


def temporal_penalty(hidden_BLD: Tensor, place_T: Tensor) -> Tensor:
    """Return the mean square of the change of the states from step to step, before dropout (TAR of the same paper).

    The authors' weight is beta = 1. `place_T` are the flat places of the steps that are read, without the first of
    each row; with none it is 0.
    """
    change_BLD = hidden_BLD[:, 1:] - hidden_BLD[:, :-1]
    change_TD = change_BLD.flatten(0, 1).index_select(0, place_T).float()
    return change_TD.square().mean() if len(change_TD) else hidden_BLD.new_zeros(())
