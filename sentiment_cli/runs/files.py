"""The names of the files and folders of a run directory; no other module spells them.

RUN/  experiment.yaml  run.json  metrics.jsonl  summary.json  seals.jsonl  log.txt
      checkpoints/step-…/  model/  evaluation/  rows/  validation/  tensorboard/
"""

from pathlib import Path

from sentiment_cli.config import paths

EXPERIMENT = paths.EXPERIMENT_FILE  # the resolved configuration; a directory with this file is a run
RECORD = "run.json"  # the run's id, its process, and changed settings
METRICS_LOG = "metrics.jsonl"  # a row per epoch
LOG = "log.txt"  # all that the training said
SUMMARY = "summary.json"  # status, validation scores, seconds and versions
SEALS = "seals.jsonl"  # size and sha256 of result files
CHECKPOINTS = "checkpoints"
MODEL = "model"
EVALUATION = "evaluation"  # scores and predictions of each evaluated split
LEDGER = f"{EVALUATION}/ledger.jsonl"  # a line per evaluation of the test split
ROWS = "rows"  # digests of the rows that the run trained on or held out
VALIDATION = "validation"  # logits of the validation rows, for ensembles
TENSORBOARD = "tensorboard"

_PREDICTIONS = "-predictions.jsonl"


def scores_name(name: str) -> str:
    """Return the file of the scores of a split, or of other data, relative to the run directory."""
    return f"{EVALUATION}/{name}.json"


def predictions_name(name: str) -> str:
    """Return the file of the predictions for a split, or for other data, relative to the run directory."""
    return f"{EVALUATION}/{name}{_PREDICTIONS}"


def scores_paths(run: Path) -> list[Path]:
    """Return the files of scores that a run has, in order of their names."""
    return sorted((run / EVALUATION).glob("*.json"))


def predictions_paths(run: Path) -> list[Path]:
    """Return the files of predictions that a run has, in order of their names."""
    return sorted((run / EVALUATION).glob(f"*{_PREDICTIONS}"))
