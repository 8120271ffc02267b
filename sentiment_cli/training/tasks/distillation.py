"""Knowledge distillation and pseudo-labels: train on the predictions of other runs, the teachers.

Soft labels are a teacher's probabilities (Hinton, Vinyals & Dean 2015). Pseudo-labels are its most probable label, for
the rows where it is confident (Lee 2013). Labelled and distilled rows share the minibatches with equal weight. A
teacher predicts training and unlabelled rows once, never those of validation and test; its logits are cached.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sentiment_cli import console
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import cache
from sentiment_cli.data.corpus.column_files import read_column, writing
from sentiment_cli.data.corpus.duplicates import is_among
from sentiment_cli.data.corpus.packed import Corpus, Packed, join_rows, select_rows
from sentiment_cli.data.corpus.raw_texts import Texts, find_texts, prepare_texts
from sentiment_cli.data.sources.source import find_source
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.evaluation.ensembling import find_kept
from sentiment_cli.evaluation.stacking import Weighing, weigh
from sentiment_cli.inference.predictor import Predictor, class_probabilities, likeliest
from sentiment_cli.runs.directory import find_experiment, find_model, require_finished
from sentiment_cli.runs.ensemble_model import SavedModel, combine, open_model
from sentiment_cli.storage import store

_FORMAT = 1
_OUTPUT = {"output": "float32"}
TeacherSplit = Literal["train", "unsup"]


class LoadedTeacher(NamedTuple):
    """A teacher: its model and the hash of its weights."""

    model: SavedModel
    sha256: str


def open_teachers(experiment: Experiment) -> list[LoadedTeacher]:
    """Open the experiment's teachers, as open_teacher does."""
    return [open_teacher(name) for name in experiment.teacher.run]


def open_teacher(name: str) -> LoadedTeacher:
    """Open a teacher. Raises UsageError for a run that does not predict labels or is not finished."""
    path = find_model(name)
    if find_experiment(str(path)) is not None:  # a run, not a model by itself
        require_finished(path, "teacher.run: ")
    model = open_model(path)
    _check_target(path, model.target)
    return LoadedTeacher(model, model.files.sha256)


def cache_teacher_logits(experiment: Experiment, corpus: Corpus) -> None:
    """Write the logits of all teachers into the cache. Raises UsageError where there are no rows to predict."""
    check_rows(experiment, corpus)
    teachers = open_teachers(experiment)
    if teachers:
        mixing_weights(teachers, experiment.teacher.mix)  # refused before the teachers are asked
    for teacher in teachers:
        for split in _splits(experiment):
            _read_teacher_logits(teacher, experiment, corpus, split)


def check_can_teach(path: Path, its: Experiment, labels: tuple[str, ...], corpus: Corpus) -> None:
    """Raise UsageError where the run at `path`, still to be trained, cannot be a teacher for this corpus."""
    if its.task != "classify":
        raise UsageError(f"teacher.run: {path} is of task {its.task}, which tells no labels", "sentiment runs list")
    _check_target(path, its.data.target)
    check_teacher_labels(path, labels, corpus)


def _check_target(path: Path, target: str) -> None:
    if target != "label":
        raise UsageError(
            f"teacher.run: {path} learnt data.target {target}, and distillation needs probabilities of single labels",
            "sentiment runs list",
        )


def check_teacher_labels(path: Path, labels: tuple[str, ...], corpus: Corpus) -> None:
    """Raise UsageError where a teacher has other labels than the corpus."""
    if labels != corpus.labels:
        theirs, ours = (", ".join(known) for known in (labels, corpus.labels))
        raise UsageError(
            f"teacher.run: {path} has the labels {theirs}, the experiment's are {ours}", "sentiment runs list"
        )


def check_rows(experiment: Experiment, corpus: Corpus) -> None:
    """Raise UsageError where teacher.rows includes unlabelled rows and there are none."""
    if "unsup" in _splits(experiment) and "unsup" not in corpus.directories:
        raise UsageError(
            f"teacher.rows is {experiment.teacher.rows}, and {experiment.data.source} has no unlabelled rows",
            Change("--set", "teacher.rows=train"),
        )
    if "unsup" in _splits(experiment) and not len(corpus.split("unsup").label_N):
        raise UsageError(
            f"teacher.rows is {experiment.teacher.rows}, and every unlabelled row of {experiment.data.source} "
            "is also in test, so that none gets a soft label",
            "--set teacher.rows=train",
        )


def add_soft_labels(
    experiment: Experiment, corpus: Corpus, packed: Packed, ids: list[str]
) -> tuple[Packed, list[str], Tensor]:
    """Return the labelled rows, training rows first, with the rows that the teachers add, and the targets of all.

    The targets are truth_N, the probability of the second of two labels, or truth_NC. Raises UsageError where the
    teachers are confident of no row.
    """
    settings, teachers = experiment.teacher, open_teachers(experiment)
    named = " and ".join(str(teacher.model.path) for teacher in teachers)
    truth_NC = np.eye(len(corpus.labels), dtype=np.float32)[packed.label_N]
    n_used, n_predicted, weights = 0, 0, mixing_weights(teachers, settings.mix)
    for split in _splits(experiment):
        logits = [_read_teacher_logits(teacher, experiment, corpus, split) for teacher in teachers]
        soft_NC, is_used_N = _soft_labels(combine(logits, weights), experiment)
        if split == "train":
            is_used_N &= ~_in_test(corpus)
        n_used, n_predicted = n_used + int(is_used_N.sum()), n_predicted + len(is_used_N)
        if split == "train":
            weight_N1 = settings.weight * is_used_N[:, None]
            own_NC = truth_NC[: len(is_used_N)]
            own_NC += weight_N1 * (soft_NC - own_NC)
        else:
            packed = join_rows(packed, select_rows(corpus.split(split), is_used_N))
            ids = ids + [name for name, is_used in zip(corpus.ids(split), is_used_N, strict=True) if is_used]
            truth_NC = np.concatenate([truth_NC, soft_NC[is_used_N]])
    if not n_used:
        raise UsageError(
            f"teacher.confident is {settings.confident}, and the teacher {named} is that sure of none of "
            f"{n_predicted:,} reviews",
            Change("--set", "teacher.confident=0.9", otherwise="sentiment runs list"),
        )
    console.say(f"teacher: {named} answers {n_used:,} of {n_predicted:,} reviews ({settings.rows})")
    truth = torch.from_numpy(truth_NC)
    return packed, ids, truth[:, 1].contiguous() if len(corpus.labels) == 2 else truth


def mixing_weights(teachers: Sequence[LoadedTeacher], mix: Weighing) -> list[float]:
    """Return the weights of the teachers' log-odds: equal, or fitted on the validation rows that all were held out of.

    Raises UsageError where they are to be fitted and the teachers have no validation rows in common.
    """
    if mix == "equal" or len(teachers) == 1:
        return [1 / len(teachers)] * len(teachers)
    models = [teacher.model for teacher in teachers]
    kept = find_kept([model.path for model in models], models, "fitted", Change("--set", "teacher.mix=equal"))
    logits = [one.logits / model.temperature for one, model in zip(kept, models, strict=True)]
    weights: list[float] = weigh(logits, kept[0], "fitted").tolist()
    said = ", ".join(f"{model.path} {weight:.2f}" for model, weight in zip(models, weights, strict=True))
    console.say(f"teacher: weights fitted on {len(kept[0].ids):,} validation reviews: {said}")
    return weights


def teaching_key(experiment: Experiment) -> dict[str, object]:
    """Return what the soft labels depend on beside the corpus: the hashes of the teachers and the settings."""
    settings = experiment.teacher.model_dump(mode="json", exclude={"run"})
    if experiment.teacher.mix == "equal":  # as what earlier versions cached
        del settings["mix"]
    return settings | {"sha256": [teacher.sha256 for teacher in open_teachers(experiment)]}


def _in_test(corpus: Corpus) -> NDArray[np.bool_]:
    """Return a mask of the training rows that are also in test, where the teacher may have learnt their labels."""
    train, test = corpus.digests("train"), corpus.digests("test")
    if train is None or test is None:  # of a corpus that an earlier version prepared
        return np.zeros(len(corpus.split("train").label_N), dtype=bool)
    is_in_test_N = is_among(train, test)
    if is_in_test_N.any():
        console.say(f"teacher: {is_in_test_N.sum():,} training reviews are also in test and get no soft labels")
    return is_in_test_N


def _splits(experiment: Experiment) -> tuple[TeacherSplit, ...]:
    rows = experiment.teacher.rows
    return () if not experiment.teacher.run else ("train", "unsup") if rows == "both" else (rows,)


def _soft_labels(logits: NDArray[np.float64], experiment: Experiment) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the soft labels or pseudo-labels of a teacher's calibrated logits, and a mask of rows that get them."""
    settings, probability_NC = experiment.teacher, class_probabilities(logits / experiment.teacher.temperature)
    is_used_N = np.ones(len(logits), dtype=bool)
    if settings.confident is not None:
        is_used_N = probability_NC.max(axis=1) >= settings.confident
        probability_NC = np.eye(probability_NC.shape[1])[likeliest(probability_NC)]
    return probability_NC.astype(np.float32), is_used_N


def _read_teacher_logits(
    teacher: LoadedTeacher, experiment: Experiment, corpus: Corpus, split: TeacherSplit
) -> NDArray[np.float64]:
    """Return a teacher's calibrated logits of a split's rows, in their order, from the cache if possible.

    Raises UsageError where the teacher has other labels than the corpus.
    """
    check_teacher_labels(teacher.model.path, teacher.model.labels, corpus)
    ids = corpus.ids(split)
    texts = store.read_json(corpus.directories[split] / cache.KEY_FILE)["texts"]
    fingerprint = texts if isinstance(texts, str) else texts[0]
    rows = hashlib.sha256("\0".join(ids).encode("utf-8", "surrogateescape")).hexdigest()
    depends_on = {"format": _FORMAT, "teacher": teacher.sha256, "texts": fingerprint, "split": split, "rows": rows}
    key = cache.Key(f"taught-{corpus.key.rpartition('-')[0]}", depends_on)

    def write() -> None:
        _write_teacher_logits(teacher, _find_texts(experiment, fingerprint, split), split, ids, key)

    directory = cache.get_or_build(key, cache.open_entry, write)
    outputs = np.asarray(read_column(directory, split, "output", _OUTPUT["output"]), dtype=np.float64)
    return outputs if teacher.model.n_logits == 1 else outputs.reshape(-1, teacher.model.n_logits)


def _write_teacher_logits(
    teacher: LoadedTeacher, texts: Texts, split: TeacherSplit, ids: list[str], key: cache.Key
) -> None:
    """Write a teacher's logits of some rows of the texts into the cache."""
    wanted = set(ids)
    known = texts.ids(split)
    is_chosen_N = np.array([name in wanted for name in known], dtype=bool)
    if [name for name in known if name in wanted] != ids:
        raise DataError(f"the ids in {texts.directory} stand for several rows each", "sentiment data check")
    console.say(f"teacher: asking {teacher.model.path} about {len(ids):,} reviews, once")
    predictor, done = Predictor(teacher.model), 0
    with (
        store.new_directory(cache.directory_of(key.directory_name)) as draft,
        writing(draft, split, _OUTPUT) as writer,
        console.progress("asking the teacher", len(ids)) as shown,
    ):
        for chunk in texts.read(split, is_chosen_N):
            if chunk:
                outputs = predictor.outputs(predictor.encode(chunk))
                writer.write(output=(outputs / predictor.temperature).ravel())
                done += len(chunk)
                shown.update(done)
        writer.write_ids(name.encode("utf-8", "surrogateescape") for name in ids)
        draft.write(cache.KEY_FILE, store.dump_json(key.depends_on))


def _find_texts(experiment: Experiment, fingerprint: str, split: TeacherSplit) -> Texts:
    """Open the texts that a split was tokenized from; test texts are read only if they have to be prepared again.

    Raises DataError where they have to be prepared again and the source has changed since.
    """
    found = find_texts(fingerprint, (split,))
    if found is None:
        found = prepare_texts(find_source(experiment.data), "unlabelled" if split == "unsup" else "labelled")
        if found.fingerprint != fingerprint:
            raise DataError(
                f"the {split} reviews of {experiment.data.source} are no longer those that this was prepared from, so "
                "that a teacher cannot be asked about them",
                f"sentiment train {experiment.name}",
            )
    return found
