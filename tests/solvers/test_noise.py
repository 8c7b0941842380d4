"""Counter-based noise: the published generator, word for word; the law of the numbers; streams that know nothing of
each other.

Seeds are fixed, so a test either always passes or always fails. The thresholds are such that a perfect generator
with another seed would fail an assertion with probability `ALARM`, as far as asymptotic laws tell.
"""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mpmath
import numpy as np
import pytest
from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from scipy import special, stats

from solvers import _philox, noise
from solvers.errors import InputError

ALARM = 1e-6
SIGMAS = float(stats.norm.isf(ALARM / 2))  # 4.9
SEED = np.array([0x0123456789ABCDEF, 0xFEDCBA9876543210], dtype=np.uint64)

FROZEN = {
    "normals": [-0.5743852105547023, -0.5537212517837434, -0.7570303884118973, -0.9753505029507231],
    "more": [
        1.3814502295155158,
        -1.5914923454491376,
        0.21852574263185578,
        0.9638215142436926,
        0.5482366863255668,
        -1.0507183510200797,
    ],
    "uniforms": [0.9037299187554353, 0.1371682639682852, 0.5231284542802417],
    "integers": [69, 7, 92, 60, 96, 88, 38, 26, 38, 64, 16, 38],
}


def reference(counter: Any, key: Any) -> tuple[int, ...]:
    """Philox4x32-10 in Python's integers, from the description in the paper."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second % 2**32, (first >> 32) ^ c3 ^ k1, first % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def halves(word: int) -> tuple[int, int]:
    return word % 2**32, word >> 32


def reference_words(purpose: int, step: int, block: int) -> tuple[int, int]:
    """The two 64-bit words of a block, as the module describes its streams."""
    s0, s1 = (int(w) for w in SEED)
    k0, k1, high, low = reference((*halves(s1), purpose, 0), halves(s0))
    time = ((high << 32 | low) + step) % 2**64
    c0, c1, c2, c3 = reference((*halves(block), *halves(time)), (k0, k1))
    return c0 << 32 | c1, c2 << 32 | c3


@njit
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    return _philox.philox(c0, c1, c2, c3, k0, k1)


def ours(counter: Any, key: Any) -> tuple[int, ...]:
    return tuple(int(w) for w in philox(*(np.uint64(w) for w in (*counter, *key))))


# The vectors that the authors of Philox publish with it (kat_vectors of Random123): zeros, ones, digits of pi.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers(counter: Any, key: Any, answer: Any) -> None:
    assert ours(counter, key) == answer == reference(counter, key)


def test_agrees_with_the_reference_and_one_bit_changes_half_of_the_output() -> None:
    rng = np.random.default_rng(0)
    changed = []
    for _ in range(40):
        words = [int(w) for w in rng.integers(0, 2**32, 6)]
        before = ours(words[:4], words[4:])
        assert before == reference(words[:4], words[4:])
        for bit in rng.choice(192, 20, replace=False):
            words[bit // 32] ^= 1 << int(bit % 32)
            after = ours(words[:4], words[4:])
            changed.append(sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True)))
            words[bit // 32] ^= 1 << int(bit % 32)
    # Binomial(128, 1/2) each; their mean over 800 has the standard deviation below.
    assert abs(np.mean(changed) - 64) < SIGMAS * math.sqrt(32 / len(changed))
    assert min(changed) > 64 - 7 * math.sqrt(32) and max(changed) < 64 + 7 * math.sqrt(32)


def test_words_become_numbers_as_described() -> None:
    """Uniforms to the bit, normals to 1e-12 against 100-bit arithmetic; over a change of the block's upper half too."""
    for first in (0, 1, 2**33 - 3):
        uniform, normal = noise.uniforms(SEED, 5, 150, first), noise.normals(SEED, 5, 150, first)
        for i in range(150):
            block, second = divmod(first + i, 2)
            words = reference_words(2, 5, block)
            assert uniform[i] == (words[second] >> 12) * 2.0**-52
            assert normal[i] == pytest.approx(box_muller(*reference_words(1, 5, block))[second], abs=1e-12)


def box_muller(a: int, b: int) -> tuple[float, float]:
    with mpmath.workprec(100):
        u = 1 - mpmath.mpf(a >> 12) / 2**52
        v = mpmath.mpf((b * 2 % 2**64) >> 12) / 2**53 - mpmath.mpf(1) / 4
        r = mpmath.sqrt(-2 * mpmath.log(u)) * (-1 if b >> 63 else 1)
        return float(r * mpmath.cospi(2 * v)), float(r * mpmath.sinpi(2 * v))


@intrinsic
def pair_of(typingctx: Any, a: Any, b: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_tuple(builder, signature.return_type, _philox.box_muller(builder, *args))

    return types.UniTuple(types.float64, 2)(types.uint64, types.uint64), codegen


@njit
def pair(a: Any, b: Any) -> Any:
    return pair_of(a, b)


def test_the_rarest_words() -> None:
    """The largest normals, the smallest, and the ends of the circle: relative error at most 1e-12, never infinite."""
    top, bits = 2**64 - 1, [0, 1 << 12, 1 << 62, 1 << 63, 2**63 - 1]
    for a, b in itertools.product(
        [top, top - (1 << 12), 1 << 63, 0x4AFB0CCC06219000, 1 << 12, 0], [*bits, top]
    ):
        found, exact = pair(np.uint64(a), np.uint64(b)), box_muller(a, b)
        assert np.allclose(found, exact, rtol=1e-12, atol=1e-12 * np.abs(exact).max())
    assert max(np.abs(pair(np.uint64(top), np.uint64(1 << 62)))) == pytest.approx(
        math.sqrt(104 * math.log(2))
    )
    assert pair(np.uint64(0), np.uint64(12345)) == (0.0, 0.0)


def test_first_numbers_are_frozen() -> None:
    """Runs repeat over versions of the library: these values change only with a note in the change log."""
    assert noise.normals(0, 0, 4).tolist() == FROZEN["normals"]
    assert noise.normals(SEED, 7, (2, 3), first=5).ravel().tolist() == FROZEN["more"]
    assert noise.uniforms(0, 0, 3).tolist() == FROZEN["uniforms"]
    assert noise.integers(0, 0, 12, 100).tolist() == FROZEN["integers"]


def test_blocks_threads_and_types_do_not_matter() -> None:
    whole = noise.normals(SEED, 3, (1001, 3))

    def part(first: int) -> Any:
        return noise.normals(SEED, 3, (min(97, 1001 - first), 3), first)

    with ThreadPoolExecutor(4) as pool:
        pieces = list(pool.map(part, range(0, 1001, 97)))
    assert np.array_equal(np.concatenate(pieces), whole)
    for rows in (1, 31, 32, 33, 64, 65):  # shorter and longer than what is computed at a time
        assert np.array_equal(noise.normals(SEED, 3, (rows, 3), 11), whole[11 : 11 + rows])
    assert np.array_equal(noise.normals(SEED, 3, (1001, 3), dtype=np.float32), whole.astype(np.float32))
    assert np.array_equal(noise.integers(SEED, 3, 50, 10)[20:], noise.integers(SEED, 3, 30, 10, first=20))
    assert noise.normals(SEED, 0, (0, 3)).shape == (0, 3) and noise.normals(SEED, 0, (3, 0)).shape == (3, 0)
    again = noise.normals(np.random.SeedSequence(4), 0, 5)
    assert np.array_equal(again, noise.normals(4, 0, 5)) and not np.array_equal(again, noise.normals(5, 0, 5))


@pytest.fixture(scope="module")
def sample() -> Any:
    return noise.normals(SEED, 0, 4_000_000)


def test_moments(sample: Any) -> None:
    power = np.ones_like(sample)
    for k in range(1, 9):
        power *= sample
        mean = special.factorial2(k - 1) if k % 2 == 0 else 0.0
        variance = special.factorial2(2 * k - 1) - mean**2
        assert abs(power.mean() - mean) < SIGMAS * math.sqrt(variance / sample.size), k
    x, y = sample[:2_000_000:2], sample[1:2_000_000:2]  # the two of a block
    powers = [(np.ones_like(x), np.ones_like(y))]
    for _ in range(4):
        powers.append((powers[-1][0] * x, powers[-1][1] * y))
    for i, j in ((1, 1), (2, 2), (1, 3), (3, 1), (2, 4), (4, 2)):
        mean = special.factorial2(i - 1) * special.factorial2(j - 1) if i % 2 == 0 else 0.0
        variance = special.factorial2(2 * i - 1) * special.factorial2(2 * j - 1) - mean**2
        assert abs((powers[i][0] * powers[j][1]).mean() - mean) < SIGMAS * math.sqrt(variance / x.size), (
            i,
            j,
        )


def test_kolmogorov_smirnov_and_anderson_darling(sample: Any) -> None:
    for step in range(3):
        x = np.sort(noise.normals(SEED, step, 1_000_000))
        n = x.size
        below = special.ndtr(x)
        rank = np.arange(1, n + 1)
        distance = max((rank / n - below).max(), (below - (rank - 1) / n).max())
        assert stats.kstwobign.sf(distance * math.sqrt(n)) > ALARM
        square = -n - ((2 * rank - 1) * (special.log_ndtr(x) + special.log_ndtr(-x[::-1]))).mean()
        # The limit law is sum_j chi_j^2 / (j (j + 1)); its tail is sqrt(3 / (pi z)) e^-z.
        assert math.sqrt(3 / (math.pi * square)) * math.exp(-square) > ALARM
    angle = np.arctan2(sample[1::2], sample[::2]) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > ALARM
    radius = np.exp(-0.5 * (sample[1::2] ** 2 + sample[::2] ** 2))
    assert stats.kstest(radius, "uniform").pvalue > ALARM


def test_tails() -> None:
    """Counts beyond 4, 4.5 and 5 standard deviations on either side, and the law beyond 4."""
    size, parts = 1_000_000, 40
    far = []
    for step in range(parts):
        x = noise.normals(SEED, step, size)
        far.append(x[np.abs(x) > 4])
    tail = np.concatenate(far)
    for limit in (4.0, 4.5, 5.0):
        expected = stats.norm.sf(limit) * size * parts
        for count in ((tail > limit).sum(), (tail < -limit).sum()):
            assert min(stats.poisson.cdf(count, expected), stats.poisson.sf(count - 1, expected)) > ALARM / 2
    assert stats.kstest(special.ndtr(-np.abs(tail)) / special.ndtr(-4.0), "uniform").pvalue > ALARM


def test_no_correlation_along_the_stream(sample: Any) -> None:
    x = sample[: 2**20]
    for y in (x, (x**2 - 1) / math.sqrt(2)):
        # All lags at once: sums of x_i x_(i+lag) are, over sqrt n, standard normals, and independent in the limit.
        padded = np.fft.rfft(y, 2 * y.size)
        covariance = np.fft.irfft(np.abs(padded) ** 2)[1 : y.size // 2]
        scaled = covariance / np.sqrt(y.size - np.arange(1, y.size // 2))
        assert stats.chi2.sf((scaled[:64] ** 2).sum(), 64) > ALARM
        assert np.abs(scaled).max() < stats.norm.isf(ALARM / 2 / scaled.size)


def neighbours(kind: str) -> tuple[Any, Any]:
    """Two samples that differ by 1 in one of the things that number the noise."""
    n = 250_000
    base = noise.normals(SEED, 10, (n, 4))
    if kind == "particle":
        return base[:-1], base[1:]
    if kind == "coordinate":
        return base[:, :-1], base[:, 1:]
    if kind == "step":
        return base, noise.normals(SEED, 11, (n, 4))
    if kind == "normals and uniforms":
        return base, special.ndtri(noise.uniforms(SEED, 10, (n, 4)) + 2.0**-53)
    other = SEED.copy()
    other[int(kind == "second word")] += np.uint64(1)
    # The next seed at the same step, and at the step before: seed and step must not be added up.
    step = 9 if kind == "seed against step" else 10
    return base, noise.normals(other, step, (n, 4))


@pytest.mark.parametrize(
    "kind",
    [
        "particle",
        "coordinate",
        "step",
        "first word",
        "second word",
        "seed against step",
        "normals and uniforms",
    ],
)
def test_neighbouring_streams_are_independent(kind: str) -> None:
    x, y = (part.ravel() for part in neighbours(kind))
    for f in (lambda z: z, lambda z: (z**2 - 1) / math.sqrt(2), np.sign):
        for g in (lambda z: z, lambda z: (z**2 - 1) / math.sqrt(2), np.sign):
            # Products of independent terms of mean 0 and variance 1.
            assert abs((f(x) * g(y)).sum()) < SIGMAS * math.sqrt(x.size)
    cells = np.histogram2d(special.ndtr(x), special.ndtr(y), bins=32, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(cells.ravel()).pvalue > ALARM


def test_consecutive_seeds_and_steps_as_streams() -> None:
    """One number from each of many seeds, or steps, is as good as many numbers of one."""
    by_step = np.array([noise.uniforms(SEED, k, 1)[0] for k in range(20_000)])
    seeds = [np.array([k, 0], dtype=np.uint64) for k in range(20_000)]
    by_seed = np.array([noise.uniforms(seed, 0, 1)[0] for seed in seeds])
    for x in (by_step, by_seed):
        assert stats.kstest(x, "uniform").pvalue > ALARM
        y = (x - 0.5) * math.sqrt(12)
        assert abs((y[1:] * y[:-1]).sum()) < SIGMAS * math.sqrt(x.size)


def test_bits() -> None:
    """Each of the 52 bits, each pair of neighbouring bits, runs, and consecutive bytes."""
    words = (noise.uniforms(SEED, 2, 2**20) * 2.0**52).astype(np.uint64)
    bits = np.array([(words >> np.uint64(b)) & np.uint64(1) for b in range(52)], dtype=np.int8)
    signs = 2 * bits - 1
    n = words.size
    assert (np.abs(signs.sum(axis=1, dtype=np.int64)) < SIGMAS * math.sqrt(n)).all()
    assert (np.abs((signs[1:] * signs[:-1]).sum(axis=1, dtype=np.int64)) < SIGMAS * math.sqrt(n)).all()
    assert (np.abs((signs[:, 1:] * signs[:, :-1]).sum(axis=1, dtype=np.int64)) < SIGMAS * math.sqrt(n)).all()
    # Weights of whole words against the binomial law, in the cells that hold enough of them.
    weights = np.bincount(bits.sum(axis=0), minlength=53)
    expected = stats.binom.pmf(np.arange(53), 52, 0.5) * n
    full = expected > 20
    assert stats.chi2.sf((((weights - expected)[full]) ** 2 / expected[full]).sum(), full.sum()) > ALARM
    # Serial test: pairs of consecutive bytes, from the top and from the bottom of the mantissa.
    for shift in (44, 0):
        byte = ((words >> np.uint64(shift)) & np.uint64(255)).astype(np.int64)
        pairs = np.bincount(byte[1:] * 256 + byte[:-1], minlength=65536)
        # Overlapping pairs: the statistic less that of single bytes has 256 * 255 degrees of freedom (Good 1953).
        single = np.bincount(byte, minlength=256)
        statistic = ((pairs - n / 65536) ** 2).sum() / (n / 65536) - ((single - n / 256) ** 2).sum() / (
            n / 256
        )
        assert ALARM / 2 < stats.chi2.cdf(statistic, 256 * 255) < 1 - ALARM / 2


def test_integers_are_uniform_without_bias() -> None:
    for below in (2, 7, 100):
        counts = np.bincount(noise.integers(SEED, 1, 200_000, below), minlength=below)
        assert counts.size == below and stats.chisquare(counts).pvalue > ALARM
    # 2^32 words on 3 * 2^30 integers: without rejection every third integer would be twice as likely.
    large = noise.integers(SEED, 1, 60_000, 3 * 2**30)
    assert stats.chisquare(np.bincount(large % 3)).pvalue > ALARM
    assert stats.kstest(large / (3 * 2**30), "uniform").pvalue > ALARM
    assert (noise.integers(SEED, 1, 10, 1) == 0).all() and noise.integers(SEED, 1, 1000, 2**32).max() > 2**31
    serial = noise.integers(SEED, 2, 200_000, 16)
    assert stats.chisquare(np.bincount(serial[::2] * 16 + serial[1::2], minlength=256)).pvalue > ALARM


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: noise.normals(0, -1, 3), "step"),
        (lambda: noise.normals(0, 0.5, 3), "step"),
        (lambda: noise.normals(0, 0, 3, first=-2), "first"),
        (lambda: noise.normals(0, 0, 3, dtype=np.int64), "dtype"),
        (lambda: noise.normals("a", 0, 3), "rng"),
        (lambda: noise.normals(0, 0, ()), "shape"),
        (lambda: noise.integers(0, 0, 3, 0), "below"),
        (lambda: noise.integers(0, 0, 3, 2**32 + 1), "below"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, name: str) -> None:
    with pytest.raises(InputError, match=name):
        call()


def test_compiled_code_refuses_arrays_that_hold_no_normals() -> None:
    with pytest.raises(TypingError, match="float64 or float32"):
        noise.fill_normals(np.uint64(0), np.uint64(0), 0, 0, np.empty(3, dtype=np.int64))
