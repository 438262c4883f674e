"""The command line: one command for each stage, and a few for people.

The modules that do the work are imported when a command runs (`symphony2vec.cli.lazy`), so that `--help` answers at
once. A `UserError` is one line on stderr and exit status 1; an interrupt is one line and status 130.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import click

from symphony2vec import __version__
from symphony2vec.cli import stages
from symphony2vec.cli.atlas import atlas
from symphony2vec.cli.corpus import corpus
from symphony2vec.cli.describe import describe
from symphony2vec.cli.embed import classify, contrasts, embed, path, similar
from symphony2vec.cli.registry import champions, promote, rollback
from symphony2vec.cli.results import params, results
from symphony2vec.cli.runs import runs
from symphony2vec.cli.serve import serve
from symphony2vec.cli.study import study
from symphony2vec.errors import UserError


class OrderedGroup(click.Group):
    """A group whose help lists the commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.commands)


@click.group(cls=OrderedGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The project's folder, or one inside it. [default: the current folder]",
)
@click.version_option(__version__, prog_name="symphony2vec")
@click.pass_context
def cli(ctx: click.Context, project: Path) -> None:
    """Embeddings of orchestral audio: from scores or recordings to a probed vector for every ten seconds.

    `dvc repro` runs all stages that a change affects, in order; each command below runs one of them alone. Settings
    are in params.yaml, music in data/, outputs in out/, model runs in mlruns/.

    \b
    Begin with the starter corpus      symphony2vec corpus starter && dvc repro
    Import your own recordings         symphony2vec corpus import FOLDER
    See the results                    symphony2vec results
    """
    ctx.obj = project


for command in (
    corpus, stages.audio, stages.clips, stages.features, stages.labels, stages.classifiers, stages.embeddings,
    stages.ali, stages.temporal, stages.pretrained, stages.probe, stages.meaning, stages.report, results, promote,
    rollback, champions, embed, similar, path, contrasts, classify, describe, serve, params, atlas, runs, study,
):  # fmt: skip
    cli.add_command(command)


def main() -> None:
    """Run the command `symphony2vec`."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = cli.main(prog_name="symphony2vec", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (UserError, MemoryError) as error:
        status = _fail(f"{error or 'out of memory'}", 1)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        status = _fail(f"{error.filename or 'the system'}: {error.strerror or error}", 1)
    except (KeyboardInterrupt, click.Abort):
        status = _fail("interrupted; run the same command again to continue", 130)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> int:
    click.echo(f"symphony2vec: {' '.join(message.split())}", err=True)
    return status


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
