"""transformers: a folder that its ``from_pretrained`` loads, offline.

======================== ========================================================================
``config.json``          both towers' numbers
``model.safetensors``    float32, whatever the artifact stores
``tokenizer.json``       and ``tokenizer_config.json``, where the plugin's tokenizer is of the
                         library `tokenizers`
``processor_config.json``  how a picture becomes pixels
``export.json``          where it came from, differences measured, sha256 of every file
``README.md``            how to use it
======================== ========================================================================

Which towers have a form there, and in which class, is the checkpoint adapters' to know: the
``to_transformers`` of each is asked (``engine_plugins.checkpoint_adapters.transformers_export`` is
a built-in one). Whether it computes the same is not believed but measured. For the library
sentence-transformers a few files more make a folder of its own of that.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.checkpoint_adapter import ModelParts, SentenceModel, TransformersModel
from engine.contracts.cut import scaled_side
from engine.contracts.preprocess import SquarePreprocess
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.errors import EngineError, PluginError, WeightsError
from engine.exchange.folder import check_target, seal, writing
from engine.exchange.program import write_program
from engine.exchange.readme import sentences_readme, transformers_readme
from engine.exchange.sentences import write_encoder, write_sentences
from engine.exchange.source import Source, Worst, read_source
from engine.exchange.tokenizer import backend_of

Form = Literal["transformers", "clip", "sentence_transformers"]
"""``transformers``: the class that the checkpoint adapter names; ``clip``: ``CLIPModel``, both
towers CLIP's; ``sentence_transformers``: either, with what makes it a ``SentenceTransformer``."""

_NOTES = {
    "shorter_side": "Where a picture's margins are uneven, CLIPImageProcessor cuts its square out a"
    " pixel beside Engine's (which is OpenAI's).",
    "crop_first": "Engine cuts the square out of a picture and then scales it; CLIPImageProcessor"
    " scales first, so its pixels differ a little.",
}
_CLIP, _CLIP_TEXT = "CLIP", "clip_text_model"


def export_transformers(
    artifact: Path, folder: Path, form: Form = "transformers", progress: Progress = silent
) -> dict[str, Any]:
    """Export an artifact as a folder of transformers.

    Before the folder takes its place it is loaded by transformers, and both towers are held to the
    model: every number of an embedding within ``TOLERANCE``.

    Args:
        artifact: the artifact's folder.
        folder: where the export goes; an earlier export there is replaced.
        form: which class of transformers.
        progress: receives lines of progress.

    Returns:
        The manifest, as in ``export.json``.

    Raises:
        ArtifactError: no artifact, or ``folder`` is not ours to replace.
        WeightsError: transformers has no form of a part (names it), or computes something else.
    """
    check_target(folder)
    progress(f"reading {artifact}")
    return write_transformers(read_source(artifact), folder, form, progress=progress)


def write_transformers(
    source: Source,
    folder: Path,
    form: Form = "transformers",
    registry: Registry | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """:func:`export_transformers` of a model in memory."""
    registry = registry or default_registry()
    if form == "sentence_transformers" and (texts := _texts_alone(source, registry)) is not None:
        return _write_texts(source, texts, folder, progress)
    _square_of(source)
    made = _in_form(_convert(source, registry), form)
    if not made.bias and source.built.model.logit_bias is not None:
        raise WeightsError(
            f"transformers' {made.name}Model has no logit_bias, and this model has one",
            hint="`engine export --to open_clip` and `--to onnx` keep it",
        )
    with writing(folder) as temporary, torch.no_grad(), _quiet():
        progress("writing")
        _write_model(source, made, temporary)
        notes, tokenizer = _write_processor(source, made, temporary)
        progress("comparing with transformers")
        manifest: dict[str, Any] = {
            "to": form,
            "transformers": _version(),
            "class": f"{made.name}Model",
            "processor": f"{made.name}Processor",
            "padding": True if made.fill is None else "max_length",
            **source.story(),
            "check": _check(source, made, temporary),
            "tokenizer": tokenizer,
            "notes": notes,
        }
        readme = transformers_readme
        preprocess = source.built.model.vision.preprocess
        manifest["program"] = write_program(preprocess, temporary, manifest)
        if form == "sentence_transformers":
            progress("comparing with sentence-transformers")
            manifest |= write_sentences(source, made, temporary)
            readme = sentences_readme
        (temporary / "README.md").write_text(readme(manifest), encoding="utf-8")
        return seal(temporary, manifest)


def _texts_alone(source: Source, registry: Registry) -> SentenceModel | None:
    """The text encoder as a sentence encoder, where no class of transformers has both towers."""
    try:
        _square_of(source)
        _convert(source, registry)
    except EngineError as refusal:
        found = _ask(source, registry, "to_sentence_transformers")
        if found is None:
            raise
        logging.getLogger(__name__).info("texts alone: %s", refusal.message)
        return cast("SentenceModel", found)
    return None


def _write_texts(
    source: Source, made: SentenceModel, folder: Path, progress: Progress
) -> dict[str, Any]:
    """A sentence encoder of the text encoder alone."""
    tokenizer = fast_tokenizer(source)
    if tokenizer is None:
        raise WeightsError(
            "the tokenizer of this model has no form in transformers",
            hint="`engine.load(...).as_sentence_transformer()` has no such limits",
        )
    with writing(folder) as temporary, torch.no_grad(), _quiet():
        progress("comparing with sentence-transformers")
        found = write_encoder(source, made, tokenizer, temporary)
        rows = tokenizer(list(source.texts), truncation=True)["input_ids"]
        pairs = zip(source.texts, source.rows, rows, strict=True)
        differs_on = [text[:60] for text, right, ids in pairs if list(right) != list(ids)]
        manifest: dict[str, Any] = {
            "to": "sentence_transformers",
            "transformers": _version(),
            "class": f"{made.name}Model",
            **source.story(),
            **found,
            "check": {"text": found["encode"]["texts"]},
            "tokenizer": {"origin": source.built.tokenizer.origin, "library": "tokenizers",
                          "differs_on": differs_on},
            "notes": [],
            "program": False,
        }  # fmt: skip
        (temporary / "README.md").write_text(sentences_readme(manifest), encoding="utf-8")
        return seal(temporary, manifest)


def _version() -> str:
    import transformers

    return str(transformers.__version__)


def _convert(source: Source, registry: Registry) -> TransformersModel:
    """The model in transformers' terms; the last refusal is reported where all refuse."""
    found = _ask(source, registry, "to_transformers")
    if found is None:
        raise PluginError("no installed checkpoint_adapter plugin writes transformers' folders")
    return cast("TransformersModel", found)


def _ask(source: Source, registry: Registry, method: str) -> object:
    """What the first checkpoint adapter that has an answer gives; ``None``: none has.

    Raises:
        WeightsError: an adapter refuses, and no other has an answer.
    """
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
            found = getattr(layout, method)(parts)
        except WeightsError as error:
            refusal = error
            continue
        if found is not None:
            return found
    if refusal is not None:
        raise refusal
    return None


def _in_form(made: TransformersModel, form: Form) -> TransformersModel:
    """The model as the class that the form asks for."""
    kind = made.config.get("text_config", {}).get("model_type")
    if kind == _CLIP_TEXT and form != "transformers":
        return replace(made, name=_CLIP)
    if form == "clip":
        raise WeightsError(
            f"transformers' CLIPModel has CLIP's text tower, and this model has {kind}'s",
            hint=f"`--to transformers` writes a {made.name}Model",
        )
    return made


def _write_model(source: Source, made: TransformersModel, folder: Path) -> None:
    import transformers
    from safetensors.torch import save_file

    model = source.built.model
    described = getattr(transformers, f"{made.name}Config")(**made.config)
    described.architectures = [f"{made.name}Model"]
    scale = model.logit_scale.detach().float()
    if hasattr(described, "logit_scale_init_value"):
        described.logit_scale_init_value = float(scale)
    described.save_pretrained(folder)
    own = {name: tensor.clone().contiguous() for name, tensor in made.tensors.items()}
    own["logit_scale"] = scale.clone()
    if made.bias:
        bias = model.logit_bias
        own["logit_bias"] = torch.zeros(1) if bias is None else bias.detach().float().reshape(1)
        own["logit_scale"] = scale.reshape(1).clone()
    save_file(own, folder / "model.safetensors", metadata={"format": "pt"})


def _write_processor(
    source: Source, made: TransformersModel, folder: Path
) -> tuple[list[str], dict[str, Any]]:
    """Tokenizer and picture processor; what a user must know of them, and of the tokenizer."""
    import transformers

    preprocess = _square_of(source)
    class_ = getattr(transformers, made.images)
    images = class_(**image_processor(preprocess))
    notes = [_NOTES[preprocess.resize]] if preprocess.resize in _NOTES else []
    if made.fill is not None:
        notes.append("Texts are filled up to the longest (`padding=\"max_length\"`), and the model"
                     " takes no mask: padding is a part of what it reads.")  # fmt: skip
    story = {"origin": source.built.tokenizer.origin, "differs_on": []}
    tokenizer = fast_tokenizer(source, masked=made.fill is None)
    if tokenizer is None:
        images.save_pretrained(folder)
        return notes, {**story, "library": None}
    getattr(transformers, f"{made.name}Processor")(images, tokenizer).save_pretrained(folder)
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


def fast_tokenizer(source: Source, *, masked: bool = True) -> Any:
    """A ``PreTrainedTokenizerFast``; ``None`` where the plugin's is not of that library.

    Args:
        source: the model.
        masked: whether it gives a mask beside the ids.
    """
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
        model_input_names=["input_ids", "attention_mask"][: 2 if masked else 1],
        **special,
    )


def _check(source: Source, made: TransformersModel, folder: Path) -> dict[str, Any]:
    """Load the folder with transformers and hold both towers to the model."""
    import transformers

    class_ = getattr(transformers, f"{made.name}Model")
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
        inputs = _text_inputs(ids, mask, made.fill, source.text_settings.max_tokens)
        pooled = loaded.get_text_features(**inputs).pooler_output
        found = functional.normalize(pooled, dim=-1)
        text.compare(found, model.encode_text(ids, mask), ids.shape)
    return {"vision": vision.to_json(), "text": text.to_json()}


def _text_inputs(ids: Tensor, mask: Tensor, fill: int | None, longest: int) -> dict[str, Tensor]:
    """[B, L] ids and mask as a model of transformers takes them."""
    if fill is None:
        return {"input_ids": ids, "attention_mask": mask.long()}
    filled = functional.pad(ids.masked_fill(~mask, fill), (0, longest - ids.shape[1]), value=fill)
    return {"input_ids": filled}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' notices and progress bars from the user's screen."""
    from transformers.utils import logging as notices

    level = notices.get_verbosity()
    notices.set_verbosity_error()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        notices.set_verbosity(level)
