"""The README of an export: what lies there, and a program that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.exchange.program import PROGRAM, program


def onnx_readme(manifest: Mapping[str, Any], size: int) -> str:
    """README of an ONNX export, in Markdown.

    Args:
        manifest: of the export.
        size: side of the square of pixels.
    """
    text = manifest["text"]
    width = manifest["embed_dim"]
    return f"""\
# {manifest["name"]}

An image-text model, exported to ONNX by Engine {manifest["engine"]}. It runs with onnxruntime,
without torch and without Engine.

| file | takes | gives |
| --- | --- | --- |
| `vision.onnx` | `pixels` [B, 3, {size}, {size}] float32 | `image_embeds` [B, {width}] |
| `text.onnx` | `ids` [B, L] int64, `mask` [B, L] bool, L <= {text["max_tokens"]} | `text_embeds` \
[B, {width}] |

Rows of both have length 1.{_lengths(manifest)} `mask` is true on tokens and false on padding
(on the right, any id).
{_compared(manifest)}

`pictures.zip` is a Python package, the very code with which Engine reads pictures (upright by EXIF,
transparency over white, all modes and depths); it needs Pillow and numpy. `preprocess.py` turns a
picture into pixels as `preprocess.json` says; it gave the model's numbers when it was tried.
`export.json` says everything else: templates for class names, the scale of the logits
({manifest["scale"]:.4g}), where the weights came from.

{_warnings(manifest)}{_tokenizer(manifest)}
## Classify a picture

    pip install onnxruntime tokenizers pillow numpy
    python classify.py PICTURE.jpg кошка собака

```python
{program(manifest)}```
"""


def _compared(manifest: Mapping[str, Any]) -> str:
    """How near the files are to the model."""
    if "int8" in manifest:
        found = [
            f"{tower} {each['cosine']:.4f} and {each['agreement']:.0%}"
            for tower, each in manifest["int8"].items()
            if each["layers"]
        ]
        return (
            "Matrices are 8-bit numbers. Beside the model in float32, the mean cosine of embeddings"
            f" and the share of nearest neighbours that stayed are: {', '.join(found)}; what is"
            " computed in one batch changes the last digits of its neighbours."
        )
    vision, text = (manifest[tower]["check"]["largest_difference"] for tower in ("vision", "text"))
    return (
        "Compared with the model in Engine, no number differed by more than"
        f" {vision:.1e} (images) and {text:.1e} (texts)."
    )


def transformers_readme(manifest: Mapping[str, Any]) -> str:
    """README of a folder for transformers, in Markdown."""
    name = manifest["class"]
    processor = manifest["processor"]
    return f"""\
# {manifest["name"]}

An image-text model, exported by Engine {manifest["engine"]} for transformers
{manifest["transformers"]} (float32).

```python
from transformers import {name}, {processor}

model = {name}.from_pretrained("FOLDER").eval()
processor = {processor}.from_pretrained("FOLDER")
inputs = processor(text=["кошка", "собака"], images=image, padding={manifest["padding"]!r},
                   truncation=True, return_tensors="pt")
probabilities = model(**inputs).logits_per_image.softmax(dim=-1)
```

Engine turns a picture upright by its EXIF and lays transparency over white; the processor does
not, so do it before: `ImageOps.exif_transpose(image)` of Pillow, for example.

Compared with the model in Engine, no number of an embedding differed by more than
{manifest["check"]["vision"]["largest_difference"]:.1e} (images) and \
{manifest["check"]["text"]["largest_difference"]:.1e} (texts), from the same pixels and ids.

{_example(manifest)}{_warnings(manifest)}{_tokenizer(manifest)}\
{"".join(f"- {note}{chr(10)}" for note in manifest["notes"])}"""


def sentences_readme(manifest: Mapping[str, Any]) -> str:
    """README of a folder for sentence-transformers, in Markdown."""
    images = "image" in manifest["modalities"]
    also = 'images = model.encode([Image.open("a.jpg")])\n' if images else ""
    pictures = (
        "\nEngine turns a picture upright by its EXIF and lays transparency over white; the"
        " processor does\nnot, so do it before: `ImageOps.exif_transpose(image)` of Pillow, for"
        " example.\n"
        if images
        else "\nThe folder holds the text encoder alone.\n"
    )
    return f"""\
# {manifest["name"]}

A model of {"images and texts" if images else "texts"}, exported by Engine {manifest["engine"]} for
sentence-transformers {manifest["sentence_transformers"]} (float32).

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
texts = model.encode(["кошка", "собака"])
{also}```
{pictures}
`encode` differs from Engine's own vectors by \
{manifest["encode"]["texts"]["largest_difference"]:.1e} at most, on the texts that were tried.

{_example(manifest)}{_warnings(manifest)}{_tokenizer(manifest)}\
{"".join(f"- {note}{chr(10)}" for note in manifest["notes"])}"""


def open_clip_readme(manifest: Mapping[str, Any]) -> str:
    """README of a folder for open_clip, in Markdown."""
    return f"""\
# {manifest["name"]}

An image-text model, exported by Engine {manifest["engine"]} for open_clip {manifest["open_clip"]}
(float32).

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")
```

Compared with the model in Engine, no number of an embedding differed by more than
{manifest["check"]["vision"]["largest_difference"]:.1e} (images) and \
{manifest["check"]["text"]["largest_difference"]:.1e} (texts), from the same pixels and ids.

{_example(manifest)}{_warnings(manifest)}{_tokenizer(manifest)}\
{"".join(f"- {note}{chr(10)}" for note in manifest["notes"])}"""


def _example(manifest: Mapping[str, Any]) -> str:
    if not manifest["program"]:
        return ""
    return (
        f"`python {PROGRAM} PICTURE.jpg кошка собака` answers as Engine does: it reads pictures"
        " with Engine's own\ncode, and knows the model's templates.\n\n"
    )


def _warnings(manifest: Mapping[str, Any]) -> str:
    lines = [f"**{warning}**\n\n" for warning in manifest["warnings"]]
    return "".join(lines)


def _tokenizer(manifest: Mapping[str, Any]) -> str:
    tokenizer = manifest["tokenizer"]
    if tokenizer["library"] is None:
        return (
            "`tokenizer.json` is a plugin's own form, which only Engine reads: the library"
            " `tokenizers` cannot give this model its ids.\n"
        )
    if not tokenizer["differs_on"]:
        return "`tokenizer.json` gave every text that was tried the ids that Engine gives it.\n"
    shown = "\n".join(f"- {text!r}" for text in tokenizer["differs_on"])
    return (
        "`tokenizer.json` is for the library `tokenizers`. Of the texts that were tried, these get"
        f" other ids than in Engine, which mends texts further:\n\n{shown}\n"
    )


def _lengths(manifest: Mapping[str, Any]) -> str:
    if manifest["zero_shot"]["average"] != "raw":
        return ""
    return (
        " A second output, `text_lengths` [B], says how long each text's vector was before: this"
        " model takes the mean over templates of those."
    )
