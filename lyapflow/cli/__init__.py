"""The command line: one file a command; it parses, calls the library, and shows."""

from lyapflow.cli.app import main

__all__ = ["main"]
