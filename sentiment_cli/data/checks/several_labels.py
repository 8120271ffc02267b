"""Rows that may have several labels each where one is read, and what to type."""

from sentiment_cli.config.commands import command_with
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.checks.checks import Finding
from sentiment_cli.data.corpus.label_form import find_label_form


def several_findings(experiment: Experiment) -> list[Finding]:
    """Return a note where labels may be several in one, with the command that trains with each by itself."""
    if experiment.task != "classify" or experiment.data.target != "label":
        return []
    form = find_label_form(experiment.data, is_told=True)
    if form is None:
        return []
    command = command_with(experiment.command, experiment, form.settings)
    return [Finding("note", f"maybe {form.found}, each combination read as one label; try: {command}", form.n_several)]
