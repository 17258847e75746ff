"""`ictc validate`: people code a sample of a run, and what they say corrects its shares."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from ictc.analytics.extra import analysis_packages
from ictc.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from ictc.analytics.reliability import Agreement
    from ictc.analytics.results import RunResults
    from ictc.validation.drawing import Sample
    from ictc.validation.result import Validation

PER_CLUSTER, CODERS, SEED = 20, 2, 42
MOST_GROUPS = 12
"""Groups of which shares are printed; all are written."""


def validate(
    directory: Path,
    /,
    *,
    per_cluster: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    coders: Annotated[int | None, Parameter(validator=Number(gte=1, lte=100))] = None,
    seed: Annotated[int | None, Parameter(validator=Number(gte=0, lte=2**32 - 1))] = None,
    level: str | None = None,
    codings: Annotated[list[Path] | None, Parameter(consume_multiple=1)] = None,
    output_dir: Path | None = None,
    ads_dir: Path | None = None,
) -> None:
    """Let people code a sample of a finished run, and correct its shares by what they say.

    The first command draws a sample of each cluster and writes a page a coder, which opens without a network and does
    not tell what the model said. The second reads the files that coders send back, and tells how far they agree with
    each other and with the model, the precision and recall of each cluster, and its share corrected for the model's
    errors, with intervals. Other commands find the result and show corrected shares beside raw ones. Examples:

    ictc validate out --per_cluster 20 --coders 2

    ictc validate out --codings coder_1.json coder_2.json

    Args:
        directory: --output_dir of a run of one track.
        per_cluster: Images of each cluster, and of those that none fits; all, where it has fewer. Unset: 20.
        coders: People who code, each all of the sample. Unset: 2.
        seed: Another seed draws another sample; with the same, a larger sample holds a smaller one. Unset: 42.
        level: Of nested clusters, the level whose clusters are coded. Unset: the finest.
        codings: The files that coders saved, one a coder.
        output_dir: Folder for what is written; "validation" in the directory of the run unless given. Other commands
            look there only.
        ads_dir: Folder of the images, if they have moved since the run.
    """
    with analysis_packages():
        from ictc.analytics.results import find_single_results, load_results
        from ictc.validation.drawing import FOLDER, draw_sample, save_sample
    run = load_results(find_single_results(directory), ["image_id", "platform", "timestamp"])
    folder = output_dir or run.directory / FOLDER
    if codings is None:
        sample = draw_sample(
            run, per_cluster=per_cluster or PER_CLUSTER, seed=SEED if seed is None else seed, level=level
        )
        save_sample(sample, folder)
        pages = write_pages(sample, folder, num_coders=coders or CODERS, ads_dir=ads_dir)
        folders = (("--output_dir", output_dir), ("--ads_dir", ads_dir))
        elsewhere = [word for flag, path in folders if path is not None for word in (flag, str(path))]
        tell_coders(run, pages, elsewhere)
        return
    for flag, value in (("per_cluster", per_cluster), ("coders", coders), ("seed", seed), ("level", level)):
        if value is not None:
            raise ConfigError(f"--{flag} is about drawing a sample; leave it out with --codings")
    compute(run, codings, folder, ads_dir=ads_dir)
    print(tell_where_it_shows(run, folder))


def write_pages(sample: Sample, folder: Path, *, num_coders: int, ads_dir: Path | None) -> Sequence[Path]:
    """Write the coding pages, tell what is in them and return their paths."""
    from ictc.report.coding import write_coding_pages
    from ictc.report.images import build_finder
    from ictc.report.words import words_for

    run = sample.run
    finder = build_finder(run.directory, ads_dir=ads_dir)
    pages = write_coding_pages(sample, finder, folder, num_coders=num_coders)
    item, num_drawn = words_for(run.metadata).item, len(sample.images)
    print(f"{num_drawn:,} of {len(run.judged):,} {item}s drawn, up to {sample.per_cluster:,} a cluster, to be coded by")
    for path in pages.paths:
        print(f"  {path} ({path.stat().st_size / 1e6:,.1f} MB)")
    missing = num_drawn - pages.num_pictured
    if missing and item == "image":
        print(
            f"{missing:,} of the {num_drawn:,} have no image that can be found and read: the pages show what was read"
        )
        print("of them before. If the images have moved, give their folder: --ads_dir")
    return pages.paths


def tell_coders(run: RunResults, pages: Sequence[Path], elsewhere: Sequence[str]) -> None:
    """Print what coders do with their pages, and the command that follows."""
    files = [page.with_suffix(".json").name for page in pages]
    command = shlex.join(["ictc", "validate", str(run.directory), "--codings", *files, *elsewhere])
    print(f"Each coder opens a page of their own in a browser and sends back the file that it saves. Then: {command}")


def tell_where_it_shows(run: RunResults, folder: Path) -> str:
    """Return which other commands show what was found, for people."""
    from ictc.validation.drawing import FOLDER

    if folder.resolve() != (run.directory / FOLDER).resolve():
        return f"Other commands look into {run.directory / FOLDER} only, so they show nothing of it"
    report = shlex.join(["ictc", "report", str(run.directory), "--output", str(run.directory / "report.html")])
    return f"Other commands show corrected shares from now on; a report that is there is made anew with: {report}"


def compute(run: RunResults, paths: Sequence[Path], folder: Path, *, ads_dir: Path | None) -> None:
    """Read what coders said, compute all that it says of the run, tell it and write it."""
    from ictc.report.disagreements import write_disagreements
    from ictc.report.images import build_finder
    from ictc.validation.codings import read_codings
    from ictc.validation.result import RESULT_FILE, save_validation, usual_groupings, validate_run

    codings = read_codings(run, paths)
    for complaint in codings.complaints:
        print(complaint)
    validation = validate_run(codings, usual_groupings(run))
    save_validation(validation, folder)
    sheet = write_disagreements(codings, build_finder(run.directory, ads_dir=ads_dir), folder)
    print_validation(validation)
    print(f"\nDisagreements to look at: {sheet}")
    print(f"Written to {folder}; {RESULT_FILE} has all of it")


def print_validation(validation: Validation) -> None:
    """Print everything for people."""
    from ictc.analytics.tables import format_table

    codings = validation.codings
    coders = "1 coder" if len(codings.coders) == 1 else f"{len(codings.coders)} coders"
    items = f"{codings.item}s"
    print(f"{codings.run.name}, coded by {coders}: {validation.num_coded:,} of {len(codings.run.judged):,} {items}")
    if validation.num_missing:
        print(f"  {validation.num_missing:,} more on which nobody could tell; they are left out")
    print("\nAgreement beyond chance (1 is all, 0 is chance), with intervals of 95 %")
    print(format_table(agreement_table(validation)))
    value, low, high = validation.accuracy
    print(f"\nCoders agree with the model on {value:.1%} of all {items} ({low:.1%} to {high:.1%})")
    print(format_table(cluster_table(validation.clusters[validation.clusters["images"] > 0], items)))
    print("\nShares of the clusters: raw is what the model says, corrected is without its errors")
    for by, shares in validation.shares.groupby("by", sort=False):
        print_shares(str(by), shares)


def agreement_table(validation: Validation) -> pd.DataFrame:
    """Return each agreement as text."""
    import pandas as pd

    named: list[tuple[str, Agreement]] = []
    if validation.alpha is not None:
        named.append(("all coders, Krippendorff's alpha", validation.alpha))
    named += [(f"{one} and {other}, Cohen's kappa", found) for (one, other), found in validation.kappas.items()]
    named += [(f"{name} and the model, Cohen's kappa", found) for name, found in validation.model_kappas.items()]
    rows = [
        (name, number_text(one.value), interval_text(one.low, high=one.high, form="{:.2f}"), one.num_units)
        for name, one in named
    ]
    return pd.DataFrame(rows, columns=["between", "value", "interval", f"{validation.codings.item}s"])


def number_text(value: float) -> str:
    """Return an agreement as text, "–" where it can't be told."""
    return "–" if isnan(value) else f"{value:.2f}"


def interval_text(low: float, *, high: float, form: str = "{:.1%}") -> str:
    """Return an interval as text, "" where it is not known."""
    return "" if isnan(low) else f"{form.format(low)}–{form.format(high)}"


def cluster_table(clusters: pd.DataFrame, items: str) -> pd.DataFrame:
    """Return precision and recall of each cluster as text; `items` is what it holds, such as "images"."""
    import pandas as pd

    columns = {items: clusters["images"], "coded": clusters["coded"]}
    for name in ("precision", "recall"):
        columns[name] = ["" if pd.isna(value) else f"{value:.0%}" for value in clusters[name]]
        ends = zip(clusters[f"{name}_low"], clusters[f"{name}_high"], strict=True)
        columns["95 %" if name == "precision" else "95 % "] = [interval_text(a, high=b, form="{:.0%}") for a, b in ends]
    return pd.DataFrame({**columns, "cluster": clusters["cluster"]})


def print_shares(by: str, shares: pd.DataFrame) -> None:
    """Print the shares of each group of one kind."""
    from ictc.analytics.tables import format_table, printable

    groups = list(shares.groupby("group", sort=False))
    for name, group in groups[:MOST_GROUPS]:
        title = "overall" if by == "all" else f"{by} {printable(str(name))}"
        print(f"\n{title}, {group['coded'].iloc[0]:,} coded")
        print(format_table(share_table(group)))
    if len(groups) > MOST_GROUPS:
        print(f"\n… and {len(groups) - MOST_GROUPS:,} more by {by}")


def share_table(shares: pd.DataFrame) -> pd.DataFrame:
    """Return the raw and corrected shares of one group as text."""
    import pandas as pd

    ends = zip(shares["low"], shares["high"], strict=True)
    return pd.DataFrame(
        {
            "raw": shares["raw"].map("{:.1%}".format),
            "corrected": shares["corrected"].map("{:.1%}".format),
            "95 %": [interval_text(low, high=high) for low, high in ends],
            "cluster": shares["cluster"],
        }
    )
