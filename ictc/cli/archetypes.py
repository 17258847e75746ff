"""`ictc archetypes`: which clusters of different tracks go together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ictc.analytics.extra import analysis_packages
from ictc.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from ictc.analytics.ensemble import Ensemble

MOST_SHOWN = 20


def archetypes(*directories: Path, output_dir: Path | None = None) -> None:
    """Tell which clusters of different tracks go together more often than chance would give.

    The lift of a combination is its count over the one expected if the tracks were independent; the base of both is the
    images that have a cluster in all tracks. Examples:

    ictc archetypes out_all

    ictc archetypes out_marketing out_identity out_cultural --output_dir out_archetypes

    Args:
        directories: --output_dir of runs of different tracks over the same images; tracks below are found.
        output_dir: Folder for all combinations as CSV and JSON.
    """
    with analysis_packages():
        from ictc.analytics.archetypes import find_archetypes
        from ictc.analytics.ensemble import pairwise_agreement
    ensemble = load_tracks(directories)
    combinations, agreement = find_archetypes(ensemble), pairwise_agreement(ensemble)
    print_archetypes(ensemble, combinations=combinations, agreement=agreement)
    if output_dir is not None:
        write_archetypes(ensemble, combinations=combinations, agreement=agreement, output_dir=output_dir)
        print(f"\nWritten to {output_dir}")


def load_tracks(directories: tuple[Path, ...]) -> Ensemble:
    """Read the tracks and fold their images.

    Raises:
        ConfigError: there are not several tracks, or one is there twice.
    """
    from ictc.analytics.ensemble import fold
    from ictc.analytics.results import find_results, load_results

    runs = [load_results(directory, ["image_id"]) for directory in find_results(directories)]
    tracks = [(run.track, run.criterion) for run in runs]
    if len(tracks) < 2 or len(set(tracks)) < len(tracks):
        names = ", ".join(f"{run.name} in {run.directory}" for run in runs) or "none"
        raise ConfigError(f"give two or more tracks, each once, not {names}; ictc consensus combines several K")
    return fold(runs)


def print_archetypes(ensemble: Ensemble, *, combinations: pd.DataFrame, agreement: pd.DataFrame) -> None:
    """Print the tables for people."""
    from ictc.analytics.tables import format_columns, format_table

    print(f"{ensemble.num_images:,} images have a cluster in all of {', '.join(ensemble.names)}")
    if ensemble.num_left_out:
        print(f"  left out: {ensemble.num_left_out:,} (no cluster in some track)")
    names = {"ari": "{:.3f}", "nmi": "{:.3f}", "cramers_v": "{:.3f}", "cramers_v_corrected": "{:.3f}"}
    print("\nAgreement of the tracks\n" + format_table(format_columns(agreement, {"first": "", "second": "", **names})))
    print("\nArchetypes: combinations of clusters, the most frequent first; lift is count over expected")
    formats = {
        "count": "",
        "share": "{:.1%}",
        "expected": "{:,.1f}",
        "lift": "{:.2f}",
        **dict.fromkeys(ensemble.names, ""),
    }
    print(format_table(format_columns(combinations, formats), most_rows=MOST_SHOWN))


def write_archetypes(
    ensemble: Ensemble, *, combinations: pd.DataFrame, agreement: pd.DataFrame, output_dir: Path
) -> None:
    """Write the tables as CSV and together as JSON."""
    from ictc.analytics.tables import to_records, write_csv
    from ictc.storage.json_files import write_json

    write_csv(combinations, output_dir / "archetypes.csv")
    write_csv(agreement, output_dir / "agreement.csv")
    summary = {
        "tracks": ensemble.names,
        "images": ensemble.num_images,
        "left_out": ensemble.num_left_out,
        "archetypes": to_records(combinations),
        "agreement": to_records(agreement),
    }
    write_json(output_dir / "archetypes.json", summary)
