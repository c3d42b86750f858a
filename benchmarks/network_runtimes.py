"""Where a film's time goes, and what another runtime, batches or a smaller network would save: processor milliseconds.

    python benchmarks/network_runtimes.py            (or: --folder DIR with float/ and int8/ converted to LiteRT)

One thread, one drawn film of 2000 x 2000, the two files that ship. Everything is run by turns and the least counts, in
processor time, so that other programs on the machine disturb it little. OpenVINO is measured where it is installed
(``pip install openvino``), unpinned and with one stream of one thread, in single precision and in bf16, its silent
default on processors that have it; LiteRT, which takes one image at a time, with ``--folder``, where
`pocketcxr export --format litert` wrote its files. The network of 160 pixels (needs ``onnx``) is the same file with
another input: what it answers means nothing, its time does; its novelty and input gate, which want 224, are cut off.

The arithmetic a second that a network reaches, two operations for each multiply-accumulate of its graph, is set beside
that of a matrix product by the same runtimes in the same rounds: single precision, bf16, and bytes summed in 32
bits. That is this processor's peak as far as a program gets at it, by one thread beside whatever else runs.

Parity: probabilities over all files of ``$POCKETCXR_DATA/full_size`` and ``dicom``, where they are: how far a runtime
moves them, and how far reduced reading does within that runtime. `--table FILE` prints what a result says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pocketcxr.bundle.verified import read_verified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WEIGHTS = Path(__file__).parents[1] / "src/pocketcxr/bundle/weights"
FILES = {"float": WEIGHTS / "covid-3class.onnx", "int8": WEIGHTS / "int8/covid-3class.onnx"}
SIZES = (224, 160)
BATCHES = (1, 8)
PRODUCT_SIDES, PRODUCTS = (512, 1024), 8  # so many in a row, so that caches are warm
SIZELESS = ("probabilities", "logits", "embedding", "saliency")  # outputs that any input size gives
Score = Any  # images [n, 1, size, size] -> probabilities [n, classes]


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="float/ and int8/ with LiteRT files of the bundles that ship")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of an earlier result, no more")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/network_runtimes.json"))
    options = parser.parse_args()
    if options.table:
        print(tables(json.loads(options.table.read_text(encoding="utf-8"))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        record = _measure(Path(name), options.folder, options.rounds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(tables(record))
    return 0


# ---------------------------------------------------------------------------------------------------------------- time


def _measure(folder: Path, converted: Path | None, rounds: int) -> dict[str, Any]:
    products = {name: work for side in PRODUCT_SIDES for name, work in _products(folder, side).items()}
    work = {**_stages(folder), **_networks(folder), **_litert(folder, converted), **products}
    for function, _ in work.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (function, pictures) in work.items():
            started = time.process_time()
            function()
            times[name].append(1000 * (time.process_time() - started) / pictures)
    least = {name: min(found) for name, found in times.items()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "load_average": os.getloadavg()[0],
        "rounds": rounds,
        "bundles": {kind: read_verified(path).identity for kind, path in FILES.items()},
        "macs": count_macs(FILES["float"]),
        "peak_gops": {name: round(2 * int(name.split()[-1]) ** 3 / least[name] / 1e6, 1) for name in products},
        "ms": {name: round(found, 2) for name, found in least.items() if name not in products},
        "parity": _parity(),
    }


def _stages(folder: Path) -> dict[str, tuple[Callable[[], object], int]]:
    from PIL import Image

    from pocketcxr.imaging.reading import read_reduced
    from pocketcxr.imaging.resize import resize
    from pocketcxr.imaging.scaled_decoding import side_for
    from pocketcxr.inference.doctor.speed import _drawn_jpeg
    from pocketcxr.inference.predictor import Predictor
    from pocketcxr.inference.session import load_bundle

    film = folder / "film.jpg"
    film.write_bytes(_drawn_jpeg())
    work: dict[str, tuple[Callable[[], object], int]] = {}

    def decode(side: int) -> None:
        with Image.open(film) as image:
            image.draft(None, (side, side))
            image.load()

    for size in SIZES:
        side = side_for(size)
        read = read_reduced(film, side=side)
        work[f"decode {size}"] = (lambda side=side: decode(side)), 1
        work[f"read {size}"] = (lambda side=side: read_reduced(film, side=side)), 1
        work[f"resize {size}"] = (
            (lambda read=read, size=size: resize(read.samples, size=size, region=read.region)),
            1,
        )
    for kind, path in FILES.items():
        predictor = Predictor(load_bundle(path, threads=1))
        work[f"predict {kind}"] = (lambda predictor=predictor: json.dumps(predictor.predict_file(film).record())), 1
    return work


def _networks(folder: Path) -> dict[str, tuple[Callable[[], object], int]]:
    work: dict[str, tuple[Callable[[], object], int]] = {}
    for kind, path in FILES.items():
        for size in SIZES:
            file = path if size == SIZES[0] else _of_size(path, size, folder / f"{kind}-{size}.onnx")
            images = np.random.default_rng(0).random((max(BATCHES), 1, size, size), dtype=np.float32)
            for batch in BATCHES:
                for runtime, score in _runtimes(file, shape=(batch, 1, size, size)):
                    work[f"{runtime} {kind} {size} batch {batch}"] = (
                        (lambda score=score, part=images[:batch]: score(part)),
                        batch,
                    )
    return work


def _litert(folder: Path, converted: Path | None) -> dict[str, tuple[Callable[[], object], int]]:
    """LiteRT's files take one image at a time."""
    from pocketcxr.inference.runtimes.sessions import open_session

    work: dict[str, tuple[Callable[[], object], int]] = {}
    for kind, path in FILES.items() if converted else ():
        own = folder / f"litert-{kind}"
        shutil.copytree(path.parent, own, ignore=shutil.ignore_patterns("int8"))
        shutil.copytree(converted / kind, own, dirs_exist_ok=True)
        session = open_session(read_verified(own / path.name), "litert", threads=1)
        images = np.random.default_rng(0).random((max(BATCHES), 1, SIZES[0], SIZES[0]), dtype=np.float32)
        for batch in BATCHES:
            work[f"LiteRT {kind} {SIZES[0]} batch {batch}"] = (
                (lambda session=session, part=images[:batch]: session.run(["probabilities"], {"image": part})),
                batch,
            )
    return work


def _of_size(path: Path, size: int, target: Path) -> Path:
    import onnx

    model = onnx.load(path)
    graph = model.graph
    del graph.value_info[:]
    for dimension in graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_value = size
    kept = [output for output in graph.output if output.name in SIZELESS]
    for output in kept:
        for dimension in output.type.tensor_type.shape.dim[2:]:
            dimension.dim_value = size // 32
    needed, nodes = {output.name for output in kept}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    initializers = [one for one in graph.initializer if one.name in needed]
    for field, parts in ((graph.output, kept), (graph.node, nodes[::-1]), (graph.initializer, initializers)):
        copies = [type(part).FromString(part.SerializeToString()) for part in parts]  # `parts` are of the field
        del field[:]
        field.extend(copies)
    onnx.save(model, target)
    return target


def count_macs(path: Path) -> int:
    """Multiply-accumulates of one image: convolutions and matrix products of a graph in floats."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    shapes = {one.name: list(one.dims) for one in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [one.dim_value or 1 for one in value.type.tensor_type.shape.dim]
    found = 0
    for node in graph.node:
        if node.op_type in {"Conv", "MatMul", "Gemm"}:
            first, second = (shapes[name] for name in node.input[:2])
            summed = math.prod(second[1:]) if node.op_type == "Conv" else first[-1]
            found += math.prod(shapes[node.output[0]]) * summed
    return found


def _products(folder: Path, side: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Matrix products by one thread, named after precision, runtime and side."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape, generator = [side, side], np.random.default_rng(0)
    work: dict[str, tuple[Callable[[], object], int]] = {}
    for kind, operator, left, right, given, made in (
        ("float", "MatMul", np.float32, np.float32, TensorProto.FLOAT, TensorProto.FLOAT),
        ("int8", "MatMulInteger", np.uint8, np.int8, TensorProto.UINT8, TensorProto.INT32),
    ):
        images, weights = (generator.integers(0, 100, shape).astype(dtype) for dtype in (left, right))
        path = folder / f"{operator}-{side}.onnx"
        graph = helper.make_graph(
            [helper.make_node(operator, ["image", "weights"], ["probabilities"])],
            operator,
            [helper.make_tensor_value_info("image", given, shape)],
            [helper.make_tensor_value_info("probabilities", made, shape)],
            [numpy_helper.from_array(weights, "weights")],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        for runtime, score in _runtimes(path, shape=tuple(shape)):
            if kind == "float" or runtime == "ONNX Runtime":  # OpenVINO knows no such operator for integers
                name = "bf16" if runtime == "OpenVINO bf16" else kind
                work[f"{name}: {runtime}, side {side}"] = (
                    (lambda score=score, images=images: [score(images) for _ in range(PRODUCTS)]),
                    PRODUCTS,
                )
    return work


@cache
def _runtimes(path: Path, *, shape: tuple[int, ...]) -> list[tuple[str, Score]]:
    """What this machine has: names and functions for passes of an input of this shape."""
    import onnxruntime

    from pocketcxr.inference.runtimes.sessions import import_openvino

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    first = names.index("probabilities")
    found: list[tuple[str, Score]] = [("ONNX Runtime", lambda images: session.run(names, {"image": images})[first])]
    try:
        openvino = import_openvino()
    except ImportError:
        return found
    for precision in ("f32", "bf16"):
        core = openvino.Core()
        model = core.read_model(str(path))
        model.reshape({"image": list(shape)})
        hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": "1", "ENABLE_CPU_PINNING": False}
        compiled = core.compile_model(model, "CPU", {**hints, "INFERENCE_PRECISION_HINT": precision})
        request = compiled.create_infer_request()
        found.append(
            (
                f"OpenVINO {precision}",
                lambda images, request=request: np.array(request.infer({"image": images})["probabilities"]),
            )
        )
    return found


# -------------------------------------------------------------------------------------------------------------- parity


def _parity() -> dict[str, Any]:
    exact, reduced = _real_pictures()
    if not len(exact):
        return {}
    found: dict[str, Any] = {"pictures": len(exact)}
    for kind, path in FILES.items():
        yardstick = None
        for runtime, score in _runtimes(path, shape=(1, 1, SIZES[0], SIZES[0])):
            whole, less = (np.concatenate([score(one[None]) for one in pictures]) for pictures in (exact, reduced))
            yardstick = whole if yardstick is None else yardstick
            found[f"{runtime} {kind}"] = {
                "against_onnx_runtime": round(float(np.abs(whole - yardstick).max()), 5),
                "reduced_against_whole": round(float(np.abs(less - whole).max()), 5),
            }
    return found


def _real_pictures() -> tuple[np.ndarray, np.ndarray]:
    """[n, 1, size, size] twice: of all pixels, and of a reduced reading."""
    from pocketcxr.errors import InputError
    from pocketcxr.imaging.reading import read_image, read_reduced
    from pocketcxr.imaging.resize import resize
    from pocketcxr.imaging.scaled_decoding import side_for

    data, size = os.environ.get("POCKETCXR_DATA"), SIZES[0]
    paths = [path for part in ("full_size", "dicom") for path in sorted(Path(data, part).rglob("*"))] if data else []
    pairs: list[list[np.ndarray]] = []
    for path in paths:
        try:
            both = (read_image(path), read_reduced(path, side=side_for(size)))
        except InputError:
            continue
        pairs.append([resize(one.samples, size=size, region=one.region)[None] for one in both])
    whole, less = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(whole), np.array(less)


# -------------------------------------------------------------------------------------------------------------- tables


def tables(record: dict[str, Any]) -> str:
    """Return what was measured, as Markdown."""
    ms = record["ms"]
    rest = ms["predict float"] - ms["read 224"] - ms["resize 224"] - ms["ONNX Runtime float 224 batch 1"]
    lines = [
        f"{record['date']}, load average {record['load_average']:.0f}, least of {record['rounds']} rounds.",
        "",
        "| one image, ms | 224 px | 160 px |",
        "| --- | --- | --- |",
        f"| decoding alone | {ms['decode 224']:.1f} | {ms['decode 160']:.1f} |",
        f"| reading: decoding, file, grey samples, contrast | {ms['read 224']:.1f} | {ms['read 160']:.1f} |",
        f"| resize | {ms['resize 224']:.1f} | {ms['resize 160']:.1f} |",
        f"| input filter, decision, JSON | {rest:.1f} | {rest:.1f} |",
    ]
    for size in SIZES:
        lines += [
            "",
            f"| network of {size} px, ms each in batches of 1 · 8 | float | of decoding | int8 | of decoding |",
            "| --- | --- | --- | --- | --- |",
            *_network_rows(ms, size=size, rest=rest),
        ]
    lines += ["", *peak_lines(record)]
    parity = record["parity"]
    if parity:
        lines += [
            "",
            f"| {parity['pictures']} real pictures, largest change of a probability | float | int8 |",
            "| --- | --- | --- |",
        ]
        for runtime in _names(parity, among=" float"):
            own = [parity[f"{runtime} {kind}"] for kind in FILES]
            words = [f"{one['against_onnx_runtime']:.4f} · {one['reduced_against_whole']:.4f}" for one in own]
            lines.append(f"| {runtime}: against ONNX Runtime · by reduced reading | {' | '.join(words)} |")
    return "\n".join(lines)


def peak_lines(record: dict[str, Any]) -> list[str]:
    """The table of latency, throughput and share of the peak, and what the peak is."""
    peaks = record["peak_gops"]
    best = {kind: max((rate, name) for name, rate in peaks.items() if name.startswith(kind)) for kind in _kinds(peaks)}
    network = f"{SIZES[0]} px, {record['macs'] / 1e6:,.0f} million multiply-accumulates"
    throughput = f"images per processor second, batches of {BATCHES[1]}"
    said = (f"{kind} {rate:,.0f} ({name.partition(': ')[2]})" for kind, (rate, name) in best.items())
    return [
        f"Peak, billions of operations per second: {', '.join(said)}.",
        "",
        f"| {network} | ms, one image | {throughput} | share of the peak, one image | batches |",
        "| --- | --- | --- | --- | --- |",
        *_shares(record, {kind: rate for kind, (rate, _) in best.items()}),
    ]


def _kinds(peaks: dict[str, float]) -> list[str]:
    return list(dict.fromkeys(name.partition(":")[0] for name in peaks))


def _shares(record: dict[str, Any], peaks: dict[str, float]) -> Iterator[str]:
    for kind in FILES:
        for runtime in _names(record["ms"]):
            peak = peaks["bf16" if kind == "float" and runtime == "OpenVINO bf16" else kind]
            times = [record["ms"][f"{runtime} {kind} {SIZES[0]} batch {batch}"] for batch in BATCHES]
            shares = [f"{2 * record['macs'] / ms / 1e6 / peak:.0%}" for ms in times]
            yield f"| {runtime}, {kind} | {times[0]:.2f} | {1000 / times[1]:,.0f} | {' | '.join(shares)} |"


def _names(measured: dict[str, Any], *, among: str = " float 224 batch 1") -> list[str]:
    """Runtimes with such an entry; LiteRT has none at 160 pixels and none in the parity."""
    return [name.removesuffix(among) for name in measured if name.endswith(among)]


def _network_rows(ms: dict[str, float], *, size: int, rest: float) -> Iterator[str]:
    """`of decoding`: the rate that this network would reach, as a share of that of decoding alone; its best batch."""
    around = ms[f"read {size}"] + ms[f"resize {size}"] + rest
    for runtime in _names(ms, among=f" float {size} batch 1"):
        cells = []
        for kind in FILES:
            times = [ms[f"{runtime} {kind} {size} batch {batch}"] for batch in BATCHES]
            cells += [" · ".join(f"{one:.1f}" for one in times), f"{ms[f'decode {size}'] / (around + min(times)):.2f}"]
        yield f"| {runtime} | {' | '.join(cells)} |"
    yield f"| none at all | 0 | {ms[f'decode {size}'] / around:.2f} | 0 | |"


if __name__ == "__main__":
    raise SystemExit(main())
