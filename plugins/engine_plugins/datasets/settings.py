"""Settings of the built-in datasets. Nothing here imports torch, numpy or PIL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.contracts import DatasetRef, DatasetSettings, VisionTowerRef
from engine.contracts.limits import MAX_SEED
from engine.contracts.values import Url

EMOJI_FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
"""Where Debian's package fonts-noto-color-emoji puts the font."""

CLDR = Path("/usr/share/unicode/cldr/common")
"""Where Debian's package unicode-cldr-core puts CLDR."""


class ClickLogSettings(DatasetSettings):
    """The contest's training data: JSON lines of images with queries, and the images."""

    path: Path = Field(description="the folder")
    metadata: str = Field(
        "metadata.json",
        min_length=1,
        description='JSON lines `{"image": 1, "queries": ["...", "..."]}` in the folder',
    )
    images: str = Field(
        "images", min_length=1, description="folder of the images `<id><suffix>` in the folder"
    )
    shards: str = Field(
        "shards",
        min_length=1,
        description="folder of tar shards with parquet tables (`engine data download --format"
        " webdataset`), read where the folder has no `images`",
    )
    suffix: str = Field(".jpg", pattern=r"^\.[A-Za-z0-9]{1,8}$", description="how image files end")


class ZeroShotFolderSettings(DatasetSettings):
    """The contest's evaluation data: classes.json and img/."""

    path: Path = Field(description="folder with classes.json (a JSON list of names) and img/")
    truth: Path | None = Field(
        None,
        description='the right answers, `{"<folder\'s name>": {"<image id>": <class index>}}`',
    )


class ShapesSettings(DatasetSettings):
    """Drawn shapes with Russian queries; some (shape, colour) pairs never shown in training."""

    split: Literal["train", "seen", "test"] = Field(
        "train",
        description="`test`: the pairs that training never shows; `seen`: new pictures of the pairs"
        " that it shows",
    )
    count: int | None = Field(
        None, ge=1, description="number of images (default: 4000 in train, 20 a class elsewhere)"
    )
    seed: int = Field(
        0, ge=0, le=MAX_SEED, description="of the pictures, the queries and the split"
    )
    size: int = Field(128, ge=16, le=1024, description="side of an image, in pixels")
    held_out: float = Field(
        0.2, ge=0.1, le=0.5, description="share of the pairs that training never shows"
    )
    queries: int = Field(4, ge=1, le=8, description="queries of an image")


class DigitsSettings(DatasetSettings):
    """scikit-learn's scans of handwritten digits (UCI, 1797 of 8 x 8) with Russian names."""

    split: Literal["train", "test"] = Field("train", description="`test`: what is held out")
    count: int | None = Field(None, ge=1, description="at most this many images (default: all)")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of the queries and the split")
    size: int = Field(64, ge=8, le=1024, description="side of an image, in pixels")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the scans that is the test")
    queries: int = Field(3, ge=1, le=6, description="queries of an image")


class EmojiSettings(DatasetSettings):
    """Noto Color Emoji; CLDR's keywords are the queries and its short names the classes."""

    split: Literal["train", "test"] = Field(
        "train", description="`test`: the emoji that training never shows"
    )
    language: Literal["ru", "en"] = Field("ru", description="of the queries and the classes")
    images_per_class: int = Field(
        4, ge=1, le=1000, description="images of an emoji, on different backgrounds"
    )
    count: int | None = Field(None, ge=1, description="at most this many images (default: all)")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of the backgrounds and the split")
    size: int = Field(128, ge=16, le=512, description="side of an image, in pixels")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of the emoji that is the test")
    groups: tuple[str, ...] = Field(
        (), description="only these groups of CLDR, such as `Animals & Nature` (default: all)"
    )
    skin_tones: bool = Field(False, description="also the variants by skin tone")
    font: Path = Field(EMOJI_FONT, description="Noto Color Emoji (Debian: fonts-noto-color-emoji)")
    cldr: Path = Field(CLDR, description="CLDR's folder `common` (Debian: unicode-cldr-core)")


class ConcatSettings(DatasetSettings):
    """Several data sets as one, for training: rows in order, queries kept, labels dropped."""

    of: tuple[DatasetRef, ...] = Field(
        min_length=1,
        description="the data sets, in order: `[{use: shapes, size: 64}, {use: digits, size: 64}]`",
    )


DICTD = Path("/usr/share/dictd")
"""Where Debian puts dictionaries of dictd."""

Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(_[A-Za-z]{2,4})*$")]
"""A language as CLDR names it: `ru`, `pt_BR`."""


class LexiconSettings(DatasetSettings):
    """Phrases with their translations, texts alone: CLDR's emoji names, dictionaries of dictd."""

    language: Language = Field("ru", description="of the phrases")
    translation: Language = Field("en", description="of what translates them")
    cldr: Path | None = Field(
        CLDR, description="CLDR's folder `common` (Debian: unicode-cldr-core); null: not used"
    )
    keywords: bool = Field(True, description="CLDR's keywords, too; they count last")
    dictionaries: tuple[Path, ...] = Field(
        (DICTD / "mueller7", DICTD / "freedict-eng-rus"),
        description="dictionaries of dictd from `translation` to `language`, without suffix"
        " (Debian: mueller7-dict, dict-freedict-eng-rus)",
    )
    otherwise: Literal["emoji"] | None = Field(
        None,
        description="`emoji`: where files are missing, the names of the Python package emoji stand"
        " in, and a line says so",
    )
    cldr_weight: float = Field(
        10.0,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="how much a phrase of CLDR's counts; emoji stand for what can be pictured",
    )
    fade: float = Field(
        2.0,
        ge=0,
        le=10,
        description="a word in place p of a dictionary's entry counts 1 / (1 + p) ** fade",
    )
    common: float = Field(
        0.5,
        ge=0,
        le=4,
        description="a headword whose entry has n words counts n ** common: common ones have many",
    )
    held_out: float = Field(0.0, ge=0, lt=1, description="share of the phrases that is the test")
    split: Literal["train", "test"] = Field("train", description="`test`: what is held out")
    seed: int = Field(0, ge=0, le=MAX_SEED, description="of the split")


class ClassifierHeadSettings(DatasetSettings):
    """The classes of a classifier of timm: the rows of its last layer, with names."""

    tower: VisionTowerRef = Field(
        description="the vision tower with its weights, as `model.vision` names it; of timm"
    )
    names: Path | None = Field(
        None,
        description="names of the classes in the head's order: a JSON list of names or of lists of"
        " names, or a text with a class a line; null: timm's, of ImageNet",
    )
    texts: Literal["names", "definitions", "both"] = Field(
        "definitions",
        description="of timm's names: each by itself; all with the definition in one text; or both,"
        " where the definition counts twice as much as all names together",
    )
    language: Language = Field("en", description="of the names")


class SamplePhotosSettings(DatasetSettings):
    """Photographs that come with scikit-image and scikit-learn, with their names."""

    split: Literal["test"] = Field("test", description="they are there to be evaluated on")
    language: Literal["ru", "en"] = Field("ru", description="of the names")
    distractors: bool = Field(True, description="also names of what no photograph shows")


class ParallelTextsSettings(DatasetSettings):
    """Texts that mean the same in different languages: TSV, JSON lines, parquet, Moses pairs."""

    path: Path = Field(
        description="the file; of a Moses corpus its name without the language: `corpus.en-ru`"
    )
    format: Literal["auto", "tsv", "jsonl", "parquet", "moses"] = Field(
        "auto", description="auto: by the suffix (`.tsv`, `.jsonl`, `.parquet`, else moses)"
    )
    languages: tuple[Language, ...] = Field(
        ("ru", "en"), min_length=1, max_length=16, description="of the columns, in order"
    )
    columns: tuple[str, ...] | None = Field(
        None,
        description="the columns: names (JSON lines, parquet) or numbers from 0 (TSV); by default"
        " the languages' names, in TSV the first ones",
    )
    max_bytes: int = Field(
        8192, ge=16, le=1 << 20, description="most bytes of a line; longer ones are left out"
    )
    count: int | None = Field(None, ge=1, description="at most this many rows (default: all)")

    @model_validator(mode="after")
    def _one_column_each(self) -> Self:
        if self.columns is not None and len(self.columns) != len(self.languages):
            raise ValueError("`columns` and `languages` are of one length")
        if self.kind() == "tsv":
            self.places()
        return self

    def kind(self) -> str:
        """The format."""
        suffixes = {".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"}
        return suffixes.get(self.path.suffix, "moses") if self.format == "auto" else self.format

    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.columns or self.languages

    def places(self) -> list[int]:
        """The numbers of a TSV's columns."""
        if self.columns is None:
            return list(range(len(self.languages)))
        if not all(column.isdecimal() and int(column) < 1000 for column in self.columns):
            raise ValueError("the columns of a TSV are numbers from 0")
        return [int(column) for column in self.columns]


class ActivationsSettings(DatasetSettings):
    """A vision tower's outputs with texts, instead of images."""

    path: Path | Url = Field(
        description="a .safetensors file with a .jsonl of texts beside it; .parquet; or what"
        " `engine embed` wrote: a folder, or a URL such as s3://bucket/folder"
    )
    vectors: str = Field("vectors", min_length=1, description="name of the tensor or the column")
    texts: str = Field("texts", min_length=1, description="parquet: name of the column of texts")
    language: Language | None = Field(None, description="of the texts")
    point: str | None = Field(
        None, description="output of the tower that they are; by default as the file says: pooled"
    )
    fingerprint: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{32}$",
        description="of the tower that gave them; by default as the file says",
    )


class ShardsSettings(DatasetSettings):
    """WebDataset tars, or parquet files with pictures, on a disk or in an object store."""

    path: Path | Url = Field(
        description="a folder, or a URL of one (s3://bucket/train, memory://x); its last part may"
        " be a pattern: train-*.tar"
    )
    members: tuple[str, ...] = Field(
        (), description="tars: endings of the members with texts (default: json, txt, text)"
    )
    texts: str | None = Field(
        None,
        min_length=1,
        description="where texts stand in JSON or in a table (default: queries, texts, captions,"
        " caption or text)",
    )
    image: str | None = Field(
        None, min_length=1, description="parquet: the column of pictures (default: image, jpg, ...)"
    )
    draft: float | None = Field(
        2.0,
        ge=1,
        le=16,
        description="training decodes a JPEG at a half, a quarter or an eighth where its shorter"
        " side stays at least this many times what the tower takes, and scales it with SIMD; null:"
        " as it is evaluated",
    )
    language: Language | None = Field(None, description="of the texts")
