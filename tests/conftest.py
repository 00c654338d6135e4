"""Settings of the whole test suite."""

import signal
import sys

import pytest
from hypothesis import HealthCheck, settings

from lyapflow import cli
from lyapflow._engine.compiling import WORD

settings.register_profile(
    "lyapflow",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lyapflow")
# which a shell has jobs in the background ignore
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """The command line in an empty folder: takes words, gives exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["lyapflow", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err.replace(f"lyapflow: {WORD}\n", "")

    return run
