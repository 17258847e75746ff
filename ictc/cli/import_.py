"""`ictc import`: captions and texts from elsewhere in, named clusters out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from ictc.cli.terminal import Terminal
from ictc.config import ClusteringSettings, ControlSettings, EngineSettings
from ictc.config.base import explicit
from ictc.importing.columns import Columns
from ictc.importing.run import ImportRequest, import_source, open_source
from ictc.interface.session import run_in_session

OWN = Group("Import", sort_key=0)


def import_(
    source: Path,
    /,
    *,
    output_dir: Annotated[Path, Parameter(group=OWN)],
    id_column: Annotated[str | None, Parameter(group=OWN)] = None,
    text_column: Annotated[str | None, Parameter(group=OWN)] = None,
    label_column: Annotated[str | None, Parameter(group=OWN)] = None,
    image_column: Annotated[str | None, Parameter(group=OWN)] = None,
    ads_dir: Annotated[Path | None, Parameter(group=OWN)] = None,
    no_cluster: Annotated[bool, Parameter(group=OWN)] = False,
    clustering: Annotated[ClusteringSettings | None, Parameter(name="*", group=Group("Clusters", sort_key=3))] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=Group("Models", sort_key=4))] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=Group("Control", sort_key=5))] = None,
) -> None:
    """Cluster captions or texts that were made elsewhere, with or without images.

    The source is only read. The same command again resumes; where the source has changed, only what is new is done.
    All other columns of a table stay beside its rows in the results, and no model reads them. Examples:

    ictc import posts.csv --output_dir out --criterion "what is complained about" --num_clusters 8

    ictc import answers.jsonl --output_dir out --text_column answer --criterion "the reason given" --engine lite

    ictc import study/full_run --output_dir out --num_clusters 10

    Args:
        source: Table (.csv, .tsv, .jsonl, .json, .parquet, or .gz of these) with a row a text, or a directory of the
            reference implementation with its step1_captions.json.
        output_dir: Folder for the results; the same command again resumes.
        id_column: Column of ids. Unset: id, image_id or the like; "" or none: row numbers.
        text_column: Column of the texts. Unset: text, caption, answer or the like.
        label_column: Column of labels that Step 2a need not make; empty cells are labeled. Unset: none.
        image_column: Column of paths or addresses of images. Unset: image_path, image, file_name or path.
        ads_dir: Folder that these paths start from, also of a reference whose images were moved. Unset: that of the
            source.
        no_cluster: Only import: no Steps 2a, 2b and 3.
    """
    overrides = {**explicit(clustering), **explicit(engine), **explicit(control)}
    request = ImportRequest(
        source=source,
        output_dir=output_dir,
        columns=Columns(id=id_column, text=text_column, label=label_column, image=image_column),
        images_dir=ads_dir,
        cluster=not no_cluster,
        overrides=overrides,
    )
    opened = open_source(request)
    run_in_session(
        output_dir, partial(import_source, opened, request), Terminal(), verbose=bool(overrides.get("verbose"))
    )
