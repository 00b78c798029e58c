"""transformers: a folder that ``VisionTextDualEncoderModel`` (or ``CLIPModel``) loads, offline.

======================== ========================================================================
``config.json``          both towers' numbers
``model.safetensors``    float32, whatever the artifact stores
``tokenizer.json``       and ``tokenizer_config.json``, where the plugin's tokenizer is of the
                         library `tokenizers`
``processor_config.json``  how a picture becomes pixels, by ``CLIPImageProcessor``
``export.json``          where it came from, differences measured, sha256 of every file
``README.md``            how to use it
======================== ========================================================================

Which towers have a form there is the checkpoint adapters' to know: the ``to_transformers`` of each
is asked (``engine_plugins.checkpoint_adapters.transformers_export`` is the built-in one).
Whether it computes the same is not believed but measured.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.checkpoint_adapter import ModelParts
from engine.contracts.cut import scaled_side
from engine.contracts.preprocess import SquarePreprocess
from engine.core.build import Say
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError, WeightsError
from engine.exchange.folder import check_target, seal, writing
from engine.exchange.readme import transformers_readme
from engine.exchange.source import Source, Worst, read_source
from engine.exchange.tokenizer import backend_of

Form = Literal["transformers", "clip"]
"""``transformers``: ``VisionTextDualEncoderModel``; ``clip``: ``CLIPModel``, both towers CLIP's."""

_CLASSES = {
    "transformers": ("VisionTextDualEncoderModel", "VisionTextDualEncoderProcessor"),
    "clip": ("CLIPModel", "CLIPProcessor"),
}
_NOTES = {
    "shorter_side": "Where a picture's margins are uneven, CLIPImageProcessor cuts its square out a"
    " pixel beside Engine's (which is OpenAI's).",
    "crop_first": "Engine cuts the square out of a picture and then scales it; CLIPImageProcessor"
    " scales first, so its pixels differ a little.",
}
_CONFIGS = {"transformers": "VisionTextDualEncoderConfig", "clip": "CLIPConfig"}


def export_transformers(
    artifact: Path, folder: Path, form: Form = "transformers", say: Say = lambda line: None
) -> dict[str, Any]:
    """Export an artifact as a folder of transformers.

    Before the folder takes its place it is loaded by transformers, and both towers are held to the
    model: every number of an embedding within ``TOLERANCE``.

    Args:
        artifact: the artifact's folder.
        folder: where the export goes; an earlier export there is replaced.
        form: which class of transformers.
        say: receives lines of progress.

    Returns:
        The manifest, as in ``export.json``.

    Raises:
        ArtifactError: no artifact, or ``folder`` is not ours to replace.
        WeightsError: transformers has no form of a part (names it), or computes something else.
    """
    check_target(folder)
    say(f"reading {artifact}")
    return write_transformers(read_source(artifact), folder, form, say=say)


def write_transformers(
    source: Source,
    folder: Path,
    form: Form = "transformers",
    registry: Registry | None = None,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """:func:`export_transformers` of a model in memory."""
    _square_of(source)
    if source.built.model.logit_bias is not None:
        raise WeightsError(
            f"transformers' {_CLASSES[form][0]} has no logit_bias, and this model has one",
            hint="`engine export --to open_clip` and `--to onnx` keep it",
        )
    config, tensors = _convert(source, registry or default_registry())
    if form == "clip" and config["text_config"]["model_type"] != "clip_text_model":
        raise WeightsError(
            "transformers' CLIPModel has CLIP's text tower, and this model has"
            f" {config['text_config']['model_type']}'s",
            hint="`--to transformers` writes a VisionTextDualEncoderModel",
        )
    with writing(folder) as temporary, torch.no_grad(), _quiet():
        say("writing")
        _write_model(source, config, tensors, form, temporary)
        notes, tokenizer = _write_processor(source, form, temporary)
        say("comparing with transformers")
        checks = _check(source, form, temporary)
        manifest = {
            "to": form,
            "transformers": _version(),
            "class": _CLASSES[form][0],
            "processor": _CLASSES[form][1],
            **source.story(),
            "check": checks,
            "tokenizer": tokenizer,
            "notes": notes,
        }
        (temporary / "README.md").write_text(transformers_readme(manifest), encoding="utf-8")
        return seal(temporary, manifest)


def _version() -> str:
    import transformers

    return str(transformers.__version__)


def _convert(source: Source, registry: Registry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Ask the layouts in turn; the last refusal is reported where all refuse."""
    model, refusal = source.built.model, None
    parts = ModelParts(
        vision=model.vision,
        vision_projection=model.vision_projection,
        text=model.text,
        text_projection=model.text_projection,
        end_mark=source.end_mark(),
    )
    for name in registry.names("checkpoint_adapter"):
        plugin = registry.get("checkpoint_adapter", name)
        layout = plugin.load()(plugin.load_settings()())
        try:
            found = layout.to_transformers(parts)
        except WeightsError as error:
            refusal = error
            continue
        if found is not None:
            config, tensors = found
            return config, {**tensors, "logit_scale": model.logit_scale.detach().float()}
    raise refusal or PluginError(
        "no installed checkpoint_adapter plugin writes transformers' folders"
    )


def _write_model(
    source: Source,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    form: Form,
    folder: Path,
) -> None:
    import transformers
    from safetensors.torch import save_file

    scale = float(source.built.model.logit_scale.detach())
    described = getattr(transformers, _CONFIGS[form])(**config, logit_scale_init_value=scale)
    described.architectures = [_CLASSES[form][0]]
    described.save_pretrained(folder)
    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})


def _write_processor(source: Source, form: Form, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """Tokenizer and picture processor; what a user must know of them, and of the tokenizer."""
    import transformers

    preprocess = _square_of(source)
    images = transformers.CLIPImageProcessor(**image_processor(preprocess))
    notes = [_NOTES[preprocess.resize]] if preprocess.resize in _NOTES else []
    story = {"origin": source.built.tokenizer.origin, "differs_on": []}
    made = fast_tokenizer(source)
    if made is None:
        images.save_pretrained(folder)
        return notes, {**story, "library": None}
    getattr(transformers, _CLASSES[form][1])(images, made).save_pretrained(folder)
    again = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    rows = again(list(source.texts), truncation=True)["input_ids"]
    pairs = zip(source.texts, source.rows, rows, strict=True)
    different = [text[:60] for text, expected, ids in pairs if list(expected) != list(ids)]
    return notes, {**story, "library": "tokenizers", "differs_on": different}


def _square_of(source: Source) -> SquarePreprocess:
    preprocess = source.built.model.vision.preprocess
    if isinstance(preprocess, SquarePreprocess):
        return preprocess
    raise PluginError(
        f"the vision tower prepares pictures in its own way ({type(preprocess).__qualname__}), and"
        " transformers' CLIPImageProcessor cannot express that",
        hint="`--to onnx` writes the tower's own program, where its plugin has one",
    )


def image_processor(preprocess: SquarePreprocess) -> dict[str, Any]:
    """Arguments of transformers' ``CLIPImageProcessor``."""
    square = {"height": preprocess.size, "width": preprocess.size}
    squash, side = preprocess.resize == "squash", scaled_side(preprocess)
    return {
        "do_resize": True,
        "size": {"height": side, "width": side} if squash else {"shortest_edge": side},
        "resample": 3 if preprocess.interpolation == "bicubic" else 2,  # Pillow's numbers
        "do_center_crop": not squash or side != preprocess.size,
        "crop_size": square,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def fast_tokenizer(source: Source) -> Any:
    """A ``PreTrainedTokenizerFast``; ``None`` where the plugin's is not of that library."""
    from transformers import PreTrainedTokenizerFast

    found = backend_of(source)
    if found is None:
        return None
    backend, marks = found
    backend.no_truncation()
    backend.no_padding()
    names = {"bos_token": marks["begin"], "eos_token": marks["end"], "pad_token": [marks["pad"]]}
    special = {
        kind: backend.id_to_token(ids[0])
        for kind, ids in names.items()
        if ids and backend.id_to_token(ids[0]) is not None
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=source.text_settings.max_tokens,
        split_special_tokens=True,  # a mark that a text spells out is text
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )


def _check(source: Source, form: Form, folder: Path) -> dict[str, Any]:
    """Load the folder with transformers and hold both towers to the model."""
    import transformers

    class_ = getattr(transformers, _CLASSES[form][0])
    loaded, info = class_.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    misfits = [f"{kind}: {sorted(map(str, found))[:3]}" for kind, found in info.items() if found]
    if misfits:
        raise WeightsError(f"transformers does not find its tensors: {'; '.join(misfits)}")
    loaded, model = loaded.eval(), source.built.model
    vision, text = (
        Worst("the vision tower of transformers"),
        Worst("the text tower of transformers"),
    )
    for pixels in source.images():
        pooled = loaded.get_image_features(pixel_values=pixels).pooler_output
        found = functional.normalize(pooled, dim=-1)
        vision.compare(found, model.encode_image(pixels), pixels.shape)
    for ids, mask in source.batches(source.end_mark()):
        pooled = loaded.get_text_features(input_ids=ids, attention_mask=mask.long()).pooler_output
        found = functional.normalize(pooled, dim=-1)
        text.compare(found, model.encode_text(ids, mask), ids.shape)
    return {"vision": vision.to_json(), "text": text.to_json()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' notices and progress bars from the user's screen."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
