"""Products shared among threads: every part done once, by whoever is there, with the same bits."""

import os
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest

import lyapflow as lf
from lyapflow._engine import atomics, team
from lyapflow._engine.atomics import board
from lyapflow._engine.blas import one_blas_thread
from lyapflow._engine.jit import jit
from lyapflow._engine.jobs import in_parts
from lyapflow._engine.pool import each
from lyapflow._engine.team import share
from lyapflow.linalg import products
from lyapflow.linalg.products import BLAS_WORK, HELPER_TERMS, LOWER_RESULT, start_helpers_for


@jit
def gemm(A, transpose_A, B, transpose_B, C, times):
    for _ in range(times):
        products.gemm(A, transpose_A, B, transpose_B, 1.0, 0.0, C)


@jit
def triangle(A, C):
    products.gemm_part(A, False, A, True, 1.0, 0.0, C, LOWER_RESULT)


@jit
def _count(job, part):
    done, spins = job
    for _ in range(spins):
        done[part] += 1


_addresses = in_parts(_count)


@jit
def count(done, spins, times):
    for _ in range(times):
        function, arguments = _addresses((done, spins))
        share(len(done), function, arguments)


@jit
def _meet(job, part):
    """Ends only if both parts run at a time, or after some seconds; what they agree on stands in two free places."""
    met, place = job
    atomics.store(place + part, 1)
    for _ in range(10**9):
        if atomics.load(place + 1 - part) == 1:
            met[part] = 1
            break


_meeting = in_parts(_meet)


@jit
def meet(met, place):
    function, arguments = _meeting((met, place))
    share(2, function, arguments)


def helpers():
    return int(board[team.HELPERS])


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0001)


def call_three():
    """Until they are there, all at a time."""
    wait_for(lambda: start_helpers_for(10 * HELPER_TERMS) or helpers() == 3)


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 4)
    wait_for(lambda: helpers() == 0)


def test_every_part_is_done_once(four):
    done = np.zeros(50, np.int64)
    call_three()
    count(done, 3, 2000)
    np.testing.assert_array_equal(done, 6000)
    wait_for(lambda: helpers() == 0)  # they leave when there is nothing more to do
    count(done, 1, 10)
    np.testing.assert_array_equal(done, 6010)


@pytest.mark.parametrize("parts", [team.MAX_PARTS - 1, team.MAX_PARTS, team.MAX_PARTS + 1])
def test_more_parts_than_the_board_has_room_for(parts, four):
    done = np.zeros(parts, np.int64)
    call_three()
    count(done, 1, 3)
    np.testing.assert_array_equal(done, 3)


def test_helpers_take_parts_that_wait(four):
    met = np.zeros(2, np.int64)
    meet.compile((numba.typeof(met), numba.intp))  # helpers would not wait for it
    call_three()
    meet(met, board.size - 2)
    np.testing.assert_array_equal(met, 1)


def test_two_callers_at_a_time(four):
    both = [np.zeros(20, np.int64) for _ in range(2)]
    call_three()
    callers = [threading.Thread(target=count, args=(done, 2, 3000)) for done in both]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    np.testing.assert_array_equal(both, 6000)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_have_the_same_bits_with_helpers(dtype, four):
    rng = np.random.default_rng(0)
    large = BLAS_WORK // (200 * 300 * np.dtype(dtype).itemsize) + 1
    for m, n, inner in (
        (70, 90, 80),
        (24, 400, 130),
        (3, 500, 400),
        (200, 300, large),
        (400, 2, 700),
    ):
        for transpose_a in (False, True):
            A = rng.standard_normal((inner, m) if transpose_a else (m, inner)).astype(dtype)
            for transpose_b in (False, True):
                B = rng.standard_normal((n, inner) if transpose_b else (inner, n)).astype(dtype)
                alone, together = np.empty((2, m, n), dtype)
                with one_blas_thread():
                    gemm(A, transpose_a, B, transpose_b, alone, 1)
                    call_three()
                    gemm(A, transpose_a, B, transpose_b, together, 20)
                np.testing.assert_array_equal(together, alone)
    A, alone, together = (
        rng.standard_normal((150, 60)).astype(dtype),
        *np.zeros((2, 150, 150), dtype),
    )
    triangle(A, alone)
    call_three()
    triangle(A, together)
    np.testing.assert_array_equal(np.tril(together), np.tril(alone))


@pytest.mark.parametrize("cell_class", [lf.TanhRNN, lf.LSTM])
def test_a_network_with_helpers_has_the_bits_of_one_without(cell_class, monkeypatch):
    cell = cell_class.random(150, 2, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((20, 2))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", threads)
        loss, gradient, exponents = lf.flossing_value_and_grad(cell, x, 130)
        spectrum = lf.lyapunov_spectrum(cell, x, 130, t_ons=2).exponents
        found.append((loss, *gradient, exponents, spectrum))
    for alone, together in zip(*found):
        np.testing.assert_array_equal(together, alone)


def test_who_is_one_of_several_gets_no_help_and_few_terms_do_not_either(four):
    def seen(_):
        start_helpers_for(10 * HELPER_TERMS)
        time.sleep(0.001)
        return helpers()

    assert each(seen, 2) == [0, 0]
    for few in ((HELPER_TERMS - 1,), (0, 1)):
        start_helpers_for(*few)
        time.sleep(0.001)
        assert helpers() == 0
    wait_for(lambda: start_helpers_for(HELPER_TERMS) or helpers() == 1)
    wait_for(lambda: helpers() == 0)
    wait_for(lambda: start_helpers_for(0, 2) or helpers() == 1)
    for _ in range(100):  # those who are there count
        call_three()
        start_helpers_for(10 * HELPER_TERMS)
        assert helpers() <= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_goes_on_without_the_helpers(four):
    done = np.zeros(50, np.int64)
    call_three()
    child = os.fork()
    if child == 0:
        count(done, 1, 100)
        alone = helpers() == 0
        call_three()
        count(done, 1, 100)
        os._exit(0 if (done == 200).all() and alone else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_right_after_the_first_call_goes_on(tmp_path):
    script = """
import os, time, warnings
from lyapflow._engine.jit import jit
from lyapflow.linalg.products import HELPER_TERMS, start_helpers_for
warnings.simplefilter("ignore")
start_helpers_for(HELPER_TERMS)
time.sleep(0.1)
child = os.fork()
if child == 0:
    os._exit(jit(lambda x: x + 1)(6))  # takes Numba's lock
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    # all is compiled anew
    environment = os.environ | {"NUMBA_NUM_THREADS": "2", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    assert (
        subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100).stdout
        == "7\n"
    )


def test_helpers_do_not_hold_up_the_end_of_a_process_nor_does_that_end_a_sweep():
    script = """
import threading, time
import numpy as np, lyapflow as lf
cell = lf.TanhRNN.random(128, 1, rng=np.random.default_rng(0))
def forever(times):
    for _ in range(times):
        lf.lyapunov_spectrum(cell, np.ones((steps, 1)), 64)
    print("done")
steps = 5
forever(1)
steps = {steps}
threading.Thread(target=forever, args=(3,), daemon={daemon}).start()
time.sleep(0.2)
print("main ends")
"""
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
    for daemon, steps, output in (
        (False, 100, "done\nmain ends\ndone\n"),
        (True, 10**6, "done\nmain ends\n"),
    ):
        command = [sys.executable, "-c", script.format(steps=steps, daemon=daemon)]
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=100, check=True
        )
        assert sorted(ended.stdout.split("\n")) == sorted(output.split("\n"))
