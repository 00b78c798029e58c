"""``engine export``: an artifact in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from engine.cli.options import Json

if TYPE_CHECKING:
    from engine.exchange.transformers import Form


def command(
    artifact: Annotated[Path, typer.Argument(help="The artifact, a folder that a build wrote.")],
    to: Annotated[
        Literal["onnx", "transformers", "clip", "open_clip", "sentence_transformers"],
        typer.Option(
            help="onnx: files for onnxruntime; transformers: a VisionTextDualEncoderModel or a"
            " SiglipModel; clip: a CLIPModel of transformers; open_clip: a folder for its"
            " `local-dir:`; sentence_transformers: a folder for SentenceTransformer."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder (ARTIFACT-TO beside it).")
    ] = None,
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="onnx: matrices as 8-bit numbers, if enough of the model is kept."
        ),
    ] = False,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", help="int8: one scale a matrix, not one a column.")
    ] = False,
    texts: Annotated[
        Path | None,
        typer.Option(help="int8: a file of texts, one a line, to compare on (made up without)."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="int8: a folder of pictures to compare on (made up without)."),
    ] = None,
    min_cosine: Annotated[
        float, typer.Option(min=0, max=1, help="int8: smallest mean cosine to float32.")
    ] = 0.99,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="int8: smallest share of nearest neighbours kept.")
    ] = 0.85,
    json: Json = False,
) -> None:
    """Export a model, compare the export with it, and write it whole or not at all."""
    from engine.cli.progress import working
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json

    _check_options(to, int8, per_tensor, texts, pictures)
    folder = output or artifact.absolute().with_name(f"{artifact.absolute().name}-{to}")
    with working(f"exporting {artifact.name}") as progress:
        if int8:
            manifest = _export_int8(
                artifact, folder, progress, per_tensor, texts, pictures, (min_cosine, min_agreement)
            )
        else:
            manifest = _export(artifact, folder, to, progress)
    if json:
        print_json({"folder": str(folder), **manifest})
        return
    for line in _lines(manifest):
        stdout().print(line)
    for warning in manifest["warnings"]:
        print_warning(warning)
    different = manifest["tokenizer"]["differs_on"]
    if manifest["tokenizer"]["library"] is None:
        print_warning("the tokenizer's form is its plugin's own: only Engine reads it")
    elif different:
        print_warning(
            f"tokenizer.json gives other ids than Engine to {len(different)} of the texts tried:"
            f" see README.md in {folder}"
        )
    stdout().print(f"written to {folder}")


def _check_options(
    to: str, int8: bool, per_tensor: bool, texts: Path | None, pictures: Path | None
) -> None:
    from engine.errors import DataError

    if int8 and to != "onnx":
        raise DataError("`--int8` is for `--to onnx`", hint="`engine fit` makes artifacts smaller")
    given = {"--per-tensor": per_tensor, "--texts": texts, "--pictures": pictures}
    for option, value in given.items():
        if value and not int8:
            raise DataError(f"`{option}` says how to make int8", hint="add `--int8`")


def _export_int8(
    artifact: Path, folder: Path, progress: Any, per_tensor: bool, texts: Path | None,
    pictures: Path | None, least: tuple[float, float],
) -> dict[str, Any]:  # fmt: skip
    from engine.cli.fit import read_texts
    from engine.exchange.int8 import Gate
    from engine.exchange.onnx import Int8, export_onnx

    wanted = Int8(
        per_channel=not per_tensor,
        gate=Gate(cosine=least[0], agreement=least[1]),
        texts=None if texts is None else read_texts(texts),
        pictures=pictures,
    )
    return export_onnx(artifact, folder, progress, int8=wanted)


def _export(artifact: Path, folder: Path, to: str, progress: Any) -> dict[str, Any]:
    if to == "onnx":
        from engine.exchange.onnx import export_onnx

        return export_onnx(artifact, folder, progress)
    if to == "open_clip":
        from engine.exchange.open_clip import export_open_clip

        return export_open_clip(artifact, folder, progress)
    from engine.exchange.transformers import export_transformers

    return export_transformers(artifact, folder, cast("Form", to), progress)


def _lines(manifest: dict[str, Any]) -> list[str]:
    """One line a tower: what was measured."""
    if "int8" in manifest:
        return [_int8_line(tower, found) for tower, found in manifest["int8"].items()]
    checks = manifest.get("check") or {
        tower: manifest[tower]["check"] for tower in ("vision", "text")
    }
    return [
        f"{tower}: largest difference {check['largest_difference']:.1e} over {check['batches']}"
        f" batches ({check['allowed']:.0e} allowed)"
        for tower, check in checks.items()
    ]


def _int8_line(tower: str, found: dict[str, Any]) -> str:
    if not found["layers"]:
        return f"{tower}: no product with a stored matrix, left in float32"
    kept = len(found["float_layers"])
    return (
        f"{tower}: {found['layers'] - kept} of {found['layers']} matrices in int8, mean cosine"
        f" {found['cosine']:.5f}, nearest neighbours kept {found['agreement']:.1%} on"
        f" {found['inputs']} inputs; {found['bytes']:,} bytes instead of"
        f" {found['float32_bytes']:,}"
    )
