"""`sentiment train`."""

import json
from typing import TYPE_CHECKING, Annotated, NoReturn

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.errors import UsageError

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Experiment
    from sentiment_cli.training.sitting import Finished

_OPERATORS_SHOWN = 15
Config = Annotated[str | None, Argument(help="Experiment file or shipped experiment; without one, the default.")]
Override = Annotated[list[str] | None, Option("--set", "-s", metavar="KEY=VALUE", help="Change a setting; repeatable.")]


def train(
    config: Config = None,
    override: Override = None,
    name: Annotated[str | None, Option(help="Name of the run, instead of the experiment's.")] = None,
    resume: Annotated[str | None, Option(metavar="RUN", help="Go on with a run that was stopped.")] = None,
    allow: Annotated[
        list[str] | None, Option("--allow-change", metavar="KEY", help="With --resume: let this differ; repeatable.")
    ] = None,
    seeds: Annotated[int | None, Option(min=2, help="Train this many runs, with this seed and those after it.")] = None,
    folds: Annotated[
        int | None, Option(min=2, help="Train this many runs, each validated on another fold of the rows.")
    ] = None,
    nproc: Annotated[
        int | None, Option(min=1, help="Processes on this machine that share each batch; they divide train.slices.")
    ] = None,
    profile: Annotated[
        bool, Option("--profile", help="Take a few steps and say where their time goes, instead of training.")
    ] = False,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object instead of the run directory.")] = False,
) -> None:
    """Train what an experiment describes; the last line is the run's directory.

    \b
    Examples:
      sentiment train
      sentiment train configs/sample.yaml
      sentiment train --set train.lr=3e-4
      sentiment train --resume imdb-lstm
      sentiment train sample --seeds 5
      sentiment train sample --folds 5
      sentiment train --nproc 2 --set train.slices=2
      sentiment train sample --profile
    """
    from sentiment_cli.config.loader import load_experiment

    if profile:
        _profile(load_experiment(config, override or []), as_json)
        return
    several = "--seeds" if seeds is not None else "--folds" if folds is not None else None
    if several and (resume is not None or allow):
        raise UsageError(
            f"{several} trains fresh runs; --resume goes on with one", f"sentiment train sample {several} 5"
        )
    if several and nproc is not None and nproc > 1:
        raise UsageError(f"{several} and --nproc do not go together", f"sentiment train sample {several} 5")
    if seeds is not None and folds is not None:
        raise UsageError(
            "--seeds and --folds do not go together", "sentiment train sample --folds 5 --set seed=1 --name seed-1"
        )
    if nproc is not None and nproc > 1:
        _launch(nproc, config, override or [], name, resume, allow or [], as_json)
    if seeds is not None:
        experiment = load_experiment(config, override or [])
        from sentiment_cli.training.repeating import fit_seeds
        from sentiment_cli.training.reusing import with_origins

        _say_spread(fit_seeds(with_origins(experiment), seeds, name), "seeds", as_json)
        return
    if folds is not None:
        experiment = load_experiment(config, override or [])
        if experiment.data.valid.folds is not None:
            raise UsageError(
                "--folds takes each fold, and the experiment names one",
                "add --set data.valid.folds=null --set data.valid.fold=null",
            )
        from sentiment_cli.training.repeating import fit_folds
        from sentiment_cli.training.reusing import with_origins

        _say_spread(fit_folds(with_origins(experiment), folds, name), "folds", as_json)
        return
    if resume is not None:
        finished = _resume(resume, config, override or [], name, allow or [])
    else:
        if allow:
            raise UsageError(
                "--allow-change goes with --resume", "sentiment train --resume RUN --allow-change train.lr"
            )
        experiment = load_experiment(config, override or [])  # mistakes are reported here, before torch is imported
        from sentiment_cli.training.fit import fit
        from sentiment_cli.training.reusing import with_origins

        finished = fit(with_origins(experiment), name)
    if as_json:
        report = {
            "run": str(finished.directory),
            "valid": finished.scores.to_json(),
            "seconds": finished.seconds,
            "tokens_per_second": finished.tokens_per_second,
        }
        console.result(json.dumps(report))
    else:
        console.result(str(finished.directory))


def _resume(run: str, config: str | None, override: list[str], name: str | None, allow: list[str]) -> "Finished":
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.inference.runs import named_run

    path = named_run(run)
    from sentiment_cli.inference.ensembles import refuse_ensemble

    refuse_ensemble(path, "there is nothing to go on with, and another one takes no time")
    if name is not None:
        raise UsageError(f"--name {name}: a resumed run keeps its name", f"sentiment train --resume {run}")
    experiment = load_experiment(config or path / "experiment.yaml", override)
    from sentiment_cli.training.fit import resume

    return resume(path, experiment, allow)


def _say_spread(finished: "list[Finished]", of: str, as_json: bool) -> None:
    """Print the runs, then mean and standard deviation of their validation scores."""
    from sentiment_cli.training.repeating import spread

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
    nproc: int,
    config: str | None,
    override: list[str],
    name: str | None,
    resume: str | None,
    allow: list[str],
    as_json: bool,
) -> NoReturn:
    """Run the same command in processes of its own, and exit as they do."""
    from sentiment_cli.config.loader import load_experiment
    from sentiment_cli.inference.runs import named_run

    path = config if resume is None or config is not None else named_run(resume) / "experiment.yaml"
    experiment = load_experiment(path, override)
    arguments = ["train", *([config] if config is not None else [])]
    for option, values in (("--set", override), ("--allow-change", allow), ("--name", [name]), ("--resume", [resume])):
        arguments += [part for value in values if value is not None for part in (option, value)]
    from sentiment_cli.training.parallel import check_divides, launch

    check_divides(nproc, experiment.train.slices)
    raise SystemExit(launch(nproc, [*arguments, *(["--json"] if as_json else [])]))


def _profile(experiment: "Experiment", as_json: bool) -> None:
    """Print the speed of a few steps and their dearest operators."""
    from sentiment_cli.training.profiling import profile_steps

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
