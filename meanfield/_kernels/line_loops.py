"""The loops of `relu_line`: ranks, prefix sums over the data, suffix sums of a residual, gradients looked up in them.

`line` is a `relu_line.Line`. All loops are compiled without reordering: a formula has the same bits in whichever kernel
it ends up.
"""

from __future__ import annotations

import numpy as np

from solvers._jit import compiled

# Data summed plainly; the sums of such groups are compensated, so that errors do not grow with n.
GROUP = 32
# Particles that go from one loop to the next together, so that they are still in the cache.
CHUNK = 128

strict = compiled(forceinline=True, fastmath=False)


@strict
def search(x, start, n, width, shift, guess, closed):
    """First rank r in 0 .. n with ``width x_r + shift > 0`` (or >= 0 where `closed`), galloping from a guess."""
    low, high, reach = 0, n, 1
    probe = guess
    if probe < 0 or probe >= n:
        probe, reach = n // 2, n
    while low < high:
        z = width * x[start + probe] + shift
        if z > 0.0 or (closed and z == 0.0):
            high = probe
            probe = max(high - reach, (low + high) // 2)
        else:
            low = probe + 1
            probe = min(low + reach - 1, (low + high) // 2)
        reach *= 2
    return low


@strict
def locate(line, positions, guesses, keys, first, last):
    """keys[j] of particles first .. last - 1; guesses (which may be `keys`) are keys of any particles on these data."""
    x, rises, falls, stride, outer, bias = line.x, line.rises, line.falls, line.stride, line.outer, line.bias
    n = stride - 2
    for j in range(first, last):
        w = positions[j, outer]
        shift = positions[j, outer + 1] if bias else 0.0
        width = abs(w)
        key = np.int64(guesses[j])
        side = (w < 0.0) == (key > stride)
        enters = width * rises[key] + shift > 0.0
        before = width * falls[key] + shift > 0.0
        if side & enters & (not before):
            keys[j] = guesses[j]
        else:
            start = stride + 1 if w < 0.0 else 1
            keys[j] = start + search(x, start, n, width, shift, key - start, False)


@strict
def scatter(line, positions, coefficients, keys, differences, first, last):
    """Add the slope and the value with which each particle enters to differences[output, key]."""
    x, lower, stride, outer, bias, fixed = line.x, line.lower, line.stride, line.outer, line.bias, line.fixed
    plus, minus = line.plus, line.minus
    for o in range(line.outputs):
        row = differences[o]
        for j in range(first, last):
            key = np.int64(keys[j])
            width = abs(positions[j, outer])
            shift = positions[j, outer + 1] if bias else 0.0
            a = positions[j, o] if outer > 0 else fixed
            c = plus * (coefficients[j] * a)
            row[key, 0] += c * width
            row[key, 1] += c * (width * x[key] + shift)
        if minus != 0.0:
            # The other half-line belongs to the neuron (-w, -b), whose first datum is the last inactive one.
            for j in range(first, last):
                key = np.int64(keys[j])
                width = abs(positions[j, outer])
                shift = positions[j, outer + 1] if bias else 0.0
                a = positions[j, o] if outer > 0 else fixed
                c = minus * (coefficients[j] * a)
                row[2 * stride - key, 0] -= c * width
                row[2 * stride - key, 1] += c * (width * lower[key] + shift)


@strict
def add(high, low, term):
    """``high + low + term``, the rounding errors gathered in the second number (Knuth's two-sum)."""
    total = high + term
    other = total - high
    return total, low + ((high - (total - other)) + (term - other))


@strict
def accumulate(line, differences, f):
    """f (k n,) from the differences: each side is carried along the data, group by group."""
    stride = line.stride
    n = stride - 2
    for o in range(line.outputs):
        out = f[o * n : (o + 1) * n]
        # Particles that are active nowhere: 0, or NaN from one that is not finite.
        idle = 0.0
        for c in range(2):
            idle += 0.0 * differences[o, n + 1, c] + 0.0 * differences[o, stride + n + 1, c]
        for side in range(2):
            start = side * stride + 1
            x, place = line.x[start : start + n], line.place[start : start + n]
            rows = differences[o, start : start + n]
            slope, slope_low, value, value_low = 0.0, 0.0, 0.0, 0.0
            for low in range(0, n, GROUP):
                high = min(n, low + GROUP)
                base, rise = value + value_low, slope + slope_low
                anchor = x[low]
                before, s, v = anchor, 0.0, 0.0
                for i in range(low, high):
                    here = x[i]
                    v += s * (here - before) + rows[i, 1]
                    s += rows[i, 0]
                    before = here
                    carried = base + (rise * (here - anchor) + v)
                    out[place[i]] = carried + (idle if side == 0 else out[place[i]])
                if high < n:
                    here = x[high]
                    value, value_low = add(
                        value, value_low, rise * (here - anchor) + (v + s * (here - before))
                    )
                    slope, slope_low = add(slope, slope_low, s)


@strict
def tabulate(line, q, table):
    """table[o, key] = sums of q, q x and q (x - x_key) over the data from the key's on, for q (k n,)."""
    stride = line.stride
    n = stride - 2
    for o in range(line.outputs):
        front = q[o * n : (o + 1) * n]
        # 0, or NaN where an entry of q is not finite: every particle shall show it.
        idle = 0.0
        for i in range(n):
            idle += 0.0 * front[i]
        for side in range(2):
            start = side * stride + 1
            sign = 1.0 - 2.0 * side
            x, place = line.x[start : start + n], line.place[start : start + n]
            rows = table[o, start : start + n + 1]
            for c in range(3):
                rows[n, c] = idle
            s0, s0_low, s1, s1_low, moment, moment_low = idle, 0.0, idle, 0.0, idle, 0.0
            anchor = x[n - 1]
            groups = (n + GROUP - 1) // GROUP
            for g in range(groups):
                high = n - g * GROUP
                count = min(GROUP, high)
                base0, base1, base2 = s0 + s0_low, s1 + s1_low, moment + moment_low
                after, t0, t1, t2 = anchor, 0.0, 0.0, 0.0
                for step in range(count):
                    i = high - 1 - step
                    here = x[i]
                    t2 += t0 * (after - here)
                    after = here
                    value = front[place[i]]
                    t0 += value
                    t1 += value * (sign * here)
                    rows[i, 0] = base0 + t0
                    rows[i, 1] = base1 + t1
                    rows[i, 2] = base2 + (base0 * (anchor - here) + t2)
                moment, moment_low = add(moment, moment_low, base0 * (anchor - after) + t2)
                s0, s0_low = add(s0, s0_low, t0)
                s1, s1_low = add(s1, s1_low, t1)
                anchor = after


@strict
def gather(line, positions, keys, table, values, gradient, first, last):
    """values[j - first] and gradient[j - first] of particles first .. last - 1 from the table."""
    x, lower, stride, outer, bias, fixed = line.x, line.lower, line.stride, line.outer, line.bias, line.fixed
    plus, minus, zero = line.plus, line.minus, line.zero
    count = last - first
    for o in range(line.outputs):
        rows = table[o]
        for t in range(count):
            key = np.int64(keys[first + t])
            width = abs(positions[first + t, outer])
            shift = positions[first + t, outer + 1] if bias else 0.0
            a = positions[first + t, o] if outer > 0 else fixed
            g0, g1 = plus * rows[key, 0], plus * rows[key, 1]
            value = plus * (width * rows[key, 2] + (width * x[key] + shift) * rows[key, 0])
            if outer > 0:
                gradient[t, o] = value
            if o == 0:
                values[t] = a * value
                gradient[t, outer] = a * g1
                if bias:
                    gradient[t, outer + 1] = a * g0
            else:
                values[t] += a * value
                gradient[t, outer] += a * g1
                if bias:
                    gradient[t, outer + 1] += a * g0
        if minus != 0.0:
            for t in range(count):
                key = np.int64(keys[first + t])
                width = abs(positions[first + t, outer])
                shift = positions[first + t, outer + 1] if bias else 0.0
                a = positions[first + t, o] if outer > 0 else fixed
                other = 2 * stride - key
                entry = width * lower[key] + shift
                value = minus * (entry * rows[other, 0] - width * rows[other, 2])
                if outer > 0:
                    gradient[t, o] += value
                values[t] += a * value
                gradient[t, outer] += a * (minus * rows[other, 1])
                if bias:
                    gradient[t, outer + 1] += a * (minus * rows[other, 0])
        if zero != minus:
            for t in range(count):
                key = np.int64(keys[first + t])
                width = abs(positions[first + t, outer])
                shift = positions[first + t, outer + 1] if bias else 0.0
                a = positions[first + t, o] if outer > 0 else fixed
                start = stride + 1 if key > stride else 1
                kink = start + search(x, start, stride - 2, width, shift, key - start - 1, True)
                if kink < key:
                    c = a * (zero - minus)
                    gradient[t, outer] += c * (rows[kink, 1] - rows[key, 1])
                    if bias:
                        gradient[t, outer + 1] += c * (rows[kink, 0] - rows[key, 0])


@compiled(fastmath=False)
def deposit(line, positions, coefficients, guesses, keys, partial, size, first, last):
    """Locate the particles of blocks first .. last - 1 and fill the blocks' differences."""
    for block in range(first, last):
        partial[block] = 0.0
        end = min(positions.shape[0], (block + 1) * size)
        for low in range(block * size, end, CHUNK):
            high = min(end, low + CHUNK)
            locate(line, positions, guesses, keys, low, high)
            scatter(line, positions, coefficients, keys, partial[block], low, high)


@strict
def add_up(partial):
    """The blocks' differences, in their order, into the first block's."""
    total = partial[0].reshape(-1)
    for block in range(1, partial.shape[0]):
        row = partial[block].reshape(-1)
        for i in range(total.size):
            total[i] += row[i]


@compiled(fastmath=False)
def predict(line, partial, f):
    """f (k n,) from the blocks' differences."""
    add_up(partial)
    accumulate(line, partial[0], f)


@compiled(fastmath=False)
def prepare(line, q, table):
    """`tabulate`, called from Python."""
    tabulate(line, q, table)


@compiled(fastmath=False)
def collect(line, positions, guesses, keys, table, values, gradient, first, last):
    """Values and gradients of chunks first .. last - 1 of particles that are at `keys` if there are no guesses."""
    for chunk in range(first, last):
        low, high = chunk * CHUNK, min(positions.shape[0], (chunk + 1) * CHUNK)
        if guesses.size > 0:
            locate(line, positions, guesses, keys, low, high)
        gather(line, positions, keys, table, values[low:high], gradient[low:high], low, high)
