"""Many texts: the same vectors as one at a time, and no work done twice."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from engine.contracts import pad_tokens
from engine.evaluate.predictor import Predictor
from engine.evaluate.texts import encode_texts

texts_lists = st.lists(
    st.lists(st.sampled_from(["красный", "синий", "дом", "кот", "и"]), max_size=14).map(" ".join),
    max_size=30,
)
calm = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@calm
@given(texts_lists, st.integers(1, 60), st.booleans())
def test_equals_one_at_a_time(
    predictor: Predictor, texts: list[str], budget: int, raw: bool
) -> None:
    model, tokenizer = predictor.model, predictor.tokenizer
    ours = encode_texts(model, tokenizer, texts, raw=raw, tokens_a_batch=budget)
    assert ours.shape == (len(texts), 3)
    assert ours.dtype == torch.float32
    for text, row in zip(texts, ours, strict=True):
        state = pad_tokens(tokenizer.encode([text], 12), tokenizer.pad_id)
        alone = model.text_state(state)["embedding"]
        alone = alone if raw else functional.normalize(alone, dim=-1)
        torch.testing.assert_close(row, alone[0].detach(), rtol=1e-5, atol=1e-6)


@calm
@given(texts_lists.filter(bool), st.integers(1, 60))
def test_batches_keep_the_budget_and_compute_each_text_once(
    predictor: Predictor, texts: list[str], budget: int
) -> None:
    tower, tokenizer = predictor.model.text, predictor.tokenizer
    tower.batches.clear()
    tokenizer.encoded.clear()
    encode_texts(predictor.model, tokenizer, texts, tokens_a_batch=budget)
    assert all(rows == 1 or rows * length <= budget for rows, length in tower.batches)
    assert len(tokenizer.encoded) == len(set(texts))
    different = {tuple(row) for row in tokenizer.encode(texts, 12)}
    assert sum(rows for rows, _ in tower.batches) == len(different)
    lengths = [length for _, length in tower.batches]
    assert lengths == sorted(lengths)


def test_short_texts_are_not_padded_to_long_ones(predictor: Predictor) -> None:
    tower = predictor.model.text
    texts = ["кот " * 10] + [f"слово{i}" for i in range(40)]
    encode_texts(predictor.model, predictor.tokenizer, texts, tokens_a_batch=64)
    assert (1, 11) in tower.batches
    assert sum(rows * length for rows, length in tower.batches) < 41 * 4


def test_the_result_is_an_ordinary_tensor(predictor: Predictor) -> None:
    vectors = predictor.text_vectors(["красный", "синий"])
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2))
    assert not vectors.is_inference()
    assert not vectors.requires_grad


def test_progress_counts_the_different_texts(predictor: Predictor) -> None:
    done: list[tuple[float, float | None]] = []
    encode_texts(
        predictor.model,
        predictor.tokenizer,
        ["a", "b", "c", "a"],
        progress=lambda what, count, of: done.append((count, of)),
    )
    different = len({tuple(r) for r in predictor.tokenizer.encode(["a", "b", "c"], 12)})
    assert done[-1] == (different, different)
