"""How large a model is and roughly what it costs, counted without training or drawing it."""

from typing import NamedTuple

import torch
from torch import nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.language_model import build_language_model
from sentiment_cli.models.layers.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax
from sentiment_cli.models.seq2seq import build_encoder_decoder
from sentiment_cli.models.skip_gram import SkipGram


class CostRow(NamedTuple):
    """A part of a model: its parameters, and the multiply-adds that one token costs in its matrices, read forward."""

    name: str
    parameters: int
    products: int


def parts_of(experiment: Experiment, n_entries: int, n_labels: int = 2) -> list[CostRow]:
    """Count the parts of an experiment's model, a classifier or what a pretraining learns.

    A matrix is taken to multiply each token once, in each direction that has one; tables of vectors multiply nothing,
    a softmax the words that it compares (an adaptive one those of its head), and a classifier's output each row once,
    which is not counted. Training costs about three times as much.
    """
    with torch.device("meta"):
        model = _build(experiment, Vocabulary(("",) * n_entries, 1), n_labels)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    parts = []
    for name, module in model.named_children():
        parameters = list(module.parameters())
        if isinstance(module, FullSoftmax | SampledSoftmax | AdaptiveSoftmax):
            parts.append(CostRow(name, sum(p.numel() for p in parameters), module.n_compared * module.width))
        elif parameters:
            per_row = experiment.task == "classify" and name in ("output", "dropout")
            products = sum(p.numel() for p in parameters if p.dim() > 1 and id(p) not in tables and not per_row)
            if isinstance(model, SkipGram) and module is model.context:
                products = model.samples * module.embedding_dim
            parts.append(CostRow(name, sum(p.numel() for p in parameters), products))
    return parts


def _build(experiment: Experiment, vocabulary: Vocabulary, n_labels: int) -> nn.Module:
    if experiment.task == "language-model":
        return build_language_model(experiment, vocabulary, n_labels)
    if experiment.task in ("autoencoder", "pairs"):
        return build_encoder_decoder(experiment, vocabulary)
    if experiment.task == "vectors":
        count_V = torch.ones(len(vocabulary.entries))
        return SkipGram(count_V, experiment.model.embedding.width, samples=experiment.model.language.samples)
    return build_classifier(experiment, vocabulary, n_labels)
