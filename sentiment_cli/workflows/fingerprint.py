"""The fingerprint of a training: versions, machine and code, which may change its numbers."""

import hashlib

import numpy as np
import torch

import sentiment_cli
from sentiment_cli.config.paths import PACKAGE_DIR
from sentiment_cli.config.schema import Experiment
from sentiment_cli.models.device import gpu_facts, precision_name
from sentiment_cli.storage import store
from sentiment_cli.training.checkpoints import RunFingerprint
from sentiment_cli.training.init_from import pretrained_hashes
from sentiment_cli.training.tasks.distillation import open_teachers


def fingerprint_of(run_id: str, experiment: Experiment, rows_key: str, device: torch.device) -> RunFingerprint:
    """Return the fingerprint of a training in this process, on the data with this key."""
    return RunFingerprint(run_id, experiment, rows_key, versions(experiment), machine(experiment, device))


def versions(experiment: Experiment) -> dict[str, str]:
    """Return the versions of the libraries, and the hashes of the teachers and of the pretrained models."""
    libraries = {"sentiment": sentiment_cli.__version__, "torch": torch.__version__, "numpy": np.__version__}
    hashes = "+".join(teacher.sha256 for teacher in open_teachers(experiment))
    teacher = {"teacher": hashes} if hashes else {}
    return {**libraries, **pretrained_hashes(experiment), **teacher}


def machine(experiment: Experiment, device: torch.device) -> dict[str, str]:
    """Return the kind of device, the precision and the number of CPU threads; of CUDA, the GPU and its libraries.

    Dropout's draws follow from the number of a GPU's multiprocessors, and cuDNN's sums from its version.
    """
    precision = precision_name(device, experiment.train.precision)
    threads = str(torch.get_num_threads()) if device.type == "cpu" else "any"
    return {"device": device.type, "precision": precision, "threads": threads, **gpu_facts(device)}


def code_sha256() -> str:
    """Hash the source of this package."""
    files = sorted(PACKAGE_DIR.rglob("*.py"))
    return hashlib.sha256("".join(store.sha256_of(file) for file in files).encode()).hexdigest()
