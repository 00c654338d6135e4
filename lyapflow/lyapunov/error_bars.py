r"""Standard errors of exponents, estimated from the growth rates, log R per step, themselves.

Growth rates are correlated in time, so their scatter about the mean does not give the error of the
mean. Slow cosines do (Müller 2007; Lazarus, Lewis, Stock and Watson 2018): with t in (0, 1) over
the counted steps, the m numbers

.. math:: C_j = \sqrt2 \, \langle (\text{rate} - \lambda) \cos(\pi j t) \rangle, \qquad j = 1, \dots, m

are independent, each with the variance of λ, where correlations are shorter than T / m steps. The
mean of their squares is that variance, with m degrees of freedom; a drift goes into the first of
them. Where they fall with j, correlations are longer: C_j² ~ 1 / (1 + (j/c)²), as of an
autoregressive process, is fitted with several c, and the results are averaged with their
probabilities.

Three things more are taken from the rates. Trajectories that share their input are averaged first,
so that they count as one. Where means of trajectories scatter more than their growth rates explain,
the larger error holds. And a series whose longest stretches on one side of its mean take too much
of the run has not seen enough of them: it is doubtful.

What growth rates do not show is which of two nearly equal exponents is which. Of two vectors at a
random angle θ, one gains ln |cos θ| at the expense of the other while they align, in 1 / g steps
for exponents that are g apart: the root mean square is √(ln² 2 + π² / 12) nats (`exchanged`)."""

import functools
from typing import NamedTuple

import numpy as np
import scipy

from lyapflow._engine.jit import jit

WAVES = 32
# of consecutive QRs, whose sums are as good as the QRs themselves for so few cosines
BATCHES = 1024
DOMINANCE, DOMINANT_SHARE = (
    2.0,
    0.1,
)  # a largest stretch so many times that of the other side, of such a share in all, is one of few
TINY = float(np.finfo(float).tiny)
EXCHANGED = float(np.sqrt(np.log(2) ** 2 + np.pi**2 / 12))  # nats
FRESH = 1000  # QRs within which a starting block shows what it gains


class Bars(NamedTuple):
    """Standard errors.

    Attributes
    ----------
    stderr : array (k,)
        Such that ± 2 of them are a 95 % interval; NaN where growth is -inf or NaN, and for fewer
        than four QRs.
    deviations : array (rows, k)
        Independent deviations, whose squares add up to those of stderr: a combination Σ w_i λ_i has
        the standard error
        |deviations @ w|, correlations between exponents included. Zero where stderr is NaN.
    doubtful : bool
        Whether the run is too short for its bars: a growth rate stays above or below its mean for
        an eighth of the run, or, in the first exponent or the sum of all, a few long stretches on
        one side of the mean outweigh all others, as in intermittent systems.
    """

    stderr: np.ndarray
    deviations: np.ndarray
    doubtful: bool

    def times(self, factor: float) -> "Bars":
        """Wider ones."""
        return Bars(factor * self.stderr, factor * self.deviations, self.doubtful)


def error_bars(
    log_R: np.ndarray,
    steps: np.ndarray,
    groups: np.ndarray,
    unknown: np.ndarray | None = None,
    rounding: float = 0.0,
    exchange: np.ndarray | None = None,
) -> Bars:
    """Standard errors of the mean rate of log_R (B, n_qr, k), whose QRs are `steps` (n_qr,) steps apart.

    Trajectories of one number in `groups` (B,) share their input. `unknown` (B, k) are nats of
    growth that are not known beyond what the rates say. A rate that varies less than `rounding` is
    constant. `exchange` (rows, k) are nats that exponents gain together, independently of other rows."""
    n_qr, k = log_R.shape[1:]
    if n_qr < 4:
        return Bars(np.full(k, np.nan), np.zeros((0, k)), False)
    length, growth = _in_batches(steps, log_R)
    total = steps.sum()
    rates = growth.sum(axis=1) / total
    finite = np.isfinite(rates).all(axis=0)
    if not finite.any():
        return Bars(np.full(k, np.nan), np.zeros((0, k)), False)
    if not finite.all():
        some = error_bars(
            log_R[:, :, finite],
            steps,
            groups,
            None if unknown is None else unknown[:, finite],
            rounding,
            None if exchange is None else exchange[:, finite],
        )
        stderr, deviations = np.full(k, np.nan), np.zeros((len(some.deviations), k))
        stderr[finite], deviations[:, finite] = some.stderr, some.deviations
        return Bars(stderr, deviations, some.doubtful)

    weight = np.bincount(groups) / len(groups)
    waves = _waves(growth, length, rates, groups, min(WAVES, max(2, (n_qr - 1) // 3)))
    freedom = waves.shape[1] / (weight**2).sum()  # fewer where groups differ in size
    variance = _variance(waves, freedom)
    if len(rates) > 1:
        together = np.array([rates[groups == g].mean(axis=0) for g in range(len(weight))])
        scatter = [_between(means, freedom, variance) for means in (rates, together)]
        variance = np.maximum(*scatter)

    doubtful = False
    if n_qr >= WAVES:  # a few QRs cannot speak of their order
        doubtful, more = _one_sided(log_R.mean(axis=0), steps, waves, rounding)
        variance += (more / total) ** 2

    rows = waves.sum(axis=0)
    found = (rows**2).sum(axis=0)
    rows *= np.sqrt(np.divide(variance, found, out=np.zeros(k), where=found > 0))
    rest = np.where(found > 0, 0.0, variance)
    if unknown is not None:
        rest = rest + (unknown.mean(axis=0) / total) ** 2
    if rest.any():
        rows = np.vstack([rows, np.sqrt(rest)])
    if exchange is not None:
        rows = np.vstack([rows, exchange / total])
    return Bars(np.sqrt((rows**2).sum(axis=0)), rows, doubtful)


def exchanged(log_R: np.ndarray, steps: np.ndarray, before: int, sequences: int = 1) -> np.ndarray:
    r"""Nats (k - 1, k) that neighbours may still exchange, whose block has moved so many steps before.

    Of exponents g apart :math:`e^{-g\,before} - e^{-g (before + counted)}` of what two vectors
    exchange while they align. g is known to a nat over the run, if growth rates vary as much."""
    length, growth = _in_batches(steps, log_R)
    total, counted = steps.sum(), steps.sum() / sequences
    with np.errstate(invalid="ignore"):  # of -inf
        apart = -np.diff(growth.mean(axis=0), axis=1)
        gaps = apart.sum(axis=0) / total
        varied = np.ptp(np.cumsum(apart - length[:, None] * gaps, axis=0), axis=0)
        gaps = np.abs(gaps)
        left = np.exp(-gaps * before) * -np.expm1(-gaps * counted - np.minimum(1.0, varied))
    k = log_R.shape[2]
    nats = sequences * EXCHANGED * np.where(np.isfinite(left), left, 0.0)
    return (np.eye(k - 1, k) - np.eye(k - 1, k, 1)) * nats[:, None]


def same_input(x: np.ndarray) -> np.ndarray:
    """Numbers (B,) of groups of trajectories whose input in x (T, B, m) is the same."""
    seen: dict[bytes, int] = {}
    if x.shape[1] == 1:
        return np.zeros(1, np.int64)
    return np.array([seen.setdefault(x[:, b].tobytes(), len(seen)) for b in range(x.shape[1])])


def _in_batches(steps: np.ndarray, log_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of steps, and of log_R (B, n_qr, k), over batches of QRs, as many as a few cosines need."""
    n_qr = len(steps)
    if n_qr <= BATCHES:
        return steps, log_R
    starts = np.arange(BATCHES) * n_qr // BATCHES
    return np.add.reduceat(steps, starts), np.add.reduceat(log_R, starts, axis=1)


def _waves(
    growth: np.ndarray, length: np.ndarray, rates: np.ndarray, groups: np.ndarray, m: int
) -> np.ndarray:
    """C_j (groups, m, k) of each group's share in the mean over all trajectories."""
    deviation = (growth - rates[:, None] * length[:, None]) / len(growth)
    of_groups = np.array([deviation[groups == g].sum(axis=0) for g in range(groups.max() + 1)])
    return _cosines(m, length.tobytes()) @ of_groups


@functools.lru_cache(maxsize=8)
def _cosines(m: int, lengths: bytes) -> np.ndarray:
    """√2 cos(π j t), j = 1, ..., m, in the middle of batches of such lengths, int64, over all steps."""
    length = np.frombuffer(lengths, np.int64)
    middle = (np.cumsum(length) - length / 2) / length.sum()
    return np.sqrt(2) * np.cos(np.pi * np.arange(1, m + 1)[:, None] * middle) / length.sum()


def _variance(waves: np.ndarray, freedom: float) -> np.ndarray:
    """Variance (k,) of λ, widened by Student's factor: ± 2 of its roots cover 95.45 % however few waves there are."""
    m = waves.shape[1]
    shapes = _shapes(m, freedom)
    # (shapes, k), all of them by j = 0
    flat = np.maximum(shapes.decay @ (waves**2).sum(axis=0), TINY)
    evidence = shapes.evidence - freedom / 2 * np.log(flat)
    probability = np.exp(evidence - evidence.max(axis=0))
    return shapes.widening * (probability * flat).sum(axis=0) / probability.sum(axis=0) / m


class _Shapes(NamedTuple):
    """How the squares of m cosines may fall with j."""

    decay: np.ndarray  # (shapes, m), the first square over that of each j
    evidence: np.ndarray  # (shapes, 1), logarithm of the probability before anything is known
    widening: float  # of the variance, Student's


@functools.lru_cache(maxsize=8)
def _shapes(m: int, freedom: float) -> _Shapes:
    corners = 2.0 ** np.arange(1, max(2, np.log2(m)))
    decay = np.vstack([np.ones(m), 1 + (np.arange(1, m + 1) / corners[:, None]) ** 2])
    prior = np.append(0.97, np.full(len(corners), 0.03 / len(corners)))
    evidence = np.log(prior) + freedom / m * np.log(decay).sum(axis=1) / 2
    return _Shapes(
        decay, evidence[:, None], (scipy.special.stdtrit(freedom, scipy.special.ndtr(2.0)) / 2) ** 2
    )


def _between(means: np.ndarray, freedom: float, variance: np.ndarray) -> np.ndarray:
    """The variance of the mean of means (n, k) by their scatter, where that is significantly larger."""
    n = len(means)
    if n == 1:
        return variance
    scatter = means.var(axis=0, ddof=1) / n
    significance = scipy.special.fdtrc(n - 1, freedom, scatter / np.maximum(variance, TINY))
    return np.where(significance < 1e-3, scatter, variance)


def _one_sided(
    growth: np.ndarray, steps: np.ndarray, waves: np.ndarray, rounding: float
) -> tuple[bool, np.ndarray]:
    """Whether growth (n_qr, k) stays on one side of its mean for too much of the run, and by how much.

    That is (k,), of the largest stretch, zero where it is no longer than chance makes it."""
    n_qr, k = growth.shape
    # of each exponent, and of the sum of all: an error like that of the mean is no side, nor is
    # rounding
    bands = np.sqrt((np.dstack([waves, waves.sum(axis=2)]) ** 2).sum(axis=0).mean(axis=0))
    # a fair coin shows one side log2(n) times on end in n throws; eight times more is a matter of 1
    # in 256
    by_chance = np.log2(n_qr * k) + 8
    stretch = Stretches(np.zeros(k + 1, np.int64), *np.zeros((3, k + 1)))
    _find_stretches(growth, steps, np.maximum(bands, rounding), stretch)
    largest = np.maximum(stretch.above, stretch.below)
    share = np.divide(largest**2, stretch.squares, out=np.zeros(k + 1), where=stretch.squares > 0)
    long = stretch.longest > by_chance
    few = largest > DOMINANCE * np.minimum(stretch.above, stretch.below)
    few &= share > DOMINANT_SHARE
    few[1:k] = False  # neighbours within change places now and then, which matters little
    doubtful = bool((long & ((stretch.longest > n_qr / 10) | few)).any())
    return doubtful, np.where(long, largest, 0.0)[:k]  # one more or less were no surprise


class Stretches(NamedTuple):
    """Of several series: of the steps on end that each spends on one side of its mean. All are arrays (k,)."""

    longest: np.ndarray  # in QRs
    above: np.ndarray  # largest sum above the mean
    below: np.ndarray  # and below
    squares: np.ndarray  # sum of the squares of all sums


@jit(allocates=True)
def _find_stretches(growth, steps, bands, found):
    """Of the k columns of growth (n_qr, k), and of their sum; what lies within a band about the mean is on no side."""
    n_qr, k = growth.shape
    means, off = np.zeros(k + 1), np.empty(k + 1)
    side, length, area = np.zeros(k + 1), np.zeros(k + 1, np.int64), np.zeros(k + 1)
    for s in range(n_qr):
        for j in range(k):
            means[j] += growth[s, j]
    means /= steps.sum()
    for s in range(n_qr):
        off[k] = 0.0
        for j in range(k):
            off[j] = growth[s, j] - means[j] * steps[s]
            off[k] += off[j]
        for j in range(k + 1):
            now = np.sign(off[j]) if abs(off[j]) > bands[j] * steps[s] else 0.0
            if now != side[j]:
                _end_stretch(found, j, side[j], length[j], area[j])
                side[j], length[j], area[j] = now, 0, 0.0
            length[j] += 1
            area[j] += off[j]
    for j in range(k + 1):
        _end_stretch(found, j, side[j], length[j], area[j])


@jit
def _end_stretch(found, j, side, length, area):
    """Take a stretch of series j into what is found."""
    if side != 0.0:
        found.longest[j] = max(found.longest[j], length)
    found.above[j] = max(found.above[j], area)
    found.below[j] = max(found.below[j], -area)
    found.squares[j] += area * area


def excess(log_R: np.ndarray, steps: np.ndarray, sigmas: float) -> np.ndarray:
    r"""What the starting block gains before it aligns (k,), in nats, from all log_R (B, n_qr, k), uncounted ones too.

    The largest :math:`\sum_{s \le t} (\log R_{ii}^s - \lambda_i)` over t, with λ of the second half
    of the run; 0 where a random walk goes as far, within so many sigmas, where the run is too short
    to say, and where λ is -inf."""
    n_qr, k = log_R.shape[1:]
    settled = n_qr // 2
    batches = min(16, n_qr - settled)
    if batches < 2:
        return np.zeros(k)
    starts = settled + np.arange(batches) * (n_qr - settled) // batches
    length = np.add.reduceat(steps, starts)
    with np.errstate(invalid="ignore"):  # of -inf
        late = np.add.reduceat(log_R, starts, axis=1).mean(axis=0)
        rate = late.sum(axis=0) / length.sum()
        diffusion = ((late - rate * length[:, None]) ** 2).sum(axis=0) / length.sum()
        first = min(settled, FRESH)
        gained = np.cumsum(log_R[:, :first].mean(axis=0) - rate * steps[:first, None], axis=0)
        by_chance = sigmas * np.sqrt(diffusion * np.cumsum(steps[:first])[:, None])
        return np.where(gained > by_chance, gained, 0.0).max(axis=0)


def returns(states: np.ndarray) -> np.ndarray:
    """Which trajectories (B,) of states (steps + 1, B, n_state) come back to where they start, so that they cycle."""
    return (states[1:] == states[0]).all(axis=2).any(axis=0)
