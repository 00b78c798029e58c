"""sentence-transformers' recipe for teaching over languages, with Engine's student; see teach.py.

Usage: teach_peer.py TEACHER PAIRS.tsv TEST.json ANSWER.npy EPOCHS BATCH FOLDER. As
``examples/sentence_transformer/training/multilingual/make_multilingual.py``: the teacher encodes
the English of every pair, MSELoss brings the student's vectors of the other language to them. The
student is the same hashed n-grams, table and layers, as a module of the library; AdamW is its
trainer's.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules.input_module import InputModule
from sentence_transformers.sentence_transformer.losses import MSELoss
from torch import nn

from engine.core.registry import default_registry


class Student(InputModule):
    """benchmarks/teach.yaml's text encoder: 36,864 rows of 128, a hidden layer, 384."""

    modalities = ["text"]

    def __init__(self) -> None:
        super().__init__()
        plugin = default_registry().get("tokenizer", "char_ngrams")
        settings = plugin.load_settings().model_validate({"replace": {"ё": "е"}})
        self.tokenizer = plugin.load().make(settings, [], 36864)
        self.embedding = nn.EmbeddingBag(36864, 128, mode="mean")
        self.layers = nn.Sequential(nn.Linear(128, 768), nn.GELU(), nn.Linear(768, 384))

    def preprocess(self, inputs: list[str], prompt: str | None = None, **more: Any) -> Any:
        """The ids of all texts one after the other, and where each begins."""
        rows = self.tokenizer.encode(inputs, 256)
        first = [0, *np.cumsum([len(row) for row in rows]).tolist()]
        ids = [number for row in rows for number in row]
        starts = [start for start, _ in pairwise(first)]
        return {"input_ids": torch.tensor(ids), "offsets": torch.tensor(starts)}

    def forward(self, features: dict[str, Any], **more: Any) -> dict[str, Any]:
        """[B, 384] as ``sentence_embedding``."""
        means = self.embedding(features["input_ids"], features["offsets"])
        features["sentence_embedding"] = self.layers(means)
        return features

    def get_embedding_dimension(self) -> int:
        """What the layers give."""
        return 384

    def save(self, output_path: str, *more: Any, **settings: Any) -> None:
        """Nothing is saved."""


def main() -> None:
    """Teach, and write the vectors of the test's texts."""
    teacher_path, pairs_path, test_path, answer, epochs, batch, folder = sys.argv[1:]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = Path(pairs_path).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines]
    teacher = SentenceTransformer(teacher_path, device="cpu")
    english = [en for _, en in pairs]
    labels = teacher.encode(english, batch_size=int(batch), show_progress_bar=False)
    data = Dataset.from_dict({"non_english": [ru for ru, _ in pairs], "label": labels})
    student = SentenceTransformer(modules=[Student()], device="cpu")
    settings = SentenceTransformerTrainingArguments(
        output_dir=folder, num_train_epochs=int(epochs), per_device_train_batch_size=int(batch),
        learning_rate=5e-3, warmup_steps=0.1, use_cpu=True, save_strategy="no", report_to=[],
        disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip
    SentenceTransformerTrainer(
        model=student, args=settings, train_dataset=data, loss=MSELoss(student)
    ).train()
    texts = json.loads(Path(test_path).read_text(encoding="utf-8"))
    np.save(answer, student.encode(texts, normalize_embeddings=True, show_progress_bar=False))


if __name__ == "__main__":
    main()
