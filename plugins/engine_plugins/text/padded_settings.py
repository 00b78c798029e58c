"""Settings of text transformers that read padding as a part of the text. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.contracts.description import Description
from engine.contracts.limits import MAX_HEADS, MAX_LAYERS, MAX_TOKENS, MAX_VOCABULARY, MAX_WIDTH
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.refs import TokenizerRef
from engine.contracts.tower_settings import TextEncoderSettings
from engine_plugins import plans
from engine_plugins.clip_archs import OPEN_CLIP_FILES, padded_text_numbers, text_tokenizer
from engine_plugins.siglip_proposed import padded_text

_C4_PADDING = 1
"""SigLIP fills texts up with T5's end mark; SigLIP 2 with Gemma's ``<pad>``, 0."""


class PaddedTextSettings(TextEncoderSettings):
    """The numbers of a text transformer in which every token sees all of the text and its padding.

    ``arch`` fills in the numbers that a config does not give itself.
    """

    # A repository of timm's keeps an image model under the usual names, and CLIP beside it.
    preferred_files: ClassVar[tuple[str, ...]] = OPEN_CLIP_FILES

    arch: str | None = Field(
        None, description="one of open_clip's architectures: fills in the other numbers"
    )
    vocab_size: int = Field(
        32000, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        64, ge=2, le=MAX_TOKENS, description="tokens of every text, padding included"
    )
    width: int = Field(
        768, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(12, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(12, ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="hidden width of a block's MLP, as a multiple of width"
    )
    embed_width: int = Field(
        768, ge=1, le=MAX_WIDTH, description="width of the features, text_projection's"
    )
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] = Field(
        "gelu",
        description="`gelu_tanh` is transformers' gelu_pytorch_tanh (SigLIP 2, and SigLIP there)",
    )
    norm_eps: float = Field(1e-6, gt=0, le=1, description="epsilon of every layer norm")
    pad_id: int = Field(
        _C4_PADDING,
        ge=0,
        le=MAX_VOCABULARY,
        description="id that fills every text up to max_tokens, the tokenizer's own",
    )
    pooling: Literal["last", "end"] = Field(
        "last",
        description="the features: `last` the last of max_tokens places, `end` the text's last"
        " token",
    )
    project: Literal["linear", "matrix", "none"] = Field(
        "linear",
        description="text_projection: `linear` with a bias (SigLIP), `matrix` without, `none` where"
        " the features are as wide as the transformer",
    )

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.pad_id >= self.vocab_size:
            raise ValueError(f"pad_id {self.pad_id} has no row among vocab_size {self.vocab_size}")
        if self.project == "none" and self.width != self.embed_width:
            raise ValueError(
                f"without a projection the features are as wide as the transformer, {self.width};"
                f" embed_width is {self.embed_width}"
            )
        return self

    @field_validator("arch")
    @classmethod
    def _known_arch(cls, arch: str | None) -> str | None:
        if arch is not None:
            padded_text_numbers(arch)
        return arch

    @model_validator(mode="before")
    @classmethod
    def _fill_from_arch(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        arch = data.get("arch", cls.model_fields["arch"].default)
        if not isinstance(arch, str):
            return data
        try:
            return {**padded_text_numbers(arch), **cls._of_arch(arch), **data}
        except ValueError:
            return dict(data)  # reported where it belongs, at `arch`

    @classmethod
    def _of_arch(cls, arch: str) -> dict[str, Any]:
        """What else follows from an architecture of open_clip."""
        return {}

    def padding_id(self) -> int:
        """See the contract."""
        return self.pad_id

    @property
    def mlp_width(self) -> int:
        """Hidden width of a block's MLP."""
        return int(self.width * self.mlp_ratio)

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.text.padded.PaddedText``."""
        width = self.width
        tensors: Plan = {
            **plans.tensor("token_embedding.weight", self.vocab_size, width),
            **plans.tensor("positional_embedding", self.max_tokens, width),
            **plans.norm("ln_final", width),
        }
        if self.project == "none":
            pass
        elif self.project == "linear":
            tensors |= plans.linear("text_projection", width, self.embed_width)
        else:
            tensors |= plans.tensor("text_projection", width, self.embed_width)
        for i in range(self.layers):
            tensors |= plans.clip_block(f"transformer.resblocks.{i}", width, self.mlp_width)
        return TowerPlan(self.embed_width, tensors, embedding_width=width)


class SiglipTextSettings(PaddedTextSettings):
    """SigLIP's text transformer; the defaults are ViT-B-16-SigLIP's.

    With ``arch`` the tokenizer follows too: T5's for SigLIP and SigLIP i18n, Gemma's for SigLIP 2.
    """

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "t5",
        "from": "hf:timm/ViT-B-16-SigLIP",
        "clean": "canonicalize",
        "pad": "</s>",
    }

    @classmethod
    def _of_arch(cls, arch: str) -> dict[str, Any]:
        second = "SigLIP2" in arch
        source = {"from": f"hf:{text_tokenizer(arch)}", "clean": "canonicalize"}
        return {
            "pad_id": 0 if second else _C4_PADDING,
            "tokenizer": {"use": "gemma", **source}
            if second
            else {"use": "t5", "pad": "</s>", **source},
        }

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return padded_text(description, aside, last=True)


class MobileClipTextSettings(PaddedTextSettings):
    """MobileCLIP's text transformer over CLIP's vocabulary; the defaults are MobileCLIP2-S0's."""

    arch: str | None = Field(
        "MobileCLIP2-S0",
        description="one of open_clip's architectures: fills in the other numbers",
    )
    tokenizer: TokenizerRef = {"use": "clip_bpe"}  # type: ignore[assignment]
    pad_id: int = Field(
        0,
        ge=0,
        le=MAX_VOCABULARY,
        description="id that fills every text up to max_tokens, the tokenizer's own",
    )

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return padded_text(description, aside, last=False)
