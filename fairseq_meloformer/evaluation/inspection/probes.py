"""What the summaries hold: principal components, linear probes of attributes, nearest bars."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.summaries.statistics import principal_components

Floats = NDArray[np.float64]

_HELD_OUT: Final = 4  # every fourth song
_PENALTIES: Final = 10.0 ** np.arange(-3, 5)
_FEWEST_BARS: Final = 20


def layer_names(layers: int) -> list[str]:
    """Names of the views of the summaries: each layer, counted from 0, and all together."""
    return [*(f"layer {layer}" for layer in range(layers)), "all layers"]


def views(values: Tensor) -> list[Tensor]:
    """Views (bars, channels) of standardised summaries (bars, layers, dim), as `layer_names` names them."""
    return [*values.unbind(1), values.flatten(1)]


def components(values: Tensor) -> list[dict[str, Any]]:
    """Per view the shares of variance that the first k components explain, and two coordinates of every bar."""
    found = []
    for name, view in zip(layer_names(values.shape[1]), views(values), strict=True):
        most = min(view.shape)
        pca = principal_components([view[:, None]], most)
        explained = pca.explained.tolist()
        found.append(
            {
                "view": name,
                "explained": explained,
                "for_90": 1 + sum(share < 0.9 for share in explained[:-1]),
                "for_99": 1 + sum(share < 0.99 for share in explained[:-1]),
                "coordinates": pca.project(view[:, None])[:, :2].numpy(),
            }
        )
    return found


def decodability(values: Tensor, songs: Tensor, attributes: Floats) -> list[dict[str, Any]]:
    """How well each attribute of a bar is read from its summary by ridge regression.

    The penalty is chosen by generalised cross-validation (Golub, Heath and Wahba 1979) on the training songs; scores
    are of songs that the regression has not seen.

    Args:
        values: (bars, layers, dim) standardised summaries.
        songs: (bars,) number of each bar's song.
        attributes: (bars, axes), NaN where nothing was measured.

    Returns:
        A row per view and axis: `view`, `axis`, `bars` that were scored, `r2`, `correlation`; the scores are None
        where too few bars could be measured or the attribute never changes.
    """
    held_out = (songs % _HELD_OUT == _HELD_OUT - 1).numpy()
    rows = []
    for name, view in zip(layer_names(values.shape[1]), views(values), strict=True):
        x = view.numpy()
        for column, axis in enumerate(AXES):
            y = attributes[:, column]
            known = ~np.isnan(y)
            train, test = known & ~held_out, known & held_out
            scores: dict[str, float | None] = {"r2": None, "correlation": None}
            if min(train.sum(), test.sum()) >= _FEWEST_BARS and np.ptp(y[train]) > 0 and np.ptp(y[test]) > 0:
                scores = _scores(y[test], ridge(x[train], y[train])(x[test]))
            rows.append({"view": name, "axis": axis, "bars": int(test.sum()), **scores})
    return rows


def _scores(truth: Floats, guess: Floats) -> dict[str, float | None]:
    error, spread = float(np.square(truth - guess).sum()), float(np.square(truth - truth.mean()).sum())
    correlation = float(np.corrcoef(truth, guess)[0, 1]) if np.ptp(guess) > 0 else 0.0
    return {"r2": 1 - error / spread, "correlation": correlation}


def ridge(x: Floats, y: Floats) -> Callable[[Floats], Floats]:
    """Ridge regression of y (rows,) on x (rows, channels) with an intercept: a function of new rows."""
    centre, offset = x.mean(0), float(y.mean())
    u, s, vt = np.linalg.svd(x - centre, full_matrices=False)
    target = u.T @ (y - offset)
    outside = float(np.square(y - offset).sum() - np.square(target).sum())

    def error(penalty: float) -> float:
        shrunk = s**2 / (s**2 + penalty)
        left = outside + float(np.square((1 - shrunk) * target).sum())
        return left / max(len(x) - 1 - float(shrunk.sum()), 1e-9) ** 2

    penalty = min((_PENALTIES * len(x)).tolist(), key=error)
    weights = vt.T @ (target * s / (s**2 + penalty))

    def read(rows: Floats) -> Floats:
        guess: Floats = (rows - centre) @ weights + offset
        return guess

    return read


def neighbours(values: Tensor, songs: Tensor, attributes: Floats, count: int = 3, most: int = 1500) -> dict[str, Any]:
    """Whether bars whose summaries are near each other sound alike.

    Args:
        values: (bars, layers, dim) standardised summaries.
        songs: (bars,) number of each bar's song; neighbours are of other songs.
        attributes: (bars, axes).
        count: neighbours of a bar to name.
        most: bars to look at, evenly spread.

    Returns:
        Per axis the mean difference between a bar and its nearest one as a share of that between bars at random
        (`difference`: 0 is alike, 1 is chance), the numbers of the `bars`, and their `nearest` (bars, count).
    """
    chosen = torch.linspace(0, len(values) - 1, min(most, len(values))).round().long()
    flat = torch.nn.functional.normalize(values[chosen].flatten(1), dim=1)
    likeness = flat @ flat.T
    same = songs[chosen][:, None] == songs[chosen]
    nearest = likeness.masked_fill(same, -torch.inf).topk(min(count, len(chosen) - 1), dim=1).indices
    own = attributes[chosen.numpy()]
    near = np.abs(own - own[nearest[:, 0].numpy()])
    chance = np.abs(own - np.roll(own, len(own) // 2, axis=0))
    difference = {axis: _ratio(near[:, column], chance[:, column]) for column, axis in enumerate(AXES)}
    return {"difference": difference, "bars": chosen.tolist(), "nearest": chosen[nearest].tolist()}


def _ratio(part: Floats, whole: Floats) -> float | None:
    part, whole = part[~np.isnan(part)], whole[~np.isnan(whole)]
    return float(part.mean() / whole.mean()) if len(part) and len(whole) and whole.mean() > 0 else None


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's correlation of what both have; None of fewer than three pairs or of a constant."""
    one, other = np.array(first, dtype=np.float64), np.array(second, dtype=np.float64)
    known = ~np.isnan(one) & ~np.isnan(other)
    if known.sum() < 3 or min(np.ptp(one[known]), np.ptp(other[known])) == 0:
        return None
    return float(np.corrcoef(one[known], other[known])[0, 1])
