"""Every setting once: name, default, range and help. The command line and `--config` are generated from here.

Knows names and ranges only; what needs the disk, a GPU or a model is checked where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from cyclopts import Group, Parameter
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

EngineName = Literal["vllm", "openai", "lite", "scripted"]
Dtype = Literal["bfloat16", "float16", "float32", "auto"]
Quantization = Literal["none", "awq", "gptq", "fp8"]
Step = Literal["1", "2a", "2b", "3"]

STEPS: tuple[Step, ...] = ("1", "2a", "2b", "3")
STEPS_OF_A_SHARD: tuple[Step, ...] = ("1", "2a")
UNIFIED = "unified"
ENGINES_WITH_OWN_MODELS: tuple[EngineName, ...] = ("lite", "scripted")


class SettingsGroup(BaseModel):
    """Settings that belong together: one heading of `--help`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSettings(SettingsGroup):
    """Which images."""

    ads_dir: Path = Field(description="Folder of images: one folder an ad with its full_data.json, or plain images.")
    layout: Literal["auto", "observations", "flat"] = Field(
        "auto", description="observations: one folder an ad; flat: every image below --ads_dir is one."
    )
    frames: Literal["first", "all"] = Field(
        "first", description="Of an ad with several frames, caption the first or each as an image of its own."
    )
    max_images: int | None = Field(None, ge=1, description="Only the first N images, for a trial.")
    start_index: int = Field(0, ge=0, description="First image of this shard, counted in sorted order.")
    end_index: int | None = Field(None, ge=0, description="End of this shard, exclusive; past the end means the end.")

    @model_validator(mode="after")
    def check_range(self) -> Self:
        if self.end_index is not None and self.end_index < self.start_index:
            raise ValueError(f"--end_index {self.end_index} lies before --start_index {self.start_index}")
        return self

    @property
    def is_part(self) -> bool:
        """Whether a range of the collection was asked for, so that clusters can't be made from it."""
        return self.start_index > 0 or self.end_index is not None


class OutputSettings(SettingsGroup):
    """Where the results go."""

    output_dir: Path = Field(description="Folder for the results; made if missing. The same command again resumes.")
    shard_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Write into this subfolder of --output_dir."
    )


class ClusteringSettings(SettingsGroup):
    """What to cluster by."""

    track: str | None = Field(
        None,
        description="marketing (1), identity (2), cultural (3), general, or a Python file with a track of your own; "
        "several, separated by commas, each into its own folder. Unset: what --output_dir holds already, else general "
        "if --criterion is given, else marketing.",
    )
    criterion: str | None = Field(
        None, min_length=1, description="What to cluster by, in words. Unset: the track's own."
    )
    num_clusters: int = Field(5, ge=2, le=100, description="K, the number of clusters.")
    top_hooks: int = Field(60, ge=2, description="How many of the most frequent labels Step 2b reads.")


class EngineSettings(SettingsGroup):
    """Which models, and how they run."""

    engine: EngineName = Field(
        "vllm",
        description="vllm: on this machine's GPUs; openai: any OpenAI-compatible server; lite: small models, no GPU; "
        "scripted: no model, for dry runs.",
    )
    vlm_model: str = Field("Qwen/Qwen3.5-27B", min_length=1, description="Vision-language model: a name or a folder.")
    llm_model: str = Field(
        UNIFIED, min_length=1, description="Text model for Steps 2a, 2b and 3; unified: --vlm_model does them too."
    )
    base_url: str | None = Field(None, description="For --engine openai: one or more URLs, separated by commas.")
    engine_options: dict[str, Any] = Field(
        default_factory=dict, description="JSON object handed to the engine as it is, such as '{\"max_num_seqs\": 64}'."
    )
    num_gpus: int | None = Field(None, ge=1, description="GPUs to use. Unset: all visible ones.")
    vlm_tp: int | None = Field(None, ge=1, description="Tensor-parallel size of --vlm_model. Unset: --num_gpus.")
    llm_tp: int | None = Field(None, ge=1, description="Tensor-parallel size of --llm_model. Unset: --num_gpus.")
    gpu_ids: str | None = Field(None, pattern=r"^\s*\d+(\s*,\s*\d+)*\s*$", description='GPUs by number, such as "2,3".')
    gpu_id: int | None = Field(None, ge=0, description="The one GPU of a single-GPU run.")
    gpu_util: float = Field(0.90, gt=0, le=1, description="Share of the GPU memory that the engine may take.")
    dtype: Dtype = Field("bfloat16", description="Precision of the weights; a V100 needs float16.")
    quantization: Quantization = Field("none", description="Weight quantization of both models.")
    vlm_quantization: Quantization | None = Field(None, description="Overrides --quantization for --vlm_model.")
    llm_quantization: Quantization | None = Field(None, description="Overrides --quantization for --llm_model.")
    max_model_len: int | None = Field(
        None, ge=512, description="Context length of both models. Unset: 8192 on a single GPU, else 4096."
    )
    vlm_max_model_len: int | None = Field(None, ge=512, description="Overrides --max_model_len for --vlm_model.")
    llm_max_model_len: int | None = Field(None, ge=512, description="Overrides --max_model_len for --llm_model.")
    max_image_tokens: int = Field(
        1280, ge=64, le=16384, description="Most tokens an image may cost, 32x32 pixels each; larger ones are resized."
    )
    enforce_eager: bool = Field(False, description="Start faster, run slower: no CUDA graphs.")
    swap_space: float | None = Field(None, ge=0, description="No longer a vLLM option: accepted, not passed on.")
    batch_vlm: int | None = Field(None, ge=1, description="Most captions in flight. Unset: what the engine can use.")
    batch_llm: int | None = Field(
        None, ge=1, description="Most text requests in flight. Unset: what the engine can use."
    )

    @field_validator("engine_options", mode="before")
    @classmethod
    def parse_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object: {error}") from None

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        if self.engine == "openai" and self.base_url is None:
            raise ValueError("--engine openai needs --base_url, such as http://localhost:8000/v1")
        if self.engine != "openai" and self.base_url is not None:
            raise ValueError(f"--base_url belongs to --engine openai, not to --engine {self.engine}")
        for name in ("vlm_model", "llm_model"):
            if self.engine in ENGINES_WITH_OWN_MODELS and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--engine {self.engine} brings its own models; leave out --{name}")
        if self.gpu_id is not None and self.gpu_ids is not None:
            raise ValueError("--gpu_id and --gpu_ids name the GPUs twice; give one of them")
        for name, size in (("--num_gpus", self.num_gpus), ("--vlm_tp", self.vlm_tp), ("--llm_tp", self.llm_tp)):
            if size is not None and self.named_gpus and size > len(self.named_gpus):
                raise ValueError(f"{name} {size} is more than the {len(self.named_gpus)} GPUs that are named")
        return self

    @property
    def named_gpus(self) -> tuple[int, ...]:
        """GPUs named by `--gpu_ids` or `--gpu_id`, () if none are."""
        if self.gpu_id is not None:
            return (self.gpu_id,)
        return tuple(int(gpu) for gpu in self.gpu_ids.split(",")) if self.gpu_ids else ()

    @property
    def is_single_gpu(self) -> bool:
        return self.num_gpus == 1 or len(self.named_gpus) == 1

    @property
    def is_unified(self) -> bool:
        """Whether one model does all steps."""
        return self.llm_model in (UNIFIED, self.vlm_model)

    def _model_name(self, *, vlm: bool) -> str:
        if self.engine in ENGINES_WITH_OWN_MODELS:
            return self.engine
        return self.vlm_model if vlm else self.llm_model

    def model_spec(self, role: Literal["vlm", "llm"], seed: int) -> ModelSpec:
        """Return what the engine of `role` needs to know, with every default resolved that needs no GPU."""
        vlm = role == "vlm"
        own_max_model_len = self.vlm_max_model_len if vlm else self.llm_max_model_len
        return ModelSpec(
            engine=self.engine,
            model=self._model_name(vlm=vlm or self.is_unified),
            vision=vlm,
            dtype=self.dtype,
            quantization=(self.vlm_quantization if vlm else self.llm_quantization) or self.quantization,
            max_model_len=own_max_model_len or self.max_model_len or (8192 if self.is_single_gpu else 4096),
            max_image_tokens=self.max_image_tokens,
            gpus=self.named_gpus,
            num_gpus=self.num_gpus,
            tensor_parallel_size=self.vlm_tp if vlm else self.llm_tp,
            gpu_memory_utilization=self.gpu_util,
            enforce_eager=self.enforce_eager,
            base_urls=tuple(url.strip() for url in (self.base_url or "").split(",") if url.strip()),
            options=dict(self.engine_options),
            seed=seed,
        )


class ControlSettings(SettingsGroup):
    """What to do, and how carefully."""

    steps: str | None = Field(
        None,
        description="Steps to run, of 1,2a,2b,3 (Step 0 always runs). Unset: all; 1,2a for a part of the collection.",
    )
    force_steps: str | None = Field(None, description="Steps to run again even if their results are up to date.")
    retry_rejected: bool = Field(False, description="Try again what earlier runs rejected.")
    yes: bool = Field(
        False, exclude=True, description="Don't ask before more than an hour of earlier work is done again."
    )
    max_rejected: float = Field(
        0.2, gt=0, le=1, description="Stop when a larger share of a step's images is rejected; judged from 200 on."
    )
    hang_timeout_s: float = Field(600, gt=0, description="Restart an engine that gives no result for so many seconds.")
    ckpt_vlm: int = Field(1000, ge=1, description="Most captions that a crash may cost.")
    ckpt_llm: int = Field(5000, ge=1, description="Most labels or assignments that a crash may cost.")
    decode_workers: int | None = Field(
        None, ge=1, description="Processes that decode images. Unset: one a core, at most 16."
    )
    seed: int = Field(42, ge=0, description="Seed of every request.")
    verbose: bool = Field(False, description="Log each request; show engine output.")

    @field_validator("steps", "force_steps")
    @classmethod
    def check_steps(cls, value: str | None) -> str | None:
        for step in parse_steps(value or ""):
            if step not in STEPS:
                raise ValueError(f"no step {step!r}; the steps are {', '.join(STEPS)}")
        return value

    @field_validator("steps")
    @classmethod
    def check_no_gap(cls, value: str | None) -> str | None:
        """A step between two chosen ones can't be left out: the later one reads what it makes."""
        positions = sorted({STEPS.index(step) for step in STEPS if step in parse_steps(value or "")})
        for position in range(positions[0], positions[-1]) if positions else ():
            if position not in positions:
                raise ValueError(f"{value} leaves out {STEPS[position]}, which the later step reads; add it")
        return value

    def chosen_steps(self, is_part: bool) -> tuple[Step, ...]:
        """Return the steps to run, in order."""
        if self.steps is None:
            return STEPS_OF_A_SHARD if is_part else STEPS
        return tuple(step for step in STEPS if step in parse_steps(self.steps))

    @property
    def forced_steps(self) -> tuple[Step, ...]:
        return tuple(step for step in STEPS if step in parse_steps(self.force_steps or ""))


def parse_steps(text: str) -> list[str]:
    """Split "1,2a" into its steps, as written."""
    return [step.strip() for step in text.split(",") if step.strip()]


def _flat(title: str, position: int) -> Parameter:
    return Parameter(name="*", group=Group(title, sort_key=position))


GROUPS: dict[str, type[SettingsGroup]] = {
    "input": InputSettings,
    "output": OutputSettings,
    "clustering": ClusteringSettings,
    "engine": EngineSettings,
    "control": ControlSettings,
}
"""The groups of `RunSettings`."""


class RunSettings(SettingsGroup):
    """All settings of `ictc run`."""

    input: Annotated[InputSettings, _flat("Images", 1)]
    output: Annotated[OutputSettings, _flat("Results", 2)]
    clustering: Annotated[ClusteringSettings, _flat("Clusters", 3)] = ClusteringSettings()
    engine: Annotated[EngineSettings, _flat("Models", 4)] = EngineSettings()
    control: Annotated[ControlSettings, _flat("Control", 5)] = ControlSettings()

    @model_validator(mode="after")
    def check_shard_steps(self) -> Self:
        steps = self.control.chosen_steps(self.input.is_part)
        if not steps:
            raise ValueError("--steps names no step; the steps are " + ", ".join(STEPS))
        if self.input.is_part and not set(steps) <= set(STEPS_OF_A_SHARD):
            raise ValueError(
                "--start_index/--end_index with Steps 2b or 3: clusters made from a part would differ from shard to "
                "shard; run --steps 1,2a here, then cluster all shards together"
            )
        for step in self.control.forced_steps:
            if step not in steps:
                raise ValueError(f"--force_steps {step} is not among the steps to run ({','.join(steps)})")
        return self

    def to_flags(self) -> dict[str, Any]:
        """Return every setting under the name of its flag, those that are unset left out."""
        groups = self.model_dump(mode="json", exclude_none=True).values()
        return {name: value for group in groups for name, value in group.items()}

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> Self:
        """Return the settings that `to_flags` gave.

        Raises:
            pydantic.ValidationError: a value is out of its range, or a flag is unknown.
        """
        groups: dict[str, dict[str, Any]] = {name: {} for name in GROUPS}
        for flag, value in flags.items():
            home = next((name for name, group in GROUPS.items() if flag in group.model_fields), "control")
            groups[home][flag] = value
        return cls.model_validate(groups)

    def to_yaml(self) -> str:
        """Return the settings as a file for `--config`."""
        return yaml.safe_dump(self.to_flags(), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model to load, resolved from `EngineSettings` for one role.

    Attributes:
        vision: whether it must see images; a text-only load saves their memory.
        gpus: GPUs by number, () for all visible ones.
        num_gpus, tensor_parallel_size: None to decide from the visible GPUs.
    """

    engine: EngineName
    model: str
    vision: bool = True
    dtype: Dtype = "bfloat16"
    quantization: Quantization = "none"
    max_model_len: int = 4096
    max_image_tokens: int = 1280
    gpus: tuple[int, ...] = ()
    num_gpus: int | None = None
    tensor_parallel_size: int | None = None
    gpu_memory_utilization: float = 0.90
    enforce_eager: bool = False
    base_urls: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 42
