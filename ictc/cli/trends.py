"""`ictc trends`: how the clusters' shares shift over time and between advertisers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages

if TYPE_CHECKING:
    import pandas as pd

    from ictc.analytics.results import RunResults
    from ictc.analytics.trends import Trends
    from ictc.validation.result import FoundValidation

MOST_BRANDS = 20
MOST_SHIFTS = 10


def trends(
    directory: Path,
    /,
    *,
    by: Literal["day", "week", "month", "brand"],
    min_ads: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    level: str | None = None,
    output_dir: Path | None = None,
) -> None:
    """Tell the clusters' shares over time or by advertiser, and their shifts with confidence intervals.

    Shares have Wilson intervals, shifts Newcombe intervals, each of 95 %. A period is compared with the one
    listed before it, a brand with all other ads. Where people have coded a sample (ictc validate), shares and shifts
    corrected for the model's errors follow. Examples:

    ictc trends out --by month

    ictc trends out_levels --by month --level coarse

    ictc trends out --by brand --min_ads 50 --output_dir out_trends

    Args:
        directory: --output_dir of a run of one track.
        by: Weeks begin on Monday; times are UTC; spellings of one brand are counted together.
        min_ads: Leave out periods and brands with fewer ads.
        level: Of nested clusters, the level whose clusters count. Unset: the finest.
        output_dir: Folder for the table as CSV and JSON.
    """
    with analysis_packages():
        from ictc.analytics.results import find_single_results, load_results
        from ictc.analytics.trends import measure_trends
        from ictc.validation.result import find_validation
    columns = ["brand" if by == "brand" else "timestamp"]
    run = load_results(find_single_results(directory), columns, level=level)
    measured = measure_trends(run.named, by, min_ads)
    print_trends(run, measured, min_ads)
    validation = find_validation(run.directory, columns, level=run.level)
    corrected = None if validation is None else tell_corrected(validation, measured)
    if output_dir is not None:
        write_trends(run, measured, output_dir, corrected)
        print(f"\nWritten to {output_dir}")


def print_trends(run: RunResults, measured: Trends, min_ads: int) -> None:
    """Print the shares as a matrix and the largest shifts for people."""
    from ictc.analytics.intervals import CONFIDENCE
    from ictc.analytics.tables import MOST_ROWS, format_table, printable

    by, test = measured.by, measured.test
    print(f"{run.name}: {test.num_items:,} images by {by}")
    for count, why in ((measured.num_unknown, "unknown"), (measured.num_small, f"with fewer than {min_ads:,} ads")):
        if count:
            print(f"  left out: {count:,} ({by} {why})")
    if test.degrees_of_freedom:
        p_value = f"p {test.p_value:.2g}" + (" (rough: few ads a cell)" if test.is_approximate else "")
        print(f"  {by} × cluster: χ² {test.statistic:,.1f}, {p_value}, bias-corrected V {test.cramers_v_corrected:.3f}")
    print("\nShares of the clusters")
    for number, name in enumerate(measured.counts.columns, 1):
        print(f"  [{number}] {printable(name)}")
    print("\n" + format_table(share_matrix(measured), most_rows=MOST_BRANDS if by == "brand" else MOST_ROWS))
    versus = "all other ads" if by == "brand" else f"the {by} listed before"
    shifts, num_shifts = clear_shifts(measured.shares, by), int(measured.shares["shift"].notna().sum())
    print(f"\n{len(shifts):,} of {num_shifts:,} shifts, in points against {versus}, have a 95 % interval without 0")
    print(f"  by chance alone about {num_shifts * (1 - CONFIDENCE):,.0f} would")
    if not shifts.empty:
        print(format_table(shifts, most_rows=MOST_SHIFTS))


def tell_corrected(validation: FoundValidation, measured: Trends) -> pd.DataFrame | None:
    """Print the shares corrected by what coders say, or why there are none, and return them."""
    from ictc.analytics.tables import MOST_ROWS, format_table
    from ictc.validation.over_time import correct_trends

    if validation.codings is None:
        print(f"\n{validation.problem}")
        return None
    corrected = correct_trends(validation.codings, measured)
    print(f"\nCorrected shares, by what {validation.source}, with intervals of 95 %; those above are raw")
    most_rows = MOST_BRANDS if measured.by == "brand" else MOST_ROWS
    print(format_table(corrected_matrix(corrected, measured.by), most_rows=most_rows))
    shifts = clear_shifts(corrected.rename(columns={"corrected": "share"}), measured.by)
    print(f"\n{len(shifts):,} of {int(corrected['shift'].notna().sum()):,} corrected shifts have an interval without 0")
    if not shifts.empty:
        print(format_table(shifts, most_rows=MOST_SHIFTS))
    return corrected


def corrected_matrix(corrected: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return corrected shares with their intervals as text, a row a group and a column a cluster by its number."""
    import pandas as pd

    rows = []
    for name, group in corrected.groupby(by, sort=False):
        cells = [
            f"{share:.0%} ({low:.0%}–{high:.0%})"
            for share, low, high in group[["corrected", "low", "high"]].itertuples(index=False)
        ]
        names = [f"[{number}]" for number in range(1, len(cells))] + ["none"]
        rows.append({by: name, "coded": group["coded"].iloc[0], **dict(zip(names, cells, strict=True))})
    return pd.DataFrame(rows)


def share_matrix(measured: Trends) -> pd.DataFrame:
    """Return the shares as text, a row a group and a column a cluster by its number."""
    counts = measured.counts
    shares = counts.div(counts.sum(axis=1), axis=0).map("{:.1%}".format)
    shares.columns = [f"[{number}]" for number in range(1, len(counts.columns) + 1)]
    shares.insert(0, "ads", counts.sum(axis=1))
    return shares.rename_axis(measured.by).reset_index()


def clear_shifts(shares: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return the shifts whose interval leaves out 0 as text, the largest first."""
    from ictc.analytics.tables import format_columns

    clear = shares[shares["clear"]].sort_values("shift", key=abs, ascending=False, kind="stable")
    formats = {"share": "{:.1%}", **dict.fromkeys(("shift", "shift_low", "shift_high"), "{:+.1%}")}
    return format_columns(clear, {by: "", **formats, "cluster": ""})


def write_trends(run: RunResults, measured: Trends, output_dir: Path, corrected: pd.DataFrame | None) -> None:
    """Write the shares as CSV and JSON."""
    from ictc.analytics.tables import to_records, write_csv
    from ictc.storage.json_files import write_json

    write_csv(measured.shares, output_dir / f"trends_{measured.by}.csv")
    summary = {
        "run": run.name,
        "by": measured.by,
        "images": measured.test.num_items,
        "unknown": measured.num_unknown,
        "of_small_groups": measured.num_small,
        "chi_square": measured.test.statistic,
        "p_value": measured.test.p_value,
        "cramers_v": measured.test.cramers_v,
        "cramers_v_corrected": measured.test.cramers_v_corrected,
        "shares": to_records(measured.shares),
    }
    if corrected is not None:
        write_csv(corrected, output_dir / f"trends_{measured.by}_corrected.csv")
        summary["corrected"] = to_records(corrected)
    write_json(output_dir / f"trends_{measured.by}.json", summary)
