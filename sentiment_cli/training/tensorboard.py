"""TensorBoard event files, one for each evaluation.

    RUN/tensorboard/events.out.tfevents.00000123  the figures after step 123

Each file is named by its step and written atomically: a step that is trained again after a resume replaces its file,
so no step appears twice. TensorBoard reads the files of a folder in the order of their names. Only the format of
tensorboardX is used; its own writer writes from a thread.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentiment_cli import extras
from sentiment_cli.config.schema import Train
from sentiment_cli.runs.files import TENSORBOARD
from sentiment_cli.storage import store

_FIGURES = ("train_loss", "valid_loss", "valid_accuracy", "lr", "tokens_per_second")


def check_tensorboard(settings: Train) -> None:
    """Raise MachineError where train.tensorboard is set and tensorboardX is not installed."""
    if settings.tensorboard:
        extras.require("tensorboard", "train.tensorboard")


def write_events(run: Path, step: int, row: Mapping[str, Any]) -> None:
    """Write a row of metrics.jsonl as the events of a step; steps count through both trainings of train.refit."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    now = time.time()
    found = [(name, row[name]) for name in _FIGURES if row.get(name) is not None]
    values = [Summary.Value(tag=name.replace("_", "/", 1), simple_value=value) for name, value in found]
    events = [
        Event(wall_time=now, file_version="brain.Event:2"),
        Event(wall_time=now, step=step, summary=Summary(value=values)),
    ]
    path = run / TENSORBOARD / f"events.out.tfevents.{step:08}"
    store.write_file(path, b"".join(_record(event.SerializeToString()) for event in events))


def _record(data: bytes) -> bytes:
    """Return a framed record: its length, the checksum of the length, the data, their checksum."""
    from tensorboardX.record_writer import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))
