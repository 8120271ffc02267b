"""Outputs of a model, or of each member of an ensemble, for a split of its corpus or for any texts."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sentiment_cli import console
from sentiment_cli.data.batching.batches import rows_on
from sentiment_cli.data.batching.truncation import read_lengths
from sentiment_cli.data.corpus.packed import Packed
from sentiment_cli.data.corpus.prepare import encode_ahead, prepare
from sentiment_cli.data.corpus.raw_texts import Texts
from sentiment_cli.data.tokens.chunks import ChunkEncoder
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.evaluation.slices import Partition, partition_rows
from sentiment_cli.inference.predictor import MemberPredictor
from sentiment_cli.inference.torch_model import experiment_of, load_model, score_rows
from sentiment_cli.models.device import memory_errors, select_device, set_up
from sentiment_cli.runs.ensemble_model import SavedModel
from sentiment_cli.runs.saved_model import Artefact
from sentiment_cli.storage import store


class ScoredSplit(NamedTuple):
    """Rows as encoded for the model (an ensemble's first member), with uncalibrated outputs.

    `texts` is the fingerprint of the data that they are of, `digest_N` what Corpus.digests returns of a split's rows.
    """

    packed: Packed
    ids: list[str]
    groups: Sequence[str]
    model: Artefact
    texts: str
    output: NDArray[np.float64]
    digest_N: NDArray[np.uint64] | None = None

    def partitions(self) -> list[Partition]:
        """Return the partitions of the rows into slices."""
        return partition_rows(self.packed, self.groups, self.model.vocabulary, experiment_of(self.model).text)


def score_split(model: SavedModel, split: str) -> ScoredSplit:
    """Score a split of the corpus that a model was trained on; each member of an ensemble on its own, joined by row id.

    Raises DataError where the present corpus is another one, and where the members have different rows in the split:
    the ids of a table are row numbers, so equal ids do not mean equal texts.
    """
    of_members = [_score_split(artefact, split) for artefact in model.models]
    first = of_members[0]
    outputs = [_in_order(one, first, model.path) for one in of_members]
    return first._replace(output=model.combined(outputs))


def score_texts(model: SavedModel, texts: Texts, split: str, name: str) -> ScoredSplit:
    """Score a split of texts from any source; `name` is shown in the progress bar."""
    of_members = [_relabelled(_encode(artefact, texts, split), texts.labels, model.labels) for artefact in model.models]
    outputs = [_outputs(artefact, packed, name) for artefact, packed in zip(model.models, of_members, strict=True)]
    return ScoredSplit(
        of_members[0], texts.ids(split), texts.groups, model.first, texts.fingerprint, model.combined(outputs)
    )


def has_learnt_validation(models: Sequence[Artefact]) -> bool:
    """Return whether one of some networks was finally trained on its validation rows (train.refit)."""
    return any(experiment_of(one).train.refit for one in models)


def _score_split(artefact: Artefact, split: str) -> ScoredSplit:
    corpus = prepare(experiment_of(artefact), (split,), artefact.data_key)
    packed = _relabelled(corpus.split(split), corpus.labels, artefact.labels)
    output = _outputs(artefact, packed, split)
    digest_N = corpus.digests(split)
    return ScoredSplit(packed, corpus.ids(split), corpus.groups(), artefact, corpus.texts, output, digest_N)


def _in_order(scored: ScoredSplit, first: ScoredSplit, run: Path) -> NDArray[np.float64]:
    """Return outputs in the order of the first member's rows."""
    is_same = scored.texts == first.texts
    if is_same and scored.ids == first.ids:
        return scored.output
    place = {name: i for i, name in enumerate(scored.ids)}
    n_both = len(place.keys() & set(first.ids)) if is_same else 0
    if not n_both == len(first.ids) == len(scored.ids):
        raise DataError(
            f"the members of {run} have other rows in this split: one has {len(scored.ids):,}, the first "
            f"{len(first.ids):,}, and {n_both:,} are in both",
            f"sentiment runs show {shlex.quote(str(run))}",
        )
    return scored.output[[place[name] for name in first.ids]]


def _relabelled(packed: Packed, labels: Sequence[str], of_model: Sequence[str]) -> Packed:
    """Return rows with labels as indices into the model's labels, in any order of the data's labels."""
    place_of = np.array([of_model.index(label) if label in of_model else -1 for label in labels])
    return dataclasses.replace(packed, label_N=place_of[packed.label_N])


def _encode(artefact: Artefact, texts: Texts, split: str) -> Packed:
    """Return the rows of a split of texts as the model's tokenizer reads them."""
    rows = texts.rows(split)
    ids = [row for chunk in encode_ahead(ChunkEncoder(artefact.tokenizer), texts.read(split)) for row in chunk]
    return Packed(
        ids_T=np.concatenate([*ids, np.zeros(0, np.int32)]),
        starts_N1=np.cumsum([0, *map(len, ids)]),
        label_N=rows.label_N.astype(np.int64),
        stars_N=rows.stars_N.astype(np.int64),
        group_N=rows.group_N.astype(np.int64),
        in_train_N=np.zeros(len(ids), dtype=bool),
    )


def _outputs(artefact: Artefact, packed: Packed, name: str) -> NDArray[np.float64]:
    """Return the model's outputs of the rows, logits as they are or star ratings on their scale."""
    if not artefact.has_weights:
        return MemberPredictor(artefact).outputs(np.split(packed.ids_T, packed.starts_N1[1:-1]))
    experiment, length_N = experiment_of(artefact), packed.length_N
    device = _device_of(experiment.train.device)
    set_up(device, experiment.train.threads)
    n_tokens = int(read_lengths(length_N, experiment.text).sum())
    with memory_errors(), console.progress(f"scoring {name}", n_tokens) as shown:
        model, rows = load_model(artefact).to(device), rows_on(device, packed)
        outputs = score_rows(model, rows, length_N, experiment.text, on_read=shown.update)
    if not np.isfinite(outputs).all():
        raise store.IntegrityError(f"{artefact.path} answers with numbers that are not finite")
    return outputs


def _device_of(name: str) -> torch.device:
    """Return the device of training, or the best available one if the machine lacks it."""
    try:
        return select_device(name)
    except UsageError as error:
        console.warn(f"{error}; taking what there is")
        return select_device("auto")
