"""The Python interface: `cluster` and `open` lead to a `Run`, whose results are tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ictc.analytics.extra import analysis_packages
from ictc.config import EngineName
from ictc.errors import ConfigError
from ictc.interface.caller import Caller, telling_errors
from ictc.interface.page import ReportPage
from ictc.interface.session import recluster_images, run_images, suggest_for
from ictc.interface.settings import (
    Place,
    build_page_options,
    build_recluster_by_name,
    build_run,
    build_suggest,
    to_location,
)
from ictc.report.options import EmbeddingMethod
from ictc.runs.reader import find_run_directories
from ictc.runs.shards import resolve_shard
from ictc.storage.json_files import read_json
from ictc.suggesting.request import SuggestRequest

if TYPE_CHECKING:
    import pandas as pd


@telling_errors
def cluster(
    images: Place,
    *,
    output_dir: Place,
    criterion: str | None = None,
    num_clusters: int | Sequence[int] | None = None,
    engine: EngineName | None = None,
    **settings: Any,
) -> Run:
    """Caption every image, label it, make K named clusters of the labels and assign every image to one.

    Does what `ictc run` does: the same call again resumes, and what is up to date is never redone. An interrupt stops
    it in order.

    Args:
        images: Folder, URL, pattern of tar shards, or table, as `--ads_dir` and `--images` take them.
        output_dir: Folder or URL for the results.
        criterion: What to cluster by, in words. Unset: the track's own.
        num_clusters: K, or several for nested levels, such as [5, 20]. Unset: 5, or as many as `clusters` has.
        engine: "vllm", "openai", "lite" or "scripted". Unset: "vllm".
        **settings: Any others of `ictc run`, by the names of the flags; None leaves one out.

    Raises:
        IctcError: what the command would end with, in the same line.
        KeyboardInterrupt: after an interrupt, once everything has stopped; the same call resumes.
    """
    chosen = {"criterion": criterion, "num_clusters": num_clusters, "engine": engine}
    asked = resolve_shard(build_run(images, output_dir=output_dir, given={**chosen, **settings}), os.environ)
    (summary,) = run_images(asked, Caller())
    return Run(summary.directory)


@telling_errors
def suggest(images: Place, *, output_dir: Place | None = None, **settings: Any) -> pd.DataFrame:
    """Propose criteria by which images could be sorted, and tell how well each splits a sample of them.

    Does what `ictc suggest --ads_dir` does; an interrupt stops it in order, and the same call resumes.

    Args:
        images: Folder, URL, pattern of tar shards, or table, as `--ads_dir` and `--images` take them.
        output_dir: Folder for the sample and the answers. Unset: below ~/.local/state/ictc/suggest.
        **settings: Any others of `ictc suggest`, by the names of the flags; None leaves one out.

    Returns:
        A row a criterion, those that split the sample first, with the columns of `suggestions.json`.

    Raises:
        IctcError: what the command would end with, in the same line.
        KeyboardInterrupt: after an interrupt, once everything has stopped; the same call resumes.
    """
    return _suggested(build_suggest(images, is_run=False, output_dir=output_dir, given=settings))


def _suggested(request: SuggestRequest) -> pd.DataFrame:
    with analysis_packages():
        import pandas as pd
    return pd.DataFrame(read_json(suggest_for(request, Caller()))["criteria"])


@telling_errors
def open_run(directory: Place) -> Run:
    """Open a run directory of one track, whoever made it: `ictc.open`.

    Args:
        directory: The run directory, or a folder with one inside.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = find_run_directories([Path(to_location(directory, name="directory"))], nested=False)
    if len(found) > 1:
        names = ", ".join(str(one.path) for one in found)
        raise ConfigError(f"{directory} holds several runs, and a Run is one; open one of {names}")
    return Run(found[0].path)


class Run:
    """A run of one track in its directory.

    The tables are read from the exported files when they are first asked for, and kept. They need the extra `analysis`.

    Attributes:
        directory: Where everything lies; `docs/outputs.md` describes the files.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()

    def __repr__(self) -> str:
        return f"ictc.open({str(self.directory)!r})"

    @cached_property
    @telling_errors
    def results(self) -> pd.DataFrame:
        """A row an image with a cluster, in the order of the collection, with the columns of `results.parquet`.

        "cluster" is a category, in the order of `clusters`. With levels, "level.NAME" has the cluster of each coarser
        level, as a category in the order of `levels`, in place of "cluster_path".

        Raises:
            ConfigError: Step 3 has not finished, or pandas is missing.
            StorageError: a file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_results

            return load_results(self.directory).rows

    @cached_property
    @telling_errors
    def none(self) -> pd.DataFrame:
        """A row an image that no cluster fits, with the columns of `results` but the cluster; `rejected` has them, too.

        Raises:
            ConfigError: Step 3 has not finished, or pandas is missing.
            StorageError: a file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_results

            return load_results(self.directory).none.drop(columns=["cluster_id", "cluster"])

    @cached_property
    @telling_errors
    def clusters(self) -> pd.DataFrame:
        """A row a cluster, in their order: cluster_id, name, description, and size, the number of its images.

        Raises:
            ConfigError: Step 3 has not finished, or pandas is missing.
            StorageError: a file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_clusters

            return load_clusters(self.directory)

    @cached_property
    @telling_errors
    def levels(self) -> pd.DataFrame:
        """A row a cluster of every level, the coarsest first: level, cluster_id, name, description, parent and size.

        "parent" is the cluster_id on the level above. There is no row without levels.

        Raises:
            ConfigError: Step 3 has not finished, or pandas is missing.
            StorageError: a file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_levels

            return load_levels(self.directory)

    @cached_property
    @telling_errors
    def labels(self) -> pd.DataFrame:
        """A row a labeled image, in the order of the collection: image_id and label.

        Raises:
            ConfigError: pandas is missing.
            StorageError: Step 2a has not finished, or the file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_labels

            return load_labels(self.directory)

    @cached_property
    @telling_errors
    def rejected(self) -> pd.DataFrame:
        """A row an image without a cluster: what it is, and in "reason" why.

        The columns are image_id, image_path, platform, ad_format, timestamp, outcome ("none" if no cluster fits,
        "ui_only", "broken" or "rejected"), stage and reason.

        Raises:
            ConfigError: pandas is missing.
            StorageError: Step 1 has not finished, or a file is damaged.
        """
        with analysis_packages():
            from ictc.analytics.results import load_filtered

            return load_filtered(self.directory)

    @telling_errors
    def recluster(
        self,
        *,
        output_dir: Place,
        num_clusters: int | Sequence[int] | None = None,
        criterion: str | None = None,
        **settings: Any,
    ) -> Run:
        """Make other clusters of the same images, without looking at them again.

        Does what `ictc recluster` does. This run is only read.

        Args:
            output_dir: New folder for the results.
            num_clusters: K, or several for nested levels, such as [5, 20]. Unset: 10, or as many as `clusters` has.
            criterion: What to cluster by, in words. Unset: as in this run.
            **settings: Any others of `ictc recluster`, by the names of the flags; None leaves one out.

        Raises:
            IctcError: what the command would end with, in the same line.
            KeyboardInterrupt: after an interrupt, once everything has stopped; the same call goes on.
        """
        chosen = {"num_clusters": num_clusters, "criterion": criterion}
        request = build_recluster_by_name(self.directory, output_dir=output_dir, given={**chosen, **settings})
        (summary,) = recluster_images(request, Caller())
        return Run(summary.directory)

    @telling_errors
    def suggest(self, *, output_dir: Place | None = None, **settings: Any) -> pd.DataFrame:
        """Propose criteria by which the same images could be sorted, from a sample of their captions.

        Does what `ictc suggest --source_dir` does. This run is only read.

        Args:
            output_dir: Folder for the answers. Unset: below ~/.local/state/ictc/suggest.
            **settings: Any others of `ictc suggest`, by the names of the flags; None leaves one out.

        Returns:
            As `ictc.suggest`.

        Raises:
            IctcError: what the command would end with, in the same line.
            KeyboardInterrupt: after an interrupt, once everything has stopped; the same call resumes.
        """
        return _suggested(build_suggest(self.directory, is_run=True, output_dir=output_dir, given=settings))

    @telling_errors
    def report(
        self,
        *others: Run,
        output: Place | None = None,
        ads_dir: Place | None = None,
        max_images: int | None = None,
        max_points: int | None = None,
        embeddings: EmbeddingMethod | None = None,
        seed: int | None = None,
    ) -> ReportPage:
        """Make one page of the clusters with images, search, a map and how it was made; a notebook shows it.

        Does what `ictc report` does; the settings are its flags.

        Args:
            *others: Runs to compare this one with, of other K or other tracks.
            output: The HTML file; replaced if it exists. Unset: report.html in the directory of the run, or
                comparison.html there with others.
            ads_dir: Folder of the images, if they have moved since the run.
            max_images: Most images in the page. Unset: 400.
            max_points: Most images on the map. Unset: 2000.
            embeddings: How captions become vectors: "auto", "minilm" or "tfidf". Unset: "auto".
            seed: Of the samples and of the map. Unset: 42.

        Raises:
            IctcError: what the command would end with, in the same line.
        """
        given = {
            "ads_dir": ads_dir,
            "max_images": max_images,
            "max_points": max_points,
            "embeddings": embeddings,
            "seed": seed,
        }
        from ictc.report import write_report

        options = build_page_options(given)
        default = self.directory / ("comparison.html" if others else "report.html")
        path = default if output is None else Path(to_location(output, name="output"))
        write_report([self.directory, *(one.directory for one in others)], path, options)
        return ReportPage(path.absolute())
