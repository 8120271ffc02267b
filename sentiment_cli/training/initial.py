"""The model that training starts from: fresh, with word vectors of a file, or with the weights of a finished run."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from sentiment_cli import console
from sentiment_cli.config.paths import is_file
from sentiment_cli.config.schema import Experiment, Model
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.data.vocabulary import Vocabulary
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.inference.artefact import open_artefact
from sentiment_cli.inference.runs import named_run
from sentiment_cli.inference.weights import load_model
from sentiment_cli.models.classifier import AnyClassifier, Classifier, build_classifier

_SPARED = {"skew", "peephole"}  # no matrices, though drawn: zeros would make the orthogonal matrix the identity


class Origin(NamedTuple):
    """A finished run's model to start from."""

    labels: tuple[str, ...]
    vocabulary: Vocabulary
    model: AnyClassifier


def load_origin(experiment: Experiment) -> Origin | None:
    """Load the model that `init_from` names, before anything slow.

    Raises UsageError where it names none, or where `vocabulary.vectors` names no file.
    """
    vectors = experiment.vocabulary.vectors
    if vectors is not None and not is_file(Path(vectors)):
        raise UsageError(f"vocabulary.vectors is {vectors}, which is no file", "--set vocabulary.vectors=null")
    if experiment.init_from is None:
        return None
    run = named_run(experiment.init_from)
    if not (run / "model").is_dir():
        raise UsageError(f"init_from: {run} holds no trained model", f"sentiment train --resume {run}")
    artefact = open_artefact(run)
    return Origin(artefact.labels, artefact.vocabulary, load_model(artefact))


def first_model(experiment: Experiment, corpus: Corpus, origin: Origin | None) -> AnyClassifier:
    """Build the model with its first weights: of `origin`, or drawn from the experiment's seed.

    Raises UsageError where the origin has another vocabulary, other labels or other shapes, and DataError where its
    weights are not finite.
    """
    torch.manual_seed(experiment.seed)
    model = build_classifier(experiment, corpus.vocabulary, len(corpus.labels))
    if origin is None:
        draw_weights(model, experiment.model)
        if experiment.vocabulary.vectors is not None and isinstance(model, Classifier):
            _load_vectors(Path(experiment.vocabulary.vectors), model.embedding.weight, corpus)
        return model
    run = Path(experiment.init_from or "")
    _check_same(run, "labels", origin.labels, corpus.labels)
    _check_same(run, "a vocabulary", origin.vocabulary.entries, corpus.vocabulary.entries)
    weights, own = origin.model.state_dict(), model.state_dict()
    _check_same(run, "tensors", sorted(weights), sorted(own))
    for name, tensor in weights.items():
        _check_same(run, f"{name} of shape", tuple(tensor.shape), tuple(own[name].shape))
        if not tensor.isfinite().all():
            raise DataError(f"init_from {run}: {name} holds numbers that are not finite", "sentiment runs list")
    model.load_state_dict(weights)
    return model


def draw_weights(model: nn.Module, settings: Model) -> None:
    """Draw the fresh matrices as `model.init` says, each gate's on its own; word vectors and `layer` stay as they are.

    uniform: within 0.08 (Sutskever et al. 2014); glorot: Glorot & Bengio 2010; he: He et al. 2015; orthogonal: Saxe et
    al. 2014; keras: as the defaults of Keras 3's layers, the gates' matrices drawn as the one that they are stacked
    to, by Glorot, those that read the state orthogonal. Biases are then 0, but for the forget gate's:
    `model.encoder.forget_bias` (Jozefowicz et al. 2015 advise 1), which keras sets to 1 where it is null.
    """
    draws = {
        "uniform": lambda weight: nn.init.uniform_(weight, -0.08, 0.08),
        "glorot": nn.init.xavier_uniform_,
        "he": nn.init.kaiming_uniform_,
        "orthogonal": nn.init.orthogonal_,
    }
    keras = settings.init == "keras"
    forget_bias = 1.0 if keras and settings.encoder.forget_bias is None else settings.encoder.forget_bias
    for module in model.modules():
        if isinstance(module, nn.Embedding | nn.LayerNorm):  # a norm's weight is no matrix, and 0 would silence it
            continue
        own = dict(module.named_parameters(recurse=False))
        for name, parameter in own.items() if settings.init != "layer" else ():
            if name in _SPARED:
                continue
            if parameter.dim() < 2:
                nn.init.zeros_(parameter)
            elif keras:
                draws["orthogonal" if name in ("state_weight", "weight_hh_l0") else "glorot"](parameter)
            else:
                for gate in parameter.detach().chunk(len(parameter) // getattr(module, "width", len(parameter))):
                    draws[settings.init](gate)
        place = getattr(module, "forget_gate", None)
        if place is not None and forget_bias is not None:
            biases = [parameter.detach() for name, parameter in own.items() if name.startswith("bias")]
            for bias, value in zip(biases, (forget_bias, 0.0), strict=False):  # torch's layers add two
                bias[place * module.width : (place + 1) * module.width] = value


def _load_vectors(path: Path, weight_VD: torch.Tensor, corpus: Corpus) -> None:
    """Take the vectors of known words from a file in word2vec's text format, whose first line may be a header.

    Raises DataError, with the line, for other widths than `model.embedding.width` and for what is no finite number.
    """
    vocabulary, width = corpus.vocabulary, weight_VD.shape[1]
    words = vocabulary.entries[vocabulary.specials :]
    ids = {word: i for i, word in enumerate(words, vocabulary.specials)}
    n_found = 0
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            word, *numbers = line.rstrip("\n ").rsplit(" ", width)
            if number == 1 and len(line.split()) == 2:  # how many words, and their width
                continue
            if word not in ids and len(numbers) == width:
                continue
            try:
                vector_D = np.array(numbers, dtype=np.float32)
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from error
            if len(vector_D) != width or not np.isfinite(vector_D).all():
                raise DataError(
                    f"{path}:{number}: {word[:30]!r} has {len(line.split()) - 1} numbers; model.embedding.width is "
                    f"{width}, and all should be finite",
                    f"--set model.embedding.width={len(line.split()) - 1}",
                )
            weight_VD.detach()[ids[word]] = torch.from_numpy(vector_D)
            n_found += 1
    console.say(f"vectors: {n_found:,} of {len(words):,} words have one in {path}")
    if n_found == 0:
        raise DataError(f"{path} has a vector for no word of the vocabulary")


def _check_same(run: Path, what: str, theirs: object, ours: object) -> None:
    if theirs == ours:
        return
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and max(len(theirs), len(ours)) > 8:
        place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
        first = "" if place is None else f", which first differ at {place}: {theirs[place]!r}, {ours[place]!r}"
        theirs, ours = f"of {len(theirs):,} entries", f"one of {len(ours):,}{first}"
    raise UsageError(
        f"init_from {run}: the run has {what} {theirs}, this experiment {ours}",
        f"sentiment train {named_run(str(run)) / 'experiment.yaml'} --set init_from={run}",
    )
