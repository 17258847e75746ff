"""Which part of a collection a run is about, and whether the collection is still the one that it began with."""

from __future__ import annotations

from collections.abc import Mapping

from ictc.config import InputSettings, RunSettings
from ictc.dataset.catalog.collection import Collection
from ictc.dataset.fetching.locations import shard_of
from ictc.errors import ConfigError
from ictc.storage.keys import StageKey
from ictc.storage.manifest import Manifest

SLURM_INDEX, SLURM_COUNT, SLURM_FIRST, SLURM_LAST = (
    f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX")
)
NAMED_UNITS = 3


def resolve_shard(settings: RunSettings, environ: Mapping[str, str]) -> RunSettings:
    """Return the settings with `--shard_from env` replaced by what the environment says, and a folder for the shard.

    Raises:
        ConfigError: the environment says nothing, or nothing that can be a shard.
    """
    chosen = settings.input
    update: dict[str, object] = {"shard_from": None}
    if chosen.shard_from == "env":
        index, count = read_shard(environ, chosen.num_shards)
        if index >= count:
            raise ConfigError(f"--shard_from env: index {index} is beyond the last of {count} shards, {count - 1}")
        update |= {"shard_index": index, "num_shards": count}
    resolved = chosen.model_copy(update=update)
    output = settings.output
    if resolved.num_shards is not None and output.shard_id is None:
        output = output.model_copy(update={"shard_id": f"shard_{resolved.shard_index}"})
    return settings.model_copy(update={"input": resolved, "output": output})


def read_shard(environ: Mapping[str, str], num_shards: int | None) -> tuple[int, int]:
    """Return index and number of the shard that the environment names.

    An array that does not run from 0 to its count, such as one of failed tasks only, tells the index but not the
    number.

    Raises:
        ConfigError: it names none.
    """
    if SLURM_INDEX in environ:
        index, count = _read(environ, SLURM_INDEX), num_shards
        if count is None:
            count, last = _read(environ, SLURM_COUNT), _read(environ, SLURM_LAST)
            if (_read(environ, SLURM_FIRST), last) != (0, count - 1):
                raise ConfigError(
                    f"--shard_from env: the array is not 0-{count - 1}, so its {count} tasks are not all shards; "
                    "add --num_shards"
                )
        return index, count
    if "RANK" in environ:
        return _read(environ, "RANK"), num_shards or _read(environ, "WORLD_SIZE")
    raise ConfigError(f"--shard_from env: neither {SLURM_INDEX} nor RANK is set; is this a task of an array?")


def _read(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not value.isdecimal():
        raise ConfigError(f"--shard_from env: {name} is {value!r}, not a number")
    return int(value)


def shard_range(chosen: InputSettings, num_units: int) -> tuple[int, int | None]:
    """Return start and end of the run's part of `num_units`; shards differ by one unit at most."""
    if chosen.num_shards is None or chosen.shard_index is None:
        return chosen.start_index, chosen.end_index
    start, end = (num_units * index // chosen.num_shards for index in (chosen.shard_index, chosen.shard_index + 1))
    return start, end


def check_same_collection(manifest: Manifest, key: StageKey, collection: Collection, output_dir: object) -> None:
    """Refuse to go on with a shard whose index range means other images by now.

    Raises:
        ConfigError: saying what was added and removed.
    """
    if manifest.key["fingerprint"] != key["fingerprint"]:
        raise ConfigError(
            f"{output_dir}: the collection is not the one that this shard began with: "
            f"{describe_change(manifest, collection)}; its range would mean other images. "
            "Restore the collection, or run every shard again with --rediscover"
        )


def describe_change(manifest: Manifest, collection: Collection) -> str:
    """Return what differs between the collection that a shard began with and the one that is there now.

    A shard knows the names in its own range; of what lies before and after, how many there were.
    """
    start, then, now = manifest.key["start"], manifest.key["units"], len(collection)
    if collection.layout == "table":  # in an order of its own, which tells nothing of the rest
        return f"{then:,} rows then, {now:,} now, or other ones"
    before = [unit_of(image.path, layout=collection.layout) for image in manifest]
    known = set(before)
    removed = sorted(known - set(collection.units))
    low, high = (before[0], before[-1]) if before else ("", "")
    added = [unit for unit in collection.units if low <= unit <= high and unit not in known]
    parts = [f"{then:,} then, {now:,} now"]
    for what, units in (("added", added), ("removed", removed)):
        if units:
            parts.append(f"{len(units):,} {what} in its range ({name_some(units)})")
    shift = sum(unit < low for unit in collection.units) - start
    if shift:
        parts.append(f"{abs(shift):,} {'more' if shift > 0 else 'fewer'} before its range")
    return ", ".join(parts)


def unit_of(path: str, *, layout: str) -> str:
    """Return the unit of a collection that an image belongs to: its folder, its shard, or itself."""
    if layout == "tar":
        return shard_of(path)
    return path.split("/", maxsplit=1)[0] if layout == "observations" else path


def name_some(units: list[str]) -> str:
    """Return the first few names."""
    return ", ".join(units[:NAMED_UNITS]) + (", …" if len(units) > NAMED_UNITS else "")
