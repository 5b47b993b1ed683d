"""An order in which neighbours are alike: `ordered`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import takes_options

_OPTIMAL = 300  # rows up to which the best turn of every branch is looked for: its time grows with their cube


@takes_options()
def ordered(similarities: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """Return the order of the leaves of an average-linkage tree.

    Parameters
    ----------
    similarities : numpy.ndarray
        Shape (n, n), symmetric, without NaN.

    Returns
    -------
    numpy.ndarray
        Shape (n,): row numbers.
    """
    count = len(similarities)
    if count < 3:
        return np.arange(count)
    from scipy.cluster.hierarchy import leaves_list, linkage  # scikit-learn brings it

    apart = similarities.max() - similarities[np.triu_indices(count, 1)]
    tree = linkage(np.maximum(apart, 0).astype(np.float64), "average", optimal_ordering=count <= _OPTIMAL)
    return np.asarray(leaves_list(tree), dtype=np.intp)
