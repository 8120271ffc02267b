"""`sentiment train`.

This module is longer than 300 lines because the options of a command, each with its help, stand beside the command.
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from typer import Argument, Option

from sentiment_cli import console, extras
from sentiment_cli.cli import completion
from sentiment_cli.cli.candidates import Candidates, choose_candidates, train_candidates
from sentiment_cli.cli.closing import say_done
from sentiment_cli.cli.dry_run import print_estimate
from sentiment_cli.cli.typed_data import DataOption, TestOption, seconds_of, with_data
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.runs.files import EXPERIMENT
from sentiment_cli.training.processes.signals import leaving_at_once

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.workflows.finish import Finished

_OPERATORS_SHOWN = 15
_TRAIN = "sentiment train"
Config = Annotated[
    str | None,
    Argument(
        help="Experiment file or built-in experiment; without one, the default.", autocompletion=completion.experiments
    ),
]
Override = Annotated[
    list[str] | None,
    Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Change a setting; repeatable.",
        autocompletion=completion.settings,
    ),
]
ConfigOrData = Annotated[
    str | None,
    Argument(
        metavar="CONFIG|FILE",
        help="Experiment file, shipped experiment, or your own data; without one, the default.",
        autocompletion=completion.experiments,
    ),
]
Name = Annotated[str | None, Option(help="Name of the run, instead of the experiment's.")]
Resume = Annotated[
    str | None, Option(metavar="RUN", help="Continue a run that was stopped.", autocompletion=completion.runs)
]
Allow = Annotated[
    list[str] | None, Option("--allow-change", metavar="KEY", help="With --resume: let this differ; repeatable.")
]
Nproc = Annotated[
    int | None, Option(min=1, help="Processes on this machine that share each batch; they divide train.slices.")
]
AsJson = Annotated[bool, Option("--json", help="Print one JSON object instead of the run directory.")]


@leaving_at_once()  # until the training, or its launcher, watches for signals
def train(
    config: ConfigOrData = None,
    data: DataOption = None,
    test: TestOption = None,
    model: Annotated[
        str | None, Option(metavar="MODEL", help="With data: train this alone: linear, or a cell such as gru or lstm.")
    ] = None,
    limit: Annotated[
        str | None, Option("--time", metavar="TIME", help="With data: choose epochs that fit, such as 90s, 5m or 1h.")
    ] = None,
    override: Override = None,
    name: Name = None,
    resume: Resume = None,
    allow: Allow = None,
    seeds: Annotated[int | None, Option(min=2, help="Train this many runs, with this seed and those after it.")] = None,
    folds: Annotated[
        int | None, Option(min=2, help="Train this many runs, each validated on another fold of the rows.")
    ] = None,
    nproc: Nproc = None,
    profile: Annotated[
        bool, Option("--profile", help="Take a few steps and say where their time goes, instead of training.")
    ] = False,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Say what would be made, and the time, memory and disk it takes, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a model on your data, or an LSTM on the IMDb reviews.

    Without a name or a file it trains `default`, an LSTM with a linear model beside it. Prints the run directory.

    \b
    Examples:
      sentiment train
      sentiment train my.csv
      sentiment train my.csv --test test.csv --time 5m
      sentiment train my.csv --model gru
      sentiment train lstm --data my.csv
      sentiment train configs/sample.yaml
      sentiment train --set train.lr=3e-4
      sentiment train --resume imdb-lstm
      sentiment train sample --seeds 5
      sentiment train sample --folds 5
      sentiment train --nproc 2 --set train.slices=2
      sentiment train sample --profile
      sentiment train lstm --dry-run
    """
    time_s = seconds_of(limit)
    override = with_data(override, data, test, config=config)
    asked = {
        "--seeds": seeds,
        "--folds": folds,
        "--nproc": nproc,
        "--profile": profile,
        "--resume": resume,
        "--allow-change": allow,
        "--dry-run": dry_run,
    }
    chosen = choose_candidates(config, data, override, model, time_s, [flag for flag, value in asked.items() if value])
    if isinstance(chosen, Candidates):
        train_candidates(chosen, name, time_s, as_json)
        return
    config, override = chosen
    if dry_run:
        if found := [flag for flag, value in asked.items() if value and flag != "--dry-run"]:
            raise UsageError(f"--dry-run is for one new run; without effect: {', '.join(found)}", Change(without=found))
        print_estimate(_load(config, override or [], _TRAIN), name, as_json)
        return
    if profile:
        of_runs = {
            "--name": name,
            "--resume": resume,
            "--allow-change": allow,
            "--seeds": seeds,
            "--folds": folds,
            "--nproc": nproc,
        }
        if found := [flag for flag, value in of_runs.items() if value]:
            own = [str(_named_run(resume) / EXPERIMENT)] if resume and config is None else []
            raise UsageError(
                f"--profile does not create a run; without effect: {', '.join(found)}",
                Change(*own, without=found),
            )
        from sentiment_cli.config.loader import load_experiment

        _profile(load_experiment(config, override or []), as_json)
        return
    several = "--seeds" if seeds is not None else "--folds" if folds is not None else None
    if several and (resume is not None or allow):
        raise UsageError(
            f"{several} trains new runs; --resume continues one",
            Change(without=[several, "--allow-change"] if resume else ["--allow-change"]),
        )
    if several and nproc is not None and nproc > 1:
        raise UsageError(f"{several} and --nproc do not go together", Change(without=["--nproc"]))
    if seeds is not None and folds is not None:
        raise UsageError("--seeds and --folds do not go together", Change(without=["--seeds"]))
    if seeds is not None:
        experiment = _load(config, override or [], _TRAIN)
        from sentiment_cli.workflows.dependencies import resolve_dependencies
        from sentiment_cli.workflows.seeds_and_folds import fit_seeds, seed_name

        _say_spread(
            fit_seeds(
                resolve_dependencies(experiment, seed_name(name or experiment.name, experiment.seed + seeds - 1)),
                seeds,
                name,
            ),
            "seeds",
            as_json,
        )
        return
    if folds is not None:
        experiment = _load(config, override or [], _TRAIN)
        if experiment.data.valid.folds is not None:
            raise UsageError(
                "--folds uses each fold in turn, and the experiment names one",
                Change("--set", "data.valid.folds=null", "--set", "data.valid.fold=null"),
            )
        from sentiment_cli.workflows.dependencies import resolve_dependencies
        from sentiment_cli.workflows.seeds_and_folds import fit_folds, fold_experiments, fold_name

        _say_spread(
            fit_folds(
                resolve_dependencies(fold_experiments(experiment, folds)[0], fold_name(name or experiment.name, folds)),
                folds,
                name,
            ),
            "folds",
            as_json,
        )
        return
    train_one(_TRAIN, config, override or [], name, resume, allow or [], nproc, as_json)


def train_one(
    command: str,
    config: str | None,
    override: list[str],
    name: str | None,
    resume: str | None,
    allow: list[str],
    nproc: int | None,
    as_json: bool,
) -> None:
    """Train an experiment of the command's, or go on with a run of one, and print the run."""
    from sentiment_cli.training.processes.launching import leave_with_launcher, n_launched

    if n_launched() > 1 and nproc is not None and nproc > 1:
        raise UsageError("--nproc starts processes, and a launcher has started this one already", f"{command} --help")
    leave_with_launcher()
    if nproc is not None and nproc > 1:
        _launch(command, nproc, config, override, name, resume, allow, as_json)
    if resume is not None:
        finished = _resume(command, resume, config, override, name, allow)
    else:
        if allow:
            raise UsageError("--allow-change goes with --resume", Change(without=["--allow-change"]))
        experiment = _load(config, override, command)  # mistakes are reported here, before torch is imported
        from sentiment_cli.workflows.dependencies import resolve_dependencies
        from sentiment_cli.workflows.train import fit

        finished = fit(resolve_dependencies(experiment, name), name)
    if as_json:
        report = {
            "run": str(finished.directory),
            "valid": finished.scores.to_json(),
            "seconds": finished.seconds,
            "tokens_per_second": finished.tokens_per_second,
        }
        console.result(json.dumps(report))
        return
    if command == _TRAIN:
        say_done(finished.directory, sum(finished.seconds.values()), None, finished.scores)
    console.result(str(finished.directory))


def _named_run(run: str) -> Path:
    from sentiment_cli.runs.directory import named_run

    return named_run(run)


def _load(config: "str | Path | None", override: list[str], command: str, resume: str | None = None) -> "Experiment":
    """Load an experiment, or that of a run. Raises UsageError for one that another command trains, which it names."""
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, override)
    if experiment.command != command:
        named = ["--resume", resume] if resume is not None else [] if config is None else [str(config)]
        words = [*named, *(word for one in override for word in ("--set", one))]
        raise UsageError(
            f"the task of {experiment.name} is {experiment.task}, which `{experiment.command}` trains",
            f"{experiment.command} {shlex.join(words)}".rstrip(),
        )
    return experiment


def _resume(
    command: str, run: str, config: str | None, override: list[str], name: str | None, allow: list[str]
) -> "Finished":
    from sentiment_cli.runs.directory import named_run

    path = named_run(run)
    from sentiment_cli.runs.ensemble_model import refuse_ensemble

    refuse_ensemble(path, "there is nothing to go on with, and another one takes no time")
    if name is not None:
        raise UsageError(f"--name {name}: a resumed run keeps its name", Change(without=["--name"]))
    experiment = _load(config or path / EXPERIMENT, override, command, run)
    from sentiment_cli.workflows.train import resume

    return resume(path, experiment, allow)


def _say_spread(finished: "list[Finished]", of: str, as_json: bool) -> None:
    """Print the runs, then mean and standard deviation of their validation scores."""
    from sentiment_cli.workflows.seeds_and_folds import spread

    accuracy, loss = (spread([getattr(one.scores, figure) for one in finished]) for figure in ("accuracy", "loss"))
    if as_json:
        runs = [str(one.directory) for one in finished]
        console.result(json.dumps({"runs": runs, "accuracy": accuracy._asdict(), "loss": loss._asdict()}))
        return
    for one in finished:
        console.result(f"{one.directory}  accuracy {one.scores.accuracy:.2%}  loss {one.scores.loss:.4f}")
    console.result(
        f"validation accuracy {accuracy.mean:.2%} ± {accuracy.std:.2%}, loss {loss.mean:.4f} ± {loss.std:.4f}, "
        f"mean ± standard deviation of {len(finished)} {of}"
    )


def _launch(
    command: str,
    nproc: int,
    config: str | None,
    override: list[str],
    name: str | None,
    resume: str | None,
    allow: list[str],
    as_json: bool,
) -> NoReturn:
    """Run the same command in processes of its own, and exit as they do."""
    from sentiment_cli.runs.directory import named_run

    path = config if resume is None or config is not None else named_run(resume) / EXPERIMENT
    experiment = _load(path, override, command, resume)
    arguments = [command.split()[1], *([config] if config is not None else [])]
    for option, values in (("--set", override), ("--allow-change", allow), ("--name", [name]), ("--resume", [resume])):
        arguments += [part for value in values if value is not None for part in (option, value)]
    from sentiment_cli.training.processes.launching import check_shared, launch

    check_shared(nproc, experiment)
    extras.require("train", "training")
    raise SystemExit(launch(nproc, [*arguments, *(["--json"] if as_json else []), *console.manner()]))


def _profile(experiment: "Experiment", as_json: bool) -> None:
    """Print the speed of a few steps and their dearest operators."""
    from sentiment_cli.workflows.profile import profile_steps

    found = profile_steps(experiment)
    if as_json:
        shares = [share._asdict() for share in found.shares]
        console.result(json.dumps({**found._asdict(), "shares": shares}))
        return
    console.result(f"{found.tokens_per_second:,.0f} tokens/s, {found.ms_per_step:.1f} ms per step")
    console.result("share  ms/step  calls/step  operator (its own time)")
    for share in found.shares[:_OPERATORS_SHOWN]:
        console.result(
            f"{share.share:>5.1%}  {share.ms_per_step:>7.2f}  {share.calls_per_step:>10.1f}  {share.operator}"
        )
