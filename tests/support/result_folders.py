"""Writes the exported files of a finished run without running one, with the writers of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ictc.records import ClusterDefinition, ClusterLevel
from ictc.steps.result_rows import PATH_FIELD, RESULT_FIELDS, write_parquet
from ictc.steps.synthesis.levels import find_paths, list_levels
from ictc.storage.json_files import write_json, write_lines, write_mapping


def write_results(
    directory: Path,
    clusters: Mapping[str, str | None],
    *,
    track: str = "marketing",
    criterion: str = "Marketing Strategy",
    names: tuple[str, ...] = (),
    ui_only: tuple[str, ...] = (),
    rules: Mapping[str, str] | None = None,
    levels: tuple[ClusterLevel, ...] = (),
    **columns: Mapping[str, Any],
) -> Path:
    """Write what a run with these results exports.

    Args:
        clusters: the cluster of each image by its id, None if none fits.
        names: of all clusters, in the order of their definitions; those that occur if left out.
        ui_only: ids of images that show an interface only.
        rules: of every cluster.
        levels: of nested clusters, the last one having the clusters.
        columns: further fields of the results, by image id.
    """
    paths = {path[-1]: list(path) for path in find_paths(levels).values()}
    names = names or tuple(paths) or tuple(dict.fromkeys(filter(None, clusters.values())))
    definitions = [
        ClusterDefinition(number, name=name, description=f"About {name}.", **(rules or {}))
        for number, name in enumerate(names, 1)
    ]
    images = {image_id: image_fields(image_id, columns) for image_id in (*clusters, *ui_only)}
    rows = (
        {
            **dict.fromkeys(RESULT_FIELDS, ""),
            **{"image_id": image_id, "image_path": images[image_id]["path"], "confidence": 0.5},
            **{name: images[image_id][name] for name in ("platform", "ad_format", "timestamp")},
            **{name: values[image_id] for name, values in columns.items()},
            **{"cluster": cluster, "cluster_id": None if cluster is None else names.index(cluster) + 1},
            **({PATH_FIELD: paths.get(cluster)} if levels else {}),
        }
        for image_id, cluster in clusters.items()
    )
    directory.mkdir(parents=True)
    more_types: dict[str, Any] = {PATH_FIELD: list[str]} if levels else {}
    more_types |= {name: str for name in columns if name not in RESULT_FIELDS}
    write_parquet(directory / "results.parquet", rows, more_types)
    settings = {"track": track, "criterion": criterion, "num_clusters": len(names), "images": len(images)}
    described = [{**one.to_row(), "size": list(clusters.values()).count(one.name)} for one in definitions]
    sizes = {one["cluster_id"]: one["size"] for one in described}
    nested = {"levels": list_levels(levels, sizes)} if levels else {}
    write_json(directory / "step3_metadata.json", {**settings, "clusters": described, **nested})
    write_mapping(directory / "image_mapping.json", images.items())
    write_mapping(directory / "ui_only_images.json", ((image_id, {"reason": "interface"}) for image_id in ui_only))
    write_mapping(directory / "broken_images.json", ())
    write_lines(directory / "rejected.jsonl", ())
    return directory


def make_level(name: str, names: Sequence[str], parents: tuple[int, ...] = ()) -> ClusterLevel:
    """Return a level of clusters with these names."""
    clusters = (ClusterDefinition(n, name=one, description=f"About {one}.") for n, one in enumerate(names, 1))
    return ClusterLevel(name=name, clusters=tuple(clusters), parents=parents)


def image_fields(image_id: str, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entry of an image in the list of all images."""
    known = {name: columns.get(name, {}).get(image_id) for name in ("platform", "ad_format", "timestamp")}
    return {"path": f"{image_id}/image.jpg", **known}
