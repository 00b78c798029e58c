"""The model of a command that works with an index: the one named, or the one that made it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.evaluate.loading import Backend
    from engine.evaluate.predictor import Predictor


def open_model(
    model: Path | None, index: Path | None, threads: int | None, backend: Backend | None = None
) -> tuple[Predictor, Path]:
    """Read a model.

    Args:
        model: its folder; ``None``: the one that the index was made with.
        index: the index; it need not exist where ``model`` is given.
        threads: of the model's arithmetic; ``None``: PyTorch's own choice.
        backend: see :func:`engine.evaluate.loading.load`.

    Returns:
        The model, and where it was loaded from.

    Raises:
        DataError: no model is named and the index does not know one, or it is gone.
    """
    from engine.cli.predict import open_predictor
    from engine.core.model_path import model_folder
    from engine.errors import DataError
    from engine.search.catalogue import Catalogue
    from engine.search.identity import model_of

    if model is None and index is not None:
        catalogue = Catalogue(index)
        model = model_of(catalogue)
        catalogue.close()
        if model is not None and not model_folder(model).is_dir():
            raise DataError(f"{index} was made with the model {model}, which is not there any more",
                            hint="name the same model with `-m`")  # fmt: skip
    if model is None:
        raise DataError("no model is named", hint="name an artifact or a training run with `-m`")
    return open_predictor(model, threads, backend), model
