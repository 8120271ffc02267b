"""`sentiment predict --workers`, `--parts`, `--shard`, `--merge`, `--on`: files scored by several processes."""

import contextlib
import fnmatch
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentiment_cli import console
from sentiment_cli.errors import Change, UsageError

if TYPE_CHECKING:
    from sentiment_cli.data.tables.readers import Format, TextColumns
    from sentiment_cli.inference.batch.chunks import BatchSource
    from sentiment_cli.inference.batch.predict_all import OutputFormat
    from sentiment_cli.inference.batch.sources import Files

_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_ON, _HOST = re.compile(r"ray(://(auto|\S+:[0-9]{1,5}))?"), re.compile(r"(?:ray://)?([\w-]+(?:\.[\w-]+)+)/?")
_FREE_PARTS = "parts"


@dataclass
class Scale:
    """How many processes score a file, and where they keep what they have scored."""

    workers: int = 1
    parts: Path | None = None
    shard: str | None = None
    merge: bool = False
    on: str | None = None
    _files: "Files | None" = None
    _options: tuple[Any, ...] = ()  # that the answers depend on, beside the source and the model

    @property
    def given(self) -> list[str]:
        """The options that are given."""
        named = {
            "--workers": self.workers > 1,
            "--parts": self.parts is not None,
            "--shard": self.shard is not None,
            "--merge": self.merge,
            "--on": self.on is not None,
        }
        return [name for name, is_given in named.items() if is_given]

    def check(self, file: str | None, out: Path | None, *, has_reasons: bool) -> None:
        """Raise UsageError for options that do not go together."""
        if not self.given:
            return
        first = self.given[0]
        if file in (None, "-"):
            raise UsageError(f"{first} goes with --file, which names files", Change(without=self.given))
        if has_reasons:
            raise UsageError(f"--explain and --trace do not go with {first}", Change(without=self.given))
        for option in ("--shard", "--merge", "--on"):
            if option in self.given and self.parts is None:
                raise UsageError(f"{option} goes with --parts, the folder of the parts", Change("--parts", _FREE_PARTS))
        if self.shard is not None and self.merge:
            raise UsageError("--shard and --merge are both given: one scores parts", Change(without=["--shard"]))
        if self.merge and self.workers > 1:
            raise UsageError("--merge scores nothing, and needs no --workers", Change(without=["--workers"]))
        if self.on is not None:
            self._check_on(str(file))
        if self.shard is None:
            return
        k, n = self._shard()
        if not 1 <= k <= n:
            raise UsageError(f"--shard is {self.shard!r}, not K/N with K from 1 to N", Change("--shard", f"1/{n or 1}"))
        if out is not None:
            raise UsageError("--shard writes parts, which --merge joins, and has no --out", Change(without=["--out"]))

    def read(self, files: "Files", text_column: "TextColumns", on_error: str, how: "Format") -> "BatchSource":
        """Return files as one source; with --shard what was found in them before is not looked for again."""
        from sentiment_cli.inference.batch.parts import planned_source
        from sentiment_cli.inference.batch.sources import known_of, open_sources

        self._files, self._options = files, (text_column, how, on_error)
        if self.parts is not None and (self.shard is not None or self.on is not None):
            source = planned_source(self.parts, files, *self._options)
        else:
            source = open_sources(files, text_column, on_error, how)
        if self.given:
            known_of(source)
        return source

    def predict(
        self,
        run: Path,
        source: "BatchSource",
        form: "OutputFormat",
        out: Path | None,
        *,
        on_error: str,
        is_safe: bool,
    ) -> None:
        """Write the predictions for a source, or with --shard keep those of its parts."""
        from sentiment_cli.inference.batch.parts import Parts
        from sentiment_cli.inference.batch.places import check_places
        from sentiment_cli.inference.batch.pool import answer_here, workers
        from sentiment_cli.inference.batch.predict_all import say_thresholds, write_answers
        from sentiment_cli.runs.ensemble_model import open_model
        from sentiment_cli.storage import store
        from sentiment_cli.storage.holding import holding

        if self.shard is None:
            check_places(source, out, form, on_error)
        model, parts = open_model(run), None
        say_thresholds(model)
        sha256 = model.files.sha256
        with contextlib.ExitStack() as stack:
            if self.parts is not None:
                if self.shard is None:
                    other = Change("--parts", str(store.free_path(self.parts)))
                    stack.enter_context(holding(self.parts, console.say, other))
                is_complete = self.merge or self.on is not None
                parts = Parts(self.parts, source, sha256, self._options, model.labels, is_complete)
            answering: Any = _as_they_are
            if parts is not None and self.merge:
                parts.check_complete()
            elif self.on is not None:
                pass  # answers come from parts that Ray's workers write
            elif self.workers > 1:
                answering = stack.enter_context(workers(run, self.workers, sha256, model.labels))
            else:
                from sentiment_cli.inference.predictor import Predictor

                answering = answer_here(Predictor(model))
            try:
                if parts is not None and self.on is not None:
                    from sentiment_cli.inference.batch.on_ray import score_on_ray

                    assert self._files is not None, "read before"
                    score_on_ray(self.on, model, parts, self._files, self._options)
                    parts.check_complete()
                if parts is not None and self.shard is not None:
                    n, n_before = parts.score(answering, *self._shard())
                    console.say(
                        f"shard {self.shard}: {n:,} parts are in {self.parts}, {n_before:,} of them from before"
                    )
                    return
                write_answers(model, answering, source, form, out, on_error=on_error, is_safe=is_safe, parts=parts)
            except KeyboardInterrupt:
                if self.parts is not None:
                    console.say(f"interrupted: what is finished is in {self.parts}, and the same command continues")
                raise

    def _check_on(self, file: str) -> None:
        """Raise UsageError for an address that is none, and for what Ray's workers cannot do."""
        from sentiment_cli.inference.batch.sources import is_url

        if not _ON.fullmatch(str(self.on)):
            host = _HOST.fullmatch(str(self.on))
            said = f"--on is {self.on!r}, not ray (this machine), ray://auto or ray://HOST:PORT"
            raise UsageError(said, Change("--on", f"ray://{host[1]}:6379" if host else "ray"))
        if self.shard is not None or self.merge or self.workers > 1:
            others = [one for one in ("--workers", "--shard", "--merge") if one in self.given]
            raise UsageError(f"--on scores and joins all shards, and goes without {others[0]}", Change(without=others))
        if self.on != "ray" and is_url(file):
            raise UsageError(
                f"{file} is copied to this machine, where the workers of a cluster do not see it", Change("--on", "ray")
            )
        from sentiment_cli.inference.batch.on_ray import check_ray

        check_ray(str(self.on))

    def _shard(self) -> tuple[int, int]:
        found = _SHARD.fullmatch(self.shard or "")
        return (int(found[1]), int(found[2])) if found else (0, 0)


def _as_they_are(asked: Any) -> Any:
    """Return chunks whose answers are all known."""
    return asked


def check_names(file: str, files: "Files", out: Path | None, parts: Path | None) -> None:
    """Raise UsageError for an output that would be read the next time, and for outputs at URLs."""
    from sentiment_cli.inference.batch.sources import is_url

    for option, place in (("--out", out), ("--parts", parts)):
        if place is not None and is_url(str(place).replace(":/", "://", 1)):
            raise UsageError(f"{option} is a path on this machine, and {place} a URL", Change(option, place.name))
    if out is None or is_url(file) or (len(files.paths) == 1 and str(files.paths[0]) == file):
        return
    folder = Path(file)
    is_read = out.absolute().parent == folder.absolute() if folder.is_dir() else fnmatch.fnmatch(str(out), file)
    if is_read and out not in files.paths:
        raise UsageError(
            f"{out} would be one of the files that {file} names the next time", Change("--out", f"answers/{out.name}")
        )
