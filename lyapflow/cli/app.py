"""The program: its commands, its errors, its exit codes."""

import io
import sys
import warnings
from typing import Annotated

import typer

import lyapflow
from lyapflow._engine.compiling import say_word
from lyapflow.cli.audit import audit_command
from lyapflow.cli.compare import compare
from lyapflow.cli.condition import condition
from lyapflow.cli.demo import demo
from lyapflow.cli.floss import floss
from lyapflow.cli.show import console
from lyapflow.cli.spectrum import spectrum
from lyapflow.cli.sweep import sweep
from lyapflow.cli.train import train
from lyapflow.errors import Diverged, LyapflowError

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Lyapunov spectra of recurrent networks: measured, differentiated by hand, and controlled (flossing).",
)
for command in (demo, train, sweep, compare, spectrum, condition, floss):  # in the order of --help
    app.command()(command)
app.command("audit")(audit_command)


@app.callback()
def version(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    if show:
        console.print(lyapflow.__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; errors of the user's making are one line and exit code 2, a run that diverged exits with 1."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            # λ and ‖ must not end a run where the terminal lacks them
            output.reconfigure(errors="replace")
    warnings.showwarning = lambda message, *_: _tell(message)
    say_word(_tell)
    try:
        app()
    except Diverged as error:
        sys.exit(_complain(error, 1))
    except LyapflowError as error:
        sys.exit(_complain(error, 2))
    except MemoryError as error:
        sys.exit(_complain(error, 1))


def _complain(error: Exception, code: int) -> int:
    _tell(error)
    return code


def _tell(what: object) -> None:
    print(f"lyapflow: {what}", file=sys.stderr)
