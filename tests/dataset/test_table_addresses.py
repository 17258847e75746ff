"""Addresses in tables from strangers: what the user did not name is not read, and costs its row alone."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import orjson
import pytest
from support.cli import Ictc, load
from support.collections import draw_flat, draw_image

from ictc.dataset.catalog.discover import iter_images, list_collection

SCRIPTED = ("--engine", "scripted", "--num_clusters", 2, "--report", "off")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """An image outside of the folder of the table."""
    return draw_image(tmp_path / "elsewhere" / "secret.png", 77)


@pytest.fixture
def ads(tmp_path: Path) -> Path:
    """The folder that the table's paths start from."""
    return draw_flat(tmp_path / "ads", 8)


def problems(table: Path, *addresses: str, allowed: frozenset[str] = frozenset(), base: object = None) -> list[str]:
    """Return why each address is not read, "" if it is."""
    table.write_bytes(b"".join(orjson.dumps({"id": str(n), "path": one}) + b"\n" for n, one in enumerate(addresses)))
    collection = list_collection(None if base is None else str(base), images=table, allowed=allowed)
    return [record.problem or "" for record in iter_images(collection)]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ftp://127.0.0.1/x.png", "ftp:// is not read from a table unless --allow_schemes names it"),
        ("file:///etc/hostname", "file:// is not read"),
        ("FILE:///etc/hostname", "file:// is not read"),
        ("local:///etc/hostname", "local:// is not read"),
        ("memory://x.png", "memory:// is not read"),
        ("s3://bucket/x.png", "s3:// is not read"),
        ("simplecache::file:///etc/hostname", "simplecache::file:// is not read"),
        ("zip://x.png::http://127.0.0.1/x.zip", "zip:// is not read"),
        ("reference://::http://127.0.0.1/x", "reference:// is not read"),
        ("/etc/hostname", "leads out of --ads_dir, or the folder of the table; --allow_schemes file permits that"),
        ("../elsewhere/secret.png", "leads out of"),
        ("sub/../../elsewhere/secret.png", "leads out of"),
        ("..", "leads out of"),
        ("//127.0.0.1/x.png", "leads out of"),
        ("http://127.0.0.1/x.png", ""),
        ("HTTPS://example.org/a::b.png", ""),
        ("ad_000.png", ""),
        ("sub/../ad_000.png", ""),
        ("missing/file.png", ""),
        ("..png", ""),
    ],
)
def test_what_a_table_may_name(ads: Path, address: str, reason: str) -> None:
    (problem,) = problems(ads / "list.jsonl", address)
    assert problem.startswith(reason)
    assert bool(problem) == bool(reason)


@pytest.mark.parametrize("allowed", [frozenset[str](), frozenset({"file"})])
def test_what_no_file_can_be_called_is_broken_and_the_others_are_read(ads: Path, allowed: frozenset[str]) -> None:
    odd = ["ad_000.png\0", "sub\\\0.png", "https://example.org/\0.png", "data:image/png,\0"]
    long = ["x" * 5000, "sub\\" + "x" * 5000, "d/" * 2500 + "a.png"]
    found = problems(ads / "list.jsonl", *odd, *long, "ad_000.png", allowed=allowed)
    assert all(problem.startswith("holds a null character") for problem in found[: len(odd)])
    assert not any(found[len(odd) :])  # decoding says that there is no such file


def test_links_that_lead_out(ads: Path, secret: Path) -> None:
    (ads / "link.png").symlink_to(secret)
    (ads / "folder").symlink_to(secret.parent)
    (ads / "inside.png").symlink_to("ad_000.png")
    (ads / "chain.png").symlink_to("link.png")
    found = problems(ads / "list.jsonl", "link.png", "folder/secret.png", "chain.png", "inside.png")
    assert [bool(one) for one in found] == [True, True, True, False]


def test_the_folder_of_the_table_may_itself_be_behind_a_link(ads: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ads)
    assert problems(tmp_path / "link" / "list.jsonl", "ad_000.png", str(ads / "ad_001.png")) == ["", ""]


def test_an_absolute_path_below_the_folder_given_is_fine(ads: Path, secret: Path, tmp_path: Path) -> None:
    found = problems(tmp_path / "list.jsonl", str(ads / "ad_000.png"), str(secret), base=ads)
    assert [bool(one) for one in found] == [False, True]


def test_what_the_user_names_may_be_read(ads: Path, secret: Path) -> None:
    addresses = (
        str(secret),
        "../elsewhere/secret.png",
        secret.as_uri(),
        "s3://b/x.png",
        "gs://b/x.png",
        "s3://a::file://b",
    )
    found = problems(ads / "list.jsonl", *addresses, allowed=frozenset(("file", "s3")))
    assert [bool(one) for one in found] == [False, False, False, False, True, True]
    assert found[5] == "chained addresses are not supported"


def test_a_table_behind_a_url_opens_its_own_kind_and_no_path_out(ads: Path, tmp_path: Path) -> None:
    addresses = ("memory://other/x.png", "x.png", "../x.png", "file:///etc/hostname", "s3://b/x.png")
    found = problems(tmp_path / "list.jsonl", *addresses, base="memory://folder")
    assert [bool(one) for one in found] == [False, False, True, True, True]
    found = problems(tmp_path / "list.jsonl", "/etc/hostname", "file:///etc/hostname", base=ads.as_uri())
    assert "file:// is not read" in found[1]


def test_a_run_reads_nothing_that_was_not_named(ictc: Ictc, ads: Path, secret: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/secret.png", secret.read_bytes())
    (ads / "link.png").symlink_to(secret)
    strange = {
        "ftp": "ftp://127.0.0.1:9/x.png",
        "file": secret.as_uri(),
        "memory": "memory://secret.png",
        "chained": f"simplecache::{secret.as_uri()}",
        "absolute": str(secret),
        "above": os.path.relpath(secret, ads),
        "link": "link.png",
    }
    rows = {**{f"ad{n}": f"ad_{n:03d}.png" for n in range(8)}, **strange}
    (ads / "list.csv").write_text("id,path\n" + "".join(f"{name},{address}\n" for name, address in rows.items()))
    command = ("run", "--images", ads / "list.csv", "--cache_dir", tmp_path / "cache", *SCRIPTED)
    outcome = ictc(*command, "--output_dir", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    broken = load(tmp_path / "out", "broken_images.json")
    assert broken.keys() == strange.keys()
    assert all("--allow_schemes" in one["reason"] for one in broken.values())
    assert not [
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.read_bytes() == secret.read_bytes()
    ]
    assert ictc("verify", tmp_path / "out").exit_code == 0
    outcome = ictc(*command, "--output_dir", tmp_path / "out", "--allow_schemes", "file,memory", "--retry_rejected")
    assert outcome.exit_code == 0, outcome.stderr
    assert load(tmp_path / "out", "broken_images.json").keys() == {"ftp", "chained"}


def test_a_table_of_nothing_else_says_what_to_do(ictc: Ictc, ads: Path, secret: Path, tmp_path: Path) -> None:
    (ads / "list.csv").write_text(f"path\n{secret}\n")
    refused = ictc("run", "--images", ads / "list.csv", "--output_dir", tmp_path / "out", *SCRIPTED)
    assert refused.exit_code != 0
    assert "--allow_schemes file permits that" in refused.stderr
