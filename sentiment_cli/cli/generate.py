"""`sentiment generate`."""

import itertools
import json
import random
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.parameters import RunOption
from sentiment_cli.errors import Change, UsageError

if TYPE_CHECKING:
    from sentiment_cli.inference.generate.generate import Generator, Written

_TOKENS = 200


def generate(
    run: Annotated[
        str | None,
        Argument(help="Run of a language model, an autoencoder or pairs.", autocompletion=completion.runs),
    ] = None,
    prompt: Annotated[str, Argument(help="Start of the text; for an autoencoder or pairs, the text to read.")] = "",
    run_option: RunOption = None,
    tokens: Annotated[int | None, Option(min=1, help="Number of tokens at most; the default is 200.")] = None,
    temperature: Annotated[
        float | None,
        Option(min=0, max=100, help="Sampling temperature; the default is 0.8, and 0 takes the likeliest word."),
    ] = None,
    top_k: Annotated[int | None, Option(min=1, help="Sample among the N likeliest words.")] = None,
    top_p: Annotated[
        float | None,
        Option(min=0, max=1, metavar="P", help="Sample among the likeliest words with probability P together."),
    ] = None,
    seed: Annotated[
        int | None, Option(min=0, max=2**63 - 1, help="Random seed; without one, a new one each time.")
    ] = None,
    n: Annotated[int, Option("-n", "--texts", min=1, help="Number of texts.")] = 1,
    label: Annotated[str | None, Option(help="Label of the review, for a model trained with labels.")] = None,
    beam: Annotated[int | None, Option(min=1, help="Beam width, for an autoencoder or pairs.")] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object per text.")] = False,
) -> None:
    """Write text with a pretrained language model.

    An autoencoder or a model of text pairs rewrites a text. A backward language
    model writes what comes before the prompt.

    \b
    Examples:
      sentiment generate imdb-lm "The plot was"
      sentiment generate imdb-lm "I" -n 3 --temperature 0.7 --top-p 0.9 --seed 1
      sentiment generate imdb-lm-backward "a waste of time."
      sentiment generate imdb-autoencoder "The plot was good." --beam 4
    """
    from sentiment_cli.runs.directory import find_run

    if run_option is not None:
        run, prompt = run_option, run if run is not None and not prompt else prompt
    if run is None:
        raise UsageError("there is no run to generate from", "sentiment runs list")
    path = find_run(run)
    prompt = prompt.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    from sentiment_cli.inference.generate.generate import load_generator
    from sentiment_cli.models.language_model import LanguageModel

    author = load_generator(path)
    choices = {"--temperature": temperature, "--top-k": top_k, "--top-p": top_p, "--seed": seed, "--label": label}
    if isinstance(author.model, LanguageModel):
        _refuse({"--beam": beam}, author)
        _continue(author, prompt, tokens or _TOKENS, temperature, top_k, top_p, seed, n, label, as_json)
        return
    _refuse(choices, author)
    if not prompt.strip():
        raise UsageError("there is no text to read", f'sentiment generate {shlex.quote(str(run))} "The plot was good."')
    if n > (beam or 1):
        raise UsageError(f"-n {n} needs a beam of {n} at least", Change("--beam", str(n)))
    from sentiment_cli.inference.generate.generate import rewrite

    for one in rewrite(author, prompt, n_tokens=tokens, beam=beam or 1, n_best=n):
        _show(one, {"source": prompt}, as_json)


def _continue(
    author: "Generator",
    prompt: str,
    tokens: int,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    n: int,
    label: str | None,
    as_json: bool,
) -> None:
    """Print what comes after the prompt, or before it; a single text as its words are chosen."""
    from sentiment_cli.inference.generate.generate import Sampling, continue_text, detokenize, label_of, text_pieces

    sampling = Sampling(top_k=top_k, top_p=top_p)
    if temperature is not None:
        sampling = sampling._replace(temperature=temperature)
    if seed is None:
        seed = random.SystemRandom().randrange(2**31)
        console.say(f"seed: {seed}")
    if author.is_backward:
        console.say("this model reads backward: it writes what comes before the prompt, and shows it when it is done")
    steps = continue_text(
        author, prompt, n_tokens=tokens, n_texts=n, sampling=sampling, seed=seed, label=label_of(author, label)
    )
    if n == 1 and not author.is_backward and not as_json:
        for piece in text_pieces(author, prompt, itertools.chain.from_iterable(steps)):
            console.result_piece(piece)
        console.result("")
        return
    for i, one in enumerate(detokenize(author, prompt, steps)):
        if i and not as_json:
            console.result("")
        _show(one, {"prompt": prompt, "seed": seed, "label": label}, as_json)


def _show(written: "Written", about: dict[str, object], as_json: bool) -> None:
    if as_json:
        found = {name: value for name, value in written._asdict().items() if value is not None}
        console.result(json.dumps({**about, **found}))
    else:
        console.result(written.text)


def _refuse(options: Mapping[str, object], author: "Generator") -> None:
    """Raise UsageError for the first option that was given and is of no use."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"{name} does not apply to {author.artefact.path}, whose task is {author.experiment.task}",
                Change(without=[name]),
            )
