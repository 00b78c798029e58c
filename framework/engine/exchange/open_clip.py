"""open_clip: a folder that ``create_model("local-dir:FOLDER")`` loads, offline.

=============================== =================================================================
``open_clip_config.json``       architecture and preparation of pictures
``open_clip_model.safetensors`` float32, whatever the artifact stores
``tokenizer.json`` and its like where the tokenizer is not OpenAI's, which open_clip carries
``config.json``                 of a text encoder of transformers; open_clip reads it from the place
                                that ``text_cfg.hf_model_name`` names, which is this folder's
``export.json``                 where it came from, differences measured, sha256 of every file
``README.md``                   how to use it
=============================== =================================================================

Which towers have a form there is the checkpoint adapters' to know: the ``to_open_clip`` of each is
asked. Whether it computes the same is measured before the folder takes its place.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.contracts.checkpoint_adapter import ModelParts
from engine.contracts.preprocess import SquarePreprocess
from engine.core.files import target_of
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError, WeightsError
from engine.exchange.folder import check_target, seal, writing
from engine.exchange.program import write_program
from engine.exchange.readme import open_clip_readme
from engine.exchange.source import Source, Worst, read_source
from engine.exchange.transformers import fast_tokenizer

_MODES = {"shorter_side": "shortest", "squash": "squash"}
_FIXED_PLACE = (
    "open_clip reads the text encoder's `config.json` from the place that `text_cfg.hf_model_name`"
    " in `open_clip_config.json` names. Where this folder is moved, change it to the new place."
)


def export_open_clip(artifact: Path, folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Export an artifact as a folder of open_clip.

    Before the folder takes its place it is loaded by open_clip, and both towers are held to the
    model: every number of an embedding within ``TOLERANCE``.

    Args:
        artifact: the artifact's folder.
        folder: where the export goes; an earlier export there is replaced.
        progress: receives lines of progress.

    Returns:
        The manifest, as in ``export.json``.

    Raises:
        ArtifactError: no artifact, or ``folder`` is not ours to replace.
        WeightsError: open_clip has no form of a part (names it), or computes something else.
    """
    check_target(folder)
    progress(f"reading {artifact}")
    return write_open_clip(read_source(artifact), folder, progress=progress)


def write_open_clip(
    source: Source,
    folder: Path,
    registry: Registry | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """:func:`export_open_clip` of a model in memory."""
    import open_clip

    preparation = _preparation(source)
    config, tensors = _convert(source, registry or default_registry())
    with writing(folder) as temporary, torch.no_grad(), _quiet():
        progress("writing")
        tokenizer = _write_tokenizer(source, config, temporary)
        padding = _take_encoder(config, temporary, source.built.tokenizer.pad_id)
        _write_weights(temporary, tensors)
        _write_config(temporary, config, preparation, place=None if padding is None else temporary)
        progress("comparing with open_clip")
        checks, differs_on = _check(source, temporary, padding)
        manifest: dict[str, Any] = {
            "to": "open_clip",
            "open_clip": str(open_clip.__version__),
            **source.story(),
            "check": checks,
            "tokenizer": {**tokenizer, "differs_on": differs_on},
            "notes": [] if padding is None else [_FIXED_PLACE],
        }
        if padding is not None:
            _write_config(temporary, config, preparation, place=target_of(folder).absolute())
        preprocess = source.built.model.vision.preprocess
        manifest["program"] = write_program(preprocess, temporary, manifest)
        (temporary / "README.md").write_text(open_clip_readme(manifest), encoding="utf-8")
        return seal(temporary, manifest)


def _preparation(source: Source) -> dict[str, Any]:
    """open_clip's ``preprocess_cfg``.

    Raises:
        WeightsError: open_clip prepares no picture in that way.
    """
    preprocess = source.built.model.vision.preprocess
    if (
        not isinstance(preprocess, SquarePreprocess)
        or preprocess.resize not in _MODES
        or preprocess.crop_pct != 1
    ):
        what = f"`resize: {getattr(preprocess, 'resize', type(preprocess).__name__)}`"
        raise WeightsError(
            f"open_clip prepares no picture as this vision tower wants it ({what}, or a margin)",
            hint="`engine export --to onnx` has no such limits",
        )
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "interpolation": preprocess.interpolation,
        "resize_mode": _MODES[preprocess.resize],
    }


def _convert(source: Source, registry: Registry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Ask the adapters in turn; the last refusal is reported where all refuse."""
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
        try:
            found = plugin.load()(plugin.load_settings()()).to_open_clip(parts)
        except WeightsError as error:
            refusal = error
            continue
        if found is not None:
            return _with_logits(source, *found)
    raise refusal or PluginError(
        "no installed checkpoint_adapter plugin writes open_clip's folders"
    )


def _with_logits(
    source: Source, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    model = source.built.model
    described, own = dict(config), dict(tensors)
    own["logit_scale"] = model.logit_scale.detach().float()
    if model.logit_bias is not None:
        own["logit_bias"] = model.logit_bias.detach().float()
        described["init_logit_bias"] = float(own["logit_bias"])
    return described, own


def _take_encoder(config: dict[str, Any], folder: Path, pad_id: int) -> int | None:
    """Write the config of a text encoder of transformers, if the tower is one; its padding id."""
    text_cfg = dict(config["text_cfg"])
    about = text_cfg.pop("hf_config", None)
    if about is None:
        return None
    config["text_cfg"] = text_cfg
    text = json.dumps(about, ensure_ascii=False, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    padding = int(about.get("pad_token_id", 0))  # transformers' own default for BERT
    if padding != pad_id:
        raise WeightsError(
            f"open_clip masks the id {padding} out of this text encoder, and the tokenizer fills"
            f" texts up with the id {pad_id}",
            hint="`engine export --to onnx` has no such limits",
        )
    return padding


def _write_config(
    folder: Path, config: Mapping[str, Any], preparation: Mapping[str, Any], place: Path | None
) -> None:
    """``open_clip_config.json``; ``place`` is where open_clip reads ``config.json``."""
    own = dict(config)
    if place is not None:
        own["text_cfg"] = {**own["text_cfg"], "hf_model_name": str(place)}
    whole = {"model_cfg": own, "preprocess_cfg": preparation}
    text = json.dumps(whole, ensure_ascii=False, indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n", encoding="utf-8")


def _write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    own = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(own, folder / "open_clip_model.safetensors", metadata={"format": "pt"})


def _write_tokenizer(source: Source, config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Let the config name the tokenizer; its files are written where open_clip has it not."""
    import open_clip

    story = {"origin": source.built.tokenizer.origin}
    own = open_clip.SimpleTokenizer(context_length=source.text_settings.max_tokens)
    made, different = fast_tokenizer(source), len(_differing(source, own))
    # A text that spells out a mark is a mark to open_clip, so that never all texts agree.
    if different <= (len(source.texts) // 4 if made is None else _misses(source, made)):
        return {**story, "library": "open_clip"}
    if made is None:
        return {**story, "library": None}
    made.save_pretrained(folder)
    # open_clip reads it from the folder itself; the name only says that there is one.
    config["text_cfg"] = {**config["text_cfg"], "hf_tokenizer_name": "."}
    return {**story, "library": "tokenizers"}


def _misses(source: Source, made: Any) -> int:
    """To how many of the source's texts transformers' tokenizer gives other ids."""
    rows = made(list(source.texts), truncation=True)["input_ids"]
    return sum(list(row) != list(ids) for row, ids in zip(source.rows, rows, strict=True))


def _differing(source: Source, tokenizer: Any) -> list[str]:
    """Those of the source's texts to which open_clip's tokenizer gives other ids."""
    longest = source.text_settings.max_tokens
    found = tokenizer(list(source.texts), longest).tolist()
    pairs = zip(source.texts, source.rows, found, strict=True)
    return [text[:60] for text, row, ids in pairs if ids[: len(row)] != list(row)]


def _check(source: Source, folder: Path, padding: int | None) -> tuple[dict[str, Any], list[str]]:
    """Load the folder with open_clip and hold both towers to the model, and the tokenizer.

    ``padding`` is the id that an encoder of transformers masks out; it looks for no end mark.
    """
    import open_clip

    name, model = f"local-dir:{folder}", source.built.model
    loaded = open_clip.create_model(name, require_pretrained=True).eval()
    vision, text = Worst("open_clip's vision tower"), Worst("open_clip's text tower")
    for pixels in source.images():
        found = loaded.encode_image(pixels, normalize=True)
        vision.compare(found, model.encode_image(pixels), pixels.shape)
    end = source.end_mark() if padding is None else None
    longest = source.text_settings.max_tokens
    own = source.text_settings.padding_id() if padding is None else padding
    pad = (1 if end == 0 else 0) if own is None else own
    for ids, mask in source.batches(end):
        # open_clip knows no mask: behind the end mark stands padding, up to the longest text.
        smaller = ids if end is None else torch.where(ids > end, pad, ids)
        if padding is not None:  # an encoder of transformers masks it out wherever it stands
            smaller = torch.where(ids == padding, padding + 1, ids)
        filled = smaller.masked_fill(~mask, pad)
        rows = functional.pad(filled, (0, longest - filled.shape[1]), value=pad)
        found = loaded.encode_text(rows, normalize=True)
        text.compare(found, model.encode_text(filled, mask), ids.shape)
    different = _differing(source, open_clip.get_tokenizer(name))
    return {"vision": vision.to_json(), "text": text.to_json()}, different


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's and transformers' notices from the user's screen."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
