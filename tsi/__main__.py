"""``tsi VERB... [VARIABLE=VALUE]...``: the Makefile's verbs as a console script, which also takes ``--variable VALUE``.

Several verbs run one after the other, as with make: ``tsi archive serve``. The logic is in the modules that table.py
names.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from tsi import completion, places, run, variables
from tsi.table import TOOL, VARIABLES, VERBS, Verb, reads


class Verbs(click.Group):
    """The verbs as subcommands; the first words that are verbs are one command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(TOOL)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of one verb."""
        return command([TOOL[name]]) if name in TOOL else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of the first words that are verbs, and the other words. Raises UsageError."""
        names = list(takewhile(TOOL.__contains__, args))
        if not names:
            raise click.UsageError(_no_verb(args[0]), ctx)
        return " ".join(names), command([TOOL[name] for name in names]), args[len(names) :]


def _no_verb(word: str) -> str:
    if word in VERBS:
        return f"{word} needs a checkout of the project; run there: make {word}"
    close = difflib.get_close_matches(word, TOOL, 1)
    return f"There is no verb {word}; " + (f"did you mean {close[0]}?" if close else "tsi --help lists them")


def command(verbs: list[Verb]) -> click.Command:
    """The command that runs these verbs in turn."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return completion.word(verbs, list(ctx.params.get("words") or ()), incomplete)

    words = click.Argument(["words"], nargs=-1, metavar="[VARIABLE=VALUE]...", shell_complete=complete)
    said = [verb.help.replace("with make -s, nothing", "nothing").replace("make ", "tsi ") for verb in verbs]
    return click.Command(
        " ".join(verb.name for verb in verbs), params=[*map(_option, reads(verbs)), words], help="\n\n".join(said),
        short_help=said[0], callback=lambda words, **options: _run(verbs, words, options),
    )  # fmt: skip


def _option(name: str) -> click.Option:
    variable, flag = VARIABLES[name], VARIABLES[name].kind == "flag"

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return completion.values(name, incomplete)

    shown = "|".join(filter(None, variable.values)) or variable.kind.upper()
    more: dict[str, Any] = {"flag_value": "1"} if flag else {"metavar": shown, "shell_complete": complete}
    return click.Option([f"--{name.lower().replace('_', '-')}", name], help=f"{name}: {variable.meaning}", **more)


def _run(verbs: Sequence[Verb], words: Sequence[str], options: dict[str, str | None]) -> None:
    """Ends with the exit status of the first verb that fails, else with 0."""
    try:
        given = {name: value for name, value in options.items() if value is not None} | variables.given(verbs, words)
    except variables.VariableError as error:
        raise click.UsageError(str(error)) from None
    home, shell = Path.cwd(), dict(os.environ)
    for note in variables.notes(verbs, given, shell):
        click.echo(note, err=True)
    for verb in verbs:
        if status := run.run(verb, home, variables.environment(verbs, given, shell)):
            sys.exit(status)


@click.group(cls=Verbs, invoke_without_command=True, subcommand_metavar="VERB... [VARIABLE=VALUE]...")
@click.option("--home", metavar="FOLDER", type=click.Path(exists=True, file_okay=False),
              help="The folder with model_store, .run and models.toml; by default the current one.")  # fmt: skip
@click.version_option(places.version(), prog_name="tsi")
@click.pass_context
def main(ctx: click.Context, home: str | None) -> None:
    """Builds, serves and measures BERT and ResNet archives for TorchServe, in the current folder."""
    if home:
        os.chdir(home)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


if __name__ == "__main__":
    main(prog_name="tsi")
