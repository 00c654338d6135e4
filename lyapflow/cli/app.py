"""The program: its commands, its errors, its exit codes."""

import functools
import io
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

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

# what typer raises for words that a command does not take, click's or its own copy of it
Misused: Any = next(of for of in typer.BadParameter.__mro__ if of.__name__ == "ClickException")

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    help="Lyapunov spectra of recurrent networks: measured, differentiated exactly, and controlled (flossing).",
)


class Interrupted(Exception):
    """Ctrl-C, which typer would end without a word."""


def heard(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose Ctrl-C comes through."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except KeyboardInterrupt:
            raise Interrupted from None

    return run


for command in (demo, train, sweep, compare, spectrum, condition, floss):  # in the order of --help
    app.command()(heard(command))
app.command("audit")(heard(audit_command))


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
        code = app(standalone_mode=False)
    except Misused as error:
        sys.exit(_misused(error))
    except Interrupted:
        raise KeyboardInterrupt from None  # as one that comes before a command has begun
    except Diverged as error:
        sys.exit(_complain(error, 1))
    except LyapflowError as error:
        sys.exit(_complain(error, 2))
    except MemoryError as error:
        sys.exit(_complain(error, 1))
    sys.exit(code if isinstance(code, int) else 0)


def _misused(error: Any) -> int:
    """Options and arguments that a command does not take."""
    text = error.format_message().replace("Value error, ", "")
    if not text or "\n" in text:  # the help of a command without arguments
        error.show()
    else:
        where = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"
        _tell(text.rstrip(".") + where)
    return int(error.exit_code)


# what the library says of itself, and what it is on the command line
OPTIONS = {
    "(lyapflow.resume)": "(--resume)",
    "(force=True)": "(--force)",
    "(grid=None)": "(--resume)",
    "nonlinearity='tanh' or 'relu'": "--nonlinearity tanh or relu",
    "give one, node=:": "give one, --name:",
    "give one, name=:": "give one, --name:",
}


def _complain(error: Exception, code: int) -> int:
    text = str(error)
    for said, option in OPTIONS.items():
        text = text.replace(said, option)
    _tell(text)
    return code


def _tell(what: object) -> None:
    print(f"lyapflow: {what}", file=sys.stderr)
