"""The table of tasks that an experiment can name."""

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus.packed import Corpus
from sentiment_cli.data.corpus.pairs import prepare_pairs
from sentiment_cli.training.state import Task
from sentiment_cli.training.tasks import classification, language_model, pretraining_rows, regions, seq2seq, skip_gram
from sentiment_cli.training.tasks.companions import check_companions, reads_unlabelled

_TASKS = {
    "classify": Task(
        splits=classification.CLASSIFICATION_SPLITS,
        build_model=classification.build_model,
        build_loader=classification.build_review_loader,
        build_objective=classification.build_loss,
        validate=classification.validate_reviews,
        fit=classification.fit_wide_part,
    ),
    "language-model": Task(
        splits=pretraining_rows.PRETRAINING_SPLITS,
        build_model=language_model.build_model,
        build_loader=language_model.build_stream_loader,
        build_objective=language_model.build_loss,
        validate=language_model.validate_streams,
        carry=language_model.zero_states,
    ),
    "autoencoder": Task(
        splits=pretraining_rows.PRETRAINING_SPLITS,
        build_model=seq2seq.build_model,
        build_loader=seq2seq.build_reconstruction_loader,
        build_objective=seq2seq.build_loss,
        validate=seq2seq.validate_reconstruction,
    ),
    "pairs": Task(
        prepare=prepare_pairs,
        splits=seq2seq.PAIR_SPLITS,
        build_model=seq2seq.build_model,
        build_loader=seq2seq.build_pair_loader,
        build_objective=seq2seq.build_loss,
        validate=seq2seq.validate_pairs,
    ),
    "vectors": Task(
        splits=pretraining_rows.PRETRAINING_SPLITS,
        build_model=skip_gram.build_model,
        build_loader=skip_gram.build_context_loader,
        build_objective=skip_gram.build_loss,
        validate=skip_gram.validate,
    ),
    "regions": Task(
        splits=pretraining_rows.PRETRAINING_SPLITS,
        build_model=regions.build_model,
        build_loader=regions.build_region_loader,
        build_objective=skip_gram.build_loss,
        validate=skip_gram.validate,
    ),
}


def task_of(experiment: Experiment) -> Task:
    """Return the experiment's task; a teacher or an objective that reads unlabelled rows adds their split."""
    task = _TASKS[experiment.task]
    adds_unlabelled = bool(experiment.teacher.run) and experiment.teacher.rows != "train"
    adds_unlabelled |= reads_unlabelled(experiment)
    return task._replace(splits=(*task.splits, "unsup")) if adds_unlabelled else task


def prepare_for(experiment: Experiment, key: str | None = None) -> Corpus:
    """Prepare the corpus of the experiment's task, as data.corpus.prepare does.

    Raises UsageError where an objective needs rows or ratings that there are not.
    """
    task = task_of(experiment)
    corpus = task.prepare(experiment, task.splits, key)
    check_companions(experiment, corpus)
    return corpus
