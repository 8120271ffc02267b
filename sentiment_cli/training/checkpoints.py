"""Checkpoints: everything that the next training step depends on, written atomically and verified when read.

    RUN/checkpoints/step-00000123/  tensors.safetensors  state.json  manifest.json

tensors.safetensors holds model/NAME, optimizer/NAME/KEY, average/NAME (with train.ema), best/NAME (unless this state
is the best), losses (of the current epoch's steps), scale (in fp16), and carried/I (the hidden states that a language
model carries from one BPTT window to the next). Random draws follow from the step and need no state.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn

from sentiment_cli import console
from sentiment_cli.config.loader import differences, experiment_from_values, experiment_values
from sentiment_cli.config.schema import Experiment
from sentiment_cli.errors import DataError
from sentiment_cli.evaluation.metrics import Scores
from sentiment_cli.evaluation.sequence_metrics import SequenceScores
from sentiment_cli.runs.files import CHECKPOINTS, EXPERIMENT
from sentiment_cli.storage import store

_FORMAT = 2
_GPU_FACTS = {"gpu", "cudnn", "cuda"}
# The fields of TrainProgress that state.json holds.
_PLAIN = ("step", "history", "n_tokens", "epoch_s", "split", "refit", "selection", "offset", "planned", "seconds")

AnyScores = Scores | SequenceScores


class RunFingerprint(NamedTuple):
    """What a training depends on besides its state; it resumes only where this is unchanged, or the change allowed."""

    run: str
    experiment: Experiment
    data: str
    versions: dict[str, str]
    machine: dict[str, str]


@dataclass
class Best:
    """The best state so far by train.monitor: its scores, epoch, step and weights."""

    scores: AnyScores | None = None
    epoch: int = 0
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class TrainProgress:
    """The progress of a training: steps taken, rows of metrics.jsonl, losses and seconds of the current epoch's steps.

    `split` multiplies train.slices after memory ran out. In the second training of train.refit, `selection` holds the
    rows and `offset` the steps of the first, whose best state stays in `best`; `planned` is its number of steps.
    """

    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    n_tokens: int = 0
    epoch_s: float = 0.0
    split: int = 1
    refit: bool = False
    selection: list[dict[str, Any]] = field(default_factory=list)
    offset: int = 0
    planned: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"prepare": 0.0, "train": 0.0, "validate": 0.0, "save": 0.0}
    )
    scale_2: Tensor | None = None  # GradScaler.state_2
    best: Best = field(default_factory=Best)

    def begin_refit(self) -> None:
        """Go back to step 0 for the second training."""
        self.refit, self.selection, self.offset = True, self.history, self.step
        self.step, self.history, self.losses, self.epoch_s, self.scale_2 = 0, [], [], 0.0, None


class Checkpoint(NamedTuple):
    """A checkpoint as read: the run's fingerprint, its progress, and the tensors of model and optimizer."""

    path: Path
    fingerprint: RunFingerprint
    progress: TrainProgress
    tensors: dict[str, Tensor]


def read_scores(values: dict[str, Any]) -> AnyScores:
    """Return scores from the result of their to_json. Raises TypeError for other values."""
    return SequenceScores(**values) if "perplexity" in values else Scores(**values)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copy the model's weights to the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}


def save_checkpoint(
    run: Path,
    fingerprint: RunFingerprint,
    progress: TrainProgress,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    keep: int,
    carried: Sequence[Tensor] = (),
) -> Path:
    """Write a checkpoint of the current state atomically, then remove all but the last `keep`; return its path."""
    path = run / CHECKPOINTS / f"step-{progress.offset + progress.step:08}"
    if path.exists():  # of the same step before its validation: resuming from it gives the same
        return path
    best = progress.best
    about = {
        "format": _FORMAT,
        **fingerprint._asdict(),
        "experiment": experiment_values(fingerprint.experiment),
        **{key: getattr(progress, key) for key in _PLAIN},
        "best": {"epoch": best.epoch, "step": best.step, "scores": best.scores.to_json() if best.scores else None},
    }
    tensors = {f"model/{name}": tensor for name, tensor in weights_of(model).items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer/{name}/{key}": value.cpu() for key, value in state.items() if value is not None}
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in weights_of(average).items()}
    if best.step != progress.step or progress.refit:
        tensors |= {f"best/{name}": tensor for name, tensor in best.weights.items()}
    tensors |= {f"carried/{i}": state.cpu() for i, state in enumerate(carried)}
    if progress.losses:
        tensors["losses"] = torch.stack(progress.losses).cpu()
    if progress.scale_2 is not None:
        tensors["scale"] = progress.scale_2.cpu()
    with store.new_directory(path) as draft:
        draft.write("tensors.safetensors", safetensors.torch.save(tensors))
        draft.write("state.json", store.dump_json(about))
    for old in _checkpoints(run)[:-keep]:
        store.remove_directory(old)
    return path


def newest_checkpoint(run: Path, run_id: str, command: str = "sentiment train") -> Checkpoint | None:
    """Read the newest checkpoint that is not damaged, and warn about each damaged one; None without checkpoints.

    Raises DataError where every checkpoint is damaged; its hint is `command`, which trains the run from scratch.
    """
    paths = _checkpoints(run)[::-1]
    damaged = []
    for path in paths:
        try:
            checkpoint = read_checkpoint(path, run_id)
        except store.IntegrityError as error:
            console.warn(f"{error}; going back to the checkpoint before")
            damaged.append(path)
            continue
        for broken in damaged:  # otherwise training could not write that checkpoint again
            store.remove_directory(broken)
        return checkpoint
    if paths:
        raise DataError(
            f"none of the {len(paths)} checkpoints in {run / CHECKPOINTS} is whole",
            f"{command} {shlex.quote(str(run / EXPERIMENT))}",
        )
    return None


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None,
    carried: Sequence[Tensor] = (),
) -> None:
    """Copy the tensors of a checkpoint into a model, optimizer and carried states of the same shapes."""
    tensors = checkpoint.tensors
    model.load_state_dict(_below(tensors, "model/"))
    if average is not None:
        average.load_state_dict(_below(tensors, "average/"))
    for i, state in enumerate(carried):
        state.copy_(tensors[f"carried/{i}"])
    for name, parameter in model.named_parameters():
        for key, value in _below(tensors, f"optimizer/{name}/").items():
            optimizer.state[parameter][key] = value.to(parameter.device)


def discard_checkpoints(run: Path) -> None:
    """Remove all checkpoints of a run."""
    if (run / CHECKPOINTS).exists():
        store.remove_directory(run / CHECKPOINTS)


def newest_path(run: Path) -> Path | None:
    """Return the directory of the newest checkpoint, which may be damaged."""
    paths = _checkpoints(run)
    return paths[-1] if paths else None


def fingerprint_differences(old: RunFingerprint, new: RunFingerprint) -> list[tuple[str, Any, Any]]:
    """Return (key, old value, new value) of settings, versions.* and machine.*; the data is checked elsewhere."""
    found = differences(old.experiment, new.experiment)
    for section in ("versions", "machine"):
        one, other = getattr(old, section), getattr(new, section)
        unknown = _GPU_FACTS - one.keys()  # to a checkpoint of an earlier version
        keys = sorted((one.keys() | other.keys()) - unknown)
        found += [(f"{section}.{k}", one.get(k), other.get(k)) for k in keys if one.get(k) != other.get(k)]
    return found


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / CHECKPOINTS).glob("step-*"))


def read_checkpoint(path: Path, run_id: str) -> Checkpoint:
    """Read one checkpoint. Raises IntegrityError for damage, for another format and for another run's checkpoint."""
    store.open_directory(path)
    about = store.read_json(path / "state.json")
    if about["format"] != _FORMAT:
        raise store.IntegrityError(f"{path} has format {about['format']}; this version reads {_FORMAT}")
    if about["run"] != run_id:
        raise store.IntegrityError(f"{path} belongs to run {about['run']}, not to {run_id}")
    if path.name != f"step-{about['offset'] + about['step']:08}":
        raise store.IntegrityError(f"{path} holds step {about['offset'] + about['step']}")
    fingerprint = RunFingerprint(
        run_id,
        experiment_from_values(about["experiment"]),
        about["data"],
        about["versions"],
        about["machine"],
    )
    tensors = safetensors.torch.load((path / "tensors.safetensors").read_bytes())
    scores, epoch, step = (about["best"][key] for key in ("scores", "epoch", "step"))
    present = "average/" if any(name.startswith("average/") for name in tensors) else "model/"
    weights = _below(tensors, present if step == about["step"] and not about["refit"] else "best/")
    progress = TrainProgress(
        **{key: about[key] for key in _PLAIN},
        losses=list(tensors["losses"]) if "losses" in tensors else [],
        scale_2=tensors.get("scale"),
        best=Best(read_scores(scores), epoch, step, weights) if scores else Best(),
    )
    return Checkpoint(path, fingerprint, progress, tensors)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
