"""The command line: one file a command; it parses, calls the library, and shows."""

import sys


def main() -> None:
    """Run a command. The version is told before anything else is imported."""
    if sys.argv[1:] == ["--version"]:
        from lyapflow._version import __version__

        print(__version__)
        sys.exit(0)
    try:
        from lyapflow.cli.app import main as run

        run()
    except KeyboardInterrupt:
        print("lyapflow: interrupted", file=sys.stderr)
        sys.exit(130)
