"""How much sampled answers repeat themselves: the first thing to be seen of a collapsed policy."""

import numpy as np
import pyarrow as pa

_N = 4
_BITS = 64 // _N


def repetition(token_ids: pa.ListArray) -> np.ndarray:
    """Each response's share of 4-grams that it has said before, float64 [responses], 0 to 1.

    Seq-rep-4 (https://arxiv.org/abs/1908.04319). NaN where a response has fewer than 4 tokens.
    Ids are taken modulo 2^16, so different 4-grams may rarely count as one.
    """
    lengths = np.asarray(token_ids.value_lengths())
    # Four ids then fit one 64-bit number, and sorting numbers is all that it takes.
    ids = token_ids.flatten().to_numpy().astype(np.uint64) % (1 << _BITS)
    row = np.repeat(np.arange(len(lengths)), lengths)
    if len(ids) < _N:
        return np.full(len(lengths), np.nan)
    inside = row[: 1 - _N] == row[_N - 1 :]
    grams = np.zeros(len(ids) - _N + 1, np.uint64)
    for place in range(_N):
        grams = (grams << np.uint64(_BITS)) | ids[place : place + len(grams)]
    grams, row = grams[inside], row[: 1 - _N][inside]
    order = np.lexsort((grams, row))
    grams, row = grams[order], row[order]
    again = (grams[1:] == grams[:-1]) & (row[1:] == row[:-1])
    repeated = np.bincount(row[1:][again], minlength=len(lengths))
    count = np.maximum(lengths - _N + 1, 0)
    with np.errstate(invalid="ignore"):
        return repeated / count
