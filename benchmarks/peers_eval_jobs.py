"""What ``peers_eval.py`` runs in the environment of the peers: one JSON object on the last line.

python peers_eval_jobs.py mteb|clip_benchmark CASE.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Case = dict[str, Any]


def engine_answers(case: Case) -> tuple[Any, list[int]]:
    """The artifact's predictor, and its class of every picture."""
    import engine

    predictor = engine.load(case["artifact"])
    answers = predictor.classify(case["pictures"], case["classes"], top=1)
    return predictor, [one[0].index for one in answers]


def clip_benchmark(case: Case) -> dict[str, Any]:
    """CLIP_benchmark's own loader, classifier and scores on the export for open_clip."""
    import torch
    from clip_benchmark.metrics import zeroshot_classification as metrics
    from clip_benchmark.models.open_clip import load_open_clip
    from PIL import Image

    model, transform, tokenizer = load_open_clip(
        f"local-dir:{case['open_clip']}", None, None, "cpu"
    )
    model.eval()
    rows = [transform(Image.open(path).convert("RGB")) for path in case["pictures"]]
    batches = [
        (torch.stack(rows[i : i + 16]), torch.tensor(case["labels"][i : i + 16]))
        for i in range(0, len(rows), 16)
    ]
    templates = [template.replace("{}", "{c}") for template in case["templates"]]
    classifier = metrics.zero_shot_classifier(
        model, tokenizer, case["classes"], templates, "cpu", amp=False
    )
    logits, labels = metrics.run_classification(model, classifier, batches, "cpu", amp=False)
    found = logits.argmax(dim=1).tolist()
    _, ours = engine_answers(case)
    equal = sum(a == b for a, b in zip(found, ours, strict=True))
    right = sum(a == b for a, b in zip(ours, case["labels"], strict=True))
    return {
        "pictures": len(ours), "equal_answers": equal,
        # Its own `accuracy` divides in a way that NumPy 2.4 refuses; this is what it computes.
        "accuracy": float((logits.argmax(dim=1) == labels).float().mean()),
        "engine_accuracy": right / len(ours),
    }  # fmt: skip


def mteb(case: Case) -> dict[str, Any]:
    """One image-text task of MTEB on local data, by a SentenceTransformer of Engine's."""
    import mteb as library
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

    class Local(AbsTaskZeroShotClassification):
        """Zero-shot classification of a folder's pictures."""

        metadata = TaskMetadata(
            name="EngineLocalZeroShot", description="Local pictures by their classes' names.",
            reference=None, dataset={"path": "local", "revision": "1"},
            type="ZeroShotClassification", category="i2t", eval_splits=["test"],
            eval_langs=["rus-Cyrl"], main_score="accuracy", modalities=["text", "image"],
            date=("2003-01-01", "2004-01-01"), domains=["Encyclopaedic"],
            task_subtypes=["Object recognition"], license="not specified",
            annotations_creators="derived", dialect=[], sample_creation="created",
            bibtex_citation="",
        )  # fmt: skip

        def load_data(self, **kwargs: Any) -> None:
            """From the case's files: no network."""
            features = Features({
                "image": ImageFeature(), "label": ClassLabel(names=case["classes"])
            })  # fmt: skip
            rows = {"image": case["pictures"], "label": case["labels"]}
            self.dataset = {"test": Dataset.from_dict(rows, features=features)}
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            """The names in the first template."""
            return [case["templates"][0].replace("{}", name) for name in case["classes"]]

    predictor, _ = engine_answers(case)
    model = library.SentenceTransformerEncoderWrapper(predictor.as_sentence_transformer())
    # MTEB takes every SentenceTransformer in memory for one of texts alone, until it is said.
    model.mteb_model_meta = model.mteb_model_meta.model_copy(
        update={"name": "engine/small", "modalities": ["text", "image"]}
    )
    found = library.evaluate(model, Local(), cache=None, show_progress_bar=False, co2_tracker=False)
    score = float(found.task_results[0].get_score())
    texts = predictor.encode_texts(
        [case["templates"][0].replace("{}", name) for name in case["classes"]]
    )
    cosines = predictor.encode_images(case["pictures"]) @ texts.T
    right = (cosines.argmax(axis=1) == case["labels"]).mean()
    return {"version": library.__version__, "accuracy": score, "engine_accuracy": float(right)}


def main() -> None:
    case = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    jobs = {"mteb": mteb, "clip_benchmark": clip_benchmark}
    print(json.dumps(jobs[sys.argv[1]](case)))


if __name__ == "__main__":
    main()
