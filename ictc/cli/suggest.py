"""`ictc suggest`: by what the images could be sorted."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from ictc.cli.terminal import Terminal
from ictc.config import ControlSettings, EngineSettings
from ictc.config.base import explicit
from ictc.interface.session import suggest_for
from ictc.storage.json_files import read_json
from ictc.suggesting.options import SampledImages, SuggestOptions
from ictc.suggesting.request import SuggestRequest

OWN = Group("Suggest", sort_key=0)
SHOWN_VALUES = 5


def suggest(
    *,
    source_dir: Annotated[Path | None, Parameter(group=OWN)] = None,
    track: Annotated[str | None, Parameter(group=OWN)] = None,
    output_dir: Annotated[Path | None, Parameter(group=OWN)] = None,
    options: Annotated[SuggestOptions | None, Parameter(name="*", group=OWN)] = None,
    images: Annotated[SampledImages | None, Parameter(name="*", group=Group("Images", sort_key=1))] = None,
    engine: Annotated[EngineSettings | None, Parameter(name="*", group=Group("Models", sort_key=4))] = None,
    control: Annotated[ControlSettings | None, Parameter(name="*", group=Group("Control", sort_key=5))] = None,
) -> None:
    """Propose criteria by which images could be sorted, and tell how well each splits a sample of them.

    Give images, which are captioned first, or a run, whose captions are taken. The model proposes criteria, and each is
    tried out on the sample; those that split it well come with the command that clusters everything by it. The same
    command again resumes. Examples:

    ictc suggest --ads_dir ads

    ictc suggest --ads_dir ads --engine lite --num_images 40 --output_dir out_suggest

    ictc suggest --source_dir out --num_clusters 8

    Args:
        source_dir: --output_dir of a run whose Step 1 is finished.
        track: Which track of --source_dir, if it holds several.
        output_dir: Folder for the sample and suggestions.json. Unset: below ~/.local/state/ictc/suggest.
    """
    request = SuggestRequest(
        output_dir=output_dir,
        source_dir=source_dir,
        track=track,
        images=explicit(images),
        overrides={**explicit(engine), **explicit(control)},
        options=options or SuggestOptions(),
    )
    path = suggest_for(request, Terminal())
    print_suggestions(read_json(path))
    print(f"\nWritten to {path}")


def print_suggestions(found: dict[str, Any]) -> None:
    """Print the criteria, those that split the sample first, each with its values and its command."""
    criteria = found["criteria"]
    good, poor = ([one for one in criteria if bool(one["problem"]) is is_poor] for is_poor in (False, True))
    tried = f"{len(criteria)} criteria tried with up to {found['num_clusters']} values"
    print(f"\n{found['images']:,} images of {found['source']}: {tried}")
    for one in good:
        print(f"\n{one['split']:>7.2f}  {one['criterion']}")
        print(textwrap.fill(describe_values(one["values"]), 100, initial_indent=" " * 9, subsequent_indent=" " * 9))
        print(f"         {one['command']}")
    if not good:
        print("\nNone of them splits the sample. More images (--num_images) or a larger model may find one that does.")
    if poor:
        print("\nNot good for sorting:")
    for one in poor:
        print(f"{one['split']:>7.2f}  {one['criterion']}: {one['problem']}")
    if found["engine"] == "lite":
        print("\nThe lite engine tries a fixed list of criteria; it can't think of others.")


def describe_values(values: list[dict[str, Any]]) -> str:
    """Return the most frequent values with their shares."""
    shown = [f"{one['name']} {one['share']:.0%}" for one in values[:SHOWN_VALUES]]
    more = len(values) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown)
