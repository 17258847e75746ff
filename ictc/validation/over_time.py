"""Corrected shares and shifts of what `ictc trends` tells of: periods, or advertisers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ictc.analytics.trends import Trends, group_images
from ictc.validation.codings import Codings
from ictc.validation.shares import correct_shares, correct_shifts, count_cells


def correct_trends(codings: Codings, measured: Trends) -> pd.DataFrame:
    """Return the corrected shares of the groups that were measured, a row a group and cluster, in their order.

    Columns: the group, `cluster`, `raw`, `corrected`, `low`, `high`, `coded` as from `correct_shares`, and the shift
    of the corrected share with its interval, `shift`, `shift_low`, `shift_high`: over time against the period listed
    before, for a brand against all other ads; `clear` says that the interval leaves out 0.
    """
    cells = count_cells(codings, group_images(codings.run.judged, measured.by).astype("category"))
    places = [cells.groups.index(str(name)) for name in measured.counts.index]
    chosen = cells.take(places)
    base = cells.others(places) if measured.by == "brand" else chosen.take([0, *range(len(places) - 1)])
    shift, low, high = correct_shifts(chosen, base)
    if measured.by != "brand":  # the first one has none before it
        shift[0], low[0], high[0] = np.nan, np.nan, np.nan
    shares = correct_shares(chosen).rename(columns={"group": measured.by})
    return shares.assign(
        shift=shift.ravel(),
        shift_low=low.ravel(),
        shift_high=high.ravel(),
        clear=((low > 0) | (high < 0)).ravel(),
    )
