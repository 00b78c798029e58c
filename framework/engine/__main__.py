"""``python -m engine``, so that ``torchrun -m engine train ...`` starts several processes."""

from engine.cli.main import run

if __name__ == "__main__":
    run()
