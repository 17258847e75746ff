"""K clusters and the labels that Step 2b reads fit into the context, or are refused before a model is loaded."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice, product
from pathlib import Path

import pytest
from support.cli import Ictc, exported_bytes, load
from support.collections import draw_flat
from support.step_configs import make_config

from ictc.config import EngineSettings
from ictc.engines.base import GenerationRequest, GenerationResult, Task
from ictc.engines.scripted import ScriptedEngine
from ictc.errors import ConfigError
from ictc.runs.context import check_context, count_need, size_context
from ictc.steps.table import STEPS
from ictc.tracks.context import ContextNeed


def need(num_clusters: int, num_labels: int) -> ContextNeed:
    counted = count_need(STEPS, make_config(num_clusters=num_clusters, num_labels=num_labels), num_labels)
    assert counted is not None
    return counted


NAMES = ["".join(letters) for letters in islice(product("bdfgk", "aeiou", "lmnrs", "aeiou"), 150)]
"""Words of their own."""

MANY = need(num_clusters=100, num_labels=200)
FEW = need(num_clusters=5, num_labels=60)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--num_clusters", 40, "--max_model_len", 2048), "--max_model_len is 2,048: set --max_model_len to "),
        (("--num_clusters", 40, "--vlm_max_model_len", 2048), "--vlm_max_model_len is 2,048"),
        (("--num_clusters", 40, "--steps", "1,2a,2b", "--llm_max_model_len", 2048), "--llm_max_model_len is 2,048"),
        (("--num_clusters", 4, "--max_model_len", 512), "Step 2b takes at least "),
    ],
)
def test_a_context_that_is_given_and_too_small_is_refused_with_the_numbers(
    ictc: Ictc, tmp_path: Path, flags: tuple[object, ...], words: str
) -> None:
    ads = draw_flat(tmp_path / "ads", 40)
    refused = ictc.run(ads, tmp_path / "out", *flags, "--vlm_model", tmp_path / "no_model", engine="vllm")
    assert refused.exit_code == 2
    assert words in refused.stderr
    assert "or lower --num_clusters or --top_hooks" in refused.stderr


def test_a_step_that_reads_no_clusters_needs_no_room_for_them(ictc: Ictc, tmp_path: Path) -> None:
    ads, model = draw_flat(tmp_path / "ads", 4), tmp_path / "no_model"
    flags = ("--max_model_len", 512, "--max_image_tokens", 64, "--steps", "1,2a", "--vlm_model", model)
    assert "no such model folder" in ictc.run(ads, tmp_path / "out", *flags, engine="vllm").stderr


def test_a_context_that_is_left_open_grows_with_what_it_must_hold() -> None:
    for settings in (EngineSettings(), EngineSettings(num_gpus=1)):
        before = settings.model_spec("llm", 0).max_model_len
        assert size_context(settings, [FEW]).model_spec("llm", 0).max_model_len == before
        for role in ("vlm", "llm"):
            assert size_context(settings, [FEW, MANY]).model_spec(role, 0).max_model_len >= MANY.ample


def test_a_context_that_is_given_stays() -> None:
    sized = size_context(EngineSettings(vlm_max_model_len=6000), [MANY])
    assert sized.model_spec("vlm", 0).max_model_len == 6000
    assert sized.model_spec("llm", 0).max_model_len >= MANY.ample
    assert size_context(EngineSettings(max_model_len=6000), [MANY]).model_spec("llm", 0).max_model_len == 6000


def test_no_context_is_chosen_that_a_model_would_have_to_stretch_for() -> None:
    huge = need(num_clusters=5, num_labels=10_000)
    with pytest.raises(ConfigError, match="no more is chosen than 32,768: set --vlm_max_model_len to "):
        check_context(EngineSettings(), STEPS, huge)
    check_context(EngineSettings(max_model_len=200_000), STEPS, huge)


def test_more_clusters_than_the_usual_number_of_labels_just_work(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 200)
    ictc.succeed(ads, tmp_path / "out", "--num_clusters", 65, "--dedupe", "off")


class TestMoreClustersThanAQuestionLists:
    """Each image is asked about some of the clusters only, chosen by words."""

    @pytest.fixture
    def listed(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
        """The names of the clusters that each image is asked about."""
        seen: dict[str, list[str]] = {}
        answer = ScriptedEngine._answer

        async def note(engine: ScriptedEngine, request: GenerationRequest) -> GenerationResult:
            if request.task is Task.ASSIGN and "place" not in request.request_id:
                seen[request.request_id] = [option["name"] for option in request.inputs["options"].values()]
            return await answer(engine, request)

        monkeypatch.setattr(ScriptedEngine, "_answer", note)
        return seen

    @pytest.fixture
    def posts(self, tmp_path: Path) -> Path:
        rows = [f"post{number},about {NAMES[number % 150]} today,{NAMES[number % 150]} talk" for number in range(300)]
        (tmp_path / "posts.csv").write_text("\n".join(["id,text,label", *rows]))
        return tmp_path / "posts.csv"

    @pytest.fixture
    def flags(self, posts: Path, tmp_path: Path) -> tuple[object, ...]:
        columns = ("--text_column", "text", "--label_column", "label", "--criterion", "topic", "--engine", "scripted")
        return (posts, "--output_dir", tmp_path / "out", *columns)

    def test_the_cluster_of_its_label_is_among_them(
        self, ictc: Ictc, tmp_path: Path, flags: tuple[object, ...], listed: dict[str, list[str]]
    ) -> None:
        assert ictc("import", *flags, "--num_clusters", 120).exit_code == 0
        placed = {
            one["label"]: one["cluster_id"] for one in load(tmp_path / "out", "step2b_metadata.json")["placed_labels"]
        }
        names = {one["cluster_id"]: one["name"] for one in load(tmp_path / "out", "step2b_dynamic_clusters.json")}
        labels = load(tmp_path / "out", "step2a_hooks.json")
        assert len(listed) == 150  # equal texts are asked about once
        assert {len(shown) for shown in listed.values()} == {100}
        assert all(names[placed[labels[image_id]]] in shown for image_id, shown in listed.items())
        assert ictc("verify", tmp_path / "out").exit_code == 0

    @pytest.mark.parametrize("more", [(), ("--allow_none",), ("--multi_label",)])
    def test_of_clusters_that_are_given_those_that_share_its_words_are(
        self,
        ictc: Ictc,
        tmp_path: Path,
        flags: tuple[object, ...],
        listed: dict[str, list[str]],
        more: tuple[str, ...],
    ) -> None:
        clusters = [{"name": name, "description": f"all that is about {name}"} for name in NAMES]
        (tmp_path / "clusters.json").write_text(json.dumps(clusters))
        assert ictc("import", *flags, "--clusters", tmp_path / "clusters.json", *more).exit_code == 0
        assert {len(shown) for shown in listed.values()} == {101 if "--allow_none" in more else 100}
        assert all(NAMES[int(image_id.removeprefix("post")) % 150] in shown for image_id, shown in listed.items())
        assert ictc("verify", tmp_path / "out").exit_code == 0


class TestShortContext:
    """A list of labels that the context has no room for."""

    @pytest.fixture
    def flags(self) -> tuple[object, ...]:
        return ("--engine_options", '{"context": 560}', "--top_hooks", 200, "--num_clusters", 3)

    def test_all_that_is_said_is_about_what_was_read(
        self, ictc: Ictc, tmp_path: Path, flags: tuple[object, ...]
    ) -> None:
        ads, out = draw_flat(tmp_path / "ads", 120), tmp_path / "out"
        told = ictc.succeed(ads, out, *flags).stderr
        metadata, labels = load(out, "step2b_metadata.json"), Counter(load(out, "step2a_hooks.json").values())
        read = metadata["labels"]
        assert 3 <= metadata["labels_read"] == len(read) < len(labels)
        assert metadata["images_covered"] == sum(one["count"] for one in read) < metadata["labeled_images"]
        share = metadata["images_covered"] / metadata["labeled_images"]
        assert metadata["share_covered"] == round(share, 4)
        assert f"the context had room for {len(read)} of these labels, which cover {share:.0%}" in told
        assert ictc("verify", out).exit_code == 0

    def test_a_resumed_run_says_the_same(self, ictc: Ictc, tmp_path: Path, flags: tuple[object, ...]) -> None:
        ads, out = draw_flat(tmp_path / "ads", 120), tmp_path / "out"
        ictc.succeed(ads, out, *flags)
        before = exported_bytes(out)
        (out / "step2b_metadata.json").unlink()
        ictc.succeed(ads, out, *flags)
        assert exported_bytes(out) == before


def test_clusters_that_are_given_were_made_from_no_labels(ictc: Ictc, tmp_path: Path) -> None:
    ads, out = draw_flat(tmp_path / "ads", 12), tmp_path / "out"
    (tmp_path / "clusters.json").write_text('[{"name": "食"}, {"name": "飲", "description": "not\\nC. another"}]')
    flags = ("--ads_dir", ads, "--output_dir", out, "--engine", "scripted", "--clusters", tmp_path / "clusters.json")
    assert ictc("run", *flags).exit_code == 0
    metadata = load(out, "step2b_metadata.json")
    assert (metadata["labels_read"], metadata["images_covered"], metadata["labels"]) == (0, 0, [])
    assert load(out, "step2b_dynamic_clusters.json")[1]["description"] == "not C. another"
    assert ictc("verify", out).exit_code == 0


def test_more_clusters_than_the_source_was_told_to_read_labels_for(ictc: Ictc, tmp_path: Path) -> None:
    ictc.succeed(draw_flat(tmp_path / "ads", 12), tmp_path / "out", "--top_hooks", 8)
    recluster = ("recluster", "--source_dir", tmp_path / "out", "--output_dir", tmp_path / "k10", "--num_clusters", 10)
    refused = ictc(*recluster)
    assert refused.exit_code == 2
    assert "config.yaml: --num_clusters 10 can't be made from the 8 labels of --top_hooks: raise" in refused.stderr
    assert ictc(*recluster, "--top_hooks", 12).exit_code == 0


def test_more_clusters_than_images_are_refused_before_anything_is_asked(ictc: Ictc, tmp_path: Path) -> None:
    ads = draw_flat(tmp_path / "ads", 3)
    refused = ictc.run(ads, tmp_path / "out", "--num_clusters", 4)
    assert refused.exit_code == 2
    assert "3 images can't make 4 clusters: lower --num_clusters or add images" in refused.stderr
    assert not (tmp_path / "out" / "state" / "caption").exists()
    assert ictc.run(ads, tmp_path / "part", "--num_clusters", 4, "--steps", "1,2a").exit_code == 0
