"""The changes that a resumed run accepts, with --allow-change, and how they are recorded."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentiment_cli import console
from sentiment_cli.config.loader import differences, experiment_yaml
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import UsageError
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.runs.run_lock import RunRecord
from sentiment_cli.runs.seals import write_result
from sentiment_cli.training.checkpoints import TrainProgress

Difference = tuple[str, Any, Any]

# Changes that leave the meaning of the steps taken, their rows and the optimizer's state as it was.
SAFE_KEYS = frozenset(
    [
        "model.dropout",
        "model.embedding.dropout",
        "model.embedding.word_dropout",
        "model.embedding.element_dropout",
        "model.embedding.type_dropout",
        "model.encoder.dropout",
        "model.encoder.weight_dropout",
        "model.encoder.state_dropout",
        "model.wide.dropout",
        "objective.adversarial.epsilon",
        "objective.adversarial.weight",
        "objective.mixup.alpha",
        "objective.mixup.weight",
        "objective.ramp",
        "objective.rdrop.weight",
        "objective.virtual.epsilon",
        "train.checkpoint_minutes",
        "train.checkpoint_steps",
        "train.deterministic",
        "train.device",
        "train.epochs",
        "train.keep",
        "train.keep_finished",
        "train.lr",
        "train.max_grad_norm",
        "train.max_steps",
        "train.patience",
        "train.precision",
        "train.schedule",
        "train.tensorboard",
        "train.threads",
        "train.warmup",
        "train.slices",
        "train.on_memory_error",
        "train.plateau_factor",
        "train.plateau_patience",
        "train.label_smoothing",
        "train.class_weight",
        "train.thresholds",
        "train.activation_penalty",
        "train.temporal_penalty",
        "train.momentum",
        "train.weight_decay",
        "machine.cuda",
        "machine.cudnn",
        "machine.device",
        "machine.gpu",
        "machine.precision",
        "machine.threads",
        "versions.numpy",
        "versions.sentiment",
        "versions.torch",
    ]
)


def check_finished(run: Path, old: Experiment, new: Experiment) -> None:
    """Raise UsageError where a finished run is resumed with other settings."""
    found = differences(old, new)
    if not found:
        return
    settings = " ".join(f"--set {key}={_value(value)}" for key, _, value in found)
    from_it = "" if old.model.kind == "linear" else f"--set init_from={shlex.quote(str(run))} "
    raise UsageError(
        f"{run} is finished, and a finished run is not trained on: {_listed(found)}",
        f"{old.command} {shlex.quote(str(run / EXPERIMENT))} {from_it}{settings}",
    )


def check_allowed(
    found: Sequence[Difference], allowed: Sequence[str], record: RunRecord, run: Path, command: str
) -> list[Difference]:
    """Return the differences that are allowed now and were not before; `command` trains the run.

    Raises UsageError for a difference that is not allowed, and for a key that no run may change.
    """
    for key in allowed:
        if key not in SAFE_KEYS:
            raise UsageError(
                f"--allow-change {key}: no run can go on with another {key}; what can change is "
                + ", ".join(sorted(SAFE_KEYS)),
                f"{command} {shlex.quote(str(run / EXPERIMENT))}",
            )
    known = {change["key"]: change["to"] for change in record.changes}
    new = [(key, old, value) for key, old, value in found if key not in known or known[key] != value]
    refused = [difference for difference in new if difference[0] not in allowed]
    if not refused:
        return new
    message = f"{run} was trained with other settings: {_listed(refused)}"
    resume = f"{command} --resume {shlex.quote(str(run))}"
    if all(key in SAFE_KEYS for key, _, _ in refused):
        flags = " ".join(f"--allow-change {key}" for key, _, _ in new)
        settings = " ".join(f"--set {key}={_value(value)}" for key, _, value in new if _is_setting(key))
        raise UsageError(message, " ".join(filter(None, (resume, settings, flags))))
    fixed = [key for key, _, _ in refused if key not in SAFE_KEYS]
    raise UsageError(f"{message}; no run can go on with another {' or '.join(fixed)}", resume)


def check_steps(run: Path, experiment: Experiment, progress: TrainProgress) -> None:
    """Raise UsageError where a run has taken more steps than train.max_steps."""
    most = experiment.train.max_steps
    if most is not None and not progress.refit and progress.step > most:
        raise UsageError(
            f"train.max_steps is {most}, and {run} has taken {progress.step:,} steps",
            f"{experiment.command} --resume {shlex.quote(str(run))} --set train.max_steps={progress.step} "
            "--allow-change train.max_steps",
        )


def record_changes(
    run: Path, record: RunRecord, experiment: Experiment, changes: Sequence[Difference], step: int
) -> None:
    """Write the allowed changes into the run: new values into experiment.yaml, the history into run.json."""
    if not changes:
        return
    for key, old, new in changes:
        console.say(f"{key}: {_value(old)} → {_value(new)} from step {step}")
        record.changes.append({"step": step, "key": key, "from": old, "to": new, "at": time.time()})
    write_result(run, EXPERIMENT, experiment_yaml(experiment))
    record.save(run)


def _listed(found: Sequence[Difference]) -> str:
    return ", ".join(f"{key} was {_value(old)} and is {_value(new)}" for key, old, new in found)


def _is_setting(key: str) -> bool:
    return not key.startswith(("versions.", "machine."))


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
