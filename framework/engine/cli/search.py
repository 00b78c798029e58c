"""``engine search``: pictures of an index by texts, by pictures, or both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.cli.options import Json


def command(
    index: Annotated[Path, typer.Argument(help="The index, a folder that `engine index` wrote.")],
    texts: Annotated[list[str] | None, typer.Argument(help="What the pictures show.")] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="What they do not show; may be given again.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture like them; may be given again.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Only pictures below this folder.")] = None,
    after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only pictures taken then or later.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only pictures taken earlier.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="Pictures to find.")] = 20,
    model: Annotated[
        Path | None, typer.Option("-m", "--model", help="The model that made the index.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page of the pictures.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the model's arithmetic (one a core).")
    ] = None,
    json: Json = False,
) -> None:
    """Find pictures: the nearest to the sum of the texts and pictures, less what --minus says.

    TIME is a day (2024-05-31), a moment (2024-05-31T18:00) or a year. Pictures with the same bytes
    are one hit.
    """
    from engine.cli.inputs import check_files
    from engine.cli.models import open_model
    from engine.cli.tables import print_warning, stdout
    from engine.core.files import write_text
    from engine.core.terminal import print_json
    from engine.printable import one_line
    from engine.search.filters import make_filter
    from engine.search.identity import check_model
    from engine.search.index import SearchIndex
    from engine.search.pages import hits_page
    from engine.search.query import query_vector

    only = make_filter(folder, after, before)
    check_files((html,), [index, *(image or ())])
    with SearchIndex(index) as opened:
        predictor, _ = open_model(model, index, threads)
        check_model(opened.catalogue, predictor, index)
        vector = query_vector(predictor, texts or (), minus=minus or (), images=image or ())
        hits = opened.search(vector, top, only=only)
        words = _in_words(texts or [], minus or [], image or [])
        if html:
            facts = [(name, value) for name, value in (
                ("below", str(folder or "")), ("after", after or ""), ("before", before or ""),
            ) if value]  # fmt: skip
            write_text(html, hits_page(opened, hits, words, facts))
        if json:
            print_json({"index": str(index), "query": words, "recall": opened.recall,
                        "hits": [hit.to_json() for hit in hits]})  # fmt: skip
        else:
            for hit in hits:
                copies = f"  (and {len(hit.places) - 1} copies)" if len(hit.places) > 1 else ""
                stdout().print(
                    f"{hit.score:.3f}  {one_line(hit.name, 500)}{copies}", soft_wrap=True
                )
            if not hits:
                stdout().print("nothing was found")
            if html:
                stdout().print(f"written to {html}")
    for warning in predictor.warnings:
        print_warning(warning)


def _in_words(texts: list[str], minus: list[str], images: list[Path]) -> str:
    """The query as a person would write it."""
    from engine.core.foreign import clean_name

    parts = [*texts, *(f"picture {clean_name(path.name)}" for path in images)]
    return " + ".join(parts) + "".join(f" - {text}" for text in minus)
