"""Directories as the reference implementation leaves them, in the shapes that its versions have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NUM_ADS = 24
TOPICS = ("Limited offer, ends today", "Join two million happy runners", "Save half on every plan", "Feel at home")
HOOKS = ("scarcity urgency", "social proof", "price anchoring", "aspirational comfort")


def ad(number: int) -> str:
    """Return the id of an ad."""
    return f"ad_{number:03d}"


def described_files() -> dict[str, Any]:
    """Return the files of a finished run as the documents of the reference describe them, by name."""
    ads = range(NUM_ADS)
    captions = {
        ad(n): {
            "category": "shoes" if n % 2 else "software",
            "brand": f"Brand {n % 5}",
            "text": f"{TOPICS[n % 4]} ({n})",
            "summary": f"An ad that says: {TOPICS[n % 4]}.",
        }
        for n in ads
    }
    return {
        "step1_captions.json": captions,
        "step2a_hooks.json": {ad(n): HOOKS[n % 4] for n in ads},
        "ui_only_images.json": {"screen_0": {"reason": "settings menu"}, "screen_1": {"reason": "login form"}},
        "broken_images.json": {"torn_0": {"reason": "truncated file"}},
        "image_mapping.json": {
            name: {"path": f"{name}/image.jpg", "metadata": {"platform_version": 3, "country": "AU"}}
            for name in (*captions, "screen_0", "screen_1", "torn_0")
        },
    }


def written_files() -> dict[str, Any]:
    """Return the files of a finished run as the reference writes them."""
    images = {
        name: {
            "image_path": f"/data/ads/{name}/image.jpg",
            "platform": "FACEBOOK",
            "ad_format": "UNKNOWN",
            "timestamp": "2025-03-15T17:52:02Z",
        }
        for name in (*map(ad, range(NUM_ADS)), "screen_0", "torn_0")
    }
    common = {name: {"image_file": one["image_path"], "platform": "FACEBOOK"} for name, one in images.items()}
    captions = {
        ad(n): {
            **common[ad(n)],
            "ad_format": "UNKNOWN",
            "status": "valid",
            "brand": None if n % 3 else f"Brand {n}",
            "text": f"{TOPICS[n % 4]} ({n})",
            "description": None if n == 5 else f"An ad that says: {TOPICS[n % 4]}.",
            "categorized_path": f"/data/out/categorized_images/valid_ads/{ad(n)}.jpg",
        }
        for n in range(NUM_ADS)
    }
    seen = {"category": "UI_ONLY", "brand_name": None, "main_text": "Settings", "visual_summary": "A settings menu."}
    failed = {"category": "BROKEN", "visual_summary": "Failed to process image.jpg"}
    rows = [
        {"observation_id": name, **one, "initial_label": HOOKS[0], "final_cluster": "Scarcity"}
        for name, one in images.items()
    ]
    return {
        "image_mapping.json": images,
        "step1_captions.json": captions,
        "ui_only_images.json": {"screen_0": {**common["screen_0"], "category": "UI_ONLY", "raw_response": seen}},
        "broken_images.json": {"torn_0": {**common["torn_0"], "category": "BROKEN", "raw_response": failed}},
        "step2a_hooks.json": {
            ad(n): {"hook": HOOKS[n % 4], "description_snippet": TOPICS[n % 4]} for n in range(NUM_ADS)
        },
        "step2b_dynamic_clusters.json": {
            "clusters": [{"name": "Scarcity", "definition": "Soon gone.", "keywords": []}]
        },
        "step2b_metadata.json": {"num_hooks": NUM_ADS, "num_clusters": 5, "criterion": "Marketing Strategy"},
        "step3_final_assignment.json": {ad(n): {"cluster": "Scarcity"} for n in range(NUM_ADS)},
        "ictc_final_results.json": {
            "metadata": {"total_images": len(images), "num_clusters": 1},
            "cluster_definitions": {"clusters": []},
            "results": rows,
        },
    }


def write_reference(folder: Path, files: Mapping[str, Any] | None = None, **changed: Any) -> Path:
    """Write the files of a reference, as it does.

    Args:
        files: those that are described, unless given.
        changed: content by name without its suffix; None leaves the file out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        **(described_files() if files is None else files),
        **{f"{name}.json": one for name, one in changed.items()},
    }
    for name, one in content.items():
        path = folder / name
        path.unlink(missing_ok=True)
        if one is not None:
            path.write_text(json.dumps(one, indent=2, ensure_ascii=False), encoding="utf-8")
    return folder
