"""The sequence-to-sequence tasks: autoencoder (write the review that was read) and pairs (write the second text)."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import cut, gather, plan_steps, rows_on
from sentiment_cli.data.batching.pair_batches import PairBatch, gather_pairs, lengths_read, pair_rows_on, reconstruction
from sentiment_cli.data.batching.truncation import cut_batches, trained_lengths
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.corpus.pairs import END_ID, open_pairs
from sentiment_cli.evaluation.sequence_metrics import SequenceScores, score_tokens
from sentiment_cli.inference.generate.search import greedy
from sentiment_cli.inference.torch_model import BATCH_TOKENS
from sentiment_cli.models.seq2seq import EncoderDecoder, build_encoder_decoder
from sentiment_cli.training.gradients import Objective
from sentiment_cli.training.loader import BatchLoader, build_row_loader
from sentiment_cli.training.state import TrainState
from sentiment_cli.training.tasks.pretraining_rows import held_out_rows, reading_rows

PAIR_SPLITS = ("train", "valid")
Gathered = Callable[..., PairBatch]  # of row numbers, and where they are known of the same on the device
_WRITTEN = 100  # validation targets that greedy search also writes


def build_model(experiment: Experiment, corpus: Corpus) -> EncoderDecoder:
    """Build the encoder and decoder, with weights from torch's global random generator."""
    return build_encoder_decoder(experiment, corpus.vocabulary)


def build_loss(state: TrainState) -> Objective:
    """Return the loss of the target's tokens, each given those before it (teacher forcing)."""

    def loss(model: nn.Module, batch: PairBatch) -> Tensor:
        found: Tensor = model(batch)
        return found

    return loss


def build_reconstruction_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of the rows that pretraining reads, each its own target, without empty rows.

    The tokens of a row count twice: they are read and written.
    """
    experiment = state.job.experiment
    packed, ids = reading_rows(state.job.corpus, experiment)
    read_N = trained_lengths(packed.length_N, experiment.text)
    plan = plan_steps(2 * read_N, experiment.train, experiment.seed)
    rows, reverse = rows_on(state.job.device, packed), experiment.model.decoding.reverse

    def batches(start: int) -> Iterator[PairBatch]:
        for batch, row_B in zip(cut(plan, rows, read_N, experiment, start), plan.rows[start:], strict=True):
            yield reconstruction(batch, reverse=reverse, host_B=torch.from_numpy(read_N[row_B]))

    return build_row_loader(plan, batches, 2 * read_N, ids)


def build_pair_loader(state: TrainState) -> BatchLoader:
    """Return the data loader of the training pairs; the tokens of source and target count."""
    experiment = state.job.experiment
    length_N, gathered = _open_pairs(state, "train")
    plan = plan_steps(length_N, experiment.train, experiment.seed)
    ids = state.job.corpus.ids("train")
    device = state.job.device

    def batches(start: int) -> Iterator[PairBatch]:
        return itertools.starmap(gathered, plan.rows_on(device, start))

    return build_row_loader(plan, batches, length_N, ids)


def validate_reconstruction(state: TrainState) -> SequenceScores | None:
    """Score the reconstruction of the held-out rows over the whole vocabulary; None where not finite."""
    experiment = state.job.experiment
    packed = held_out_rows(state.job.corpus, experiment)
    read_N = trained_lengths(packed.length_N, experiment.text)
    rows, reverse = rows_on(state.job.device, packed), experiment.model.decoding.reverse

    def gathered(row_N: NDArray[np.int64]) -> PairBatch:
        row_B = torch.from_numpy(row_N).to(state.job.device)
        return reconstruction(gather(rows, row_B, int(read_N[row_N].max()), experiment.text), reverse=reverse)

    return _score(state, 2 * read_N, gathered)


@torch.inference_mode()
def validate_pairs(state: TrainState) -> SequenceScores | None:
    """Score the validation pairs, and the share of the first hundred that greedy search writes without a mistake."""
    length_N, gathered = _open_pairs(state, "valid")
    scores = _score(state, length_N, gathered)
    if scores is None:
        return None
    model = _evaluated(state)
    batch = gathered(np.arange(min(_WRITTEN, len(length_N))))
    longest = batch.target_BM.shape[1]
    written = greedy(model, (batch.source_BL, batch.source_length_B), end_id=END_ID, max_length=longest)
    rows = zip(batch.target_BM.tolist(), batch.target_length_B.tolist(), strict=True)
    targets = [target[:length] for target, length in rows]
    found = [[*one.tokens, *([END_ID] if one.has_ended else [])] for one in written]
    state.model.train()
    return dataclasses.replace(scores, exact=sum(map(list.__eq__, found, targets)) / len(targets))


def _open_pairs(state: TrainState, split: str) -> tuple[NDArray[np.int64], Gathered]:
    """Return the lengths of a split's pairs, source plus target, and a function that gathers a batch of them."""
    text, reverse = state.job.experiment.text, state.job.experiment.model.decoding.reverse
    packed = open_pairs(state.job.corpus.directories[split], split)
    sides, (source_N, target_N) = pair_rows_on(state.job.device, packed), lengths_read(packed, text)

    def gathered(row_N: NDArray[np.int64], row_B: Tensor | None = None) -> PairBatch:
        if row_B is None:
            row_B = torch.from_numpy(row_N).to(state.job.device)
        read_B2 = np.stack([source_N[row_N], target_N[row_N]], axis=1)
        widths, host_B2 = (int(read_B2[:, 0].max()), int(read_B2[:, 1].max())), torch.from_numpy(read_B2)
        return gather_pairs(sides, row_B, widths, text, reverse=reverse, host_B2=host_B2)

    return source_N + target_N, gathered


def _evaluated(state: TrainState) -> EncoderDecoder:
    model = state.validated
    assert isinstance(model, EncoderDecoder)
    return model.eval()


@torch.inference_mode()
def _score(state: TrainState, length_N: NDArray[np.int64], gathered: Gathered) -> SequenceScores | None:
    """Score the rows that are not empty, divided among the processes."""
    model, row_N = _evaluated(state), np.flatnonzero(length_N)
    parts = list(cut_batches(row_N[np.argsort(length_N[row_N], kind="stable")], length_N, BATCH_TOKENS))
    total_K3 = torch.zeros(
        len(parts), 3, dtype=torch.float64
    )  # loss, tokens, correct tokens: 0 for the batches of other processes
    batch_done = state.batch_callback(len(parts))
    for i in range(state.job.group.rank, len(parts), state.job.group.size):
        log_probability_T, is_likeliest_T = model.judge(gathered(parts[i]))
        total_K3[i, 0] = -log_probability_T.double().sum()
        total_K3[i, 1], total_K3[i, 2] = len(is_likeliest_T), is_likeliest_T.sum()
        batch_done()
    state.job.group.all_reduce_sum([total_K3])
    state.model.train()
    loss, n, n_right = total_K3.sum(dim=0).tolist()
    return score_tokens(loss, int(n), int(n_right))
