"""Settings of CLIP's text transformers. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from engine.contracts.description import Description
from engine.contracts.limits import MAX_HEADS, MAX_LAYERS, MAX_TOKENS, MAX_VOCABULARY, MAX_WIDTH
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.refs import TokenizerRef
from engine.contracts.tower_settings import TextEncoderSettings
from engine_plugins import plans, ruclip_archs
from engine_plugins.clip_archs import (
    DEFAULT_ARCH,
    OPEN_CLIP_FILES,
    quick_gelu,
    text_numbers,
    text_tokenizer,
)
from engine_plugins.clip_proposed import clip_text


def source_of(data: Mapping[str, Any]) -> str:
    """``weights.from`` of settings before their validation; ``"scratch"`` where there is none."""
    weights = data.get("weights")
    if isinstance(weights, Mapping):
        return str(weights.get("from", weights.get("from_", "scratch")))
    return str(getattr(weights, "from_", "scratch"))


def fill_ruclip(data: Any, numbers: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """Settings of a ruCLIP tower before their validation -> with the numbers they leave out.

    Raises:
        ValueError: the ``config.json`` beside the weights is not ruCLIP's.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("arch", ""), str | None):
        return data
    usual = ruclip_archs.arch_config(data.get("arch") or ruclip_archs.DEFAULT_ARCH)
    if usual is None:
        return data  # an unknown arch, reported where it stands
    filled = numbers(usual)
    if data.get("arch") is None and not filled.keys() <= data.keys():
        filled |= numbers(ruclip_archs.source_config(source_of(data)) or usual)
    return {**filled, **data}


class PlainClipTextSettings(TextEncoderSettings):
    """The numbers of CLIP's text transformer; the defaults are ViT-B/32's."""

    # A repository of timm's keeps an image model under the usual names, and CLIP beside it.
    preferred_files: ClassVar[tuple[str, ...]] = OPEN_CLIP_FILES

    vocab_size: int = Field(
        49408, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        77,
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks of beginning and end included",
    )
    width: int = Field(
        512, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(12, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(8, ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="hidden width of a block's MLP, as a multiple of width"
    )
    embed_width: int = Field(
        512, ge=1, le=MAX_WIDTH, description="width of the features, text_projection's"
    )
    quick_gelu: bool = Field(True, description="QuickGELU (OpenAI's weights), else GELU")

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    @property
    def mlp_width(self) -> int:
        """Hidden width of a block's MLP."""
        return int(self.width * self.mlp_ratio)

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.clip.ClipText``."""
        width = self.width
        tensors: Plan = {
            **plans.tensor("token_embedding.weight", self.vocab_size, width),
            **plans.tensor("positional_embedding", self.max_tokens, width),
            **plans.norm("ln_final", width),
            **plans.tensor("text_projection", width, self.embed_width),
        }
        for i in range(self.layers):
            tensors |= plans.clip_block(f"transformer.resblocks.{i}", width, self.mlp_width)
        return TowerPlan(self.embed_width, tensors, embedding_width=width)


class ClipTextSettings(PlainClipTextSettings):
    """OpenAI CLIP's text transformer.

    ``arch`` fills in the numbers that a config does not give itself. QuickGELU or GELU follows from
    the weights where open_clip has them, else from ``arch``.
    """

    arch: str = Field(
        DEFAULT_ARCH, description="one of open_clip's architectures: fills in the other numbers"
    )
    tokenizer: TokenizerRef = {"use": "clip_bpe"}  # type: ignore[assignment]

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return clip_text(description, aside)

    @field_validator("arch")
    @classmethod
    def _plain_arch(cls, arch: str) -> str:
        text_numbers(arch)
        return arch

    @model_validator(mode="before")
    @classmethod
    def _fill_from_arch(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("arch", ""), str):
            return data
        arch = data.get("arch", DEFAULT_ARCH)
        try:
            numbers = text_numbers(arch)
            if "quick_gelu" not in data:
                numbers["quick_gelu"] = quick_gelu(arch, source_of(data))
            wanted = text_tokenizer(arch)
        except ValueError:
            return dict(data)  # reported where it belongs, at `arch`
        if wanted is not None and "tokenizer" not in data:
            raise ValueError(
                f"`{arch}` reads its texts through the tokenizer {wanted}, not CLIP's own: say"
                " which of yours that is with `tokenizer:`"
            )
        return {**numbers, **data}


class RuClipTextSettings(PlainClipTextSettings):
    """ruCLIP's text transformer.

    The numbers that a config does not give itself are those of ``arch``; where it names none,
    those of the model that the weights are of; else ruclip-vit-base-patch32-224's. The vocabulary
    comes with the weights, or else from that model's repository.
    """

    arch: ruclip_archs.RuClipArch | None = Field(
        None, description="one of the published models: fills in the other numbers"
    )
    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "youtokentome",
        "from": f"hf:ai-forever/{ruclip_archs.DEFAULT_ARCH}",
    }

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return ruclip_archs.proposal(description, ruclip_archs.text_numbers)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        filled = fill_ruclip(data, ruclip_archs.text_numbers)
        if not isinstance(filled, Mapping) or "tokenizer" in filled:
            return filled
        source, otherwise = source_of(filled), None
        if ruclip_archs.has_vocabulary(source):
            weights = filled["weights"]
            otherwise = (weights if isinstance(weights, Mapping) else vars(weights)).get(
                "otherwise"
            )
        else:
            source = f"hf:ai-forever/{filled.get('arch') or ruclip_archs.DEFAULT_ARCH}"
        vocabulary = {"use": "youtokentome", "from": source, "otherwise": otherwise}
        return {**filled, "tokenizer": vocabulary}
