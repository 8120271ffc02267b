"""Encoder-decoder models: write one sequence from another, or, as an autoencoder, reconstruct the input."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.data.batching.pair_batches import PairBatch
from sentiment_cli.data.tokens.vocabulary import START_ID, Vocabulary
from sentiment_cli.models.cells.recurrence import State
from sentiment_cli.models.layers.attention import Attending, Attention, Memory
from sentiment_cli.models.layers.embedding import WordEmbedding
from sentiment_cli.models.layers.encoders import RecurrentEncoder, build_layer, drop_columns, last_of, lower_layer
from sentiment_cli.models.layers.lookup import marked_places
from sentiment_cli.models.layers.softmax import Softmax, build_softmax

_TOKENS_AT_ONCE = 512  # whose probabilities of all words are in memory at a time


class Writing(NamedTuple):
    """The state of a decoder between two steps: the state of each layer, and the memory for attention.

    Rows with the same source, such as those of a beam, are adjacent and share its memory.
    """

    layers: tuple[State, ...]
    memory: Memory | None


class EncoderDecoder(nn.Module):
    """An encoder, and a decoder of the same cell, width and layers that starts from the encoder's last state.

    Sutskever et al. 2014; with the target equal to the source, the sequence autoencoder of Dai & Le 2015. Where the
    state has another shape, as with a bidirectional encoder, a linear map gives the initial state. `embedding` and
    `encoder` are those of a classifier, which can be fine-tuned from their weights.

    Source and target words share one table of vectors, also with the softmax where it is `tied`. `softmax` builds the
    output layer from (entries, width, tied=that table or None). A cell with a memory besides the hidden state, and
    bahdanau attention, take several calls of a layer per row: weight and state dropout, which are drawn at each call,
    are refused for these.
    """

    output: Softmax

    def __init__(
        self,
        embedding: schema.Embedding,
        encoder: schema.Encoder,
        n_entries: int,
        unknown_id: int,
        *,
        softmax: Callable[..., Softmax],
        attention: Attending = "none",
        tied: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert encoder.cell != "lstm-2d", "a decoder does not know where sentences end"
        assert encoder.chop is None, "a decoder starts from the end of the whole row"
        assert embedding.ngrams == 1, "a step knows one token"
        self.dropout = dropout
        self.embedding = WordEmbedding(embedding, n_entries, unknown_id, pad_is_input=False)
        self.encoder = RecurrentEncoder(encoder, embedding.width)
        self.has_memory = len(state_widths(encoder, embedding.width)) > 1
        is_called_often = self.has_memory or attention == "bahdanau"
        assert not (is_called_often and (encoder.weight_dropout or encoder.state_dropout))
        hidden_width = embedding.width if tied else encoder.width
        self.decoder = Decoder(encoder, embedding.width, self.encoder.width, hidden_width, attention)
        input_widths = [embedding.width, *[self.encoder.width] * (len(self.decoder.layers) - 1)]
        n_directions = self.encoder.width // encoder.width
        self.starts = nn.ModuleList()
        for width, decoder_width in zip(input_widths, self.decoder.input_widths, strict=True):
            widths = zip(state_widths(encoder, width), state_widths(encoder, decoder_width), strict=True)
            self.starts.append(nn.ModuleList(_build_map(n_directions * a, b) for a, b in widths))
        self.output = softmax(n_entries, hidden_width, tied=self.embedding if tied else None)

    def forward(self, batch: PairBatch) -> Tensor:
        """Return the mean loss of the batch's target tokens in nats, without padding.

        It is their sum divided by the number of rows times mean_length_B, which is that of the whole batch, so that the
        mean over micro-batches, weighted by their rows, is that of the whole batch.
        """
        hidden_TD, target_T = self._teach(batch)
        loss: Tensor = self.output.loss(hidden_TD, target_T)
        return loss * (len(target_T) / len(batch.target_BM)) / batch.mean_length_B[0]

    def judge(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return log_probability_T of the target tokens, row after row, in nats, and is_likeliest_T."""
        hidden_TD, target_T = self._teach(batch)
        found, likeliest = [], []
        for start in range(0, len(target_T), _TOKENS_AT_ONCE):
            part = slice(start, start + _TOKENS_AT_ONCE)
            log_probability_NV = self.output.log_probabilities(hidden_TD[part])
            found.append(log_probability_NV.gather(1, target_T[part, None]).squeeze(1))
            likeliest.append(log_probability_NV.argmax(dim=1))
        return torch.cat(found), torch.cat(likeliest) == target_T

    def start(self, source: tuple[Tensor, Tensor]) -> tuple[Tensor, Writing]:
        """Encode (source_BL, source_length_B); return the start tokens that the first step reads, and its state."""
        return torch.full_like(source[1], START_ID), self._encode(*source, source[1].tolist())

    def step(self, token_N: Tensor, state: Writing) -> tuple[Tensor, Writing, Tensor | None]:
        """Read a token of each row; return log_probability_NV of the next, the state, and weight_NL of attention."""
        hidden_N1D, state, weight_N1L = self.decoder(self.embedding(token_N[:, None]), state)
        log_probability_NV: Tensor = self.output.log_probabilities(hidden_N1D.squeeze(1))
        return log_probability_NV, state, None if weight_N1L is None else weight_N1L.squeeze(1)

    def select(self, state: Writing, row_N: Tensor) -> Writing:
        """Return the state of these rows, the same number for each source."""
        layers = tuple(tuple(tensor.index_select(0, row_N) for tensor in layer) for layer in state.layers)
        return state._replace(layers=layers)

    def _teach(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Return hidden_TD, which predict each target token from those before it, and target_T."""
        before_BM = F.pad(batch.target_BM[:, :-1], (1, 0), value=START_ID)
        state = self._encode(batch.source_BL, batch.source_length_B, batch.host_B2[:, 0].tolist())
        hidden_BMD, _, _ = self.decoder(self.embedding(before_BM), state)
        hidden_BMD = drop_columns(hidden_BMD, self.dropout, self.training)
        column_M = torch.arange(before_BM.shape[1], device=before_BM.device)
        is_target_BM = column_M < batch.target_length_B[:, None]
        place_T = marked_places(is_target_BM, int(batch.host_B2[:, 1].sum()))
        return hidden_BMD.flatten(0, 1).index_select(0, place_T), batch.target_BM.flatten().index_select(0, place_T)

    def _encode(self, ids_BL: Tensor, length_B: Tensor, lengths: list[int]) -> Writing:
        lasts: list[State] = []

        def read(layer: nn.Module, input_BLD: Tensor) -> Tensor:
            if self.has_memory:
                states_BLD, last = read_to_ends(layer, input_BLD, lengths)
            else:  # the hidden state is the whole state
                states_BLD = layer(input_BLD)[0]
                last = (last_of(states_BLD, length_B),)
            lasts.append(last)
            return states_BLD

        states_BLD = self.encoder.read_rows(self.embedding(ids_BL), length_B, read=read)
        dtype = self.embedding.weight.dtype  # cells keep their state in that of their weights, whatever autocast does
        layers, n_directions = [], len(lasts) // len(self.starts)
        for i, maps in enumerate(self.starts):
            assert isinstance(maps, nn.ModuleList)
            directions = lasts[i * n_directions : (i + 1) * n_directions]
            ends = (torch.cat(tensors, dim=1) for tensors in zip(*directions, strict=True))
            layers.append(tuple(to_start(end_BD).to(dtype) for to_start, end_BD in zip(maps, ends, strict=True)))
        attention = self.decoder.attention
        return Writing(tuple(layers), None if attention is None else attention.remember(states_BLD, length_B))


def build_encoder_decoder(experiment: schema.Experiment, vocabulary: Vocabulary) -> EncoderDecoder:
    """Build the experiment's encoder and decoder, with weights from torch's global random generator."""
    settings = experiment.model
    return EncoderDecoder(
        settings.embedding,
        settings.encoder,
        len(vocabulary.entries),
        vocabulary.unknown_id,
        softmax=functools.partial(build_softmax, settings.language),
        attention=settings.decoding.attention,
        tied=settings.language.tied,
        dropout=settings.dropout,
    )


class Decoder(nn.Module):
    """The decoder: layers that read the previous words and return the hidden state that the softmax reads.

    Without attention it is the state s of the last layer. luong: tanh(W [c; s]), where c is the context of s (Luong et
    al. 2015, eq. 5, without input feeding), so that the layers read all steps at once. bahdanau: the context of the
    first layer's state is an input of that layer beside the next word y, step by step, and the hidden state is
    tanh(W [c; s; y]) instead of the paper's maxout (Bahdanau et al. 2015). Further layers read all steps at once.
    """

    def __init__(
        self, settings: schema.Encoder, input_width: int, encoder_width: int, hidden_width: int, attention: Attending
    ) -> None:
        super().__init__()
        width, self.dropout, self.is_stepped = settings.width, settings.dropout, attention == "bahdanau"
        n_layers = 1 if settings.cell == "lstm-grid" else settings.layers
        self.input_widths = [input_width + self.is_stepped * encoder_width, *[width] * (n_layers - 1)]
        self.layers = nn.ModuleList(build_layer(settings, input_width) for input_width in self.input_widths)
        self.attention = None if attention == "none" else Attention(attention, width, encoder_width)
        if self.attention is None:
            self.readout = _build_map(width, hidden_width)
        else:
            self.readout = nn.Linear(encoder_width + width + self.is_stepped * input_width, hidden_width)

    def forward(self, word_NMD: Tensor, state: Writing) -> tuple[Tensor, Writing, Tensor | None]:
        """Read M words of each row; return hidden_NMD after each, the state after the last, and weight_NML."""
        attended, last = None, []
        states_NMD = word_NMD = lower_layer(word_NMD)
        for i, (layer, start) in enumerate(zip(self.layers, state.layers, strict=True)):
            if self.is_stepped and i == 0:
                states_NMD, end, attended = self._read_stepwise(layer, word_NMD, start, state.memory)
            else:
                states_NMD, end = layer(drop_columns(states_NMD, self.dropout, self.training and i > 0), start)
            last.append(end)
        state = Writing(tuple(last), state.memory)
        if self.attention is None:
            return self.readout(states_NMD), state, None
        context_NMD, weight_NML = attended or self.attention(states_NMD, state.memory)
        read = [context_NMD, states_NMD, *([word_NMD] if self.is_stepped else [])]
        return torch.tanh(self.readout(torch.cat(read, dim=2))), state, weight_NML

    def _read_stepwise(
        self, layer: nn.Module, word_NMD: Tensor, state: State, memory: Memory | None
    ) -> tuple[Tensor, State, tuple[Tensor, Tensor]]:
        """Return states_NMD, the last state, and the context of each step with its attention weights."""
        assert self.attention is not None
        steps = []
        for word_ND in word_NMD.unbind(1):
            context_N1D, weight_N1L = self.attention(state[0][:, None], memory)
            state_N1D, state = layer(torch.cat([word_ND, context_N1D[:, 0].to(word_ND.dtype)], dim=1)[:, None], state)
            steps.append((state_N1D, context_N1D, weight_N1L))
        states_NMD, context_NMD, weight_NML = (torch.cat(tensors, dim=1) for tensors in zip(*steps, strict=True))
        return states_NMD, state, (context_NMD, weight_NML)


def read_to_ends(layer: nn.Module, input_BLD: Tensor, lengths: list[int]) -> tuple[Tensor, State]:
    """Read each row up to its length; return states_BLD, 0 at padding, and the state after each row's last token.

    A layer returns its whole state only after the last step. The rows, longest first, are therefore read up to the next
    end of a row, and the remaining rows on from there: one call per distinct length, and no step of padding. With 40
    rows of 200 to 400 tokens, all of different lengths, an LSTM of width 128 takes 1.24 times as long as in one call
    over all padding, one of 512 0.98 times (one thread of a CPU, gradients included).
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    order_B = torch.tensor(order, device=input_BLD.device)
    sorted_BLD = input_BLD.index_select(0, order_B)
    state: State | None = None
    begin, pieces, ended = 0, [], []
    for end in sorted(set(lengths)):
        n_rows, n_longer = (sum(length >= least for length in lengths) for least in (end, end + 1))
        states_BLD, state = layer(sorted_BLD[:n_rows, begin:end], state)
        pieces.append(F.pad(states_BLD, (0, 0, 0, 0, 0, len(order) - n_rows)))
        ended.append(tuple(tensor[n_longer:] for tensor in state))
        state = tuple(tensor[:n_longer] for tensor in state)
        begin = end
    padding = input_BLD.shape[1] - begin
    place_B = order_B.argsort()
    states_BLD = F.pad(torch.cat(pieces, dim=1).index_select(0, place_B), (0, 0, 0, padding))
    return states_BLD, tuple(torch.cat(tensors).index_select(0, place_B) for tensors in zip(*ended[::-1], strict=True))


def state_widths(settings: schema.Encoder, input_width: int) -> list[int]:
    """Return the widths of a layer's state tensors in units of its width, found with a small layer."""
    with torch.device("cpu"), torch.random.fork_rng(devices=[]), torch.no_grad():
        _, last = build_layer(settings.model_copy(update={"width": 2}), 3)(torch.zeros(1, 1, 3))
    return [{2: settings.width, 3: input_width}[tensor_BD.shape[1]] for tensor_BD in last]


def _build_map(from_width: int, to_width: int) -> nn.Module:
    return nn.Identity() if from_width == to_width else nn.Linear(from_width, to_width)
