"""The initial model: random weights, word vectors from a file, or the weights of a pretrained run."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sentiment_cli import console
from sentiment_cli.config.commands import reset
from sentiment_cli.config.paths import is_file
from sentiment_cli.config.schema import Experiment, Model
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.training.init_from import PretrainedRun, load_pretrained, pretrained_names
from sentiment_cli.training.tasks.table import task_of

# What a pretraining of words gives a classifier of any data: the tensor with a row per word, by task.
_BY_WORD = {"vectors": "embedding.weight", "regions": "regions.vectors.weight"}
# Vectors that are drawn at random: zeros would make the orthogonal matrix the identity. The scale of a linear model
# beside a network starts at 1.
_SPARED = {"skew", "peephole", "scale"}


def check_vectors(experiment: Experiment) -> None:
    """Raise UsageError where `vocabulary.vectors` does not name a file."""
    vectors = experiment.vocabulary.vectors
    if vectors is not None and not is_file(Path(vectors)):
        raise UsageError(
            f"vocabulary.vectors is {vectors}, which is not a file", Change("--set", "vocabulary.vectors=null")
        )


def load_all_pretrained(experiment: Experiment) -> list[PretrainedRun]:
    """Load the models that `init_from` and `init_backward` name, before anything slow.

    Raises UsageError where one does not exist, or where `vocabulary.vectors` does not name a file.
    """
    check_vectors(experiment)
    return [load_pretrained(key, name) for key, name in pretrained_names(experiment).items()]


def build_initial_model(experiment: Experiment, corpus: Corpus, pretrained_runs: Sequence[PretrainedRun]) -> nn.Module:
    """Build the model with its initial weights: drawn from the experiment's seed, then those of the pretrained runs.

    A run of the same task gives all its weights; a pretraining gives its word vectors and the layers of its direction.
    Raises UsageError where a pretrained run has another vocabulary, other labels or other shapes.
    """
    torch.manual_seed(experiment.seed)
    model = task_of(experiment).build_model(experiment, corpus)
    if not pretrained_runs or pretrained_runs[0].experiment.task != experiment.task:
        draw_weights(model, experiment.model)
    if experiment.vocabulary.vectors is not None and isinstance(model, Classifier):
        _load_vectors(Path(experiment.vocabulary.vectors), model.embedding.weight, corpus)
    own = model.state_dict()
    for pretrained, weights in _weights_to_copy(experiment, corpus, own, pretrained_runs):
        if pretrained.experiment.task != experiment.task:
            console.say(f"starting from {pretrained.run}: {', '.join(_layers_of(weights))}")
        own |= weights
    model.load_state_dict(own)
    return model


def dry_run_pretrained(
    key: str, path: Path, experiment: Experiment, corpus: Corpus, pretrained_runs: Sequence[PretrainedRun]
) -> PretrainedRun:
    """Return the pretrained run that training an experiment will leave, with random weights.

    Raises UsageError as `build_initial_model` does with the same pretrained runs.
    """
    weights = task_of(experiment).build_model(experiment, corpus).state_dict()
    _weights_to_copy(experiment, corpus, weights, pretrained_runs)
    return PretrainedRun(key, path, experiment, corpus.labels, corpus.vocabulary, weights)


def _weights_to_copy(
    experiment: Experiment, corpus: Corpus, own: dict[str, Tensor], pretrained_runs: Sequence[PretrainedRun]
) -> list[tuple[PretrainedRun, dict[str, Tensor]]]:
    """Return each pretrained run with the weights that it gives, by their names in `own`; check that all fit."""
    copied, fitted = [], {name for name in own if name.startswith("wide.linear.")}  # before the first step, anew
    own = {name: of for name, of in own.items() if name not in fitted}
    for pretrained in pretrained_runs:
        if pretrained.key == "init_backward" and not pretrained.experiment.model.language.reverse:
            raise UsageError(
                f"init_backward: {pretrained.run} reads forward; what layers that read backward start from is a "
                "language model with model.language.reverse",
                "sentiment pretrain imdb-lm-backward",
            )
        table = _BY_WORD.get(pretrained.experiment.task) if experiment.task == "classify" else None
        given = pretrained
        if table is None:
            entries = (pretrained.vocabulary.entries, corpus.vocabulary.entries)
            _check_same(pretrained, experiment, "a vocabulary", *entries)
        elif table in own:
            width = pretrained.weights[table].shape[1]
            _check_same(pretrained, experiment, "vectors of width", width, own[table].shape[1])
            by_word = _by_word(pretrained, table, own[table], corpus)
            given = pretrained._replace(weights={**pretrained.weights, table: by_word})
        weights = {name: of for name, of in given.weights.items() if name not in fitted}
        if pretrained.experiment.task == experiment.task:
            # The head of star ratings serves training alone: either run may be without it.
            one_sided = {name for name in weights.keys() ^ own.keys() if name.startswith("ratings.")}
            weights = {name: of for name, of in weights.items() if name not in one_sided}
            _check_same(pretrained, experiment, "labels", pretrained.labels, corpus.labels)
            _check_same(pretrained, experiment, "tensors", sorted(weights), sorted(own.keys() - one_sided))
        else:
            weights = _shared(given, own, only_layers=pretrained is not pretrained_runs[0])
        for name in filter(weights.__contains__, own):
            _check_same(pretrained, experiment, f"{name} of shape", tuple(weights[name].shape), tuple(own[name].shape))
        copied.append((pretrained, weights))
    if pretrained_runs or experiment.init_from is None:  # an estimate takes random weights for those of the runs
        _check_regions(experiment, own, copied)
    return copied


def _by_word(pretrained: PretrainedRun, table: str, own_VD: Tensor, corpus: Corpus) -> Tensor:
    """Return the vectors of a model with those of the words that a pretrained run has as well.

    In a region embedding, which may be frozen, the other words have the vector of the run's unknown words.
    """
    theirs, ours, their_VD = pretrained.vocabulary, corpus.vocabulary, pretrained.weights[table]
    if theirs.entries == ours.entries:
        return their_VD
    place_of = {word: i for i, word in enumerate(theirs.entries) if i >= theirs.specials}
    found = [(i, place_of[word]) for i, word in enumerate(ours.entries) if i >= ours.specials and word in place_of]
    n_words = len(ours.entries) - ours.specials
    console.say(f"vectors: {len(found):,} of {n_words:,} words have one in {pretrained.run}")
    if not found:
        raise DataError(
            f"{pretrained.run} has a vector for no word of the vocabulary", Change("--set", "init_from=null")
        )
    to_N, from_N = torch.tensor(found).T
    is_region = pretrained.experiment.task == "regions"
    copied_VD = their_VD[theirs.unknown_id].repeat(len(own_VD), 1) if is_region else own_VD.clone()
    copied_VD[to_N] = their_VD[from_N]
    return copied_VD


def _check_regions(
    experiment: Experiment, own: dict[str, Tensor], copied: list[tuple[PretrainedRun, dict[str, Tensor]]]
) -> None:
    """Raise UsageError where a classifier reads region embeddings that no pretrained run gives."""
    given = {name for _, weights in copied for name in weights}
    if experiment.task == "classify" and any(name.startswith("regions.") and name not in given for name in own):
        named = experiment.init_from or "null"
        raise UsageError(
            f"model.regions.use is {experiment.model.regions.use}, and init_from is {named}, which has no region "
            "embeddings",
            reset(experiment, "model.regions"),
        )


def _shared(pretrained: PretrainedRun, own: dict[str, Tensor], *, only_layers: bool) -> dict[str, Tensor]:
    """Return the weights that a pretraining shares with a model, under the model's names."""
    side = "backward" if pretrained.experiment.model.language.reverse else "forward"
    places = {"layers": f"encoder.{side}_layers"}
    if side == "forward" and not any(name.startswith("encoder.backward_layers.") for name in own):
        places["skips"] = "encoder.skips"  # those of two directions read both, and fit neither
    found = {
        re.sub(r"^\w+", lambda head: places.get(head[0], head[0]), name): of for name, of in pretrained.weights.items()
    }
    parts = ("embedding.", "encoder.", "regions.")
    shared = {name: found[name] for name in own if name in found and name.startswith(parts)}
    if only_layers:
        shared = {name: of for name, of in shared.items() if name.startswith("encoder.")}
    if not shared and pretrained.experiment.task == "regions":
        raise UsageError(
            f"{pretrained.run} is a region embedding, and model.regions.use is none",
            Change("--set", "model.regions.use=frozen"),
        )
    if not shared:
        raise UsageError(
            f"{pretrained.run}, a run of task {pretrained.experiment.task}, has no layer that reads {side} as this "
            "experiment has them",
            f"sentiment config diff {_config_of(pretrained)} default",
        )
    return shared


def _config_of(pretrained: PretrainedRun) -> Path:
    return pretrained.run / EXPERIMENT if pretrained.run.is_dir() else pretrained.run


def _layers_of(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(".".join(name.split(".")[:-1]) for name in names))


def draw_weights(model: nn.Module, settings: Model) -> None:
    """Draw the initial matrices by `model.init`, each gate separately; embeddings and `layer` keep their own rule.

    uniform: within 0.08 (Sutskever et al. 2014); glorot: Glorot & Bengio 2010; he: He et al. 2015; orthogonal: Saxe et
    al. 2014; keras: the defaults of Keras 3, which are Glorot for the stacked matrices of the input and orthogonal for
    those of the state. Biases are then 0, except the forget gate's: `model.encoder.forget_bias` (Jozefowicz et al. 2015
    advise 1), which is 1 in keras where it is null.
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
        if isinstance(module, nn.Embedding | nn.LayerNorm):  # a weight of 0 would zero the output of a norm
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
    """Load the vectors of known words from a file in word2vec's text format, whose first line may be a header.

    Raises DataError, with the line, for a width other than `model.embedding.width` and for a number that is not finite.
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
            if number == 1 and len(line.split()) == 2:  # the header: the number of words and their width
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


def _check_same(pretrained: PretrainedRun, experiment: Experiment, what: str, theirs: object, ours: object) -> None:
    if theirs == ours:
        return
    if isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and max(len(theirs), len(ours)) > 8:
        place = next((i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), None)
        first = "" if place is None else f", which first differ at {place}: {theirs[place]!r}, {ours[place]!r}"
        theirs, ours = f"of {len(theirs):,} entries", f"one of {len(ours):,}{first}"
    own, is_same_task = _config_of(pretrained), pretrained.experiment.task == experiment.task
    raise UsageError(
        f"{pretrained.key} {pretrained.run}: the run has {what} {theirs}, this experiment {ours}",
        f"{experiment.command} {own} --set init_from={pretrained.run}"
        if is_same_task
        else f"sentiment config show {own}",
    )
