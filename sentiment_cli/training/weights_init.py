"""The model that training starts from: fresh, with word vectors of a file, or with the weights of a finished run."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli import console
from sentiment_cli.config.paths import is_file
from sentiment_cli.config.schema import Experiment, Model
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.training.init_from import PretrainedRun, load_pretrained, pretrained_names
from sentiment_cli.training.tasks.table import task_of

_SPARED = {"skew", "peephole"}  # no matrices, though drawn: zeros would make the orthogonal matrix the identity


def check_vectors(experiment: Experiment) -> None:
    """Raise UsageError where `vocabulary.vectors` names no file."""
    vectors = experiment.vocabulary.vectors
    if vectors is not None and not is_file(Path(vectors)):
        raise UsageError(
            f"vocabulary.vectors is {vectors}, which is no file", Change("--set", "vocabulary.vectors=null")
        )


def load_all_pretrained(experiment: Experiment) -> list[PretrainedRun]:
    """Load the models that `init_from` and `init_backward` name, before anything slow.

    Raises UsageError where one names none, or where `vocabulary.vectors` names no file.
    """
    check_vectors(experiment)
    return [load_pretrained(key, name) for key, name in pretrained_names(experiment).items()]


def build_initial_model(experiment: Experiment, corpus: Corpus, origins: Sequence[PretrainedRun]) -> nn.Module:
    """Build the model with its first weights: of the origins, or drawn from the experiment's seed.

    A run of the same task gives all of them, a pretraining its word vectors and the layers that read in its direction.
    Raises UsageError where an origin has another vocabulary, other labels or other shapes.
    """
    torch.manual_seed(experiment.seed)
    model = task_of(experiment).build_model(experiment, corpus)
    if not origins or origins[0].experiment.task != experiment.task:
        draw_weights(model, experiment.model)
    if experiment.vocabulary.vectors is not None and isinstance(model, Classifier):
        _load_vectors(Path(experiment.vocabulary.vectors), model.embedding.weight, corpus)
    own = model.state_dict()
    for origin, weights in _given(experiment, corpus, own, origins):
        if origin.experiment.task != experiment.task:
            console.say(f"starting from {origin.run}: {', '.join(_layers_of(weights))}")
        own |= weights
    model.load_state_dict(own)
    return model


def dry_run_pretrained(
    key: str, path: Path, experiment: Experiment, corpus: Corpus, origins: Sequence[PretrainedRun]
) -> PretrainedRun:
    """Return what an experiment's training will leave to start from, with fresh weights.

    Raises UsageError as `first_model` does, which trains with these origins.
    """
    weights = task_of(experiment).build_model(experiment, corpus).state_dict()
    _given(experiment, corpus, weights, origins)
    return PretrainedRun(key, path, experiment, corpus.labels, corpus.vocabulary, weights)


def _given(
    experiment: Experiment, corpus: Corpus, own: dict[str, Tensor], origins: Sequence[PretrainedRun]
) -> list[tuple[PretrainedRun, dict[str, Tensor]]]:
    """Return each origin with what it gives, by the names of `own`, once all is found to fit."""
    given = []
    for origin in origins:
        if origin.key == "init_backward" and not origin.experiment.model.language.reverse:
            raise UsageError(
                f"init_backward: {origin.run} reads forward; what layers that read backward start from is a language "
                "model with model.language.reverse",
                "sentiment pretrain imdb-lm-backward",
            )
        _check_same(origin, experiment, "a vocabulary", origin.vocabulary.entries, corpus.vocabulary.entries)
        weights = origin.weights
        if origin.experiment.task == experiment.task:
            _check_same(origin, experiment, "labels", origin.labels, corpus.labels)
            _check_same(origin, experiment, "tensors", sorted(weights), sorted(own))
        else:
            weights = _shared(origin, own, only_layers=origin is not origins[0])
        for name in filter(weights.__contains__, own):
            _check_same(origin, experiment, f"{name} of shape", tuple(weights[name].shape), tuple(own[name].shape))
        given.append((origin, weights))
    return given


def _shared(origin: PretrainedRun, own: dict[str, Tensor], *, only_layers: bool) -> dict[str, Tensor]:
    """Return what a pretraining gives to a model, under the names that it has there."""
    side = "backward" if origin.experiment.model.language.reverse else "forward"
    places = {"layers": f"encoder.{side}_layers"}
    if side == "forward" and not any(name.startswith("encoder.backward_layers.") for name in own):
        places["skips"] = "encoder.skips"  # which of two directions carry both, and fit neither's
    found = {
        re.sub(r"^\w+", lambda head: places.get(head[0], head[0]), name): of for name, of in origin.weights.items()
    }
    shared = {name: found[name] for name in own if name in found and name.startswith(("embedding.", "encoder."))}
    if only_layers:
        shared = {name: of for name, of in shared.items() if name.startswith("encoder.")}
    if not shared:
        raise UsageError(
            f"{origin.run}, a run of task {origin.experiment.task}, has no layer that reads {side} as this experiment "
            "has them",
            f"sentiment config diff {_config_of(origin)} default",
        )
    return shared


def _config_of(origin: PretrainedRun) -> Path:
    return origin.run / EXPERIMENT if origin.run.is_dir() else origin.run


def _layers_of(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[:-1]) for name in names))


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
                n_gates = max(1, len(parameter) // getattr(module, "width", len(parameter)))
                for gate in parameter.detach().chunk(n_gates):
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
    try:
        opened = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(
            f"vocabulary.vectors: {path} cannot be read: {error.strerror}", Change("--set", "vocabulary.vectors=null")
        ) from error
    with opened as lines:
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
                    Change("--set", f"model.embedding.width={len(line.split()) - 1}"),
                )
            weight_VD.detach()[ids[word]] = torch.from_numpy(vector_D)
            n_found += 1
    console.say(f"vectors: {n_found:,} of {len(words):,} words have one in {path}")
    if n_found == 0:
        raise DataError(f"{path} has a vector for no word of the vocabulary")


def _check_same(origin: PretrainedRun, experiment: Experiment, what: str, theirs: object, ours: object) -> None:
    if theirs == ours:
        return
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and max(len(theirs), len(ours)) > 8:
        place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
        first = "" if place is None else f", which first differ at {place}: {theirs[place]!r}, {ours[place]!r}"
        theirs, ours = f"of {len(theirs):,} entries", f"one of {len(ours):,}{first}"
    own, is_same_task = _config_of(origin), origin.experiment.task == experiment.task
    raise UsageError(
        f"{origin.key} {origin.run}: the run has {what} {theirs}, this experiment {ours}",
        f"{experiment.command} {own} --set init_from={origin.run}" if is_same_task else f"sentiment config show {own}",
    )
