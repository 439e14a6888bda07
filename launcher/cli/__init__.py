"""The command line: parse, call one function, print. The only place that catches LauncherError.

Each module in COMMANDS has `register(app)`, which adds its commands; heavy imports stay inside the
commands, so that `--help` is instant and a command needs only what it uses.
"""

import importlib
import io
import sys
from collections.abc import Sequence

import typer

from launcher import __version__
from launcher.cli.terminal import printable
from launcher.errors import HostError, LauncherError

# One module per group of commands, in the order of --help.
COMMANDS: tuple[str, ...] = (
    "demo",
    "system",
    "runs",
    "rcp",
    "images",
    "bundle",
    "report",
    "workbook",
    "response",
    "data",
    "checkpoint",
    "presets",
    "score",
    "check",
    "compare",
    "forecast",
    "verify",
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


def application() -> typer.Typer:
    """Assemble the command line from its modules."""
    app = typer.Typer(
        name="launcher",
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        help="Run, score and prove the MLPerf Training part of a GP2 RFP response.",
    )

    @app.callback()
    def options(
        version: bool = typer.Option(
            False, "--version", callback=_show_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        del version

    for name in COMMANDS:
        importlib.import_module(f"launcher.cli.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see launcher.errors)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that this locale cannot spell is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        application()(args=None if arguments is None else list(arguments), prog_name="launcher")
    except LauncherError as error:
        typer.echo(f"error: {printable(str(error))}", err=True)
        return error.exit_code
    except SystemExit as end:  # typer's own: usage errors are 2, Ctrl-C is 130
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except OSError as error:  # of a file that nobody expected to fail, such as on a full disk
        typer.echo(f"error: {error.filename or 'the system'}: {error.strerror or error}.", err=True)
        return HostError.exit_code
    return 0
