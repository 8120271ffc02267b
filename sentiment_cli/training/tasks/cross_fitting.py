"""Cross-fitting of a network's wide part: linear models of all training rows and of all but each fold, cached.

No row reads weights that its own label had a part in, nor the label of another row of its group: the groups of rows
(the movie of a review) are dealt out to the folds as a whole. With teachers this holds of the targets, soft labels
included; what the teachers have learnt from a label is in their answers about other rows.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli import console
from sentiment_cli.config.commands import reset
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import read_column, writing
from sentiment_cli.data.corpus.packed import Corpus, Packed, join_rows
from sentiment_cli.data.corpus.ratings import LEAST, MOST
from sentiment_cli.data.corpus.splits import folds_of, is_by_group
from sentiment_cli.data.corpus.targets import n_outputs
from sentiment_cli.errors import DataError
from sentiment_cli.models.wide import WidePart
from sentiment_cli.storage import store
from sentiment_cli.training.tasks.distillation import add_soft_labels, teaching_key
from sentiment_cli.training.tasks.linear import (
    Features,
    as_targets,
    fit_ngram_weights,
    has_softmax,
    output_codes,
    read_features,
)
from sentiment_cli.training.tasks.newton import Link

_FORMAT = 1
_COLUMNS = {"key_K": "int64", "weight": "float32", "bias": "float32", "size_F": "float32", "gain": "float32"}
_SPLIT = "folds"  # in the names of the files


class CrossFitted(NamedTuple):
    """The linear models: that of all rows, then those of all rows but a fold's, with the same n-grams.

    Those of normalized models have size_F. `gain` is 1 / the typical weight of an n-gram in the rows that were read.
    """

    key_K: Tensor
    weight_KFC: Tensor
    bias_KC: Tensor
    gain: float
    size_F: Tensor | None

    def install(self, wide: WidePart) -> None:
        """Set them in a network's wide part."""
        wide.fit(self.key_K, self.weight_KFC, self.bias_KC, self.gain, self.size_F)


def labelled_rows(corpus: Corpus, *, is_refit: bool) -> Packed:
    """Return the rows that the linear models are fitted to: those of training, and in train.refit of validation."""
    train = corpus.split("train")
    return join_rows(train, corpus.split("valid")) if is_refit else train


def taught_rows(experiment: Experiment, corpus: Corpus, *, is_refit: bool) -> tuple[Packed, list[str], Tensor | None]:
    """Return the rows of training, their ids and, where there are teachers, their targets as add_soft_labels does."""
    packed, ids = labelled_rows(corpus, is_refit=is_refit), corpus.ids("train")
    if is_refit:
        ids = ids + corpus.ids("valid")
    if not experiment.teacher.run:
        return packed, ids, None
    return add_soft_labels(experiment, corpus, packed, ids)


def row_folds(packed: Packed, experiment: Experiment) -> NDArray[np.int64]:
    """Return the fold of each row, from 1 on; a pure function of labels, groups and settings.

    There are fewer than model.wide.folds where there are fewer groups. Raises DataError where there is one alone.
    """
    by = "row" if experiment.data.valid.by == "row" else "auto"
    n_units = len(packed.label_N)
    if is_by_group(packed.group_N, by):
        n_units = len(np.unique(packed.group_N[packed.group_N >= 0])) + int((packed.group_N < 0).sum())
    if n_units < 2:
        raise DataError(
            "model.wide fits its linear model without a part of the training rows, and they are one group alone",
            reset(experiment, "model.wide", "model.linear"),
        )
    n_folds = min(experiment.model.wide.folds, n_units)
    label_N = packed.label_N + int((packed.label_N < 0).any())  # unlabelled rows are dealt out as a label of their own
    return folds_of(label_N, packed.group_N, by, n_folds, experiment.data.valid.seed)


def cross_fit(experiment: Experiment, corpus: Corpus, *, is_refit: bool) -> CrossFitted:
    """Return the linear models of an experiment's wide part, from the cache if possible."""
    key = _key(experiment, corpus, is_refit=is_refit)
    n_logits = n_outputs(experiment.data.target, len(corpus.labels))

    def write() -> None:
        packed, _, soft_N = taught_rows(experiment, corpus, is_refit=is_refit)
        fitted = fit_folds_of(packed, row_folds(packed, experiment), experiment, corpus, soft_N)
        with (
            store.new_directory(cache.directory_of(key.directory_name)) as draft,
            writing(draft, _SPLIT, _COLUMNS) as writer,
        ):
            writer.write(key_K=fitted.key_K, weight=fitted.weight_KFC.ravel(), bias=fitted.bias_KC.ravel())
            writer.write(size_F=[] if fitted.size_F is None else fitted.size_F, gain=[fitted.gain])
            draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))

    directory = cache.get_or_build(key, cache.open_entry, write, on_hit=_say_found)
    columns = {name: np.array(read_column(directory, _SPLIT, name, kind)) for name, kind in _COLUMNS.items()}
    key_K, weight, bias, size_F, gain = (torch.from_numpy(columns[name]) for name in _COLUMNS)
    n_features = len(corpus.vocabulary.entries) + len(key_K)
    return CrossFitted(
        key_K,
        weight.view(-1, n_features, n_logits),
        bias.view(-1, n_logits),
        float(gain),
        size_F if experiment.model.linear.normalize else None,
    )


def fit_folds_of(
    packed: Packed, fold_N: NDArray[np.int64], experiment: Experiment, corpus: Corpus, soft_N: Tensor | None = None
) -> CrossFitted:
    """Fit the linear models of some rows, whose folds are fold_N, to their labels or to the teachers' soft_N."""
    vocabulary = corpus.vocabulary
    features = read_features(packed, experiment, vocabulary)
    truth_NC = _truth(packed, experiment, corpus) if soft_N is None else as_targets(soft_N)
    truth_NC, link = truth_NC[features.order_N], Link(has_softmax(experiment, corpus))
    own_N = torch.from_numpy(fold_N[features.order_N])
    weights, biases = [], []
    n_folds = int(fold_N.max())
    with console.progress("linear models fitted", n_folds + 1) as shown:
        for fold in range(n_folds + 1):
            kept_N1 = None if fold == 0 else (own_N != fold).double()[:, None]
            fitted = fit_ngram_weights(features, truth_NC, experiment, vocabulary, kept_N1, link=link)
            weights.append(fitted.weight_FC)
            biases.append(fitted.bias_C)
            shown.update(fold + 1)
    weight_KFC = torch.stack(weights)
    console.say(
        f"wide: {len(features.key_K) + len(vocabulary.entries):,} n-grams weighed in {len(truth_NC):,} reviews, and "
        f"without each of {n_folds} folds"
    )
    size_F = None if features.size_G is None else features.size_G[:-1].float()
    return CrossFitted(features.key_K, weight_KFC, torch.stack(biases), _gain(features, weight_KFC[0]), size_F)


def _truth(packed: Packed, experiment: Experiment, corpus: Corpus) -> Tensor:
    """Return truth_NC, from 0 to 1; of stars the share of the scale (fractional logit: Papke & Wooldridge 1996)."""
    if experiment.data.target == "stars":
        return torch.from_numpy((packed.stars_N - LEAST) / (MOST - LEAST))[:, None]
    return torch.from_numpy(output_codes(experiment, corpus)[packed.label_N].astype(np.float64))


def _gain(features: Features, weight_FC: Tensor) -> float:
    """Return 1 / the root mean square of the weights of the n-grams in the rows, each counted once per row."""
    count_F = features.presence.feature_GN.crow_indices().diff()[:-1].double()
    squared = float((count_F[:, None] * weight_FC.double().square()).sum() / (count_F.sum() * weight_FC.shape[1]))
    return squared**-0.5 if squared > 0 else 1.0


def _key(experiment: Experiment, corpus: Corpus, *, is_refit: bool) -> cache.Key:
    text = experiment.text.model_dump(mode="json", include={"max_tokens", "truncate", "start", "pad", "pad_to"})
    depends_on = {
        "format": _FORMAT,
        "torch": torch.__version__,
        "corpus": corpus.key,
        "rows": ["train", "valid"] if is_refit else ["train"],
        "by": experiment.data.valid.by,
        "seed": experiment.data.valid.seed,
        "text": text,
        "folds": experiment.model.wide.folds,
        "linear": experiment.model.linear.model_dump(mode="json"),
    }
    if experiment.data.target != "label":
        depends_on["target"] = experiment.data.target
    if experiment.teacher.run:
        depends_on["teacher"] = teaching_key(experiment)
    return cache.Key(f"wide-{corpus.key.rpartition('-')[0]}", depends_on)


def _say_found(directory: object) -> None:
    console.say(f"wide: fitted before, in {directory}")
