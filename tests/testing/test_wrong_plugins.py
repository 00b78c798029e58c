"""Plugins that are wrong in one thing each: the kit finds that thing, names it, and no other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from engine.contracts.hooks import Plugin
from engine.testing import Report, check_plugin

KEYS = ["pictures.0.weight", "pictures.1.weight", "words.weight"]
SETTINGS = {
    "text_encoder": "kit_settings:TextSettings",
    "vision_tower": "engine.contracts.tower_settings:VisionTowerSettings",
    "projection": "engine.contracts.projection_settings:ProjectionSettings",
    "tokenizer": "engine.contracts.tokenizer:TokenizerSettings",
    "embedder": "engine.contracts.clustering_settings:EmbedderSettings",
    "clusterer": "engine.contracts.clustering_settings:ClustererSettings",
    "dataset": "engine.contracts.dataset:DatasetSettings",
    "checkpoint_adapter": "engine.contracts.settings:Settings",
    "loss": "engine.contracts.training_settings:LossSettings",
    "sampler": "engine.contracts.training_settings:SamplerSettings",
    "logger": "engine.contracts.training_settings:LoggerSettings",
    "metric": "engine.contracts.settings:Settings",
    "storage": "engine.contracts.storage:StorageSettings",
    "compressor": "engine.contracts.compressor:CompressorSettings",
    "optimizer": "engine.contracts.training_settings:OptimizerSettings",
    "callback": "engine.contracts.training_settings:CallbackSettings",
    "teacher": "engine.contracts.teacher:TeacherSettings",
}
HINTS: dict[str, dict[str, Any]] = {"checkpoint_adapter": {"keys": KEYS}}


@dataclass(frozen=True)
class Case:
    """A wrong plugin.

    Attributes:
        kind: of the plugin.
        target: its module and class.
        check: the check that must find it.
        words: what its message must say.
        settings: module and class of its settings, where they are not the kind's.
        hints: for the kit.
    """

    kind: str
    target: str
    check: str
    words: tuple[str, ...]
    settings: str = ""
    hints: dict[str, Any] = field(default_factory=dict)

    def report(self) -> Report:
        name = self.target.partition(":")[2]
        settings = self.settings or SETTINGS[self.kind]
        plugin = Plugin(self.kind, name, self.target, settings)
        hints = HINTS.get(self.kind, {}) | self.hints
        if self.check not in ("", "settings_without_torch"):  # a process of its own costs a second
            hints["skip"] = {"settings_without_torch": "checked once"}
        return check_plugin(self.kind, plugin, **hints)


def text(name: str, check: str, *words: str, settings: str = "", **hints: Any) -> Case:
    own = f"kit_settings:{settings}" if settings else ""
    return Case("text_encoder", f"wrong_towers:{name}", check, words, own, hints)


def part(kind: str, name: str, check: str, *words: str, **hints: Any) -> Case:
    home = {
        "tokenizer": "wrong_data", "embedder": "wrong_data", "clusterer": "wrong_data",
        "dataset": "wrong_datasets", "vision_tower": "wrong_vision",
    }.get(kind, "wrong_parts")  # fmt: skip
    return Case(kind, f"{home}:{name}", check, words, "", hints)


def metric(name: str, check: str, *words: str, settings: str = "") -> Case:
    return Case("metric", f"wrong_metrics:{name}", check, words, settings)


def storage(name: str, check: str, *words: str, home: str = "wrong_storages") -> Case:
    return Case("storage", f"{home}:{name}", check, words)


def compressor(name: str, check: str, *words: str) -> Case:
    return Case("compressor", f"wrong_compressors:{name}", check, words)


def training(kind: str, name: str, check: str, *words: str) -> Case:
    return Case(kind, f"wrong_training:{name}", check, words)


def teacher(name: str, check: str, *words: str) -> Case:
    return Case("teacher", f"wrong_teachers:{name}", check, words)


RIGHT = [
    teacher("RightTeacher", ""), part("dataset", "TextsAlone", ""), part("dataset", "Vectors", ""),
    storage("RightStorage", ""), storage("MatricesAlone", ""),
    compressor("RightCompressor", ""), compressor("HasNothingToDo", ""),
    text("RightText", ""), part("vision_tower", "RightVision", ""),
    part("vision_tower", "Prepared", ""),
    text("ShowsHidden", ""), text("Adapted", "", settings="NoPlan"),
    text("SaysThatItMixes", ""), text("BatchNormThatSaysSo", "", settings="NoPlan"),
    part("projection", "ProjectionSaysThatItMixes", ""),
    part("projection", "RightProjection", ""), part("loss", "RightLoss", ""),
    part("sampler", "RightSampler", ""), part("logger", "RightLogger", ""),
    part("checkpoint_adapter", "RightLayout", ""), part("tokenizer", "RightTokenizer", ""),
    part("embedder", "RightEmbedder", ""), part("clusterer", "RightClusterer", ""),
    part("dataset", "RightDataset", ""), metric("RightMetric", ""), metric("RightError", ""),
    training("optimizer", "RightOptimizer", ""), training("callback", "RightCallback", ""),
]  # fmt: skip

CASES = [
    # The record and the settings.
    text("Nothing", "registration", "cannot import wrong_towers:Nothing"),
    text("NoTower", "registration", "derive from engine.contracts.tower.TextEncoder"),
    text("Abstract", "registration", "missing: embed, run"),
    text("RightText", "registration", "TextEncoderSettings", settings="NotOfTowers"),
    text("RightText", "registration", "does not derive", settings="WrongBase"),
    text("RightText", "settings_refuse_unknown", "extra='ignore'", settings="TakesAnything"),
    text("RightText", "settings_refuse_unknown", "frozen=False", settings="Changeable"),
    text("RightText", "settings_round_trip", "steps", settings="Growing"),
    text("RightText", "settings_round_trip", "whatever: {1, 2} became [1, 2]", settings="NoJson"),
    Case("text_encoder", "wrong_towers:RightText", "settings_without_torch",
         ("importing its module imported torch",), "heavy_settings:HeavySettings"),
    # Towers: what comes out.
    text("WrongShape", "forward", "features of shape [B, width]", "[4, 7, 32]"),
    text("LiesAboutItsWidth", "width", "tower.width", "33", "32 wide"),
    text("MeanOverTheBatch", "batch_independence", "a row sees its neighbours"),
    text("BatchNormThatTrains", "batch_independence", "row 0 alone", "more than 1 value"),
    text("MixesInTraining", "batch_independence", "a row sees its neighbours", "mixes_rows = True"),
    text("SeesTheRowBefore", "batch_independence", "in training mode", "mixes_rows = True"),
    text("QuietBatchNorm", "batch_independence", 'mixes_rows = "batch_norm"', settings="NoPlan"),
    text("MoreThanBatchNorm", "batch_independence", "it must be True", settings="NoPlan"),
    text("SaysAnything", "batch_independence", "'sometimes'"),
    text("MeanOverPadding", "padding_independence", "the tower sees padding", "mask"),
    text("LastPlace", "padding_independence", "last_place(mask)"),
    text("DropoutInEval", "determinism", "dropout", "eval mode"),
    text("ChangesNumbers", "state_unchanged", "block 0", "'hidden'", "in-place"),
    text("ChangesTheDictionary", "state_unchanged", "`hidden`", "dict(state)"),
    text("PositionsInEmbed", "embed", "every place"),
    text("ShortTextsOnly", "longest_text", "12 tokens", "no position 11", settings="NoPlan"),
    # Towers: segments.
    text("RunsToTheEnd", "segments_compose", "`pooled` already", "heed `stop`"),
    text("StartsAnew", "segments_compose", "the whole run", "differ by"),
    text("RemembersBesideTheState", "state_stored", "as if never stored", "_first"),
    text("TimeFirst", "state_batch_first", "after stem", "[7, 4, 32]"),
    text("SegmentForgotten", "segments_hold_parameters", "in none", "`norm.weight`"),
    text("SegmentTwice", "segments_hold_parameters", "`blocks.1.linear.weight`",
         "(in block 1 and head)"),
    text("SegmentsSwapped", "segments_use_their_own", "`blocks.0.linear", "listed under block 1"),
    text("OtherNames", "segments_named", "embeddings, layer 1"),
    text("LearnsWhileFrozen", "frozen_is_still", "`table.weight` changed in the forward pass"),
    text("ThawsItself", "freezing", "block 0", "`blocks.0.linear.weight`"),
    text("LooseDropout", "frozen_is_still", "in no segment: `dropout`"),
    text("CutsTheGradient", "gradients", "`table.weight`", "detach"),
    text("NeverUsed", "gradients", "`spare.weight`", "never used", settings="NoPlan"),
    text("FixedParameter", "gradients", "requires_grad=False", "buffer", settings="NoPlan"),
    # Towers: weights.
    text("Uninitialised", "initialisation", "`table.weight`", "torch.empty"),
    text("NumpyRandom", "initialisation", "torch.manual_seed", "`table.weight` differs"),
    text("PlainTensor", "tensors_registered", "`scale`", "register_buffer"),
    text("ReadsInItsConstructor", "meta_build", "torch.device('meta')"),
    text("RightText", "plan", "linear.bias", "missing in plan()",
         settings="WrongPlan"),
    text("RightText", "width", "plan().width", "64", settings="PlanOfAnotherWidth"),
    text("Float32Inside", "dtypes", "bfloat16", "float32"),
    text("LoadsAnything", "load_weights", "WeightsError", "missing"),
    text("RightText", "build", "at most 1,000 bytes", "settings={...}", max_bytes=1000),
    text("SaysFewerDimensions", "outputs", "`hidden` of shape [B, width]", "[4, 7, 32]"),
    text("SaysAnotherWidth", "outputs", "`hidden` of shape [B, L, 64]", "[4, 7, 32]"),
    text("DoesNotKeep", "outputs", "`hidden` in the state at the end", "unless it is kept"),
    text("KeepsInOneRunAlone", "outputs", "`hidden` where run(x, 0, 1)", "one run of the whole"),
    text("KeepsWhatFollows", "outputs", "the same `hidden` cut after segment", "differs"),
    text("KeepingChangesFeatures", "outputs", "keeping outputs", "they differ"),
    text("MergeForgetsTheFactor", "merge", "a merged tower", "differ", settings="NoPlan"),
    text("MergesTwice", "merge", "a second merge() to do nothing", settings="NoPlan"),
    text("MergeReadsNumbers", "merge", "on the meta device", settings="NoPlan"),
    text("MergeKeepsTheAdapterOnMeta", "merge", "merged on the meta device", settings="NoPlan"),
    part("vision_tower", "NoPreprocess", "preprocess", "Preprocess"),
    part("vision_tower", "PreprocessWithoutIdentity", "preprocess", "without identity"),
    part("vision_tower", "PreprocessKeepsShape", "preprocess_array", "64 x 48", "[16, 21, 3]"),
    part("vision_tower", "PreprocessJitters", "preprocess_pure", "others at the second call"),
    part("vision_tower", "PreprocessDoubles", "preprocess_tensor", "float32", "float64"),
    part("vision_tower", "PreprocessWhitensTheBatch", "preprocess_rows", "each row alone"),
    part("vision_tower", "PreprocessNamedByAddress", "preprocess_identity", "equal settings"),
    part("vision_tower", "QuietBatchNormVision", "batch_independence", 'mixes_rows = "batch_norm"'),
    part("vision_tower", "MixesDimensions", "batch_independence", "mixes dimensions"),
    # Projections.
    part("projection", "TooWide", "width", "out_width, 8", "9 wide"),
    part("projection", "ProjectionLeaks", "batch_independence", "a row sees its neighbours"),
    part("projection", "ProjectionMixesInTraining", "batch_independence", "GroupNorm"),
    part("projection", "ReadsSecretly", "forward", "'token_embeddings'", "reads"),
    part("projection", "ProjectionSeesPadding", "padding_independence", "mask"),
    part("projection", "LosesTheState", "forward", "`pooled` is gone"),
    part("projection", "ProjectionDetaches", "gradients", "gradient at the features"),
    # Losses.
    part("loss", "LossOfEachRow", "scalar", "no dimension", "[12]"),
    part("loss", "LossOverflows", "scalar", "finite", "log_softmax"),
    part("loss", "LossDetached", "gradients", "`image.embedding`", "detach"),
    part("loss", "LossIsNoTensorOfAGraph", "gradients", "differentiated"),
    part("loss", "LossTurned", "right_pairs", "sign"),
    part("loss", "LossOfPartsOfTheirOwnMean", "parts", "2 sets of rows", "off by"),
    part("loss", "LossOfPartsInTheWrongPlace", "parts", "off by"),
    part("loss", "LossWeighted", "not_weighted", "leave the weight to training"),
    part("loss", "LossReadsSecretly", "reads", "'cluster'", "name that in `reads`"),
    part("loss", "LossReadsItsOwn", "reads", "`text.gates`", "extras="),
    # Samplers.
    part("sampler", "RepeatsRows", "once_an_epoch", "at most once", "repeat"),
    part("sampler", "RowTwiceInABatch", "batches", "a row twice"),
    part("sampler", "GlobalRandom", "pure", "default_rng(epoch.seed)"),
    part("sampler", "LastBatchIsShort", "batches", "8 rows in every batch", "has 7"),
    part("sampler", "BeyondTheEnd", "batches", "rows from 0 to 102", "103"),
    part("sampler", "FewerEachEpoch", "same_count", "[12, 11, 10]"),
    part("sampler", "SilentAboutTooFew", "bad_input", "a DataError for 5 rows", "0 batches"),
    # Loggers.
    part("logger", "DislikesNan", "bad_numbers", "nan", "ValueError"),
    part("logger", "ClosesOnce", "closing", "second close()"),
    part("logger", "WritesAnywhere", "files", "`lines.txt` in the current folder"),
    part("logger", "CannotGoOn", "calls", "goes on from step 10", "FileExistsError"),
    # Metrics.
    metric("OtherName", "declaration", "name = 'OtherName'", "something_else"),
    metric("NoHeading", "declaration", "heading is empty"),
    metric("NeedsMore", "declaration", "captions"),
    metric("RightMetric", "defaults", "AskedFor", settings="wrong_metrics:AskedFor"),
    metric("OtherDirection", "direction", "100.0 for right answers"),
    metric("GivesNan", "values", "nan", "no answer at all"),
    metric("NeverKnown", "values", "None of every sort"),
    metric("ChokesOnGaps", "values", "IndexError", "images without an answer"),
    metric("FirstImages", "deterministic", "in another order"),
    metric("Counts", "deterministic", "a second time"),
    metric("Aside", "intervals", "low <= value <= high"),
    metric("Sums", "combines", "None for a data set"),
    # Optimizers.
    training("optimizer", "SkipsBiases", "groups", "`vision.stem.bias` in one group", "is in 0"),
    training("optimizer", "ShrinksAtOnce", "creation_changes_nothing", "create() changed it"),
    training("optimizer", "WantsAClosure", "steps", "without a closure"),
    training("optimizer", "KeepsItsOwnRate", "rate", "`lr` of their group is 0"),
    training("optimizer", "CountsInSecret", "resumed", "optimizer.state"),
    # Callbacks.
    training("callback", "KeepsNoState", "resumed", "the same evaluated weights"),
    training("callback", "KeepsAnObject", "resumed", "cannot hold a object"),
    training("callback", "ClampsTheWeights", "changes_nothing", "`1.weight` is different"),
    training("callback", "LeavesTheMean", "weights_come_back", "`1.weight` is different"),
    training("callback", "SaysNothing", "weights_come_back", "which weights are evaluated"),
    training("callback", "WantsAccuracyAtOnce", "calls", "on_step(step, model, values) to work"),
    # Teachers.
    teacher("NoWidth", "opens", "`width`", "None"),
    teacher("GivesSound", "opens", "`gives`", "sound"),
    teacher("DoubleTeacher", "vectors", "float32", "float64"),
    teacher("ChokesOnNothing", "vectors", "NaN"),
    teacher("CentresItsCall", "batch_independence", "one by one"),
    teacher("NewEachTime", "identity", "the same identity"),
    teacher("HidesItsSeed", "identity", "the same vectors", "others"),
    teacher("ReadsPicturesToo", "other_modality", "encode_images"),
    # Checkpoint adapters.
    part("checkpoint_adapter", "MatchesAll", "matches", "False for no names"),
    part("checkpoint_adapter", "DropsUnknown", "unknown_names", "passed through", "None"),
    part("checkpoint_adapter", "TwoOfOneName", "renames",
         "'pictures.1.weight' are 'vision.0.weight'"),
    part("checkpoint_adapter", "OtherParts", "renames", "'image.0.weight'"),
    part("checkpoint_adapter", "RightLayout", "matches", "its own checkpoint", keys=["a.b"]),
    # Tokenizers.
    part("tokenizer", "IdsBeyond", "ids_in_range", "vocab_size is"),
    part("tokenizer", "EmptyForNothing", "never_empty", "none for ''"),
    part("tokenizer", "LosesItsEnd", "max_tokens", "the end mark 1"),
    part("tokenizer", "TooLong", "max_tokens", "at most 2 tokens", "3 for"),
    part("tokenizer", "ChokesOnSurrogates", "encode", "UnicodeEncodeError", "ud800"),
    part("tokenizer", "GrowsItsVocabulary", "bytes_round_trip", "the same ids after"),
    part("tokenizer", "PicklesItself", "bytes_round_trip", "JSON text in UTF-8"),
    part("tokenizer", "ForgetsInBytes", "bytes_round_trip", "vocab_size"),
    part("tokenizer", "TakesAnyBytes", "bad_bytes", "ArtifactError", "another error"),
    part("tokenizer", "RightTokenizer", "make", "at most 2 ids", "vocab_size=", vocab_size=2),
    # Embedders.
    part("embedder", "NotOfLengthOne", "vectors", "length 1"),
    part("embedder", "DividesByZero", "vectors", "NaN", "''"),
    part("embedder", "DoublePrecision", "vectors", "float32", "float64"),
    part("embedder", "CentresTheCall", "batch_independence", "one by one"),
    part("embedder", "KeepsNothing", "arrays_round_trip", "load_arrays"),
    # Clusterers.
    part("clusterer", "LabelsFromOne", "labels", "labels from 0 to 2", "1 to 3"),
    part("clusterer", "ClusterStaysEmpty", "labels", "no cluster empty", "cluster 2 of 3"),
    part("clusterer", "SmallestFirst", "labels", "cluster 0 being the largest"),
    part("clusterer", "RandomClusters", "determinism", "labels differ"),
    part("clusterer", "TakesNan", "bad_vectors", "nan", "check_vectors"),
    part("clusterer", "PredictsZero", "predict", "90 %"),
    part("clusterer", "LearnsOnTop", "learn_again", "forget the first"),
    # Storages.
    storage("PlansTooLittle", "encodes_as_planned", "the parts {'': ('I8', ())}", ".largest"),
    storage("PlansNothingOfAFile", "encodes_as_planned", "dtypes among", "`I4`"),
    storage("WrongArray", "encodes_as_planned", "in an array of int8", "an array of int16"),
    storage("Flat", "decodes", "float32 []", "float32 [1]"),
    storage("Doubles", "decodes", "float64 []"),
    storage("OtherSign", "decodes", "a squared error of", "storing zeros would have"),
    storage("SaysLossless", "lossless", "differ"),
    storage("Changes", "pure", "stay as it was", "it changed"),
    storage("ReadsMemory", "pure", "in another memory layout", "part `` differs"),
    storage("WrongRows", "rows", "the rows [6, 0, 6]"),
    storage("Overflows", "extremes", "70000 back as a finite number", "not finite"),
    storage("HeavyStorage", "works_without_torch", "importing it imported torch",
            home="heavy_storage"),
    # Compressors.
    compressor("MakesItLarger", "plans", "fewer than the", "numbers that the model has"),
    compressor("SaysNothing", "plans", "a summary of the step"),
    compressor("ChangesToNonsense", "plans", "changes that are valid together"),
    compressor("PlansAtRandom", "repeats", "the same step again"),
    compressor("KeepsTheTable", "applies", "text.places.weight of shape (12, 16)", "(40, 16)"),
    compressor("WritesInPlace", "leaves_the_model", "logit_scale to stay"),
    compressor("TakesTheLastRows", "lossless", "the same features for", "every text"),
    # Datasets.
    part("dataset", "RowsChange", "rows_repeat", "the same record", "a second time"),
    part("dataset", "PixelsChange", "rows_repeat", "the same image of row 0"),
    part("dataset", "DoesNotPickle", "pickling", "pickled", "lambda"),
    part("dataset", "SharesAFile", "fork", "two processes"),
    part("dataset", "SameIds", "ids_unique", "rows 0 and 2 are 'square 0'"),
    part("dataset", "LabelBeyond", "records", "a label from 0 to 1", "2"),
    part("dataset", "Grey", "images", "mode L", "convert('RGB')"),
    part("dataset", "NoEnd", "index_error", "IndexError", "record(7)"),
    part("dataset", "AllBroken", "images", "all 7 are broken", "square 0 is missing"),
    part("dataset", "OtherTexts", "texts", "7 texts of the rows"),
    part("dataset", "WiderThanItSays", "activations", "an array of 4 numbers"),
    part("dataset", "OneLanguage", "records", "a language for each query"),
]  # fmt: skip


def _name(case: Case) -> str:
    settings = case.settings.partition(":")[2]
    return "-".join(filter(None, [case.target.partition(":")[2], settings, case.check]))


@pytest.mark.parametrize("case", RIGHT, ids=_name)
def test_a_right_plugin_passes(case: Case) -> None:
    report = case.report()
    assert report.ok, str(report)
    assert report.passed


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_a_wrong_plugin_is_caught_by_the_right_check_alone(case: Case) -> None:
    report = case.report()
    assert report.failed == [case.check], str(report)
    (failure,) = report.failures
    said = " ".join(f"{failure.expected}\n{failure.found}\n{failure.why}".split())
    for words in case.words:
        assert " ".join(words.split()) in said, str(failure)
    assert str(failure) in str(report)
    assert min(map(len, (failure.expected, failure.found, failure.why, failure.says))) > 0


def test_more_than_twelve() -> None:
    assert len({case.target for case in CASES}) > 12
