"""Sources of other programs: which files describe a model, and which hold its weights.

==================================== ==========================================================
``open_clip:<arch>/<tag>``           open_clip's own list of architectures and weights
a folder with ``modules.json``       sentence-transformers: an encoder, its pooling, a dense layer
... with ``open_clip_config.json``   open_clip
... with ``config.json``             transformers, ruCLIP
==================================== ==========================================================

A folder is one on this disk (``file:<path>``) or a repository of the hub (``hf:<owner>/<name>``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from engine.contracts.description import Description
from engine.core.descriptions import (
    BESIDE_VOCABULARY,
    describe_files,
    describe_open_clip,
    describe_vocabulary,
    find_beside,
    read_beside,
)
from engine.core.sources import find_source
from engine.core.weights import fetch, read_checkpoint
from engine.errors import WeightsError

TOWERS = ("vision", "text")

_MODULES = "modules.json"
_OPEN_CLIP = "open_clip_config.json"
_CONFIG = "config.json"
_PICTURES = ("preprocessor_config.json", "processor_config.json")
_INDEX = "model.safetensors.index.json"
_OF_TRANSFORMERS = ("model.safetensors", _INDEX, "pytorch_model.bin")
_OF_OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
VOCABULARIES = (
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model", "bpe.model",
)  # fmt: skip
"""Files of vocabularies whose name says what sort they are of."""


@dataclass(frozen=True)
class Foreign:
    """A model of another program, as its files describe it; its weights are not read yet.

    Attributes:
        source: as the user named it, with its scheme.
        program: whose words describe it.
        main: the description of each tower, by ``"vision"`` and ``"text"``; absent where the source
            has no such tower.
        aside: further details of each tower: how pictures are prepared, how texts are pooled.
        weights: where its tensors lie: names of files, the first that is there counts; for
            sentence-transformers each with the beginning that its names get.
        tokenizer: where its vocabulary lies, as a config's ``from`` names it; ``None`` where the
            source has none of its own.
    """

    source: str
    program: str
    main: Mapping[str, Description]
    aside: Mapping[str, Sequence[Description]]
    weights: Sequence[tuple[Sequence[str], str]]
    tokenizer: str | None

    def vocabulary(self) -> list[Description]:
        """What lies beside the vocabulary, for the tokenizers' ``propose``."""
        found: list[Description] = []
        if self.tokenizer is not None:
            found = describe_vocabulary(self.tokenizer, {"tokenizers"})
            files = find_beside(self.tokenizer, VOCABULARIES)
            found += [Description("file", name, str(path)) for name, path in files.items()]
        return [*found, *self.own_vocabulary()]

    def own_vocabulary(self) -> list[Description]:
        """What the model's own description says of its tokenizer; only open_clip's does."""
        text = self.main.get("text")
        if text is None or text.program != "open_clip":
            return []
        return [Description("open_clip", None, text.place, text.values, aside=True)]

    def read(self) -> dict[str, Tensor]:
        """Its tensors by their own names.

        Raises:
            UnreachableError: they cannot be reached from here.
            WeightsError: they are missing or damaged.
        """
        if self.source.startswith("open_clip:"):
            return fetch(self.source, "vision")
        tensors: dict[str, Tensor] = {}
        for names, prefix in self.weights:
            own = _read_files(self.source, names)
            tensors |= {prefix + name: tensor for name, tensor in own.items()}
        return tensors


def find_foreign(source: str) -> Foreign:
    """Read what describes a model of another program.

    Raises:
        UnreachableError: the source is not there, or cannot be reached from here.
        WeightsError: its name is malformed, nothing there describes a model, or a file that does
            cannot be read.
    """
    scheme, _, rest = source.partition(":")
    if scheme == "open_clip":
        return _of_open_clip(source, rest)
    if scheme == "file" and Path(rest).expanduser().is_file():
        raise WeightsError(
            f"{rest} is one file: its tensors alone do not say what they compute",
            hint="name the folder that also holds its description (config.json,"
            " open_clip_config.json); or describe it yourself with `--config`",
        )
    names = (_MODULES, _OPEN_CLIP, _CONFIG, *_PICTURES)
    files = find_source(source, names)
    if _MODULES in files:
        return _of_sentences(source, files)
    has_open_clip = _OPEN_CLIP in files and _any_there(source, _OF_OPEN_CLIP)
    if has_open_clip:
        return _described(source, files, _OPEN_CLIP, _OF_OPEN_CLIP)
    if _CONFIG in files:
        return _described(source, files, _CONFIG, _OF_TRANSFORMERS)
    if _OPEN_CLIP in files:  # described, and its weights are missing: reading them says so
        return _described(source, files, _OPEN_CLIP, _OF_OPEN_CLIP)
    raise WeightsError(
        f"nothing in {source} describes a model (found {', '.join(files)})",
        hint=f"expected {_CONFIG}, {_OPEN_CLIP} or {_MODULES}",
    )


def _of_open_clip(source: str, rest: str) -> Foreign:
    import open_clip

    arch, _, tag = rest.partition("/")
    if open_clip.get_model_config(arch) is None:
        raise WeightsError(
            f"open_clip has no architecture `{arch}`",
            hint="`python -c 'import open_clip; print(open_clip.list_pretrained())'` lists them",
        )
    if not open_clip.get_pretrained_cfg(arch, tag):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise WeightsError(f"open_clip has no weights `{tag}` for `{arch}` (its tags: {tags})")
    found = {part: describe_open_clip(source, part) for part in TOWERS}
    return _sorted(source, "open_clip", found, (), _named_tokenizer(found["text"]))


def _described(
    source: str, files: Mapping[str, Path], name: str, weights: Sequence[str]
) -> Foreign:
    """A folder whose model one file describes, with the files about its pictures."""
    of_pictures = _PICTURES if name == _CONFIG else ()
    chosen = {key: files[key] for key in (name, *of_pictures) if key in files}
    found = {part: describe_files(chosen, part) for part in TOWERS}
    main = [one for some in found.values() for one in some if not one.aside]
    program = main[0].program if main else "unknown"
    if program == "timm":
        found = {"vision": found["vision"], "text": []}
    own = bool(find_beside(source, (*BESIDE_VOCABULARY[:1], "tokenizer.json", *VOCABULARIES)))
    tokenizer = source if own else _named_tokenizer(found["text"])
    return _sorted(source, program, found, [(weights, "")], tokenizer)


def _named_tokenizer(found: Sequence[Description]) -> str | None:
    """The repository whose tokenizer open_clip's description names."""
    for one in found:
        name = one.values.get("hf_tokenizer_name") if one.program == "open_clip" else None
        name = name or (one.values.get("hf_model_name") if one.program == "open_clip" else None)
        if isinstance(name, str) and name:
            return f"hf:{name}"
    return None


def _sorted(
    source: str,
    program: str,
    found: Mapping[str, Sequence[Description]],
    weights: Sequence[tuple[Sequence[str], str]],
    tokenizer: str | None,
) -> Foreign:
    main = {part: one for part, some in found.items() for one in reversed(some) if not one.aside}
    aside = {part: [one for one in some if one.aside] for part, some in found.items()}
    return Foreign(source, program, main, aside, weights, tokenizer)


def _of_sentences(source: str, files: Mapping[str, Path]) -> Foreign:
    """A folder of sentence-transformers: a transformer, pooling, perhaps a dense layer.

    A model of CLIP in such a folder is a folder of transformers; a table of static embeddings is
    described by model2vec's own file.
    """
    modules = _modules(files[_MODULES])
    kinds = [kind for kind, _ in modules]
    if kinds in (["CLIPModel"], ["StaticEmbedding"], ["StaticEmbedding", "Normalize"]):
        return _inside(source, modules[0][1])
    if "Normalize" in kinds[-1:]:
        modules = modules[:-1]  # Engine's embeddings have length 1 anyway
    kinds = [kind for kind, _ in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Dense"]):
        raise WeightsError(
            f"{files[_MODULES]} lists the modules {', '.join(kinds) or 'none'}; Engine has a form"
            " of Transformer, Pooling and at most one Dense (and Normalize at the end)"
        )
    folder = modules[0][1]
    names = [_below(folder, name) for name in (_CONFIG, "sentence_bert_config.json")]
    names += [_below(path, _CONFIG) for _, path in modules[1:]]
    found = find_source(source, names)
    main = describe_files({_CONFIG: _need(source, found, names[0])}, "text")
    aside = [
        Description(f"sentence_transformers{what}", None, str(found[name]),
                    read_beside(found[name]), aside=True)
        for what, name in zip((" length", "", " dense"), names[1:], strict=False)
        if name in found
    ]  # fmt: skip
    weights = [([_below(folder, name) for name in _OF_TRANSFORMERS], "0.auto_model.")]
    if len(modules) == 3:
        dense = [_below(modules[2][1], name) for name in ("model.safetensors", "pytorch_model.bin")]
        weights.append((dense, "2."))
    return _sorted(source, "sentence_transformers", {"text": [*main, *aside], "vision": []},
                   weights, _folder(source, folder))  # fmt: skip


def _inside(source: str, folder: str) -> Foreign:
    return find_foreign(_folder(source, folder)) if folder else _plain(source)


def _plain(source: str) -> Foreign:
    files = find_source(source, (_CONFIG, *_PICTURES))
    _need(source, files, _CONFIG)
    return _described(source, files, _CONFIG, _OF_TRANSFORMERS)


def _folder(source: str, folder: str) -> str:
    """A folder inside of a source as a source of its own."""
    if not folder:
        return source
    if source.startswith("file:"):
        return f"{source.rstrip('/')}/{folder}"
    raise WeightsError(
        f"{source} keeps its transformer in the folder `{folder}`, which a name of the hub cannot"
        " point into",
        hint=f"`hf download {source.removeprefix('hf:')} --local-dir FOLDER`, then import FOLDER",
    )


def _modules(path: Path) -> list[tuple[str, str]]:
    """The kind and folder of each module, in order."""
    try:
        listed = json.loads(path.read_bytes())
        found = [
            (str(one["type"]).rpartition(".")[2], _plain_path(one.get("path", "")))
            for one in listed
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is not sentence-transformers' list of modules ({type(error).__name__}:"
            f" {error})"
        ) from error
    return found


def _plain_path(value: Any) -> str:
    path = PurePosixPath(str(value))
    if path.is_absolute() or ".." in path.parts or "\\" in str(value):
        raise ValueError(f"{value!r} lies outside of the folder")
    return "" if str(path) == "." else str(path)


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _need(source: str, found: Mapping[str, Path], name: str) -> Path:
    if name not in found:
        raise WeightsError(
            f"{source} has no {name}, which says what its weights compute",
            hint="get the whole folder again",
        )
    return found[name]


def _any_there(source: str, names: Sequence[str]) -> bool:
    """Whether a source has one of the files."""
    try:
        return bool(find_source(source, names, first_only=True))
    except WeightsError:
        return False


def _read_files(source: str, names: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the first file that is there, of all its parts."""
    name, path = next(iter(find_source(source, names, first_only=True).items()))
    if not name.endswith(".index.json"):
        return read_checkpoint(path)
    parts = parts_of_index(path)
    folder = str(PurePosixPath(name).parent)
    wanted = [_below("" if folder == "." else folder, part) for part in parts]
    found = find_source(source, wanted, needs=[wanted])
    tensors: dict[str, Tensor] = {}
    for part in wanted:
        tensors |= read_checkpoint(found[part])
    return tensors


def parts_of_index(index: Path) -> list[str]:
    """The files that the index of a checkpoint in several parts names."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{index} is not an index of a checkpoint in parts ({type(error).__name__}: {error})"
        ) from error
    for name in names:
        plain = isinstance(name, str) and name.endswith(".safetensors") and "/" not in name
        if not plain or "\\" in name:
            raise WeightsError(f"{index} names {name!r}, which is not a plain safetensors file")
    return names
