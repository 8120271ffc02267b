"""`sentiment prepare`."""

from typing import Annotated

from typer import Option

from sentiment_cli import console
from sentiment_cli.cli.train import Config, Override
from sentiment_cli.cli.typed_data import DataOption, TestOption, with_data
from sentiment_cli.errors import Change, UsageError


def prepare(
    config: Config = None,
    data: DataOption = None,
    test: TestOption = None,
    override: Override = None,
    everything: Annotated[bool, Option("--all", help="Also prepare the unlabelled rows.")] = False,
    mirror: Annotated[str | None, Option(metavar="URL", help="Download the archive from URL; needs --sha256.")] = None,
    sha256: Annotated[str | None, Option(metavar="HASH", help="SHA-256 of the archive at --mirror.")] = None,
) -> None:
    """Download and tokenize the data without training.

    Prints the directory of the prepared data.

    \b
    Examples:
      sentiment prepare
      sentiment prepare configs/tutorial-rnn.yaml
      sentiment prepare linear --data my.csv
    """
    from sentiment_cli.config.loader import load_experiment

    experiment = load_experiment(config, with_data(override, data, test, config=config))
    if mirror is not None or sha256 is not None:
        _fetch(mirror, sha256, experiment.data.source)
    if experiment.task == "pairs":
        from sentiment_cli.data.corpus.pairs import prepare_pairs

        console.result(str(prepare_pairs(experiment).directory))
        return
    from sentiment_cli.data.corpus.fit_settings import settle
    from sentiment_cli.data.corpus.packed import SPLITS
    from sentiment_cli.data.corpus.prepare import prepare as prepare_corpus

    splits = (*SPLITS, "unsup") if everything else SPLITS
    console.result(str(prepare_corpus(settle(experiment, is_said=True), splits).directory))


def _fetch(url: str | None, sha256: str | None, source: str) -> None:
    from sentiment_cli.config.paths import local_imdb
    from sentiment_cli.data.sources.download import SHA256, URL, archive_path, download_imdb
    from sentiment_cli.data.sources.mirror import Mirror

    if sha256 is None:
        raise UsageError("--mirror needs --sha256, the hash that proves its bytes", Change("--sha256", SHA256))
    if url is None:
        raise UsageError("--sha256 needs --mirror, the URL of the bytes it proves", Change("--mirror", URL))
    mirror, without = Mirror(url, sha256.lower()), Change(without=["--mirror", "--sha256"])
    if source != "imdb":
        raise UsageError(f"--mirror does not apply: data.source is {source}, which is not downloaded", without)
    if local_imdb() is not None:
        raise UsageError("--mirror does not apply: SENTIMENT_IMDB names a copy", without)
    download_imdb(archive_path(), mirror)
