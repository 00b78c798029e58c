"""Small checkpoints in each old checkpoint adapter, made by the originals' own modules.

Each comes with the formula of its program, stated over those modules and the raw tensors, one text
at a time and without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import open_clip
import torch
from open_clip.transformer import QuickGELU, Transformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model

WIDTH, JOINT, CLIP_WIDTH, CLIP_OUT = 32, 20, 48, 12
VOCABULARY, PLACES, MAX_TOKENS = 600, 40, 10
CLUSTERS = 3

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Old:
    """A checkpoint, what it is in Engine's terms, and what its program makes of it.

    Attributes:
        layout: name of the layout.
        config: the config's ``model``.
        tensors: the checkpoint.
        image: pixels [B, 3, 16, 16] -> vectors [B, joint], of length 1.
        text: ids [L] of one text -> vector [joint], of length 1.
        end: id of the mark at a text's end.
    """

    layout: str
    config: dict[str, Any]
    tensors: Tensors
    image: Callable[[Tensor], Tensor]
    text: Callable[[Tensor], Tensor]
    end: int


def rounded(module: nn.Module) -> Any:
    """No number at a special value, and each exact in float16."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.dtype.is_floating_point:
                tensor.add_(0.1 * torch.randn(tensor.shape))
                tensor.copy_(tensor.half().float())
    return module.eval()


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def clip() -> Any:
    """open_clip's own CLIP."""
    vision = {"width": CLIP_WIDTH, "layers": 2, "head_width": 12, "patch_size": 8, "image_size": 16}
    text = {"width": WIDTH, "layers": 2, "heads": 4, "context_length": 16,
            "vocab_size": VOCABULARY}  # fmt: skip
    return rounded(open_clip.CLIP(CLIP_OUT, vision, text, quick_gelu=True))


VISION = {
    "width": CLIP_WIDTH, "layers": 2, "heads": 4, "patch_size": 8, "image_size": 16,
    "embed_width": CLIP_OUT,
}  # fmt: skip


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm(dim=-1, keepdim=True)


class Residual(nn.Module):
    """ru-clip's projection."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(wide, JOINT, bias=False)
        self.linear2 = nn.Linear(JOINT, JOINT, bias=False)
        self.layer_norm = nn.LayerNorm(JOINT)

    def forward(self, x: Tensor) -> Tensor:
        one = self.linear1(x)
        return self.layer_norm(one + self.linear2(one * torch.sigmoid(1.702 * one)))


def ruclip_first(clusters: bool = False, prefix: str = "") -> Old:
    """CLIP by Sber, first generation; with clusters, the contest entry's model."""
    vision, seen = clip().visual, rounded(Residual(CLIP_OUT))
    numbers = GPT2Config(
        vocab_size=VOCABULARY, n_positions=PLACES, n_embd=WIDTH, n_layer=2, n_head=4
    )
    gpt: Any = rounded(GPT2Model(numbers))
    tensors = {
        **prefixed("visual_encoder.model.", vision.state_dict()),
        **prefixed("visual_encoder.projection.", seen.state_dict()),
        **prefixed(f"text_encoder.model.{prefix}", gpt.state_dict()),
        "logit_scale": torch.tensor(2.5),
    }
    for i in range(2):  # what transformers once kept beside the weights
        name = f"text_encoder.model.{prefix}h.{i}.attn."
        tensors[f"{name}bias"] = torch.ones(1, 1, PLACES, PLACES).tril().to(torch.uint8)
        tensors[f"{name}masked_bias"] = torch.tensor(-1e4)

    def hidden(ids: Tensor) -> Tensor:
        return gpt(input_ids=ids[None]).last_hidden_state[0, -1]

    if clusters:
        # Identities stood between the projections: they have even numbers.
        read = nn.Sequential(
            *[Residual(WIDTH) if i % 2 == 0 else nn.Identity() for i in range(2 * CLUSTERS - 1)]
        )
        router, output = Transformer(WIDTH, 1, 2, act_layer=QuickGELU), nn.Linear(WIDTH, CLUSTERS)
        for part in (read, router, output):
            rounded(part)
        tensors |= prefixed("text_encoder.projection.", read.state_dict())
        tensors |= prefixed("text_encoder.distribution_cls.input_cls.", router.state_dict())
        tensors |= prefixed("text_encoder.distribution_cls.output_cls.", output.state_dict())

        def text(ids: Tensor) -> Tensor:
            cluster = output(router(gpt.wte(ids)[None])[0, -1]).argmax()
            return unit(read[2 * int(cluster)](hidden(ids)))

        of_text: dict[str, Any] = {"use": "clustered", "count": CLUSTERS, "router": {"heads": 2}}
    else:
        one = rounded(Residual(WIDTH))
        tensors |= prefixed("text_encoder.projection.", one.state_dict())

        def text(ids: Tensor) -> Tensor:
            return unit(one(hidden(ids)))

        of_text = {"use": "residual"}
    config = {
        "embed_dim": JOINT,
        "vision": {"use": "openai_clip", **VISION},
        "text": {
            "use": "gpt3small", "width": WIDTH, "layers": 2, "heads": 4, "vocab_size": VOCABULARY,
            "n_positions": PLACES // 2, "max_tokens": MAX_TOKENS,
            "tokenizer": {"use": "gpt2_bpe", "from": "scratch"},
        },
        "projection": {"vision": {"use": "residual"}, "text": of_text},
    }  # fmt: skip
    return Old("ruclip_first", config, tensors, lambda x: unit(seen(vision(x))), text, 2)


def openai(kind: str = "openai_clip") -> Old:
    """OpenAI's CLIP; or ruCLIP's second generation, which differs in what it pools."""
    model = clip()
    tensors = dict(model.state_dict())
    if kind == "openai_clip":
        numbers = {"input_resolution": 16, "context_length": 16, "vocab_size": VOCABULARY}
        tensors |= {name: torch.tensor(number) for name, number in numbers.items()}
        tensors["attn_mask"] = torch.full((16, 16), -torch.inf).triu(1)

    def openais(ids: Tensor) -> Tensor:
        """open_clip's own: pooled at the largest id, which is the end mark."""
        return unit(model.encode_text(functional.pad(ids, (0, 16 - len(ids)))[None])[0])

    def ruclips(ids: Tensor) -> Tensor:
        """Pooled where the end mark 3 stands, which is not the largest id."""
        padded = functional.pad(ids, (0, 16 - len(ids)))[None]
        hidden = model.token_embedding(padded) + model.positional_embedding
        hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask))
        place = int((padded[0] == 3).nonzero()[0])
        return unit(hidden[0, place] @ model.text_projection)

    tokenizer = {"openai_clip": "clip_bpe", "ruclip": "youtokentome"}[kind]
    config = {
        "embed_dim": CLIP_OUT,
        "vision": {"use": kind, **VISION},
        "text": {
            "use": kind, "width": WIDTH, "layers": 2, "heads": 4, "vocab_size": VOCABULARY,
            "embed_width": CLIP_OUT, "max_tokens": MAX_TOKENS,
            "tokenizer": {"use": tokenizer, "from": "scratch"},
        },
        "projection": {"vision": {"use": "identity"}, "text": {"use": "identity"}},
    }  # fmt: skip

    text, end = (openais, VOCABULARY - 1) if kind == "openai_clip" else (ruclips, 3)
    return Old("openai_clip", config, tensors, lambda x: unit(model.visual(x)), text, end)


def custom_text(old: Old) -> Old:
    """open_clip's CustomTextCLIP: the text transformer stands under ``text``."""
    own = {
        name if name.startswith("visual.") or name == "logit_scale" else f"text.{name}": tensor
        for name, tensor in old.tensors.items()
    }
    return replace(old, tensors=own)


MAKERS: dict[str, Callable[[], Old]] = {
    "ruclip_first": ruclip_first,
    "ruclip_first, GPT under transformer": lambda: ruclip_first(prefix="transformer."),
    "ruclip_first, clustered": lambda: ruclip_first(clusters=True),
    "openai_clip": openai,
    "openai_clip, custom text": lambda: custom_text(openai()),
    "ruclip": lambda: openai("ruclip"),
}
