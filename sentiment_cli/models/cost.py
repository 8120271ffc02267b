"""The number of parameters and the multiply-adds per token of a model, counted on the meta device."""

from typing import NamedTuple

import torch
from torch import nn

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import build_classifier
from sentiment_cli.models.language_model import build_language_model
from sentiment_cli.models.layers.softmax import AdaptiveSoftmax, FullSoftmax, SampledSoftmax
from sentiment_cli.models.regions import RegionPretraining
from sentiment_cli.models.seq2seq import build_encoder_decoder
from sentiment_cli.models.skip_gram import ContextWords, SkipGram


class CostRow(NamedTuple):
    """A part of a model: its parameters, and the multiply-adds of its matrices per token in the forward pass."""

    name: str
    parameters: int
    products: int


def parts_of(experiment: Experiment, n_entries: int, n_labels: int = 2) -> list[CostRow]:
    """Return the cost of each part of an experiment's model, a classifier or a pretraining model.

    Each matrix counts once per token and direction. Embedding tables count nothing, and a softmax counts the words that
    it compares (an adaptive one those of its head). A classifier's output, once per row, is not counted. Training takes
    about three times as much.
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
            if isinstance(module, ContextWords):
                products = module.samples * module.embedding_dim
            parts.append(CostRow(name, sum(p.numel() for p in parameters), products))
    return parts


def _build(experiment: Experiment, vocabulary: Vocabulary, n_labels: int) -> nn.Module:
    if experiment.task == "language-model":
        return build_language_model(experiment, vocabulary, n_labels)
    if experiment.task in ("autoencoder", "pairs"):
        return build_encoder_decoder(experiment, vocabulary)
    count_V, samples = torch.ones(len(vocabulary.entries)), experiment.model.language.samples
    if experiment.task == "vectors":
        return SkipGram(count_V, experiment.model.embedding.width, samples=samples)
    if experiment.task == "regions":
        return RegionPretraining(experiment.model.regions, count_V, count_V, samples=samples)
    return build_classifier(experiment, vocabulary, n_labels)
