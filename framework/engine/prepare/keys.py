"""The names of prepared data: digests of everything that they follow from."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from engine.clusters.store import Clusters
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef
from engine.core.code_identity import reachable_code
from engine.core.config.schema import EngineConfig
from engine.core.registry import default_registry
from engine.prepare.chunks import Reading
from engine.prepare.contents import number_of

FORMAT = 1
"""Of what is stored. Raise it where the same ingredients would give other numbers."""


def digest(*parts: Any) -> str:
    """Names JSON values, 24 hexadecimal digits."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def data_key(use: PluginRef[Any, Dataset], opened: Dataset | None = None) -> str | None:
    """Names the rows of a data set: its plugin, its settings, and what its files hold.

    Args:
        use: the data set of a config.
        opened: the data set; where its plugin has no fingerprint, all rows are read for one.

    Returns:
        ``None``: the plugin has no fingerprint, and ``opened`` was not given.

    Raises:
        DataError: the data are not there.
    """
    found = use.target().fingerprint(use.settings)
    if found is None:
        if opened is None:
            return None
        found = _by_reading(opened)
    target = use.target()
    return digest("data", f"{target.__module__}.{target.__qualname__}", use.to_config(), found,
                  code_of(target.__module__))  # fmt: skip


def _by_reading(dataset: Dataset) -> str:
    """A fingerprint of all records. For large data a plugin has a fingerprint of its own."""
    whole = hashlib.sha256()
    for index in range(len(dataset)):
        record = dataset.record(index)
        label = "" if record.label is None else dataset.classes[record.label]
        texts = [record.id, label, repr(record.weight), "", *record.queries, "", *record.languages]
        whole.update(number_of(texts).to_bytes(8, "big"))
        whole.update(np.asarray(record.text_weights, dtype=np.float64).tobytes())
    return whole.hexdigest()


def tables_key(data: str, reading: Reading) -> str:
    """Names the token table of a data set: the data, the tokenizer's own bytes and its code."""
    tokenizer = reading.tokenizer
    kind = type(tokenizer)
    own = hashlib.sha256(tokenizer.to_bytes()).hexdigest()
    return digest(
        "tables", data, f"{kind.__module__}.{kind.__qualname__}", own, code_of(kind.__module__),
        reading.max_tokens, list(reading.languages), list(reading.taught_in),
    )  # fmt: skip


def labels_key(data: str, clusters: Clusters) -> str:
    """Names the cluster labels of a data set: the data, and the fitted clusters to the byte."""
    with tempfile.TemporaryDirectory() as folder:
        clusters.write(Path(folder))
        files = sorted(Path(folder).iterdir())
        own = [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in files]
    embedder = type(clusters.embedder).__module__
    return digest("labels", data, own, code_of(embedder), code_of("engine.clusters.assign"))


def start_key(data: str, config: EngineConfig, files: str) -> str:
    """Names a model before training: its config, the data, its files, and the code.

    Args:
        data: names the training data, which tokenizers and clusters are made of.
        config: the whole one; what changes no number of the model is left out.
        files: digest of the files that the config's ``model`` and ``clusters`` name.
    """
    plain = config.model_dump(mode="json", by_alias=True, round_trip=True)
    kept = {name: plain[name] for name in ("model", "clusters", "seed", "zero_shot")}
    plugins = {each.plugin.target.partition(":")[0] for each in default_registry().all()
               if each.plugin.name in json.dumps(kept)}  # fmt: skip
    code = {name: code_of(name) for name in sorted(plugins | {"engine.clusters.building"})}
    return digest("start", data, kept, files, code)


@cache
def code_of(module: str) -> str:
    """Names the source of a module and of everything that it imports."""
    packages = {"engine", *(e.plugin.target.partition(".")[0] for e in default_registry().all())}
    return digest(reachable_code({module}, packages))
