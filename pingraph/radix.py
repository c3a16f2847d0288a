"""The loops that sort edges bucket by bucket, inside the cache; `pingraph.build` runs them.

A sort over all edges misses the cache at every one. So one pass over memory deals them out to
buckets by the high bits of their row: so few buckets that the ends of all stay in the cache. Then
each bucket, which fits into the cache, is sorted by the bits that are left, some bits a pass. A
bucket that does not fit, because many edges share a row, is slower but takes no more passes.

Arrays come as (keys, weights, times), the last two None if edges have none. What counts or moves
keys does so as uint64, which spares numba a test for negative indices.
"""

import numpy as np

from pingraph.compiled import njit

_U = np.uint64


@njit(nogil=True, cache=True)
def count(keys, low, counts):
    """Add to `counts` how many keys each bucket has."""
    for i in range(len(keys)):
        counts[_U(keys[i]) >> _U(low)] += _U(1)


@njit(nogil=True, cache=True)
def deal_edges(
    rows, columns, weights, times, ends, low, column_bits, to_keys, to_weights, to_times
):
    """Put each edge into its row's bucket; its key there is (low bits of the row, column).

    With low = 1 and column_bits = 2 the edges (1, 3), (2, 0), (0, 2) become 7, 2 and 0.
    """
    mask = (_U(1) << _U(low)) - _U(1)
    for i in range(len(rows)):
        row = _U(rows[i])
        place = ends[row >> _U(low)]
        ends[row >> _U(low)] = place + _U(1)
        to_keys[place] = ((row & mask) << _U(column_bits)) | _U(columns[i])
        if weights is not None:
            to_weights[place] = weights[i]
        if times is not None:
            to_times[place] = times[i]


@njit(nogil=True, cache=True)
def sort_buckets(
    starts,
    bits,
    ends,
    keys,
    weights,
    times,
    spare_keys,
    spare_weights,
    spare_times,
    offsets,
    merged,
):
    """Sort and merge one bucket after the other, and return how many entries are left.

    They go to the front of `merged`, `weights` and `times`, never past what is still to be read, so
    `merged` may lie where `keys` do. `bits` says how many the low part of a row, a column and a
    digit have; `ends` [passes, digits] is room for counters; the spare arrays hold one bucket.
    """
    low, column_bits, digit_bits = bits
    kept = _U(0)
    for bucket in range(len(starts) - 1):
        start, end = starts[bucket], starts[bucket + 1]
        a = _part(keys, weights, times, start, end)
        b = _part(spare_keys, spare_weights, spare_times, _U(0), end - start)
        for digit in range(len(ends)):
            shift = _U(digit * digit_bits)
            _count_digits(a[0], shift, ends[digit])
            _sort_by_digit(a[0], shift, ends[digit], a[0], a[1], a[2], b[0], b[1], b[2])
            a, b = b, a
        first = _U(bucket) << _U(low)
        kept = _merge(a[0], a[1], a[2], first, column_bits, kept, offsets, merged, weights, times)
    for row in range(len(offsets) - 1):  # one without edges ends where the one before it does
        offsets[row + 1] = max(offsets[row + 1], offsets[row])
    return kept


@njit(nogil=True, cache=True)
def deal_rows(
    offsets, neighbors, weights, times, ends, low, to_lows, to_rows, to_weights, to_times
):
    """Put each row number into the bucket of its neighbor, and the low bits of that beside it."""
    mask = (_U(1) << _U(low)) - _U(1)
    for row in range(len(offsets) - 1):
        for i in range(_U(offsets[row]), _U(offsets[row + 1])):
            column = _U(neighbors[i])
            place = ends[column >> _U(low)]
            ends[column >> _U(low)] = place + _U(1)
            to_lows[place] = column & mask
            to_rows[place] = row
            if weights is not None:
                to_weights[place] = weights[i]
            if times is not None:
                to_times[place] = times[i]


@njit(nogil=True, cache=True)
def order_buckets(
    starts, lows, ends, rows, weights, times, spare_rows, spare_weights, spare_times, offsets
):
    """Order each bucket by the low bits, equal ones as they were, and fill in the offsets."""
    for bucket in range(len(starts) - 1):
        start, end = starts[bucket], starts[bucket + 1]
        codes = lows[start:end]
        _count_digits(codes, _U(0), ends)
        first = bucket * len(ends)
        for i in range(min(len(ends), len(offsets) - 1 - first)):
            offsets[first + i] = start + ends[i]
        a = _part(rows, weights, times, start, end)
        b = _part(spare_rows, spare_weights, spare_times, _U(0), end - start)
        for i in range(len(codes)):  # slices would compile for seconds
            b[0][i] = a[0][i]
            if weights is not None:
                b[1][i] = a[1][i]
            if times is not None:
                b[2][i] = a[2][i]
        _sort_by_digit(codes, _U(0), ends, b[0], b[1], b[2], a[0], a[1], a[2])
    offsets[-1] = starts[-1]


@njit(nogil=True, cache=True)
def _part(keys, weights, times, start, end):
    return (
        keys[start:end],
        None if weights is None else weights[start:end],
        None if times is None else times[start:end],
    )


@njit(nogil=True, cache=True)
def _count_digits(keys, shift, ends):
    """Set `ends` to where the first key of each digit goes: [2, 0, 2] gives [0, 1, 1, 3]."""
    mask = _U(len(ends) - 1)
    ends[:] = 0
    for i in range(len(keys)):
        ends[(_U(keys[i]) >> shift) & mask] += _U(1)
    total = _U(0)
    for digit in range(len(ends)):
        count = ends[digit]
        ends[digit] = total
        total += count


@njit(nogil=True, cache=True)
def _sort_by_digit(codes, shift, ends, keys, weights, times, to_keys, to_weights, to_times):
    """Put each key, with its weight and time, where the next one of its code's digit goes."""
    mask = _U(len(ends) - 1)
    for i in range(len(codes)):
        digit = (_U(codes[i]) >> shift) & mask
        place = ends[digit]
        ends[digit] = place + _U(1)
        to_keys[place] = keys[i]
        if weights is not None:
            to_weights[place] = weights[i]
        if times is not None:
            to_times[place] = times[i]


@njit(nogil=True, cache=True)
def _merge(
    keys, weights, times, first, column_bits, kept, offsets, to_columns, to_weights, to_times
):
    """Append a sorted bucket whose first row is `first`, equal keys as one.

    Keys [3, 3, 5] with weights [1, 2, 4] and column_bits = 2 give columns [3, 1], weights [3, 4],
    and one entry each to rows 0 and 1. Returns the number of entries so far.
    """
    mask = (_U(1) << _U(column_bits)) - _U(1)
    i = 0
    while i < len(keys):
        key = _U(keys[i])
        end = i + 1
        while end < len(keys) and _U(keys[end]) == key:
            end += 1
        to_columns[kept] = key & mask
        if weights is not None:
            to_weights[kept] = weights[i] if end == i + 1 else _sum(weights[i:end])
        if times is not None:
            to_times[kept] = times[i] if end == i + 1 else times[i:end].min()
        kept += _U(1)
        offsets[first + (key >> _U(column_bits)) + _U(1)] = kept
        i = end
    return kept


@njit(nogil=True, cache=True)
def _sum(values):
    total = 0.0
    for value in np.sort(values):
        total += value
    return total
