r"""How well exponents are known: what the counted growth rates, log R per step, say about their own mean.

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
of the run has not seen enough of them: it is doubtful."""

import functools
from typing import NamedTuple

import numpy as np
from scipy.special import fdtrc, ndtr, stdtrit

WAVES = 32
# of consecutive QRs, whose sums are as good as the QRs themselves for so few cosines
BATCHES = 1024
DOMINANCE, DOMINANT_SHARE = (
    2.0,
    0.1,
)  # a largest stretch so many times that of the other side, of such a share in all, is one of few
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
) -> Bars:
    """Standard errors of the mean rate of log_R (B, n_qr, k), whose QRs are `steps` (n_qr,) steps apart.

    Trajectories of one number in `groups` (B,) share their input. `unknown` (B, k) are nats of
    growth that are not known beyond what the rates say. A rate that varies less than `rounding` is
    constant."""
    n_qr, k = log_R.shape[1:]
    finite = np.isfinite(log_R).all(axis=(0, 1))
    if n_qr < 4 or not finite.any():
        return Bars(np.full(k, np.nan), np.zeros((0, k)), False)
    if not finite.all():
        some = error_bars(
            log_R[:, :, finite],
            steps,
            groups,
            None if unknown is None else unknown[:, finite],
            rounding,
        )
        stderr, deviations = np.full(k, np.nan), np.zeros((len(some.deviations), k))
        stderr[finite], deviations[:, finite] = some.stderr, some.deviations
        return Bars(stderr, deviations, some.doubtful)

    total = steps.sum()
    rates = log_R.sum(axis=1) / total
    weight = np.bincount(groups) / len(groups)
    waves = _waves(log_R, steps, rates, groups)
    freedom = waves.shape[1] / (weight**2).sum()  # fewer where groups differ in size
    variance = _variance(waves, freedom)
    together = np.array([rates[groups == g].mean(axis=0) for g in range(len(weight))])
    variance = np.maximum(_between(rates, freedom, variance), _between(together, freedom, variance))

    # of each exponent, and of the sum of all: an error like that of the mean is no side, nor is
    # rounding
    bands = np.sqrt((np.dstack([waves, waves.sum(axis=2)]) ** 2).sum(axis=0).mean(axis=0))
    # a fair coin shows one side log2(n) times on end in n throws; eight times more is a matter of 1
    # in 256, of which a few QRs cannot speak
    by_chance = np.log2(n_qr * k) + 8 if n_qr >= WAVES else np.inf
    series = np.empty((k + 1, n_qr))
    series[:k] = log_R.mean(axis=0).T
    series[k] = series[:k].sum(axis=0)
    series -= series.sum(axis=1, keepdims=True) / total * steps
    stretch = _stretches(series, np.maximum(bands, rounding)[:, None] * steps)
    long = stretch.longest > by_chance
    few = (stretch.largest > DOMINANCE * stretch.opposite) & (stretch.share > DOMINANT_SHARE)
    few[1:k] = False  # neighbours within change places now and then, which matters little
    doubtful = bool((long & ((stretch.longest > n_qr / 10) | few)).any())
    # one more or less were no surprise
    variance += np.where(long, stretch.largest / total, 0.0)[:k] ** 2

    rows = waves.sum(axis=0)
    found = (rows**2).sum(axis=0)
    rows *= np.sqrt(np.divide(variance, found, out=np.zeros(k), where=found > 0))
    rest = np.where(found > 0, 0.0, variance)
    if unknown is not None:
        rest = rest + (unknown.mean(axis=0) / total) ** 2
    if rest.any():
        rows = np.vstack([rows, np.sqrt(rest)])
    return Bars(np.sqrt((rows**2).sum(axis=0)), rows, doubtful)


def same_input(x: np.ndarray) -> np.ndarray:
    """Numbers (B,) of groups of trajectories whose input in x (T, B, m) is the same."""
    seen: dict[bytes, int] = {}
    if x.shape[1] == 1:
        return np.zeros(1, np.int64)
    return np.array([seen.setdefault(x[:, b].tobytes(), len(seen)) for b in range(x.shape[1])])


def _waves(
    log_R: np.ndarray, steps: np.ndarray, rates: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """C_j (groups, m, k) of each group's share in the mean over all trajectories."""
    trajectories, n_qr = log_R.shape[:2]
    m = min(WAVES, max(2, (n_qr - 1) // 3))
    length, growth = steps, log_R
    if n_qr > BATCHES:
        starts = np.arange(BATCHES) * n_qr // BATCHES
        length, growth = np.add.reduceat(steps, starts), np.add.reduceat(log_R, starts, axis=1)
    deviation = (growth - rates[:, None] * length[:, None]) / trajectories
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
    corners = 2.0 ** np.arange(1, max(2, np.log2(m)))
    decay = np.vstack([np.ones(m), 1 + (np.arange(1, m + 1) / corners[:, None]) ** 2])
    prior = np.append(0.97, np.full(len(corners), 0.03 / len(corners)))
    # (shapes, k), all of them by j = 0
    flat = np.maximum(decay @ (waves**2).sum(axis=0), np.finfo(float).tiny)
    evidence = (
        np.log(prior)[:, None]
        + freedom / m * np.log(decay).sum(axis=1)[:, None] / 2
        - freedom / 2 * np.log(flat)
    )
    probability = np.exp(evidence - evidence.max(axis=0))
    widening = stdtrit(freedom, ndtr(2.0)) / 2
    return widening**2 * (probability * flat).sum(axis=0) / probability.sum(axis=0) / m


def _between(means: np.ndarray, freedom: float, variance: np.ndarray) -> np.ndarray:
    """The variance of the mean of means (n, k) by their scatter, where that is significantly larger."""
    n = len(means)
    if n == 1:
        return variance
    scatter = means.var(axis=0, ddof=1) / n
    significance = fdtrc(n - 1, freedom, scatter / np.maximum(variance, np.finfo(float).tiny))
    return np.where(significance < 1e-3, scatter, variance)


class Stretches(NamedTuple):
    """Of several series: of the steps on end that each spends on one side of zero. All are arrays (k,)."""

    longest: np.ndarray  # in QRs
    largest: np.ndarray  # sum
    opposite: np.ndarray  # largest sum on the other side
    share: np.ndarray  # of the largest sum's square in the sum of squares


def _stretches(series: np.ndarray, band: np.ndarray) -> Stretches:
    """Of series (k, n); what lies within the band (k, n) about zero is on no side."""
    side = (series > band).view(np.int8) - (series < -band).view(np.int8)
    change = np.ones(side.shape, bool)
    change[:, 1:] = side[:, 1:] != side[:, :-1]
    starts = np.flatnonzero(change)  # in one row after the other
    first = np.searchsorted(starts, np.arange(len(series)) * series.shape[1])
    length = np.where(side.ravel()[starts] != 0, np.diff(starts, append=series.size), 0)
    area = np.add.reduceat(series.ravel(), starts)
    above = np.maximum(np.maximum.reduceat(area, first), 0.0)
    below = np.maximum(-np.minimum.reduceat(area, first), 0.0)
    square = np.add.reduceat(area**2, first)
    largest = np.maximum(above, below)
    share = np.divide(largest**2, square, out=np.zeros(len(series)), where=square > 0)
    return Stretches(np.maximum.reduceat(length, first), largest, np.minimum(above, below), share)


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
