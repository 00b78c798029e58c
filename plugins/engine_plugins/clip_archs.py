"""CLIP architectures by open_clip's names. Nothing here imports torch, nor open_clip itself.

open_clip carries one JSON file an architecture, ``model_configs/<name>.json``; importing the
package to read it would cost seconds. Where it is not installed (a light installation, which only
counts bytes), ``open_clip_archs.json`` beside this module has the same values, one line an
architecture; a test holds it to the installed package. Source: github.com/mlfoundations/open_clip.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from engine.core.sources import local_path
from engine.errors import WeightsError, did_you_mean

DEFAULT_ARCH = "ViT-B-32-quickgelu"
OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

# Keys of a tower's JSON that the plain transformers of `openai_clip` understand or may ignore.
_TEXT_KEYS = {
    "context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "hf_tokenizer_name",
    "tokenizer_kwargs", "pool_type", "eos_id", "no_causal_mask",
}  # fmt: skip
_VISION_KEYS = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"}

# Weights that open_clip lists under a GELU architecture although they were trained with QuickGELU.
# A test holds these tables to open_clip's own list of weights.
_QUICK_GELU_TAGS = {"openai", "yfcc15m", "cc12m", "metaclip_400m", "metaclip_fullcc", "dfn2b",
                    "dfn5b"}  # fmt: skip
_QUICK_GELU_WEIGHTS = {
    ("ViT-B-32", "laion400m_e31"),
    ("ViT-B-32", "laion400m_e32"),
    ("ViT-H-14-worldwide", "metaclip2_worldwide"),
}
# Repositories of the hub that hold such weights: OpenAI's and their copies by timm, MetaCLIP, DFN.
_QUICK_GELU_REPOSITORY = re.compile(
    r"openai/clip-(vit|rn).*"
    r"|timm/.*_clip_.*\.(openai|metaclip\w*|dfn\w*|laion400m_e3[12])|timm/.*clip_quickgelu.*"
    r"|facebook/metaclip-.*|apple/DFN.*|laion/.*[-_]quickgelu.*"
)
_MAX_BYTES = 16_000_000  # of a description of a model
_HALF = (0.5, 0.5, 0.5)


def weights_arch(source: str) -> tuple[str, str] | None:
    """``open_clip:<arch>/<tag>`` -> (arch, tag); any other source: ``None``."""
    scheme, _, rest = source.partition(":")
    arch, _, tag = rest.partition("/")
    return (arch, tag) if scheme == "open_clip" and arch and tag else None


def quick_gelu(arch: str, source: str) -> bool:
    """Whether the activation is QuickGELU: what the weights were trained with decides.

    That is known of open_clip's weights, of repositories of the hub by their names, and of a folder
    by the description beside its weights. Where it is not, the architecture's own file decides.
    """
    named = weights_arch(source)
    if named is None or named[0] not in arch_names():
        trained = _trained_quick(source)
        return bool(_read(arch).get("quick_gelu", False)) if trained is None else trained
    known = named[1] in _QUICK_GELU_TAGS or named in _QUICK_GELU_WEIGHTS
    return known or bool(_read(named[0]).get("quick_gelu", False))


def _trained_quick(source: str) -> bool | None:
    """Whether weights that are not open_clip's own were trained with QuickGELU; ``None``: unknown.

    What is given here is held against the description beside the weights when they are loaded.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "hf":
        return True if _QUICK_GELU_REPOSITORY.fullmatch(rest.partition("@")[0]) else None
    try:
        path = local_path(source)
        if path is None or scheme == "artifact":
            return None
        path = path.expanduser()
        folder = path if path.is_dir() else path.parent
        return _described_quick(folder)
    except (OSError, ValueError, RecursionError, RuntimeError, WeightsError):
        return None  # loading the weights says what is wrong with it


def _described_quick(folder: Path) -> bool | None:
    """By ``open_clip_config.json``, else by transformers' ``config.json``."""
    for name in ("open_clip_config.json", "config.json"):
        if not (folder / name).is_file():
            continue
        with (folder / name).open("rb") as file:
            values = json.loads(file.read(_MAX_BYTES))
        if not isinstance(values, Mapping):
            continue
        model = values.get("model_cfg")
        if isinstance(model, Mapping):
            return bool(model.get("quick_gelu", False))
        kind = str(values.get("model_type"))
        if not kind.startswith(("clip", "chinese_clip", "vision-text-dual-encoder")):
            continue
        own = [values.get(key) for key in ("vision_config", "text_config")]
        acts = {part.get("hidden_act", "quick_gelu") for part in own if isinstance(part, Mapping)}
        acts = acts or {values.get("hidden_act", "quick_gelu")}
        if len(acts) == 1:
            return acts == {"quick_gelu"}
    return None


def picture_settings(source: str) -> dict[str, Any]:
    """``mean``, ``std``, ``resize`` where open_clip's weights differ in them from CLIP's own."""
    named = weights_arch(source)
    if named is None:
        return {}
    if named == ("ViT-L-14", "laion2b_s32b_b82k"):
        return {"mean": _HALF, "std": _HALF}
    if named[1] == "dfn5b" or named[0].endswith("-worldwide-378"):
        return {"resize": "squash"}
    return {}


def text_numbers(arch: str) -> dict[str, Any]:
    """Numbers of an architecture's text transformer, by the names of the settings.

    Raises:
        ValueError: unknown, or not a plain CLIP transformer; says what to use instead.
    """
    config = _read(arch)
    text = config["text_cfg"]
    if "hf_model_name" in text:
        raise ValueError(
            f"the texts of `{arch}` go through `{text['hf_model_name']}` of the transformers"
            " library, not through CLIP's own transformer: see `engine plugins text_encoder`"
        )
    odd = sorted(set(text) - _TEXT_KEYS)
    if text.get("no_causal_mask"):
        odd.append("no_causal_mask")
    if text.get("pool_type", "argmax") not in ("argmax", "eos"):
        odd.append("pool_type")
    if odd:
        raise ValueError(
            f"the text encoder of `{arch}` is not CLIP's plain transformer ({', '.join(odd)}),"
            f" which is all that `openai_clip` builds; plain ones are, for example, {_PLAIN}"
        )
    return {
        "vocab_size": text.get("vocab_size", 49408),
        "max_tokens": text.get("context_length", 77),
        "width": text.get("width", 512),
        "layers": text.get("layers", 12),
        "heads": text.get("heads", 8),
        "mlp_ratio": text.get("mlp_ratio", 4.0),
        "embed_width": config["embed_dim"],
    }


_PADDED_KEYS = _TEXT_KEYS | {"proj_bias", "proj_type", "norm_kwargs", "act_kwargs"}


def padded_text_numbers(arch: str) -> dict[str, Any]:
    """Numbers of a text transformer that sees all of a text and its padding (SigLIP, MobileCLIP).

    Args:
        arch: open_clip's name of the architecture.

    Raises:
        ValueError: unknown, or another sort of text transformer; says what it is.
    """
    config = _read(arch)
    text = config["text_cfg"]
    norm, act = text.get("norm_kwargs") or {}, text.get("act_kwargs") or {}
    odd = sorted(set(text) - _PADDED_KEYS | set(norm) - {"eps"} | set(act) - {"approximate"})
    if odd or not text.get("no_causal_mask") or text.get("pool_type", "argmax") == "first":
        what = ", ".join(odd) or "its tokens do not see the whole text"
        raise ValueError(
            f"the text encoder of `{arch}` is another sort of transformer ({what}); of this sort"
            " are, for example, ViT-B-16-SigLIP-i18n-256, ViT-B-32-SigLIP2-256, MobileCLIP2-S0"
        )
    gelu = "gelu_tanh" if act.get("approximate") == "tanh" else "gelu"
    bias = "linear" if text.get("proj_bias") else "matrix"
    return {
        "vocab_size": text.get("vocab_size", 49408),
        "max_tokens": text.get("context_length", 77),
        "width": text.get("width", 512),
        "layers": text.get("layers", 12),
        "heads": text.get("heads", 8),
        "mlp_ratio": text.get("mlp_ratio", 4.0),
        "embed_width": config["embed_dim"],
        "activation": "quick_gelu" if config.get("quick_gelu") else gelu,
        "norm_eps": norm.get("eps", 1e-5),
        "pooling": "last" if text.get("pool_type") == "last" else "end",
        "project": "none" if text.get("proj_type") == "none" else bias,
    }


def text_tokenizer(arch: str) -> str | None:
    """The tokenizer on the hub that an architecture wants instead of CLIP's own."""
    name = _read(arch)["text_cfg"].get("hf_tokenizer_name")
    return None if name is None else str(name)


def vision_numbers(arch: str) -> dict[str, Any]:
    """Numbers of an architecture's vision transformer, by the names of the settings.

    Raises:
        ValueError: unknown, or not a plain CLIP transformer; says what to use instead.
    """
    config = _read(arch)
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        name = vision["timm_model_name"]
        raise ValueError(
            f"the vision tower of `{arch}` is timm's `{name}`: write `{{use: timm, arch: {name}}}`"
        )
    if not isinstance(vision.get("layers", 12), int):
        raise ValueError(
            f"the vision tower of `{arch}` is CLIP's modified ResNet, which `openai_clip` does not"
            f" build: use a ViT ({_PLAIN}), or `{{use: resnet50}}` for the usual ResNet-50"
        )
    odd = sorted(set(vision) - _VISION_KEYS)
    if odd:
        raise ValueError(
            f"the vision tower of `{arch}` is not CLIP's plain transformer ({', '.join(odd)}),"
            f" which is all that `openai_clip` builds; plain ones are, for example, {_PLAIN}"
        )
    width = vision.get("width", 768)
    return {
        "image_size": vision.get("image_size", 224),
        "patch_size": vision.get("patch_size", 16),
        "width": width,
        "layers": vision.get("layers", 12),
        "heads": width // vision.get("head_width", 64),
        "mlp_ratio": vision.get("mlp_ratio", 4.0),
        "embed_width": config["embed_dim"],
    }


def arch_of(tower: str, settings: Mapping[str, Any]) -> str | None:
    """The architecture that has these numbers in one tower; ``None`` where there is none.

    Args:
        tower: ``"text"`` or ``"vision"``.
        settings: of a tower; its activation counts too.
    """
    numbers = {"text": text_numbers, "vision": vision_numbers}[tower]
    for arch in arch_names():
        try:
            found = {**numbers(arch), "quick_gelu": bool(_read(arch).get("quick_gelu", False))}
        except ValueError:
            continue
        if all(settings.get(key) == value for key, value in found.items()):
            return arch
    return None


_PLAIN = "ViT-B-32-quickgelu, ViT-B-16, ViT-L-14"


@cache
def arch_names() -> tuple[str, ...]:
    """Every architecture of the installed open_clip, or of its table here; sorted."""
    folder = _folder()
    if folder is None:
        return tuple(sorted(_table()))
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


@cache
def _folder() -> Path | None:
    """Where the installed open_clip keeps its architectures."""
    try:
        spec = importlib.util.find_spec("open_clip")  # finds the package without importing it
    except ImportError:  # an import hook that refuses it
        return None
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model_configs"


@cache
def _table() -> Mapping[str, Any]:
    path = Path(__file__).with_name("open_clip_archs.json")
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


@cache
def _read(arch: str) -> Mapping[str, Any]:
    if arch not in arch_names():
        raise ValueError(
            f"open_clip has no architecture `{arch}`{did_you_mean(arch, arch_names())}"
        )
    folder = _folder()
    config: Mapping[str, Any] = (
        _table()[arch]
        if folder is None
        else json.loads((folder / f"{arch}.json").read_text(encoding="utf-8"))
    )
    return config
