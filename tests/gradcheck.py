"""Oracles shared by the gradient tests: finite differences, and the generic kernels callable from Python."""

import numpy as np

from lyapflow._jit import jit
from lyapflow.cells import interface
from lyapflow.cells.parameters import arrays, like


def direction(tree, rng):
    """A random direction of unit length, as a tree of the same class."""
    parts = [rng.standard_normal(a.shape) for a in arrays(tree)]
    length = np.sqrt(sum((p**2).sum() for p in parts))
    return like(tree, iter([p / length for p in parts]))


def moved(tree, along, distance):
    return like(tree, iter([a + distance * d for a, d in zip(arrays(tree), arrays(along))]))


def inner(a, b):
    return sum(float((x * y).sum()) for x, y in zip(arrays(a), arrays(b)))


def norm(tree):
    return np.sqrt(inner(tree, tree))


def derivative(f, distance=1e-3):
    """Central difference of sixth order of f at 0."""
    terms = ((1, 45), (2, -9), (3, 1))
    return sum(c * (f(s * distance) - f(-s * distance)) for s, c in terms) / (60 * distance)


def relative_error(value, gradient, tree, rng, distance=1e-3):
    """Error of the gradient along a random direction, relative to the gradient's norm."""
    along = direction(tree, rng)
    numeric = derivative(lambda s: value(moved(tree, along, s)), distance)
    return abs(numeric - inner(gradient, along)) / norm(gradient)


@jit
def step(cell, h, x, h_next, record):
    interface.step(cell, h, x, h_next, record)


@jit
def tangent(cell, record, Q, Q_next, work):
    interface.tangent(cell, record, Q, Q_next, work)


@jit
def step_pullback(cell, record, h_next_bar, h_bar, work):
    interface.step_pullback(cell, record, h_next_bar, h_bar, work)


@jit
def tangent_pullback(cell, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work):
    interface.tangent_pullback(cell, record, Q, Q_next_bar, Q_bar, h_bar, step_work, work)
