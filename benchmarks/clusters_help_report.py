"""What clusters_help.py found: means, comparisons over seeds, a table, a page.

- `sd`: standard deviation over seeds (n - 1).
- Comparisons are paired: both arms of a seed share data, vision tower and first weights. The test
  is the paired t test; Wilcoxon's signed-rank test is given beside it, and cannot fall below
  2 / 2^n (0.06 with five seeds).
- `holm`: p of the t test, corrected by Holm (1979) over every comparison of its family: all data
  sets and measures together, unless the settings name families.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table

Plain = dict[str, Any]
MEASURES = {
    "accuracy": "unseen classes",
    "within": "unseen, within cluster",
    "seen": "seen classes",
    "seen_within": "seen, within cluster",
}


@dataclass(frozen=True)
class Arm:
    """A variant with its batches on a data set.

    Attributes:
        data, arm: its names.
        values: by measure, the percent of each seed.
        numbers: in the text projection.
        router: percent of the test's class names that the router puts into their own cluster,
            mean over seeds; ``None`` without a router.
    """

    data: str
    arm: str
    values: Mapping[str, Mapping[int, float]]
    numbers: int
    router: float | None

    def mean(self, measure: str) -> float:
        """Over seeds."""
        return statistics.fmean(self.values[measure].values())

    def sd(self, measure: str) -> float:
        """Over seeds; not a number with one seed."""
        values = list(self.values[measure].values())
        return statistics.stdev(values) if len(values) > 1 else math.nan


@dataclass
class Comparison:
    """One arm against another over the seeds that both have.

    Attributes:
        difference: mean of the first minus the second, in percentage points.
        low, high: its 95 % interval by the t distribution, not corrected.
        effect: difference over the standard deviation of the differences (Cohen's d_z).
        p, wilcoxon, holm: see the module.
        wins: seeds in which the first is better.
        family: of comparisons that are corrected together; empty where there is one alone.
    """

    data: str
    measure: str
    first: str
    second: str
    seeds: int
    difference: float
    low: float
    high: float
    effect: float
    p: float
    wilcoxon: float
    wins: int
    family: str = ""
    holm: float = math.nan


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6:65)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        found[place] = largest
    return found


def compared(first: Arm, second: Arm, measure: str) -> Comparison | None:
    """The paired comparison; ``None`` where fewer than two seeds have both."""
    from scipy import stats

    a, b = first.values[measure], second.values[measure]
    differences = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    if len(differences) < 2:
        return None
    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    same = not any(differences)
    t = None if same or sd == 0 else stats.ttest_1samp(differences, 0)
    interval = t.confidence_interval() if t else (mean, mean)
    return Comparison(
        data=first.data,
        measure=measure,
        first=first.arm,
        second=second.arm,
        seeds=len(differences),
        difference=mean,
        low=float(interval[0]),
        high=float(interval[1]),
        effect=mean / sd if sd else math.copysign(math.inf, mean) if mean else 0.0,
        p=float(t.pvalue) if t else 1.0 if same else 0.0,
        wilcoxon=1.0 if same else float(stats.wilcoxon(differences).pvalue),
        wins=sum(each > 0 for each in differences),
    )


class Report:
    """The figures, and how they are shown.

    Args:
        settings: of clusters_help.yaml.
        rows: the finished trainings.
        sizes: numbers of the text projection by ``<data> <variant>``.
    """

    def __init__(self, settings: Plain, rows: Sequence[Plain], sizes: Mapping[str, int]) -> None:
        self.settings, self.rows = settings, rows
        self.data = [name for name in settings["data"] if any(r["data"] == name for r in rows)]
        self.arms = {(arm.data, arm.arm): arm for arm in self._arms(sizes)}
        self.comparisons = self._compare()

    def _arms(self, sizes: Mapping[str, int]) -> list[Arm]:
        found = []
        for data in self.data:
            for variant in self.settings["variants"]:
                for batches in self.settings["batches"]:
                    name = (data, variant, batches)
                    own = [r for r in self.rows if (r["data"], r["variant"], r["batches"]) == name]
                    if not own:
                        continue
                    values = {m: {r["seed"]: r[m] for r in own} for m in MEASURES}
                    routers = [r["router"] for r in own if "router" in r]
                    router = statistics.fmean(routers) if routers else None
                    numbers = sizes[f"{data} {variant}"]
                    found.append(Arm(data, f"{variant} {batches}", values, numbers, router))
        return found

    def _compare(self) -> list[Comparison]:
        whole: list[Comparison] = []
        for name, family in self._families().items():
            found = []
            for data, part in itertools.product(self.data, family):
                for measure, names in itertools.product(part["measures"], part["comparisons"]):
                    pair = [self.arms.get((data, arm)) for arm in names]
                    if pair[0] is not None and pair[1] is not None:
                        found.append(compared(pair[0], pair[1], measure))
            own = [each for each in found if each is not None]
            for each, p in zip(own, holm([each.p for each in own]), strict=True):
                each.family, each.holm = name, p
            whole += own
        return whole

    def _families(self) -> dict[str, list[Plain]]:
        """Parts of measures and comparisons, by the family that is corrected together."""
        if "families" not in self.settings:
            every = {"measures": list(MEASURES), "comparisons": self.settings["comparisons"]}
            return {"": [every]}
        found: dict[str, list[Plain]] = self.settings["families"]
        return found

    def heading(self, data: str, measure: str) -> str:
        """What a measure is called on a data set."""
        own = self.settings["data"][data].get("measures", {})
        return str(own.get(measure, MEASURES[measure]))

    def title(self, arm: str) -> str:
        """``K projections, hard; in-cluster batches``."""
        variant, batches = arm.split()
        settings = self.settings
        return f"{settings['variants'][variant]['title']}; {settings['batches'][batches]['title']}"

    def chance(self, data: str, measure: str) -> float:
        """Percent of guessing, mean over seeds."""
        return statistics.fmean(r[f"chance_{measure}"] for r in self.rows if r["data"] == data)

    # ---- shown ----------------------------------------------------------------------------------

    def show(self, console: Console) -> None:
        """Print the tables."""
        for data in self.data:
            table = Table(title=f"{self.settings['data'][data]['title']}: percent, mean and sd")
            heads = [self.heading(data, measure) for measure in MEASURES]
            for name in ("", *heads, "router", "parameters", "seeds"):
                table.add_column(name, justify="left" if not name else "right")
            for arm in self._of(data):
                cells = [f"{arm.mean(m):.2f} ± {arm.sd(m):.2f}" for m in MEASURES]
                router = "" if arm.router is None else f"{arm.router:.0f} %"
                seeds = str(len(arm.values["accuracy"]))
                table.add_row(self.title(arm.arm), *cells, router, f"{arm.numbers:,}", seeds)
            table.add_row("chance", *(f"{self.chance(data, m):.2f}" for m in MEASURES))
            console.print(table)
        if not self.comparisons:
            return
        table = Table(title="Comparisons, paired over seeds (percentage points)")
        for name in (
            "data",
            "of",
            "first - second",
            "difference",
            "95 %",
            "d",
            "wins",
            "p",
            "Holm",
        ):
            table.add_column(name)
        for each in self.comparisons:
            table.add_row(*self._cells(each))
        console.print(table)

    def _of(self, data: str) -> list[Arm]:
        return [arm for (name, _), arm in self.arms.items() if name == data]

    def _cells(self, each: Comparison) -> list[str]:
        return [
            each.data,
            self.heading(each.data, each.measure),
            f"{each.first} - {each.second}",
            f"{each.difference:+.2f}",
            f"{each.low:+.2f} to {each.high:+.2f}",
            f"{each.effect:+.1f}",
            f"{each.wins}/{each.seeds}",
            f"{each.p:.3f}",
            f"{each.holm:.3f}{' (' + each.family + ')' if each.family else ''}",
        ]

    def figures(self) -> Plain:
        """Everything as JSON types."""
        return {
            "arms": [
                {"data": arm.data, "arm": arm.arm, "parameters": arm.numbers, "router": arm.router,
                 **{m: {"mean": arm.mean(m), "sd": _json(arm.sd(m)),
                        "seeds": list(arm.values[m].values())} for m in MEASURES}}
                for arm in self.arms.values()
            ],
            "chance": {d: {m: self.chance(d, m) for m in MEASURES} for d in self.data},
            "comparisons": [
                {name: _json(value) for name, value in asdict(each).items()}
                for each in self.comparisons
            ],
            "significant": [
                ", ".join(filter(None, (c.family, c.data, c.measure)))
                + f": {c.first} - {c.second} {c.difference:+.2f}"
                for c in self.comparisons if c.holm < 0.05
            ],
        }  # fmt: skip

    # ---- the page -------------------------------------------------------------------------------

    def page(self) -> str:
        """One HTML file that needs nothing else: dots are seeds, bars means, lines sd."""
        parts = []
        for data in self.data:
            parts.append(f"<h2>{escape(self.settings['data'][data]['title'])}</h2><div class=row>")
            parts += [self._plot(data, measure) for measure in MEASURES]
            parts.append("</div>")
        heads = ("data", "of", "first − second", "difference", "95 %", "d", "wins", "p", "Holm")
        rows = [
            f"<tr class={'sure' if each.holm < 0.05 else 'unsure'}>"
            + "".join(f"<td>{escape(cell)}" for cell in self._cells(each))
            for each in self.comparisons
        ]
        table = "<tr>" + "".join(f"<th>{head}" for head in heads) + "".join(rows)
        return _PAGE.replace("PLOTS", "".join(parts)).replace("TABLE", table)

    def _plot(self, data: str, measure: str) -> str:
        arms = self._of(data)
        chance = self.chance(data, measure)
        every = [v for arm in arms for v in arm.values[measure].values()]
        low, high = min([*every, chance]), max(every)
        left, width, height = 285, 300, 26

        def x(value: float) -> float:
            return left + width * (value - low) / max(high - low, 1e-9)

        bottom = height * len(arms) + 30
        draw = [
            f'<svg viewBox="0 0 {left + width + 20} {bottom + 24}" role="img">'
            f'<text x="{left}" y="14" class="head">{self.heading(data, measure)}, %</text>'
        ]
        for step in range(5):
            value = low + (high - low) * step / 4
            draw += [
                _upright("grid", x(value), 22, bottom),
                f'<text class="tick" x="{x(value):.1f}" y="{bottom + 14}">{value:.1f}</text>',
            ]
        draw.append(_upright("chance", x(chance), 22, bottom, f"chance {chance:.2f} %"))
        for place, arm in enumerate(arms):
            y = 36 + height * place
            mean, sd = arm.mean(measure), arm.sd(measure)
            spread = 0.0 if math.isnan(sd) else sd
            colour = "inside" if arm.arm.endswith("in_cluster") else "plain"
            name = escape(self.title(arm.arm))
            start, end = x(mean - spread), x(mean + spread)
            draw += [
                f'<text class="name" x="{left - 10}" y="{y + 4}">{name}</text>',
                f'<line class="{colour}" x1="{start:.1f}" x2="{end:.1f}" y1="{y}" y2="{y}"/>',
                _upright(f"{colour} mean", x(mean), y - 8, y + 8, f"{mean:.2f} ± {sd:.2f}"),
            ]
            draw += [
                f'<circle class="{colour}" cx="{x(v):.1f}" cy="{y}" r="3.5">'
                f"<title>seed {seed}: {v:.2f}</title></circle>"
                for seed, v in arm.values[measure].items()
            ]
        return "".join([*draw, "</svg>"])


def _upright(kind: str, x: float, top: float, bottom: float, title: str = "") -> str:
    """A vertical line of an SVG."""
    line = f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}">'
    return f"{line}<title>{escape(title)}</title></line>"


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Do clusters help?</title>
<style>
body{font:15px/1.45 system-ui,sans-serif;max-width:1260px;margin:2rem auto;padding:0 1rem;
color:#1c2330;background:#fff}
.row{display:flex;flex-wrap:wrap;gap:1rem}svg{flex:1 1 560px;max-width:620px}
text{font-size:12px;fill:#1c2330}.name{text-anchor:end}.tick{text-anchor:middle;fill:#677}
.head{font-weight:600}.grid{stroke:#e4e8ee}.chance{stroke:#999;stroke-dasharray:3 3}
line.plain{stroke:#2563a8;stroke-width:2}circle.plain{fill:#2563a8;fill-opacity:.45}
line.inside{stroke:#c2571a;stroke-width:2}circle.inside{fill:#c2571a;fill-opacity:.45}
line.mean{stroke-width:3}table{border-collapse:collapse;font-size:13px}
td,th{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #e4e8ee}
tr.sure td{font-weight:600}
</style>
<h1>Do clusters help?</h1>
<p>Zero-shot accuracy on classes that training never shows (unseen) and on new pictures of those
that it shows (seen); within cluster: only the classes of the true class's own cluster may be the
answer. A dot is a seed, the upright stroke the mean, the line one standard deviation to each side,
the dashed line chance; blue: shuffled batches, orange: in-cluster batches.</p>
PLOTS
<h2>Comparisons</h2>
<p>Paired over seeds, in percentage points; 95 % by the t distribution, not corrected; d: the mean
difference over its standard deviation; p of the paired t test; Holm: corrected for all comparisons
here. In bold: below 0.05 after the correction.</p>
<table>TABLE</table>
</html>
"""
