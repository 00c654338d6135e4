"""Signals end a run after its epoch, or at once."""

import signal

import numpy as np
import pytest

import lyapflow as lf
from lyapflow.runs.signals import EndOnSignal

NUMBERS = [signal.SIGINT, signal.SIGTERM]


def train(callbacks, **options):
    rng = np.random.default_rng(0)
    model = lf.Model.random(lf.TanhRNN.random(6, 1, rng=rng), 1, rng=rng)
    task = lf.tasks.BinaryTemporalXOR(2)
    return lf.train(model, task, epochs=6, seed=0, T=20, callbacks=callbacks, **options)


def raised(*numbers):
    """A callback that lets signals come in the third epoch."""

    def callback(record):
        if record.epoch == 2:
            for number in numbers:
                signal.raise_signal(number)

    return callback


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_ends_a_run_after_its_epoch(number):
    with EndOnSignal() as signals:
        _, history = train([raised(number), signals])
    assert len(history.training) == 3
    assert (signals.first, signals.reason) == (number, number.name)


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_a_second_signal_ends_a_run_at_once(first, second, tmp_path):
    with pytest.raises(KeyboardInterrupt), EndOnSignal() as signals:
        train([raised(first, second), signals], folder=tmp_path)
    assert (signals.first, signals.reason) == (first, "")
    assert len(lf.RunFolder(tmp_path).history().training) == 2
    whole, _ = train([])
    resumed, _ = lf.resume(tmp_path)
    assert lf.digest(resumed) == lf.digest(whole)


def test_without_a_signal_a_run_goes_on():
    with EndOnSignal() as signals:
        _, history = train(signals)
    assert len(history.training) == 6
    assert (signals.first, signals.reason) == (None, "")


def test_a_signal_that_no_record_follows_is_no_reason():
    with EndOnSignal() as signals:
        signal.raise_signal(signal.SIGTERM)
    assert (signals.first, signals.reason) == (signal.SIGTERM, "")


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_signals_do_what_they_did(fails):
    before = [signal.getsignal(number) for number in NUMBERS]
    try:
        with EndOnSignal():
            assert [signal.getsignal(number) for number in NUMBERS] != before
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert [signal.getsignal(number) for number in NUMBERS] == before
