"""`ictc sample`: a few ads of every cluster, for a closer look."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages


def sample(
    directory: Path,
    /,
    *,
    per_cluster: Annotated[int, Parameter(validator=Number(gte=1))] = 10,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 42,
    level: str | None = None,
    output_dir: Path | None = None,
    ads_dir: Path | None = None,
) -> None:
    """Draw ads of every cluster at random: as a CSV file and, where there are images, on one sheet of pictures.

    So it does of the ads that no cluster fits, if there are any. The same seed draws the same ads. Examples:

    ictc sample out --per_cluster 10 --seed 42

    Args:
        directory: --output_dir of a run of one track.
        per_cluster: Ads of each cluster; all, where it has fewer.
        seed: Another seed draws another sample.
        level: Of nested clusters, the level of whose clusters ads are drawn. Unset: the finest.
        output_dir: Folder for sample.csv and contact_sheet.jpg; "sample" in the directory of the run unless given.
        ads_dir: Folder of the images, if they have moved since the run.
    """
    with analysis_packages():
        from ictc.report.images import build_finder
        from ictc.report.sample import SHEET, TABLE, write_sample
        from ictc.report.selection import load_single
        from ictc.report.words import TEXTS, words_for
    results = load_single(directory, level=level)
    folder = output_dir or results.directory / "sample"
    count = write_sample(
        results, build_finder(results.directory, ads_dir=ads_dir), folder, per_cluster=per_cluster, seed=seed
    )
    words = words_for(results.metadata)
    written = [TABLE] if words is TEXTS else [TABLE, SHEET]
    where = ", ".join(str(folder / name) for name in written)
    beside = "" if results.none.empty else " and of those that none fits"
    print(f"{count:,} {words.many} of {len(results.definitions)} clusters{beside}: {where}")
