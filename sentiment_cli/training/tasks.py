"""The tasks that an experiment can name."""

from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.corpus import Corpus
from sentiment_cli.data.pairs import prepare_pairs
from sentiment_cli.training import classifying, language_modelling, sequences, unlabelled, word_vectors
from sentiment_cli.training.session import Task

_TASKS = {
    "classify": Task(
        splits=classifying.SPLITS,
        build_model=classifying.build_model,
        plot=classifying.plot_reviews,
        build_objective=classifying.build_loss,
        validate=classifying.validate_reviews,
    ),
    "language-model": Task(
        splits=unlabelled.SPLITS,
        build_model=language_modelling.build_model,
        plot=language_modelling.plot_streams,
        build_objective=language_modelling.build_loss,
        validate=language_modelling.validate_streams,
        carry=language_modelling.zero_states,
    ),
    "autoencoder": Task(
        splits=unlabelled.SPLITS,
        build_model=sequences.build_model,
        plot=sequences.plot_reviews,
        build_objective=sequences.build_loss,
        validate=sequences.validate_reviews,
    ),
    "pairs": Task(
        prepare=prepare_pairs,
        splits=sequences.PAIR_SPLITS,
        build_model=sequences.build_model,
        plot=sequences.plot_pairs,
        build_objective=sequences.build_loss,
        validate=sequences.validate_pairs,
    ),
    "vectors": Task(
        splits=unlabelled.SPLITS,
        build_model=word_vectors.build_model,
        plot=word_vectors.plot_streams,
        build_objective=word_vectors.build_loss,
        validate=word_vectors.validate,
    ),
}


def task_of(experiment: Experiment) -> Task:
    """Return what the experiment's task brings to its training."""
    task = _TASKS[experiment.task]
    is_taught = bool(experiment.teacher.run) and experiment.teacher.rows != "train"
    return task._replace(splits=(*task.splits, "unsup")) if is_taught else task


def prepare_for(experiment: Experiment, key: str | None = None) -> Corpus:
    """Prepare what the experiment's task reads, as packing.prepare does."""
    task = task_of(experiment)
    return task.prepare(experiment, task.splits, key)
