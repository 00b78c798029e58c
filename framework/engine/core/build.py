"""Build: settings become a model, a model becomes an artifact, an artifact a model again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.contracts.clustering import FittedClusters
from engine.contracts.description import TextEnd
from engine.contracts.settings import PluginRef, Settings
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.tower import Tower
from engine.contracts.tower_settings import TowerSettings
from engine.core import artifact
from engine.core.config import dump_config, load_config
from engine.core.config.schema import EngineConfig
from engine.core.descriptions import (
    check,
    describe_weights,
    differences,
    text_end,
    tokenizer_differences,
)
from engine.core.files import target_of
from engine.core.making import FINITE, check_numbers, make_model, read_model
from engine.core.model import DualEncoder
from engine.core.model_path import model_folder
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.core.regular_file import prefetch
from engine.core.size import SizeReport, config_size, plan_of_module, size_of_plan
from engine.core.sources import UnreachableError
from engine.core.storage import StoragePlan, plan_storage, to_manifest
from engine.core.storage_file import encode, write_parts
from engine.core.verified import remember_written, state_of
from engine.core.weights import fetch, to_array
from engine.errors import ArtifactError, DataError, PluginError, WeightsError
from engine.version import __version__


@dataclass(frozen=True)
class Origin:
    """Where a part's weights came from; kept in the artifact permanently.

    Attributes:
        source: what the config named.
        initialised: ``"loaded"`` from there, ``"fitted"`` on it, or ``"random"``.
        reason: why they are random although a source was named; empty otherwise.
        warnings: what a file beside them says and the model does not do, sentences.
    """

    source: str
    initialised: str
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class Built:
    """A model with everything needed to use it.

    Attributes:
        config: its resolved config.
        model: in eval mode, float32, on the CPU.
        tokenizer: of its text encoder.
        manifest: the artifact's manifest, without ``files`` before it is written.
        clusters: the clusters of its training texts, where it has any and they were asked for.
    """

    config: EngineConfig
    model: DualEncoder
    tokenizer: Tokenizer
    manifest: dict[str, Any] = field(default_factory=dict)
    clusters: FittedClusters | None = None

    @property
    def warnings(self) -> list[str]:
        """What a user must know of this model before trusting it."""
        found = []
        for part, origin in self.manifest.get("weights", {}).items():
            if origin["initialised"] == "random" and origin["reason"]:
                found.append(f"{part}: RANDOM weights: {origin['reason']}")
            found += origin.get("warnings", [])
        tokenizer = self.manifest.get("tokenizer", {})
        if "not reachable" in str(tokenizer.get("origin", "")):
            found.append(f"tokenizer: {tokenizer['origin']}")
        found += tokenizer.get("warnings", [])
        found = list(dict.fromkeys(found))
        return found + list(self.manifest.get("clusters", {}).get("warnings", []))


def load_tower(
    tower: Tower,
    use: PluginRef[TowerSettings, Tower],
    part: str,
    progress: Progress,
    end: TextEnd | None = None,
) -> Origin:
    """Fill a tower from its config's source, or leave it random where the config allows that.

    Args:
        tower: the tower.
        use: its plugin and settings.
        part: ``"vision"`` or ``"text"``.
        progress: receives lines of progress.
        end: how the config's tokenizer ends a text.

    Raises:
        WeightsError: unreachable without ``otherwise: scratch``; damaged; not fitting; or a file
            beside the weights contradicts the config.
    """
    weights = use.settings.weights
    if weights.from_ == "scratch":
        return Origin("scratch", "random")
    progress(f"{part}: weights from {weights.from_}")
    try:
        tensors = fetch(weights.from_, part, use.settings.preferred_files)
    except UnreachableError as error:
        if weights.otherwise != "scratch":
            raise
        return Origin(weights.from_, "random", error.message)
    found = [tower.describe(tensors), *describe_weights(weights.from_, part)]
    place = f"model.{part}"
    different = differences(tower, [one for one in found if one], end)
    warnings = check({place: different}, weights.from_)[place]
    tower.load_weights(tensors, weights.from_)
    return Origin(weights.from_, "loaded", warnings=tuple(warnings))


def fit_text(
    model: DualEncoder, tokenizer: Tokenizer, origin: Origin, progress: Progress
) -> Origin:
    """Let the text encoder compute its weights, where it does so and no source has them."""
    if origin.source != "scratch":
        return origin
    progress("text: fitting")
    words = model.text.fit(tokenizer)
    return Origin(words, "fitted") if words else origin


def fit_projections(model: DualEncoder, progress: Progress) -> dict[str, Origin]:
    """Let each projection compute its weights, where it is one that does; where they are from."""
    origins = {}
    for part in ("vision_projection", "text_projection"):
        progress(f"{part}: fitting")
        words = getattr(model, part).fit(model.vision)
        origins[part] = Origin(words, "fitted") if words else Origin("scratch", "random")
    return origins


def make_tokenizer(config: EngineConfig) -> Tokenizer:
    """The text encoder's tokenizer, loaded or trained on the queries of ``data.train``.

    Raises:
        PluginError: it gives ids that the text encoder has no rows for.
    """
    settings = config.model.text.settings
    use = settings.tokenizer

    def texts() -> Iterable[str]:
        if config.data.train is None:
            raise DataError(
                f"{config.name}: a tokenizer must be trained, and `data.train` names no data set",
                hint="for example `--set data.train='{use: NAME, path: MY_DATA}'`",
            )
        return config.data.train.create().texts()  # type: ignore[no-any-return]

    tokenizer = use.target().make(use.settings, texts, settings.vocab_size)
    return check_tokenizer(tokenizer, config)


def tokenizer_warnings(tokenizer: Tokenizer, config: EngineConfig) -> list[str]:
    """What lies beside the vocabulary and the tokenizer does not do, as warnings.

    Raises:
        WeightsError: a file there contradicts the config.
    """
    settings = config.model.text.settings
    own = settings.tokenizer.settings
    if not tokenizer.origin.startswith(own.from_):  # trained, or the source was out of reach
        return []
    found = tokenizer_differences(tokenizer, own.from_, settings.max_tokens)
    return [line for some in check(found, own.from_).values() for line in some]


def check_tokenizer(tokenizer: Tokenizer, config: EngineConfig) -> Tokenizer:
    """Raise PluginError where the tokenizer's ids do not fit the text encoder."""
    settings = config.model.text.settings
    if tokenizer.vocab_size > settings.vocab_size:
        raise PluginError(
            f"the tokenizer has {tokenizer.vocab_size} ids and the text encoder"
            f" {settings.vocab_size} rows",
            hint=f"set model.text.vocab_size to {tokenizer.vocab_size} or more",
        )
    padding = settings.padding_id()
    if padding is not None and padding != tokenizer.pad_id:
        raise PluginError(
            f"the tokenizer fills texts up with the id {tokenizer.pad_id}, and the text encoder"
            f" reads padding as the id {padding}: they are not of one model",
            hint=f"set model.text.pad_id to {tokenizer.pad_id}, or use the model's own tokenizer",
        )
    return tokenizer


def build(config: EngineConfig, progress: Progress = silent) -> Built:
    """Build a model in memory: weights loaded where the config names a source.

    Clusters are not fitted: ``engine.clusters.build_clustered`` does both.

    Raises:
        LimitError: it would have more bytes than ``limits.weights``, or with its tokenizer more
            than ``limits.folder``; raised before any weights are loaded.
        WeightsError, DataError, PluginError: see the functions above.
    """
    size = config_size(config)
    size.check()
    progress("tokenizer")
    tokenizer = make_tokenizer(config)
    # A lower bound of what will be written: clusters and the manifest come on top. So a run that
    # cannot keep its limit ends before it is trained, and not after.
    replace(size, folder=size.total + len(tokenizer.to_bytes())).check()
    warnings = tokenizer_warnings(tokenizer, config)
    progress("model")
    model = make_model(config)
    end = text_end(tokenizer, model.text.settings.max_tokens)
    vision = load_tower(model.vision, config.model.vision, "vision", progress)
    text = load_tower(model.text, config.model.text, "text", progress, end)
    text = fit_text(model, tokenizer, text, progress)
    origins = {"vision": vision, "text": text, **fit_projections(model, progress)}
    return assemble(config, model, tokenizer, origins, warnings)


def assemble(
    config: EngineConfig,
    model: DualEncoder,
    tokenizer: Tokenizer,
    origins: dict[str, Origin],
    tokenizer_warnings: Sequence[str] = (),
) -> Built:
    """Put a finished model and its story together."""
    # Numbers that an identity of the image modality or parameterless part lacks cannot be random.
    for part, origin in origins.items():
        if origin.source == "scratch" and not getattr(model, part).state_dict():
            origins[part] = Origin("scratch", "none")
    manifest: dict[str, Any] = {
        "engine": __version__,
        "name": config.name,
        "weights": {part: asdict(origin) for part, origin in origins.items()},
        "tokenizer": {
            "origin": tokenizer.origin,
            "vocab_size": tokenizer.vocab_size,
            "warnings": list(tokenizer_warnings),
        },
        "stages": [],
        "scores": {},
    }
    return Built(config, model.eval(), tokenizer, manifest)


def plugins_of(config: EngineConfig, registry: Registry) -> list[dict[str, str]]:
    """Every plugin that the model and its file of weights use, with its distribution."""
    found: dict[tuple[str, str], dict[str, str]] = {}

    def visit(value: object) -> None:
        if isinstance(value, PluginRef):
            dist = registry.registered(value.kind, value.name).distribution
            found[value.kind, value.name] = {
                "kind": value.kind,
                "name": value.name,
                "distribution": dist.name,
                "version": dist.version,
            }
            visit(value.settings)
        elif isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        elif isinstance(value, Settings):
            for name in type(value).model_fields:
                visit(getattr(value, name))

    visit(config.model)
    visit(config.storage)
    return [found[key] for key in sorted(found)]


def save(
    built: Built, folder: Path, registry: Registry | None = None, *, merge: bool = True
) -> SizeReport:
    """Write an artifact, whole or not at all.

    Args:
        built: the model; adapters of its towers are folded into their weights, in place.
        folder: the artifact, or the training run that wrote it.
        registry: the plugins; by default everything installed.
        merge: ``False``: adapters are written as they are, for training to go on with.

    Returns:
        The size of what was written; its weights are equal to what ``engine size`` said before.

    Raises:
        ArtifactError: the folder is not ours to replace, or the weights on disk are not of the
            predicted size (a fault of Engine or of a plugin's plan).
        LimitError: all files together are over ``limits.folder``.
        WeightsError: a number is not finite, or its storage cannot hold it.
    """
    registry = registry or default_registry()
    if merge:
        built.model.merge()
    plan = plan_of_module(built.model)
    stored = plan_storage(plan, built.config.storage)
    arrays = encode(built.config.name, stored, _arrays(built, stored), registry)
    report = size_of_plan(plan, built.config, built.config.limits.weights)
    built.manifest["plugins"] = plugins_of(built.config, registry)
    built.manifest["num_parameters"] = report.num_parameters
    built.manifest["num_buffers"] = report.num_buffers
    built.manifest["storage"] = to_manifest(stored)
    with artifact.writing(folder) as temporary:
        write_parts(temporary / artifact.WEIGHTS, arrays)
        (temporary / artifact.CONFIG).write_text(dump_config(built.config), encoding="utf-8")
        (temporary / artifact.TOKENIZER).write_bytes(built.tokenizer.to_bytes())
        if built.clusters is not None:
            built.clusters.write(temporary)
        files = artifact.seal(temporary, built.manifest)
        state = state_of(temporary / artifact.WEIGHTS)
        written = (temporary / artifact.WEIGHTS).stat().st_size
        if written != report.total:
            raise ArtifactError(
                f"{written:,} bytes of weights were written, {report.total:,} predicted"
            )
        report = replace(report, folder=artifact.folder_bytes(temporary))
        if report.folder_over:
            report.check()
    facts = [artifact.has_digest(files[artifact.WEIGHTS]["sha256"])]
    if all(tensor.ref is None for tensor in stored.values()):  # as `_arrays` found them
        facts.append(FINITE)
    remember_written(target_of(folder) / artifact.WEIGHTS, state, facts)
    return report


def _arrays(built: Built, stored: StoragePlan) -> dict[str, Any]:
    """The tensors to be stored, tied ones once, as arrays of finite numbers."""
    check_numbers(built.config.name, built.model, WeightsError)
    state = built.model.state_dict()
    return {name: to_array(state[name]) for name in stored}


def read_artifact(
    folder: Path | str, registry: Registry | None = None, *, stored_tables: bool = False
) -> Built:
    """Read an artifact; every byte of it is checked when it is new here.

    What was checked before and did not change since is mapped, not read (``engine.core.verified``).
    Its clusters are not read, since prediction does without; what trains the model, or writes it
    again, reads it with ``engine.clusters.read_clustered``.

    Args:
        folder: the artifact.
        registry: the plugins; by default everything installed.
        stored_tables: large token tables stay in memory as they are stored, and rows are decoded
            when they are looked up (``engine.core.stored_tables``): for prediction.

    Raises:
        ArtifactError: no artifact, changed, its weights do not fit its config, or they are not
            finite.
        ConfigError: it uses plugins that are not installed here.
    """
    folder = model_folder(Path(folder))
    prefetch(folder / artifact.WEIGHTS)  # the disk works while the tokenizer is made
    registry = registry or default_registry()
    manifest = artifact.read_manifest(folder)
    config = load_config(folder / artifact.CONFIG, registry=registry)
    settings = config.model.text.settings
    tokenizer = settings.tokenizer.target().from_bytes(
        settings.tokenizer.settings, (folder / artifact.TOKENIZER).read_bytes()
    )
    path = folder / artifact.WEIGHTS
    model = read_model(config, path, manifest, registry, stored_tables=stored_tables)
    return Built(config, model.eval(), check_tokenizer(tokenizer, config), manifest)
