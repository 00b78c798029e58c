"""A dataset to begin with: it reads a folder of files."""

from __future__ import annotations

from engine.scaffold.kind import TRAINING, PackageKind

SETTINGS = '''\
"""What a config may say to `$name`. Every command reads this, so it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from engine.contracts import DatasetSettings
from pydantic import Field


class ${class_name}Settings(DatasetSettings):
    """$title."""

    path: Path = Field(description="folder with `rows.csv` and the folder `pictures`")
    split: Literal["train", "test"] = Field("train", description="which rows of the table")
    count: int | None = Field(None, ge=1, description="only the first so many of them")
'''

PLUGIN = '''\
"""`$name`: pictures and a table that says what each of them shows.

Its contract: engine/contracts/dataset.py.
"""

from __future__ import annotations

import csv

from engine.contracts import Dataset, Record
from engine.data.pictures import open_image
from engine.errors import DataError
from PIL import Image

from .settings import ${class_name}Settings

TABLE, PICTURES = "rows.csv", "pictures"
COLUMNS = ("file", "split", "class", "query")


class $class_name(Dataset):
    """$title.

    The table is read once. A picture is opened when it is asked for, so that the data set can be
    read by several processes at once.
    """

    def __init__(self, settings: ${class_name}Settings) -> None:
        self.settings, self.name = settings, settings.path.name
        rows = read_table(settings)
        self.rows = [row for row in rows if row["split"] == settings.split][: settings.count]
        self.classes = tuple(dict.fromkeys(row["class"] for row in self.rows))
        self.labels = {name: number for number, name in enumerate(self.classes)}

    def __len__(self) -> int:
        return len(self.rows)

    def record(self, index: int) -> Record:
        """The texts and the class of a row, without its picture."""
        row = self.row(index)
        queries = (row["query"],) if row["query"] else ()
        return Record(row["file"], queries, self.labels[row["class"]])

    def image(self, index: int) -> Image.Image:
        """The picture of a row, RGB; one that is damaged or missing is a BrokenImageError."""
        return open_image(self.settings.path / PICTURES / self.row(index)["file"])

    def row(self, index: int) -> dict[str, str]:
        """A line of the table."""
        if not 0 <= index < len(self.rows):
            raise IndexError(index)
        return self.rows[index]


def read_table(settings: ${class_name}Settings) -> list[dict[str, str]]:
    """Every line of the table by its columns; what is wrong with a line is said with its number."""
    path = settings.path / TABLE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    seen: set[str] = set()
    for number, line in enumerate(lines, start=2):
        for column in COLUMNS:
            if column not in line:
                raise DataError(f"{path} has no column `{column}`", hint=",".join(COLUMNS))
        if not line["file"] or line["file"] in seen:
            raise DataError(f"{path}:{number}: `file` is empty or names a picture a second time")
        seen.add(line["file"])
    return lines
'''

SAMPLE = '''\
"""A small sample of the data, drawn: `python -m $module.${file}_sample FOLDER`."""

from __future__ import annotations

import csv
import random
import sys
from itertools import permutations
from pathlib import Path

from PIL import Image

COLOURS = {
    "красный": (214, 40, 40),
    "оранжевый": (245, 130, 30),
    "жёлтый": (250, 212, 40),
    "зелёный": (40, 150, 70),
    "синий": (30, 70, 190),
    "белый": (245, 245, 245),
    "серый": (128, 128, 128),
    "чёрный": (20, 20, 24),
}
TEST_EVERY = 4  # every fourth pair of colours is kept for the test, and training never shows it


def write_sample(folder: Path, rounds: int = 40, size: int = 64) -> None:
    """Write `rows.csv` and a picture of every pair of colours for each round."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "split", "class", "query"))
        for number in range(rounds):
            for pair, (above, below) in enumerate(permutations(COLOURS, 2)):
                picture = Image.new("RGB", (size, size), COLOURS[above])
                border = round(size * rng.uniform(0.3, 0.7))
                picture.paste(COLOURS[below], (0, border, size, size))
                name = f"{number}-{pair}.png"
                picture.save(folder / "pictures" / name)
                split = "train" if pair % TEST_EVERY else "test"
                title = f"{above} сверху, {below} снизу"
                table.writerow((name, split, title, f"{below} под: {above}"))


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
'''

TEST_HEAD = """\
from pathlib import Path

from engine.testing import Check, plugin_checks


def files(folder: Path) -> dict[str, object]:
    from $module.${file}_sample import write_sample

    write_sample(folder, rounds=1, size=16)
    return {"path": str(folder)}
"""

PACKAGE = PackageKind(
    file="dataset",
    contract="Dataset",
    contract_module="engine.contracts.dataset",
    summary="a folder of pictures with a table of their classes and queries",
    settings=SETTINGS,
    plugin=PLUGIN,
    beside={"sample": SAMPLE},
    slots={
        "train": "{use: $name, path: sample}",
        "evaluate": "{use: $name, path: sample, split: test}",
        "test_head": TEST_HEAD,
    },
    commands=(
        *TRAINING[:3],
        "python -m $module.${file}_sample sample",
        *TRAINING[3:5],
        "engine data make $name data --set path=sample",
        *TRAINING[6:],
    ),
    checked='"$kind", "$name", files',
    data="$name",
)
