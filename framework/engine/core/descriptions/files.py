"""The files beside weights and vocabularies: found, and read within bounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.contracts.description import NOTHING, Description
from engine.core.config.diagnostics import Diagnostic, Refused
from engine.core.config.yaml_reader import read_yaml
from engine.core.descriptions.programs import mapping, of_file, open_clip_model, pictures
from engine.core.sources import find_source, local_path
from engine.core.strict_json import parse_json
from engine.errors import WeightsError

BESIDE_WEIGHTS = (
    "config.json",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "1_Pooling/config.json",
)
"""What may say how weights are computed."""

BESIDE_VOCABULARY = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "open_clip_config.json",
    "tokenizer.json",
)
"""What may say how a text is taken apart."""

_LARGE = "tokenizer.json"
_MAX_BYTES = {_LARGE: 128 * 2**20}
_MAX_BYTES_OF_OTHERS = 16 * 2**20  # 21,841 class names, written twice, are 2 MB
_GENERIC = (None, "PreTrainedTokenizer", "TokenizersBackend", "AutoTokenizer")


def read_beside(path: Path) -> dict[str, Any]:
    """A JSON object from a file, strictly: UTF-8, no key twice, no NaN, bounded.

    Raises:
        WeightsError: it is something else, or cannot be read.
    """
    maximum = _MAX_BYTES.get(path.name, _MAX_BYTES_OF_OTHERS)

    try:
        with path.open("rb") as file:
            data = file.read(maximum + 1)
        if len(data) > maximum:
            raise ValueError(f"it is larger than {maximum:,} bytes")
        value = parse_json(data)
    except (OSError, ValueError) as error:
        pointer = path.is_file() and _is_pointer(path)
        raise WeightsError(
            f"{path} lies beside the weights and cannot be read as JSON: {error}",
            hint="it is a Git LFS pointer: `git lfs pull` gets the file itself" if pointer else
            "it says how the weights are to be computed: get it again",
        ) from error  # fmt: skip
    if not isinstance(value, dict):
        raise WeightsError(f"{path} lies beside the weights and is not a JSON object")
    return value


def _is_pointer(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(40).startswith(b"version https://git-lfs")


def find_beside(source: str, names: Sequence[str]) -> dict[str, Path]:
    """Which of the files lie in a source's folder, or beside its file; none where it is not there.

    Args:
        source: ``file:<path>``, ``package:<distribution>/<path>``, ``hf:<repository>``.
        names: names of files.
    """
    try:
        path = local_path(source)
    except WeightsError:  # the package is not installed, or has no such file
        return {}
    if path is not None:
        path = path.expanduser()
        if not path.exists():
            return {}
        folder = path if path.is_dir() else path.parent
        return {name: folder / name for name in names if (folder / name).is_file()}
    try:
        return find_source(source, names)
    except WeightsError:  # none of them, or out of reach
        return {}


def describe_weights(source: str, part: str) -> list[Description]:
    """What lies beside the weights that ``weights.from`` names, about one tower.

    Args:
        source: ``file:``, ``package:``, ``hf:``, ``open_clip:`` or ``artifact:`` with its rest.
        part: ``"vision"`` or ``"text"``.

    Returns:
        One description for each file; one of the program :data:`NOTHING` where there is no file.

    Raises:
        WeightsError: a file is there and cannot be read.
    """
    if source.startswith("artifact:"):
        return _of_artifact(_folder_of(source), part)
    if source.startswith("open_clip:"):
        found = describe_open_clip(source, part)
    else:
        found = describe_files(find_beside(source, BESIDE_WEIGHTS), part)
    if not any(not d.aside for d in found):
        found.append(Description(NOTHING, None, source))
    return found


def describe_files(files: Mapping[str, Path], part: str) -> list[Description]:
    """What files say of one tower.

    Args:
        files: by their names below the source's folder.
        part: ``"vision"`` or ``"text"``.

    Raises:
        WeightsError: one cannot be read.
    """
    return [
        one
        for name, path in files.items()
        for one in of_file(name, read_beside(path), part, str(path))
    ]


def describe_vocabulary(source: str, programs: Collection[str]) -> list[Description]:
    """What lies beside a vocabulary, about the tokenizer.

    Args:
        source: as the tokenizer's ``from`` names it.
        programs: those that the tokenizer knows: ``tokenizer.json``, which may be large, is read
            only where ``"tokenizers"`` is among them.

    Raises:
        WeightsError: a file is there and cannot be read.
    """
    if source.startswith("artifact:"):
        return _of_artifact(_folder_of(source), "text", "tokenizer")
    if not source.startswith(("file:", "package:", "hf:")):
        return []
    found = []
    names = [n for n in BESIDE_VOCABULARY if n != _LARGE or "tokenizers" in programs]
    for name, path in find_beside(source, names).items():
        values, place = read_beside(path), str(path)
        if name == "tokenizer_config.json":
            kind = values.get("tokenizer_class")
            kind = kind.removesuffix("Fast") if isinstance(kind, str) else None
            generic = kind in _GENERIC
            found.append(
                Description("transformers", None if generic else kind, place, values, not generic)
            )
        elif name == "special_tokens_map.json":
            found.append(Description("transformers", None, place, values, defaults=False))
        elif name == _LARGE and isinstance(values.get("model"), Mapping):
            found.append(Description("tokenizers", None, place, values, defaults=False, aside=True))
        elif name == "open_clip_config.json":
            text = mapping(mapping(values, "model_cfg") or values, "text_cfg")
            found.append(Description("open_clip", None, f"{place}, text_cfg", text, aside=True))
    return found


def describe_open_clip(source: str, part: str) -> list[Description]:
    """What open_clip itself knows of ``open_clip:<arch>/<tag>``; nothing of what it does not."""
    import open_clip

    arch, _, tag = source.partition(":")[2].partition("/")
    model, weights = open_clip.get_model_config(arch), open_clip.get_pretrained_cfg(arch, tag)
    if model is None or not weights:
        return []
    quick = bool(model.get("quick_gelu", False) or weights.get("quick_gelu", False))
    place = f"open_clip's `{arch}` with `{tag}`"
    return open_clip_model({**model, "quick_gelu": quick}, part, place) + pictures(
        "open_clip", weights, part, place
    )


def _folder_of(source: str) -> Path:
    """The folder of ``artifact:FOLDER``, of a training run or of ``artifact:RUN@best``, too."""
    return local_path(source) or Path()


def _of_artifact(folder: Path, *keys: str) -> list[Description]:
    """The settings of the artifact's own tower, or of its tokenizer."""
    path = folder / "config.yaml"
    diagnostics: list[Diagnostic] = []
    try:
        with path.open("rb") as file:
            config = read_yaml(file.read(_MAX_BYTES_OF_OTHERS), str(path), diagnostics).plain()
    except (OSError, Refused) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    found = config if isinstance(config, dict) else {}
    for key in ("model", *keys):
        found = mapping(found, key)
    place = f"{path}, {'.'.join(('model', *keys))}"
    return [Description("engine", str(found.pop("use", None)), place, found)]
