"""Contradictions: settings that are valid alone and not together.

This module is longer than 300 lines because all pairs of settings are checked in one place.
"""

from collections.abc import Iterator
from typing import NamedTuple

from sentiment_cli.config.applicability import CELLS_WITHOUT, KINDS_OF_SETTINGS, SEQUENCE_TASKS, TASKS_OF_SETTINGS
from sentiment_cli.config.objective_settings import TERMS
from sentiment_cli.config.schema import (
    CORPORA,
    SMALLEST_BPE,
    Embedding,
    Encoder,
    Experiment,
    Model,
    Regions,
    Teacher,
    Wide,
)
from sentiment_cli.config.values import Section

# Cells whose state is more than what is seen of it; an encoder calls them several times for a row.
CELLS_WITH_MEMORY = ("lstm", "lstm-1997", "lstm-peephole", "rnn-output", "sru", "qrnn", "lstm-grid")


class Contradiction(NamedTuple):
    """Two settings that are valid alone and not together."""

    keys: tuple[str, str]
    message: str


def contradictions(experiment: Experiment) -> Iterator[Contradiction]:
    """Yield every contradiction between two settings."""
    yield from _of_data_and_text(experiment)
    yield from _of_the_model(experiment)
    yield from _of_training(experiment)
    yield from _of_the_teacher(experiment)
    yield from _of_the_objective(experiment)
    yield from _of_the_task(experiment)
    yield from _of_origins(experiment)


def _of_data_and_text(experiment: Experiment) -> Iterator[Contradiction]:
    data, text, train = experiment.data, experiment.text, experiment.train
    if (text.pad == "left") != (text.pad_to is not None):
        message = f"text.pad is {text.pad} and text.pad_to is {text.pad_to or 'null'}: left and a length go together"
        yield Contradiction(("text.pad", "text.pad_to"), message)
    size = experiment.vocabulary.size
    if text.tokenizer == "bpe" and size is not None and size < SMALLEST_BPE:
        message = f"text.tokenizer bpe needs a vocabulary.size of {SMALLEST_BPE} or more, not {size}"
        yield Contradiction(("text.tokenizer", "vocabulary.size"), message)
    if experiment.pieces and text.tokenizer != "words":
        message = f"model.linear.char_ngrams are within words, and text.tokenizer is {text.tokenizer}"
        yield Contradiction(("model.linear.char_ngrams", "text.tokenizer"), message)
    following = {
        "vocabulary.min_count": experiment.vocabulary.min_count,
        "model.embedding.dropout": experiment.model.embedding.dropout,
        "model.wide.use": experiment.model.wide.use,
        "model.wide.dropout": experiment.model.wide.dropout,
        "train.lr": train.lr,
        "train.batch_tokens": train.batch_tokens,
        "train.epochs": train.epochs,
    }
    for key in (key for key, value in following.items() if value is None):
        if experiment.task != "classify":
            message = f"{key} null follows from the data for task classify, not {experiment.task}"
            yield Contradiction((key, "task"), message)
        elif experiment.model.kind == "linear" and key != "vocabulary.min_count":
            message = f"{key} null follows from the data for networks, and model.kind is linear, which takes no steps"
            yield Contradiction((key, "model.kind"), message)
    if data.source in CORPORA:
        for key in ("test", "unlabelled", "text_column", "label_column", "group_column", "label_map"):
            if getattr(data, key):
                message = f"data.{key} is for your own data; data.source is {data.source}, which brings its own"
                yield Contradiction((f"data.{key}", "data.source"), message)
        if data.valid.source is not None:
            message = f"data.valid.source is for your own data; data.source is {data.source}, which brings its own"
            yield Contradiction(("data.valid.source", "data.source"), message)
        for key in ("header", "encoding", "delimiter", "quoting"):
            if getattr(data, key) != "auto":
                message = f"data.{key} is for files of your own; data.source is {data.source}"
                yield Contradiction((f"data.{key}", "data.source"), message)
    folds, fold = data.valid.folds, data.valid.fold
    if folds is not None and data.valid.source is not None:
        message = f"data.valid.source is {data.valid.source}, and data.valid.folds {folds} validates on training rows"
        yield Contradiction(("data.valid.source", "data.valid.folds"), message)
    if (folds is None) != (fold is None):
        message = (
            f"data.valid.folds is {folds or 'null'} and data.valid.fold is {fold or 'null'}: they go together; "
            "sentiment train --folds N sets both"
        )
        yield Contradiction(("data.valid.folds", "data.valid.fold"), message)
    elif folds is not None and fold is not None and fold > folds:
        message = f"data.valid.fold is {fold}, more than data.valid.folds {folds}"
        yield Contradiction(("data.valid.fold", "data.valid.folds"), message)
    if data.unlabelled is not None and data.without_label == "unlabelled":
        message = "data.unlabelled names the unlabelled rows, and data.without_label says they are in the source"
        yield Contradiction(("data.unlabelled", "data.without_label"), message)
    if text.pad_to is not None and (text.max_tokens is None or text.max_tokens > text.pad_to):
        message = f"text.max_tokens is {text.max_tokens or 'null'}, which does not fit in text.pad_to {text.pad_to}"
        yield Contradiction(("text.max_tokens", "text.pad_to"), message)
    widest = "text.pad_to" if text.pad_to is not None else "text.max_tokens"
    width = text.pad_to or text.max_tokens
    for key, tokens in (("train.batch_tokens", train.batch_tokens), ("train.gpu.batch_tokens", train.gpu.batch_tokens)):
        if width is not None and tokens is not None and tokens < width:
            yield Contradiction((key, widest), f"{key} is {tokens}, less than one row of {widest} {width}")
    yield from _of_the_target(experiment)


def _of_the_target(experiment: Experiment) -> Iterator[Contradiction]:
    data, train = experiment.data, experiment.train
    if data.target != "label":
        for key, is_set in (
            ("train.label_smoothing", train.label_smoothing > 0),
            ("model.head", experiment.model.head == "steps"),
            ("model.kind", experiment.model.kind == "linear" and data.target == "stars"),
        ):
            if is_set:
                said = f"{key} is set to what single labels need, and data.target is {data.target}"
                yield Contradiction((key, "data.target"), said)
    if train.thresholds == "fitted" and data.target not in ("label", "multilabel"):
        message = f"train.thresholds are of labels that are likely or not, and data.target is {data.target}"
        yield Contradiction(("train.thresholds", "data.target"), message)
    if train.class_weight is None and experiment.model.kind != "linear":
        message = f"train.class_weight null follows from the data for model.kind linear, not {experiment.model.kind}"
        yield Contradiction(("train.class_weight", "model.kind"), message)
    if train.class_weight not in ("none", None):
        for key, is_set in (("data.target", data.target == "stars"), ("teacher.run", bool(experiment.teacher.run))):
            if is_set:
                message = f"train.class_weight weighs rows by their label, and {key} has other numbers learnt"
                yield Contradiction(("train.class_weight", key), message)
    for key, value, target in (
        ("data.label_separator", data.label_separator is not None, "multilabel"),
        ("data.without_label", data.without_label == "none", "multilabel"),
        ("train.monitor", train.monitor == "micro_f1", "multilabel"),
        ("data.label_order", bool(data.label_order), "ordinal"),
        ("train.monitor", train.monitor == "qwk", "ordinal"),
    ):
        if value and data.target != target:
            message = f"{key} is set to what needs data.target {target}, and data.target is {data.target}"
            yield Contradiction((key, "data.target"), message)


def _of_the_model(experiment: Experiment) -> Iterator[Contradiction]:
    model, encoder = experiment.model, experiment.model.encoder
    for section, keys in KINDS_OF_SETTINGS.items():
        settings = model if not section else getattr(model, section)
        for key, kinds in keys.items():
            is_beside = section == "linear" and key != "char_ngrams" and model.wide.use != "none"
            usual = [type(settings).model_fields[key].default]
            usual += [None] if experiment.task == "classify" else []  # null follows from the data
            if model.kind not in kinds and not is_beside and getattr(settings, key) not in usual:
                name = ".".join(filter(None, ("model", section, key)))
                message = f"{name} is of kind {' or '.join(kinds)}, and model.kind is {model.kind}"
                yield Contradiction((name, "model.kind"), message)
    wide_uses = {"folds": ("channel", "skip", "both"), "width": ("channel", "both"), "dropout": ("skip", "both")}
    for key, uses in wide_uses.items():
        if getattr(model.wide, key) not in (None, Wide.model_fields[key].default) and model.wide.use not in (
            None,
            *uses,
        ):
            message = f"model.wide.{key} is of model.wide.use {' or '.join(uses)}, and that is {model.wide.use}"
            yield Contradiction((f"model.wide.{key}", "model.wide.use"), message)
    for key in ("width", "window") if model.regions.use == "none" and experiment.task == "classify" else ():
        if getattr(model.regions, key) != Regions.model_fields[key].default:
            message = f"model.regions.{key} is of model.regions.use frozen or tuned, and that is none"
            taken = (f"model.regions.{key}",) if experiment.init_from is None else ("init_from",)  # from that run
            yield Contradiction((*taken, "model.regions.use"), message)
    if model.wide.use in ("skip", "both") and model.head == "steps":
        message = f"model.wide.use {model.wide.use} adds logits of whole rows, and model.head steps judges each token"
        yield Contradiction(("model.wide.use", "model.head"), message)
    if model.kind == "bag" and model.pooling == "last":
        message = (
            "model.pooling last of model.kind bag would read the last word alone: take mean, max, both or attention"
        )
        yield Contradiction(("model.pooling", "model.kind"), message)
    if model.kind == "transformer" and encoder.width % (2 * encoder.heads):
        message = f"model.encoder.width is {encoder.width}, which {encoder.heads} heads of an even width do not divide"
        yield Contradiction(("model.encoder.width", "model.encoder.heads"), message)
    if model.context_window != Model.model_fields["context_window"].default and model.context != "local":
        message = f"model.context_window is of local context, and model.context is {model.context}"
        yield Contradiction(("model.context_window", "model.context"), message)
    if model.head == "steps" and model.pooling != "last":
        message = f"model.head steps is read at the last step, and model.pooling is {model.pooling}"
        yield Contradiction(("model.head", "model.pooling"), message)
    for key, without in CELLS_WITHOUT.items():
        if (
            model.kind == "recurrent"
            and encoder.cell in without
            and getattr(encoder, key) != Encoder.model_fields[key].default
        ):
            message = f"model.encoder.{key} is not for the cell {encoder.cell}: {without[encoder.cell]}"
            yield Contradiction((f"model.encoder.{key}", "model.encoder.cell"), message)
    if model.embedding.uniform is not None and model.embedding.std != Embedding.model_fields["std"].default:
        message = "model.embedding.uniform and model.embedding.std both say how the fresh vectors are drawn"
        yield Contradiction(("model.embedding.uniform", "model.embedding.std"), message)
    if model.embedding.word_dropout and experiment.vocabulary.unknown == "padding":
        message = "model.embedding.word_dropout reads words as unknown, which needs vocabulary.unknown: own"
        yield Contradiction(("model.embedding.word_dropout", "vocabulary.unknown"), message)


def _of_training(experiment: Experiment) -> Iterator[Contradiction]:
    train = experiment.train
    for key in ("init_from", "init_backward") if experiment.vocabulary.vectors is not None else ():
        if getattr(experiment, key) is not None:
            message = f"{key} and vocabulary.vectors both say which word vectors to start from"
            yield Contradiction((key, "vocabulary.vectors"), message)
    if train.precision == "fp16" and train.device in ("cpu", "mps"):
        message = f"train.precision is fp16, which needs a CUDA device, and train.device is {train.device}"
        yield Contradiction(("train.precision", "train.device"), message)
    # PyTorch for Metal has no float64 and no matrix exponential, which these compute with.
    if train.device == "mps" and experiment.task != "classify":
        message = f"train.device mps trains classifiers only, and task is {experiment.task}"
        yield Contradiction(("train.device", "task"), message)
    if train.device == "mps" and experiment.model.encoder.cell in ("orthogonal", "goru"):
        message = f"train.device is mps, which cannot compute model.encoder.cell {experiment.model.encoder.cell}"
        yield Contradiction(("train.device", "model.encoder.cell"), message)
    if train.schedule == "one-cycle" and not train.warmup:
        message = "train.schedule is one-cycle, whose rise takes the share train.warmup of the steps, which is 0"
        yield Contradiction(("train.schedule", "train.warmup"), message)
    if train.patience is not None and train.epochs is not None and train.patience >= train.epochs:
        message = f"train.patience is {train.patience}, not less than train.epochs {train.epochs}"
        yield Contradiction(("train.patience", "train.epochs"), message)
    if train.folds is not None:
        yield from _of_cross_validation(experiment)


def _of_cross_validation(experiment: Experiment) -> Iterator[Contradiction]:
    said = f"train.folds is {experiment.train.folds}, which cross-validates"
    if experiment.model.kind != "linear":
        message = f"{said} a linear model, and model.kind is {experiment.model.kind}"
        yield Contradiction(("train.folds", "model.kind"), message)
    if not experiment.train.refit:
        message = f"{said} and then trains on all rows: train.refit is false"
        yield Contradiction(("train.folds", "train.refit"), message)
    if experiment.teacher.run:
        message = f"{said} by the labels of the rows, and teacher.run has other targets learnt"
        yield Contradiction(("train.folds", "teacher.run"), message)
    for key in ("source", "folds"):
        if (value := getattr(experiment.data.valid, key)) is not None:
            message = f"{said}, and data.valid.{key} is {value}, which chooses the validation rows"
            yield Contradiction(("train.folds", f"data.valid.{key}"), message)


def _of_the_teacher(experiment: Experiment) -> Iterator[Contradiction]:
    teacher, target = experiment.teacher, experiment.data.target
    said = {key for key, field in Teacher.model_fields.items() if getattr(teacher, key) != field.default}
    for key in sorted(said) if not teacher.run else ():
        message = f"teacher.{key} says how a teacher is learnt from, and teacher.run names none"
        yield Contradiction((f"teacher.{key}", "teacher.run"), message)
    if len(teacher.run) == 1 and teacher.mix == "fitted":
        message = "teacher.mix is of several teachers, and teacher.run names one"
        yield Contradiction(("teacher.mix", "teacher.run"), message)
    if teacher.confident is not None and "temperature" in said:
        message = "teacher.confident takes labels from the teacher, and teacher.temperature softens probabilities"
        yield Contradiction(("teacher.confident", "teacher.temperature"), message)
    if "weight" in said and teacher.rows == "unsup":
        message = "teacher.weight is of labelled rows, and teacher.rows is unsup"
        yield Contradiction(("teacher.weight", "teacher.rows"), message)
    if teacher.run and target != "label":
        message = f"teacher.run teaches probabilities of single labels, and data.target is {target}"
        yield Contradiction(("teacher.run", "data.target"), message)


def _of_the_objective(experiment: Experiment) -> Iterator[Contradiction]:
    objective, model, target = experiment.objective, experiment.model, experiment.data.target
    weights = {f"objective.{name}.weight": getattr(objective, name).weight for name in TERMS}
    used = [key for key, weight in weights.items() if weight]
    for key in used:
        if model.kind == "linear":
            message = f"{key} is of networks, and model.kind is linear, which is solved without steps"
            yield Contradiction((key, "model.kind"), message)
        elif model.head == "steps":
            message = f"{key} is of a row's one answer, and model.head steps has one at each token"
            yield Contradiction((key, "model.head"), message)
    for name in TERMS:
        term = getattr(objective, name)
        for field, about in type(term).model_fields.items() if not term.weight and name != "stars" else ():
            if getattr(term, field) != about.default:
                message = f"objective.{name}.{field} is of objective.{name}.weight above 0, and that is 0"
                yield Contradiction((f"objective.{name}.{field}", f"objective.{name}.weight"), message)
    if objective.ramp and not used:
        message = "objective.ramp raises the weights of the objective's terms, and all are 0"
        yield Contradiction(("objective.ramp", "objective.ramp"), message)
    stars = objective.stars
    for key, value in (("weight", stars.weight), ("smoothing", stars.smoothing)):
        if value and target != "label":
            message = f"objective.stars.{key} adds ratings to single labels, and data.target is {target}"
            yield Contradiction((f"objective.stars.{key}", "data.target"), message)
    if stars.smoothing:
        for key, is_set in (
            ("model.kind", model.kind == "linear"),
            ("teacher.run", bool(experiment.teacher.run)),
            ("train.class_weight", experiment.train.class_weight not in ("none", None)),
        ):
            if is_set:
                message = f"objective.stars.smoothing softens the labels that a network learns, and {key} is set"
                yield Contradiction(("objective.stars.smoothing", key), message)
    if objective.virtual.rows != "train" and experiment.teacher.run and experiment.teacher.rows != "train":
        message = (
            f"teacher.rows {experiment.teacher.rows} makes the unlabelled rows training rows, and "
            f"objective.virtual.rows is {objective.virtual.rows}"
        )
        yield Contradiction(("objective.virtual.rows", "teacher.rows"), message)


def _of_the_task(experiment: Experiment) -> Iterator[Contradiction]:
    task, train = experiment.task, experiment.train
    for section, keys in TASKS_OF_SETTINGS.items():
        settings: Section = experiment
        for name in section.split("."):
            settings = getattr(settings, name)
        for key, tasks in keys.items():
            field = type(settings).model_fields[key]
            if task not in tasks and getattr(settings, key) != field.default:
                name = f"{section}.{field.alias or key}"
                yield Contradiction((name, "task"), f"{name} is of task {' or '.join(tasks)}, and task is {task}")
    if task == "classify":
        return
    if experiment.model.kind != "recurrent":
        message = f"model.kind is {experiment.model.kind}, and task {task} pretrains recurrent models"
        yield Contradiction(("model.kind", "task"), message)
    if train.monitor != "loss":
        message = f"train.monitor is {train.monitor}, and task {task} is validated by its loss"
        yield Contradiction(("train.monitor", "task"), message)
    if task not in ("vectors", "regions"):
        if not experiment.text.start:
            message = f"task is {task}, in which rows begin and end with the start token: text.start is false"
            yield Contradiction(("text.start", "task"), message)
        if experiment.model.encoder.cell == "lstm-2d":
            message = f"model.encoder.cell is lstm-2d, which needs sentence ends, and task is {task}"
            yield Contradiction(("model.encoder.cell", "task"), message)
    yield from _of_sequences(experiment) if task in SEQUENCE_TASKS else _of_streams(experiment)


def _of_streams(experiment: Experiment) -> Iterator[Contradiction]:
    task, train = experiment.task, experiment.train
    if train.batch_tokens is None:
        return
    n_streams = train.batch_tokens // train.window
    if not n_streams:
        message = f"train.batch_tokens is {train.batch_tokens}, less than one stream of train.window {train.window}"
        yield Contradiction(("train.batch_tokens", "train.window"), message)
    elif task == "language-model" and n_streams % train.slices:
        message = f"train.slices is {train.slices}, which does not divide the {n_streams} streams of a batch"
        yield Contradiction(("train.slices", "train.batch_tokens"), message)


def _of_origins(experiment: Experiment) -> Iterator[Contradiction]:
    starts = {"init_from": experiment.init_from, "vocabulary.vectors": experiment.vocabulary.vectors}
    for key, name in starts.items() if experiment.model.kind == "linear" else ():
        if name is not None:
            message = f"{key} is to start from, and model.kind is linear, which is solved without a start"
            yield Contradiction((key, "model.kind"), message)
    if experiment.init_backward is not None and not experiment.model.encoder.bidirectional:
        message = "init_backward is for layers that read backward, and model.encoder.bidirectional is false"
        yield Contradiction(("init_backward", "model.encoder.bidirectional"), message)


def _of_sequences(experiment: Experiment) -> Iterator[Contradiction]:
    task, encoder = experiment.task, experiment.model.encoder
    attention = experiment.model.decoding.attention
    for key in ("weight_dropout", "state_dropout"):
        if not getattr(encoder, key):
            continue
        if encoder.cell in CELLS_WITH_MEMORY:
            message = (
                f"model.encoder.{key} is drawn at each call, of which {encoder.cell} takes several a row in a {task}"
            )
            yield Contradiction((f"model.encoder.{key}", "model.encoder.cell"), message)
        elif attention == "bahdanau":
            message = f"model.encoder.{key} is drawn at each call, and bahdanau calls the first layer at every step"
            yield Contradiction((f"model.encoder.{key}", "model.decoding.attention"), message)
    if task == "autoencoder" and experiment.text.truncate == "tail":
        message = "text.truncate is tail, which may cut off the start token that an autoencoder's rows begin with"
        yield Contradiction(("text.truncate", "task"), message)
    if task == "pairs" and experiment.data.source in CORPORA:
        message = f"data.source is {experiment.data.source}, and task pairs reads a table with two columns"
        yield Contradiction(("data.source", "task"), message)
