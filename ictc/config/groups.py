"""Which images, where to, what to cluster by, and how carefully: a class for each heading of `--help`."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from cyclopts import Parameter
from pydantic import BeforeValidator, Field, model_validator

from ictc.config.base import SettingsGroup
from ictc.config.levels import AUTO, MIN_CLUSTERS, MOST_AT_ONCE, LevelNames, LevelSize, NumClusters, size_levels

DEFAULT_TOP_HOOKS = 60
DEFAULT_NUM_PROPOSALS = 5
LEAST_TO_COMPARE = 3
"""Fewer sets of clusters don't tell how far they agree."""


def parse_location(value: Any) -> Any:
    """Return a URL as text, as a path would lose its double slash, and anything else unchanged.

    Raises:
        ValueError: the URL holds a password, which would get into logs and results.
    """
    if not isinstance(value, str) or "://" not in value:
        return value if value is None else Path(value)
    if ":" in value.partition("://")[2].partition("/")[0].rpartition("@")[0]:
        raise ValueError(
            "--ads_dir, --images, --output_dir: no password in a URL; services have places for credentials"
        )
    return value


Location = Annotated[Path | str, BeforeValidator(parse_location)]
"""A folder or file of this machine, or a URL."""


class InputSettings(SettingsGroup):
    """Which images."""

    ads_dir: Location | None = Field(
        description="Folder or URL (s3://, gs://, hf://, …) of images: one folder an ad with its full_data.json, plain "
        "images, or tar shards, also by a pattern such as shards-{000..099}.tar. With --images, where its paths start."
    )
    images: Location | None = Field(
        None,
        description="Table of images instead: .csv, .tsv, .parquet, .jsonl or .json with a column path, image, url or "
        "file_name, an id if wanted, and any others, which are kept to the results.",
    )
    allow_schemes: str = Field(
        "",
        description="Of addresses in --images, what else may be read besides the web and the table's own kind, such as "
        "s3,gs; file: any file of this machine, not only those below --ads_dir.",
    )
    layout: Literal["auto", "observations", "flat", "tar"] = Field(
        "auto",
        description="observations: one folder an ad; flat: every image below --ads_dir is one; tar: WebDataset shards.",
    )
    frames: Literal["first", "all"] = Field(
        "first", description="Of an ad with several frames, caption the first or each as an image of its own."
    )
    max_images: int | None = Field(None, ge=1, description="Only the first N images, for a trial.")
    start_index: int = Field(0, ge=0, description="First image of this shard, counted in sorted order.")
    end_index: int | None = Field(None, ge=0, description="End of this shard, exclusive; past the end means the end.")
    num_shards: int | None = Field(None, ge=1, description="Divide the collection into so many equal shards.")
    shard_index: int | None = Field(None, ge=0, description="Which of them this run is about, from 0.")
    shard_from: Literal["env"] | None = Field(
        None,
        description="env: take --shard_index, and --num_shards unless given, from SLURM_ARRAY_TASK_ID and "
        "SLURM_ARRAY_TASK_COUNT, or from RANK and WORLD_SIZE.",
    )
    rediscover: bool = Field(
        False, exclude=True, description="Go on with a shard although images were added to or removed from --ads_dir."
    )
    cache_dir: Path | None = Field(
        None, description="Folder for copies of images that are no files here. Unset: ~/.cache/ictc/images."
    )
    cache_gb: float = Field(20, gt=0, description="Size of that folder; what was used least recently goes first.")
    download_concurrency: int = Field(64, ge=1, le=1024, description="Most images to fetch at a time.")
    downloads_per_host: int = Field(8, ge=1, le=1024, description="Most images to fetch at a time from one web server.")
    download_timeout_s: float = Field(60, gt=0, description="Longest time for an image from the web.")
    allow_private_addresses: bool = Field(
        False, description="Let images come from web servers of this machine and its network, and through a proxy."
    )

    @model_validator(mode="before")
    @classmethod
    def default_ads_dir(cls, values: Any) -> Any:
        """--images needs no --ads_dir; without either, --ads_dir is what is missing."""
        if isinstance(values, dict) and values.get("images") is not None:
            return {"ads_dir": None, **values}
        return values

    @model_validator(mode="after")
    def check_range(self) -> Self:
        if self.end_index is not None and self.end_index < self.start_index:
            raise ValueError(f"--end_index {self.end_index} lies before --start_index {self.start_index}")
        by_number = any(value is not None for value in (self.num_shards, self.shard_index, self.shard_from))
        if by_number and (self.start_index or self.end_index is not None):
            raise ValueError("--num_shards and --start_index/--end_index choose a shard twice; give one of them")
        if self.shard_from is None and (self.num_shards is None) != (self.shard_index is None):
            raise ValueError("--num_shards and --shard_index belong together, such as --num_shards 4 --shard_index 0")
        if self.shard_from is not None and self.shard_index is not None:
            raise ValueError("--shard_from env takes the index from the environment; leave out --shard_index")
        if self.num_shards is not None and self.shard_index is not None and self.shard_index >= self.num_shards:
            last = self.num_shards - 1
            raise ValueError(
                f"--shard_index {self.shard_index} of --num_shards {self.num_shards}: the last one is {last}"
            )
        return self

    @property
    def allowed_schemes(self) -> frozenset[str]:
        """The protocols of `allow_schemes`."""
        return frozenset(
            one.strip().lower().removesuffix("://") for one in self.allow_schemes.split(",") if one.strip()
        )

    @property
    def source(self) -> str:
        """What messages call the images' whereabouts."""
        return str(self.ads_dir if self.images is None else self.images)

    @property
    def is_part(self) -> bool:
        """Whether a part of the collection was asked for, so that clusters can't be made from it."""
        return self.start_index > 0 or self.end_index is not None or self.num_shards is not None


def user_folder(kind: Literal["cache", "state"]) -> Path:
    """Return the folder for what ictc keeps for this user, where the XDG base directories say."""
    default = {"cache": ".cache", "state": ".local/state"}[kind]
    return Path(os.environ.get(f"XDG_{kind.upper()}_HOME") or Path.home() / default) / "ictc"


def default_work_dir(url: str) -> Path:
    """Return a folder of this machine for the run behind a URL, the same for the same URL."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", url).strip("-")[-60:]
    return user_folder("state") / "runs" / f"{name}-{sha256(url.rstrip('/').encode()).hexdigest()[:12]}"


class OutputSettings(SettingsGroup):
    """Where the results go."""

    output_dir: Path = Field(
        description="Folder for the results; made if missing. The same command again resumes. Of a URL (s3://, …), the "
        "exports go there, and the run itself lies in --work_dir."
    )
    work_dir: Path | None = Field(
        None, description="With --output_dir URL: folder for the run. Unset: below ~/.local/state/ictc/runs."
    )
    upload_url: Annotated[str | None, Parameter(show=False)] = Field(None, description="Where the exports go besides.")
    report: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Write report.html after Step 3; auto: unless the engine is scripted.",
    )
    shard_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Write into this subfolder of --output_dir."
    )

    @model_validator(mode="before")
    @classmethod
    def split_url(cls, values: Any) -> Any:
        """The journal needs a real file system: of a URL, a folder of this machine takes the place."""
        location = parse_location(values.get("output_dir")) if isinstance(values, dict) else None
        if not isinstance(location, str):
            return values
        work_dir = values.get("work_dir") or default_work_dir(location)
        return {**values, "output_dir": work_dir, "work_dir": work_dir, "upload_url": location}


class ClusteringSettings(SettingsGroup):
    """What to cluster by."""

    track: str | None = Field(
        None,
        description="marketing (1), identity (2), cultural (3), general, texts, or a Python file with a track of your "
        "own; several, separated by commas, each into its own folder. Unset: what --output_dir holds already, else "
        "general if --criterion is given, else marketing.",
    )
    criterion: str | None = Field(
        None, min_length=1, description="What to cluster by, in words. Unset: the track's own."
    )
    num_clusters: NumClusters = Field(
        5,
        description="K, the number of clusters; auto: the fewest on which several sets of clusters agree best; several "
        "numbers, such as 5,20,80: nested levels, of which images are assigned to the finest.",
    )
    levels: LevelNames | None = Field(
        None,
        description="Names of nested levels, the coarsest first, such as coarse,medium,fine. With one --num_clusters, "
        "that of the finest, the coarser numbers follow from it.",
    )
    max_clusters: int = Field(
        12, ge=MIN_CLUSTERS, le=MOST_AT_ONCE, description="With --num_clusters auto: the most that are tried."
    )
    top_hooks: int | None = Field(
        None,
        ge=2,
        description="How many of the most frequent labels Step 2b reads. Unset: 60, or twice K if that is more.",
    )
    synthesize_runs: int | None = Field(
        None,
        ge=1,
        le=100,
        description="How many sets of clusters Step 2b asks for, each from another sample of the labels. Of several, "
        "labels that most of them put together make a cluster, which is named then. Unset: 1; 5 with --guide, "
        "--num_clusters auto, levels or more than 100 clusters.",
    )
    guide: Path | None = Field(
        None,
        description="YAML file of what is known of the clusters: clusters that must be there, and labels that are "
        "together or apart.",
    )
    clusters: Path | None = Field(
        None,
        description="JSON file of clusters, such as an edited step2b_dynamic_clusters.json: Step 2b takes them as they "
        "are.",
    )
    allow_none: bool = Field(
        False, description="Let Step 3 say that no cluster fits an image; such images are counted apart."
    )
    multi_label: bool = Field(
        False,
        description="Let Step 3 put an image into every cluster that fits it, with a score from 1 to 5 each, instead "
        "of the one that fits best.",
    )
    assign_target: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Let Step 3 ask about some images only and infer the others, such that at least this share has the "
        "answer that the model would have given; .99, say. Unset, or 1: ask about all.",
    )
    assign_delta: float = Field(
        0.05, gt=0, lt=1, description="With --assign_target: probability with which that may be missed."
    )
    evidence: bool = Field(
        False,
        description="Back each assignment with a quote from the caption or the words in the image (Step 3b), and give "
        "each cluster two rules: what belongs to it and what does not.",
    )

    @property
    def num_proposals(self) -> int:
        """How many sets of clusters Step 2b asks for."""
        groups_first = self.guide is not None or self.chooses_number or bool(self.level_sizes) or self.is_divided
        return self.synthesize_runs or (DEFAULT_NUM_PROPOSALS if groups_first else 1)

    @property
    def chooses_number(self) -> bool:
        """Whether K is for Step 2b to choose."""
        return self.num_clusters == AUTO

    @property
    def most_clusters(self) -> int:
        """K, or the most that are tried, or those of the finest level."""
        if self.chooses_number:
            return self.max_clusters
        levels = self.level_sizes
        return levels[-1].num_clusters if levels else int(self.num_clusters)

    @property
    def is_divided(self) -> bool:
        """Whether there are more clusters than one answer can hold."""
        return self.most_clusters > MOST_AT_ONCE

    @property
    def level_sizes(self) -> tuple[LevelSize, ...]:
        """The levels, the coarsest first; () for clusters that are not nested."""
        return size_levels(self.num_clusters, self.levels)

    @property
    def num_labels(self) -> int:
        """Most labels that Step 2b reads."""
        return self.top_hooks or max(DEFAULT_TOP_HOOKS, 2 * self.most_clusters)

    @model_validator(mode="after")
    def check_guide(self) -> Self:
        if self.guide is not None and self.clusters is not None:
            raise ValueError(
                "--guide is about clusters that are made, and --clusters gives them; leave out one of them"
            )
        if self.guide is not None and self.num_proposals == 1:
            raise ValueError(
                "--guide says which labels are together, so labels are grouped first, by several sets of clusters: "
                "leave out --synthesize_runs 1"
            )
        return self

    @model_validator(mode="after")
    def check_number(self) -> Self:
        if self.chooses_number and self.clusters is not None:
            raise ValueError("--clusters says how many clusters there are; leave out --num_clusters auto")
        if self.chooses_number and self.num_proposals < LEAST_TO_COMPARE:
            raise ValueError(
                "--num_clusters auto compares sets of clusters: leave out --synthesize_runs, or raise it to "
                f"{LEAST_TO_COMPARE} or more"
            )
        return self

    @model_validator(mode="after")
    def check_levels(self) -> Self:
        if self.levels is not None and self.clusters is not None:
            raise ValueError("--clusters says which levels there are; leave out --levels")
        if self.level_sizes and self.clusters is None and self.num_proposals == 1:
            raise ValueError(
                "--synthesize_runs 1 makes no levels: these are groups of labels that several sets of clusters agree "
                "on; leave it out, or ask for one --num_clusters without --levels"
            )
        return self

    @model_validator(mode="after")
    def check_divided(self) -> Self:
        if self.is_divided and self.clusters is None and self.num_proposals == 1:
            raise ValueError(
                f"--synthesize_runs 1 makes at most {MOST_AT_ONCE} clusters, as many as one answer holds; leave it "
                "out, or lower --num_clusters"
            )
        return self

    @model_validator(mode="after")
    def check_assign_target(self) -> Self:
        if self.multi_label and self.assign_target not in (None, 1):
            raise ValueError(
                "--assign_target infers the one cluster of an image, and --multi_label asks for all that fit; leave "
                "one of them out"
            )
        return self

    @model_validator(mode="after")
    def check_top_hooks(self) -> Self:
        flag = "--max_clusters" if self.chooses_number else "--num_clusters"
        if self.clusters is None and self.num_labels < self.most_clusters:
            raise ValueError(
                f"{flag} {self.most_clusters} can't be made from the {self.top_hooks} labels of --top_hooks: raise "
                f"--top_hooks to {2 * self.most_clusters}, or lower {flag}"
            )
        return self


class ControlSettings(SettingsGroup):
    """What to do, and how carefully."""

    steps: str | None = Field(
        None,
        description="Steps to run, of 1,2a,2b,3, and 3b with --evidence (Step 0 always runs). Unset: all; 1,2a for a "
        "part of the collection without --clusters.",
    )
    force_steps: str | None = Field(None, description="Steps to run again even if their results are up to date.")
    retry_rejected: bool = Field(False, description="Try again what earlier runs rejected or found broken.")
    yes: bool = Field(
        False, exclude=True, description="Don't ask before more than an hour of earlier work is done again."
    )
    max_rejected: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Fail when a larger share of a step's images is rejected, copies counted once: from 200 on while "
        "the step runs, and at its end whatever their number, but never for a single one beside good ones.",
    )
    max_broken: float = Field(
        0.5, gt=0, le=1, description="Fail likewise when a larger share of the images is broken; 1 never does."
    )
    access_timeout_s: float = Field(
        600,
        gt=0,
        description="Wait so many seconds while no image can be read (a disk, a network or a login that is gone), then "
        "end; the same command goes on.",
    )
    hang_timeout_s: float = Field(600, gt=0, description="Restart an engine that gives no result for so many seconds.")
    ckpt_vlm: int = Field(1000, ge=1, description="Most captions that a crash may cost.")
    ckpt_llm: int = Field(5000, ge=1, description="Most labels or assignments that a crash may cost.")
    dedupe: Literal["off", "exact", "near"] = Field(
        "exact",
        description="Ask once about what is the same. exact: files of equal bytes share a caption, and ads with equal "
        "captions a label and a cluster; near: so do images that look alike; off: ask about each.",
    )
    combine_tracks: bool = Field(
        False,
        description="With several tracks: one request an image for all of them. Fewer image tokens are computed, but "
        "the tracks' captions are no longer independent of each other.",
    )
    decode_workers: int | None = Field(
        None, ge=1, description="Processes that decode images. Unset: one a core, at most 16."
    )
    seed: int = Field(42, ge=0, description="Seed of every request.")
    verbose: bool = Field(False, description="Log each request; show engine output.")

    @property
    def forced_steps(self) -> tuple[str, ...]:
        """The numbers of `--force_steps`."""
        return tuple(parse_steps(self.force_steps or ""))


def parse_steps(text: str) -> list[str]:
    """Split "1,2a" into its steps, as written."""
    return [step.strip() for step in text.split(",") if step.strip()]
