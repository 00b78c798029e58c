"""The built-in plugins. They use only what a third party may use: ``engine`` and its contracts.

This module is imported by every command, so it names the plugins and imports none of them.
"""

from __future__ import annotations

from typing import Any

from engine.contracts.hooks import Plugin, hookimpl
from engine.data.formats import CLICK_LOG, ZERO_SHOT

ENGINE_API = "2.0"
"""The version of the plugin API that these are written for."""


def _plugin(kind: str, name: str, target: str, settings: str, summary: str, **more: Any) -> Plugin:
    home, module, attribute = target.split(".")
    settings_module, _, settings_class = settings.rpartition(".")
    root = f"engine_plugins.{home}"
    return Plugin(
        kind,
        name,
        f"{root}.{module}:{attribute}",
        f"{root}.{settings_module or 'settings'}:{settings_class}",
        summary,
        **more,
    )


def _metric(name: str, target: str, summary: str) -> Plugin:
    module, attribute = target.split(".")
    return Plugin("metric", name, f"engine_plugins.metrics.{module}:{attribute}", summary=summary)


_METRICS = (
    _metric("accuracy", "classification.Accuracy", "percent of the images answered rightly"),
    _metric("top5", "classification.Top5", "percent whose class is among the five best answers"),
    _metric("mean_recall", "classification.MeanRecall", "mean over classes of the share found"),
    _metric("calibration_error", "calibration.CalibrationError",
            "expected calibration error (ECE) of the probabilities"),
    _metric("image_to_text_r1", "retrieval.ImageToTextR1", "retrieval of texts, recall@1"),
    _metric("image_to_text_r5", "retrieval.ImageToTextR5", "retrieval of texts, recall@5"),
    _metric("image_to_text_r10", "retrieval.ImageToTextR10", "retrieval of texts, recall@10"),
    _metric("text_to_image_r1", "retrieval.TextToImageR1", "retrieval of images, recall@1"),
    _metric("text_to_image_r5", "retrieval.TextToImageR5", "retrieval of images, recall@5"),
    _metric("text_to_image_r10", "retrieval.TextToImageR10", "retrieval of images, recall@10"),
)  # fmt: skip


@hookimpl
def engine_plugins() -> list[Plugin]:
    """Name every built-in plugin."""
    return [
        _plugin("text_encoder", "openai_clip", "text.clip.ClipText",
                "clip_settings.ClipTextSettings",
                "OpenAI CLIP's text transformer, any plain architecture of open_clip"),
        _plugin("text_encoder", "ruclip", "text.clip.ClipText", "clip_settings.RuClipTextSettings",
                "ruCLIP, second generation: CLIP's architecture over a Russian vocabulary"),
        _plugin("text_encoder", "gpt3small", "text.gpt.GptText", "GptTextSettings",
                "ruGPT-3 small (GPT-2 architecture), pooled at the end mark"),
        _plugin("text_encoder", "rubert", "text.bert.BertText", "BertTextSettings",
                "RuBERT (BERT architecture), pooled at the first token or by the mean"),
        _plugin("text_encoder", "bpe_transformer", "text.bpe.BpeText", "BpeTextSettings",
                "token embeddings and a few transformer blocks, trained from the start"),
        _plugin("text_encoder", "bag_of_tokens", "text.bag.BagText", "BagTextSettings",
                "the organisers' baseline: the mean of token embeddings through a small network"),
        _plugin("vision_tower", "openai_clip", "vision.clip.ClipVision", "ClipVisionSettings",
                "OpenAI CLIP's vision transformer, any plain architecture of open_clip"),
        _plugin("vision_tower", "ruclip", "vision.clip.ClipVision", "RuClipVisionSettings",
                "ruCLIP, second generation: CLIP's vision transformer"),
        _plugin("vision_tower", "timm", "vision.timm.TimmVision", "TimmVisionSettings",
                "any image model of timm, without its classifier"),
        _plugin("vision_tower", "resnet50", "vision.timm.TimmVision", "ResNet50Settings",
                "ResNet-50 through timm, the organisers' baseline"),
        _plugin("vision_tower", "small_vit", "vision.small_vit.SmallVit", "SmallVitSettings",
                "a small vision transformer over a convolutional stem, for configs/tiny"),
        _plugin("projection", "identity", "projections.simple.Identity", "IdentitySettings",
                "no projection: the features are the embedding"),
        _plugin("projection", "linear", "projections.simple.Linear", "LinearSettings",
                "one matrix"),
        _plugin("projection", "residual", "projections.simple.Residual", "ResidualSettings",
                "ru-clip's: matrix, gated second matrix, sum, layer norm"),
        _plugin("projection", "clustered", "projections.clustered.Clustered", "ClusteredSettings",
                "K projections of another kind, and a router that chooses by the text"),
        _plugin("tokenizer", "gpt2_bpe", "tokenizers.bpe.Gpt2Bpe", "Gpt2BpeSettings",
                "GPT-2's byte-level BPE with <s>, </s>, <pad>"),
        _plugin("tokenizer", "clip_bpe", "tokenizers.bpe.ClipBpe", "ClipBpeSettings",
                "OpenAI CLIP's BPE (its vocabulary comes with open_clip)"),
        _plugin("tokenizer", "wordpiece", "tokenizers.wordpiece.WordPiece", "WordPieceSettings",
                "BERT's WordPiece"),
        _plugin("tokenizer", "sentencepiece", "tokenizers.spm.SentencePiece",
                "SentencePieceSettings", "a SentencePiece .model file"),
        _plugin("tokenizer", "youtokentome", "tokenizers.yttm.YouTokenToMe",
                "YouTokenToMeSettings", "a YouTokenToMe bpe.model file (ruCLIP)"),
        _plugin("tokenizer", "trained", "tokenizers.trained.Trained", "TrainedSettings",
                "a BPE trained on the config's own queries"),
        _plugin("dataset", "click_log", "datasets.click_log.ClickLog", "ClickLogSettings",
                "the contest's training data: metadata.json and a folder of images",
                reads=(CLICK_LOG,)),
        _plugin("dataset", "zero_shot_folder", "datasets.zero_shot.ZeroShotFolder",
                "ZeroShotFolderSettings", "the contest's evaluation data: classes.json and img/",
                reads=(ZERO_SHOT,)),
        _plugin("dataset", "shapes", "datasets.shapes.Shapes", "ShapesSettings",
                "drawn shapes with Russian queries, some combinations never shown in training"),
        _plugin("dataset", "digits", "datasets.digits.Digits", "DigitsSettings",
                "scikit-learn's scans of digits with Russian names"),
        _plugin("dataset", "emoji", "datasets.emoji.Emoji", "EmojiSettings",
                "Noto Color Emoji with CLDR's Russian or English words"),
        _plugin("dataset", "concat", "datasets.concat.Concat", "ConcatSettings",
                "several data sets as one, for training: queries kept, labels dropped"),
        _plugin("embedder", "sentence_transformer",
                "embedders.sentence_transformer.SentenceTransformer",
                "SentenceTransformerSettings", "any model of the library sentence-transformers"),
        _plugin("embedder", "tfidf_svd", "embedders.tfidf_svd.TfidfSvd", "TfidfSvdSettings",
                "character n-grams made dense, learnt from the texts alone: needs no weights"),
        _plugin("clusterer", "agglomerative_knn",
                "clusterers.agglomerative_knn.AgglomerativeKnn", "AgglomerativeKnnSettings",
                "Ward's clustering, then the nearest neighbours' vote: the contest entry's"),
        _plugin("clusterer", "kmeans", "clusterers.kmeans.KMeans", "KMeansSettings",
                "spherical k-means, then the nearest centre (faiss)"),
        _plugin("checkpoint_adapter", "ruclip_first",
                "checkpoint_adapters.ruclip_first.RuClipFirst", "AdapterSettings",
                "CLIP by Sber, first generation, with one projection or one for each cluster"),
        _plugin("checkpoint_adapter", "openai_clip",
                "checkpoint_adapters.openai_clip.OpenAiClip", "AdapterSettings",
                "OpenAI CLIP, open_clip, and ruCLIP, second generation"),
        _plugin("checkpoint_adapter", "transformers",
                "checkpoint_adapters.transformers.Transformers", "AdapterSettings",
                "CLIPModel and VisionTextDualEncoderModel of transformers"),
        _plugin("loss", "contrastive", "losses.pairs.Contrastive", "ContrastiveSettings",
                "CLIP's symmetric cross-entropy over the batch, with a learned scale",
                default=True),
        _plugin("loss", "sigmoid", "losses.pairs.Sigmoid", "SigmoidSettings",
                "SigLIP's: every image with every text, yes or no, with a learned bias"),
        _plugin("loss", "router", "losses.routing.Router", "RouterSettings",
                "the router of a clustered projection learns the cluster of the text"),
        _plugin("loss", "balance", "losses.routing.Balance", "BalanceSettings",
                "keeps a router from sending every text to one cluster"),
        _plugin("sampler", "shuffled", "samplers.shuffled.Shuffled", "ShuffledSettings",
                "every row once an epoch, in random order",
                default=True),
        _plugin("sampler", "in_cluster", "samplers.in_cluster.InCluster", "InClusterSettings",
                "a share of every batch from one cluster, growing over the stage"),
        _plugin("logger", "console", "loggers.console.Console", "ConsoleSettings",
                "loss, learning rate, samples a second, time left, accuracy, on stderr",
                default=True),
        _plugin("logger", "json_lines", "loggers.json_lines.JsonLines", "JsonLinesSettings",
                "a JSON object a line in the run's folder"),
        _plugin("logger", "tensorboard", "loggers.tensorboard.TensorBoard", "TensorBoardSettings",
                "TensorBoard's files in the run's folder (needs the package tensorboard)"),
        _plugin("storage", "float32", "storage.floats.Float32", "FloatSettings",
                "single precision: the numbers as they are, 4 bytes each"),
        _plugin("storage", "float16", "storage.floats.Float16", "FloatSettings",
                "half precision, 2 bytes a number, up to 65,504"),
        _plugin("storage", "bfloat16", "storage.floats.BFloat16", "FloatSettings",
                "float32's range with 8 significant bits, 2 bytes a number"),
        _plugin("storage", "int8_rows", "storage.int8_rows.Int8Rows", "Int8RowsSettings",
                "1 byte a number, symmetric, and one float16 scale for each row"),
        _plugin("storage", "int8_groups", "storage.int8_groups.Int8Groups", "Int8GroupsSettings",
                "1 byte a number, symmetric, and one float16 scale for each group of a row"),
        _plugin("storage", "int4_groups", "storage.int4_groups.Int4Groups", "Int4GroupsSettings",
                "half a byte a number, and one float16 scale for each group of a row"),
        _plugin("storage", "float8", "storage.float8.Float8", "Float8Settings",
                "1 byte a number with an exponent of its own, and a float16 scale for each row"),
        _plugin("storage", "pq", "storage.pq.Pq", "PqSettings",
                "product quantisation of a table: 1 byte for several numbers (faiss)"),
        _plugin("optimizer", "adamw", "optimizers.torch_optimizers.AdamW", "AdamWSettings",
                "Adam with the weight decay taken from the weights, groups by name pattern",
                default=True),
        _plugin("optimizer", "adam", "optimizers.torch_optimizers.Adam", "AdamSettings",
                "Adam with the weight decay in the gradient, groups by name pattern"),
        _plugin("optimizer", "sgd", "optimizers.torch_optimizers.Sgd", "SgdSettings",
                "stochastic gradient descent with momentum, groups by name pattern"),
        _plugin("callback", "ema", "callbacks.ema.Ema", "EmaSettings",
                "an exponential moving average of the weights, evaluated and kept as the model"),
        _plugin("callback", "early_stopping", "callbacks.early_stopping.EarlyStopping",
                "EarlyStoppingSettings", "ends a stage where its score does not get better"),
        *_METRICS,
    ]  # fmt: skip
