"""Which models there are and how they run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ictc.config.base import SettingsGroup
from ictc.secrecy import keep_secrets_in, keep_secrets_of_url

EngineName = Literal["vllm", "openai", "lite", "scripted"]
Dtype = Literal["bfloat16", "float16", "float32", "auto"]
Quantization = Literal["none", "awq", "gptq", "fp8"]

Role = Literal["vlm", "llm"]

UNIFIED = "unified"
DEFAULT_CONTEXT, SINGLE_GPU_CONTEXT = 4096, 8192
ENGINES_WITH_OWN_MODELS: tuple[EngineName, ...] = ("lite", "scripted")


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
    num_gpus: int | None = Field(
        None, ge=1, description="GPUs to divide the model over. Unset: as few as it fits, with an engine on each group."
    )
    vlm_tp: int | None = Field(
        None, ge=1, description="Tensor-parallel size of --vlm_model. Unset: --num_gpus, or as few GPUs as it fits."
    )
    llm_tp: int | None = Field(
        None, ge=1, description="Tensor-parallel size of --llm_model. Unset: --num_gpus, or as few GPUs as it fits."
    )
    replicas: int | None = Field(
        None,
        ge=1,
        description="Engines to run side by side, each on --vlm_tp GPUs of its own, fed from one queue. Unset: as many "
        "as the GPUs hold, or one if --num_gpus is given.",
    )
    gpu_ids: str | None = Field(None, pattern=r"^\s*\d+(\s*,\s*\d+)*\s*$", description='GPUs by number, such as "2,3".')
    gpu_id: int | None = Field(None, ge=0, description="The one GPU of a single-GPU run.")
    gpu_util: float = Field(0.90, gt=0, le=1, description="Share of the GPU memory that the engine may take.")
    dtype: Dtype = Field("bfloat16", description="Precision of the weights; a V100 needs float16.")
    quantization: Quantization = Field("none", description="Weight quantization of both models.")
    vlm_quantization: Quantization | None = Field(None, description="Overrides --quantization for --vlm_model.")
    llm_quantization: Quantization | None = Field(None, description="Overrides --quantization for --llm_model.")
    max_model_len: int | None = Field(
        None,
        ge=512,
        description="Context length of both models. Unset: 8192 on a single GPU, else 4096; more where --num_clusters "
        "and --top_hooks need it.",
    )
    vlm_max_model_len: int | None = Field(None, ge=512, description="Overrides --max_model_len for --vlm_model.")
    llm_max_model_len: int | None = Field(None, ge=512, description="Overrides --max_model_len for --llm_model.")
    max_image_tokens: int = Field(
        1280, ge=64, le=16384, description="Most tokens an image may cost, 32x32 pixels each; larger ones are resized."
    )
    enforce_eager: bool = Field(False, description="Start faster, run slower: no CUDA graphs.")
    swap_space: float | None = Field(None, ge=0, description="No longer a vLLM option: accepted, not passed on.")
    batch_vlm: int | None = Field(
        None,
        ge=1,
        description="Most captions in flight. Replicas have equal shares; on Ray it is for each engine. Unset: what "
        "they can use.",
    )
    batch_llm: int | None = Field(None, ge=1, description="Most text requests in flight, likewise.")

    @field_validator("engine_options", mode="before")
    @classmethod
    def parse_json(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object: {error}") from None

    @field_validator("base_url")
    @classmethod
    def keep_secrets_of_servers(cls, value: str | None) -> str | None:
        """Remember them before anybody writes of them."""
        keep_secrets_of_url(value or "")
        return value

    @field_validator("engine_options")
    @classmethod
    def keep_secrets_of_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Remember them likewise."""
        keep_secrets_in(value)
        return value

    @model_validator(mode="after")
    def check_combinations(self) -> Self:
        if self.engine == "openai" and self.base_url is None:
            raise ValueError("--engine openai needs --base_url, such as http://localhost:8000/v1")
        if self.engine != "openai" and self.base_url is not None:
            raise ValueError(f"--base_url belongs to --engine openai, not to --engine {self.engine}")
        for name in ("vlm_model", "llm_model"):
            if self.engine in ENGINES_WITH_OWN_MODELS and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--engine {self.engine} brings its own models; leave out --{name}")
        if self.replicas is not None and self.engine == "openai":
            raise ValueError("--replicas is for engines of this machine; start more servers and list all in --base_url")
        if self.replicas is not None and self.replicas > 1 and self.engine == "lite":
            raise ValueError("--replicas: the lite engine uses all cores already; leave it out")
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

    def given_context(self, role: Role) -> tuple[str, int] | None:
        """Return the flag that sets the context length of `role`, with its value; None if the user leaves it open."""
        own = {"vlm": "vlm_max_model_len", "llm": "llm_max_model_len"}[role]
        flags = ((name, getattr(self, name)) for name in (own, "max_model_len"))
        return next(((f"--{name}", value) for name, value in flags if value is not None), None)

    def context_length(self, role: Role) -> int:
        """Return the context length of `role`, in tokens."""
        given = self.given_context(role)
        return given[1] if given else SINGLE_GPU_CONTEXT if self.is_single_gpu else DEFAULT_CONTEXT

    def with_context(self, num_tokens: int) -> Self:
        """Return these settings with room for so many tokens in each context that the user leaves open."""
        open_roles: list[Role] = [role for role in ("vlm", "llm") if self.given_context(role) is None]
        lengths = {f"{role}_max_model_len": max(self.context_length(role), num_tokens) for role in open_roles}
        return self.model_copy(update=lengths)

    def model_spec(self, role: Role, seed: int) -> ModelSpec:
        """Return what the engine of `role` needs to know, with every default resolved that needs no GPU."""
        vlm = role == "vlm"
        return ModelSpec(
            engine=self.engine,
            model=self._model_name(vlm=vlm or self.is_unified),
            vision=vlm,
            dtype=self.dtype,
            quantization=(self.vlm_quantization if vlm else self.llm_quantization) or self.quantization,
            max_model_len=self.context_length(role),
            max_image_tokens=self.max_image_tokens,
            gpus=self.named_gpus,
            num_gpus=self.num_gpus,
            tensor_parallel_size=self.vlm_tp if vlm else self.llm_tp,
            replicas=self.replicas,
            gpu_memory_utilization=self.gpu_util,
            enforce_eager=self.enforce_eager,
            base_urls=tuple(url.strip() for url in (self.base_url or "").split(",") if url.strip()),
            options=dict(self.engine_options),
            seed=seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model to load, resolved from `EngineSettings` for one role.

    Attributes:
        vision: whether it must see images; a text-only load saves their memory.
        gpus: GPUs by number, () for all visible ones.
        num_gpus, tensor_parallel_size, replicas: None to decide from the visible GPUs.
        requests_per_image: how many requests in a row are about the same image.
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
    replicas: int | None = None
    gpu_memory_utilization: float = 0.90
    enforce_eager: bool = False
    base_urls: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 42
    requests_per_image: int = 1
