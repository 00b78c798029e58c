"""The API's answers are those of the model as it is now, whatever changed since the last call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from engine.core.config.schema import ZeroShotSettings
from engine.evaluate.predictor import Predictor

NAMES = ["красный", "синий"]
RED = Image.new("RGB", (8, 8), "red")


def turned(predictor: Predictor) -> torch.Tensor:
    return -predictor.model.text.table.weight.detach()  # type: ignore[union-attr,operator]


def assigned(predictor: Predictor) -> None:
    state = {**predictor.model.state_dict(), "text.table.weight": turned(predictor)}
    predictor.model.load_state_dict(state, assign=True)


def loaded(predictor: Predictor) -> None:
    predictor.model.load_state_dict(
        {**predictor.model.state_dict(), "text.table.weight": turned(predictor)}
    )


def in_place(predictor: Predictor) -> None:
    with torch.no_grad():
        predictor.model.text.table.weight.mul_(-1)  # type: ignore[union-attr,operator]


def through_data(predictor: Predictor) -> None:
    predictor.model.text.table.weight.data.mul_(-1)  # type: ignore[union-attr,operator]


def new_data(predictor: Predictor) -> None:
    predictor.model.text.table.weight.data = turned(predictor)  # type: ignore[union-attr]


def through_numpy(predictor: Predictor) -> None:
    numbers = predictor.model.text.table.weight.detach().numpy()  # type: ignore[union-attr,operator]
    numbers *= -1


def in_inference_mode(predictor: Predictor) -> None:
    with torch.inference_mode():
        predictor.model.text.table.weight.mul_(-1)  # type: ignore[union-attr,operator]


def new_parameter(predictor: Predictor) -> None:
    predictor.model.text.table.weight = nn.Parameter(turned(predictor))  # type: ignore[union-attr]


def new_module(predictor: Predictor) -> None:
    table = nn.Embedding(64, 3)
    table.weight = nn.Parameter(turned(predictor))
    predictor.model.text.table = table


def optimiser_step(predictor: Predictor) -> None:
    weight = predictor.model.text.table.weight  # type: ignore[union-attr]
    weight.grad = 2 * weight.detach()  # type: ignore[union-attr,operator]
    torch.optim.SGD([weight], lr=1.0).step()  # type: ignore[list-item]


def buffer(predictor: Predictor) -> None:
    def project(features: torch.Tensor) -> torch.Tensor:
        return -features

    predictor.model.text_projection.project = project  # type: ignore[method-assign]


def new_model(predictor: Predictor) -> None:
    import copy

    predictor.model = copy.deepcopy(predictor.model)
    in_place(predictor)


def templates(predictor: Predictor) -> None:
    """In these, the name is outweighed: by the other colour's, three times."""
    config = predictor.config
    zero_shot = ZeroShotSettings(templates=("{}", "не {}"), average="raw")
    predictor.config = SimpleNamespace(name="x", zero_shot=zero_shot, model=config.model)  # type: ignore[assignment]
    encode = predictor.tokenizer.encode
    other = {"не красный": "синий синий синий", "не синий": "красный красный красный"}
    predictor.tokenizer.encode = lambda texts, maximum: encode(  # type: ignore[method-assign]
        [other.get(text, text) for text in texts], maximum
    )


def tokenizer(predictor: Predictor) -> None:
    class Swapped(type(predictor.tokenizer)):  # type: ignore[misc]
        def encode(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
            swap = {"красный": "синий", "синий": "красный"}
            return super().encode([swap[text] for text in texts], max_tokens)  # type: ignore[no-any-return]

    predictor.tokenizer = Swapped()


CHANGES = [assigned, loaded, in_place, through_data, new_data, through_numpy, in_inference_mode,
           new_parameter, new_module, optimiser_step, buffer, new_model, templates,
           tokenizer]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_seen_at_once(
    predictor: Predictor, change: Callable[[Predictor], None]
) -> None:
    for _ in range(2):
        assert predictor.classify(RED, NAMES)[0][0].name == "красный"
    change(predictor)
    assert predictor.classify(RED, NAMES)[0][0].name == "синий"
    assert predictor.classifier(NAMES).classify(RED)[0][0].name == "синий"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_another_dtype(predictor: Predictor, dtype: torch.dtype) -> None:
    predictor.classify(RED, NAMES)
    predictor.model.to(dtype)
    assert predictor.classifier(NAMES).vectors.dtype == torch.float32
    assert predictor.classify(RED, NAMES)[0][0].name == "красный"


def test_pixels_take_the_towers_dtype(predictor: Predictor) -> None:
    seen = []

    class Tower(type(predictor.model.vision)):  # type: ignore[misc]
        def run(self, state: object, start: int, stop: int, **more: object) -> object:
            seen.append(state["pixels"].dtype)  # type: ignore[index]
            return super().run(state, start, stop, **more)

    tower = Tower(predictor.model.vision.settings)
    tower.scale = nn.Parameter(torch.ones(1))
    predictor.model.vision = tower
    predictor.classify(RED, NAMES)
    predictor.model.double()
    predictor.classify(RED, NAMES)
    assert seen == [torch.float32, torch.float64]


def test_a_model_in_train_mode_answers_as_in_eval_mode(predictor: Predictor) -> None:
    predictor.model.text_projection.dropout = nn.Dropout(0.5)
    project = predictor.model.text_projection.project
    predictor.model.text_projection.project = (  # type: ignore[method-assign]
        lambda features: predictor.model.text_projection.dropout(project(features))  # type: ignore[operator]
    )
    before = predictor.class_vectors(list("абвгд"))
    predictor.model.train()
    predictor.model.vision.eval()
    torch.testing.assert_close(predictor.class_vectors(list("абвгд")), before, rtol=0, atol=0)
    predictor.encode_images(RED)
    assert predictor.model.training
    assert predictor.model.text_projection.dropout.training
    assert not predictor.model.vision.training
