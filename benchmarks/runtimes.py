"""The bundles that ship in every runtime installed here: ratio to PyTorch, latency, size, largest difference.

    python benchmarks/runtimes.py            (or: --folder converted/ with what `pocketcxr export --format` wrote there)

One image of the bundle's size per pass, one thread. All runtimes run by turns; the median ratio of processor time to
PyTorch's (eager, the same float graph) counts, so that other programs on the machine hit all alike. The largest
difference is that of probabilities from the golden vectors. `--table FILE` prints what a result says.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

WEIGHTS = Path(__file__).parents[1] / "src/pocketcxr/bundle/weights"
FILES = {"float": WEIGHTS / "covid-3class.onnx", "int8": WEIGHTS / "int8/covid-3class.onnx"}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="float/ and int8/ with converted files of the bundles that ship")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the table of an earlier result, no more")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/runtimes.json"))
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text(encoding="utf-8"))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        record = _measure(Path(name), options.folder, options.rounds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))
    return 0


def _measure(folder: Path, converted: Path | None, rounds: int) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {}
    for kind, path in FILES.items():
        for runtime, (bundle, size) in _loaded(folder / kind, path, converted and converted / kind).items():
            found[f"{runtime} {kind}"] = {"bytes": size, "score": bundle, "kind": kind, "runtime": runtime}
    image = np.random.default_rng(0).random((1, 1, 224, 224), dtype=np.float32)
    eager = _eager()
    times: dict[str, list[float]] = {name: [] for name in ("PyTorch", *found)}
    for _ in range(rounds + 1):
        for name, score in (("PyTorch", eager), *((name, one["score"]) for name, one in found.items())):
            started = time.process_time()
            score(image)
            times[name].append(1000 * (time.process_time() - started))
    for name, one in found.items():
        from pocketcxr.inference.runtimes.checks import differences_from_golden

        bundle = one.pop("score")
        ratios = [base / own for base, own in zip(times["PyTorch"][1:], times[name][1:], strict=True)]
        one |= {
            "ratio": round(statistics.median(ratios), 2),
            "ms": round(statistics.median(times[name][1:]), 2),
            "difference": differences_from_golden(bundle, bundle.path, bundle.sha256)["probabilities"],
        }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "load_average": round(os.getloadavg()[0], 1),
        "rounds": rounds,
        "pytorch_ms": round(statistics.median(times["PyTorch"][1:]), 2),
        "rows": list(found.values()),
    }


def _loaded(folder: Path, path: Path, converted: Path | None) -> dict[str, tuple[Any, int]]:
    """Bundles by runtime with the bytes of the file that each reads; the tolerance is reported here, not enforced."""
    from pocketcxr.bundle.verified import read_verified
    from pocketcxr.errors import BundleError
    from pocketcxr.inference.runtimes.sessions import installed_runtimes, open_session
    from pocketcxr.inference.session import Bundle, load_bundle

    shutil.copytree(path.parent, folder, ignore=shutil.ignore_patterns("int8"))
    for one in converted.iterdir() if converted else ():
        shutil.copy(one, folder)
    file = read_verified(folder / path.name)
    found: dict[str, tuple[Any, int]] = {"onnxruntime": (load_bundle(file.path, threads=1), len(file.data))}
    for runtime in installed_runtimes()[1:]:
        try:
            session = open_session(file, runtime, threads=1)
        except BundleError as error:
            print(f"without {runtime}: {error}")
            continue
        own = file.path.with_suffix(".tflite") if runtime == "litert" else file.path
        found[runtime] = Bundle(file.path, file.manifest, file.sha256, session), own.stat().st_size
    return found


def _eager() -> Callable[[Any], object]:
    import onnx
    import torch

    from pocketcxr.bundle.contract import OUTPUT_NAMES
    from pocketcxr.export.runtimes.torch_graph import GraphModule

    torch.set_num_threads(1)
    module = GraphModule(onnx.load(FILES["float"]), names=OUTPUT_NAMES).eval()

    def score(image: Any) -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(image))

    return score


def table(record: dict[str, Any]) -> str:
    """Return what was measured, as Markdown, fastest first."""
    rows = sorted(record["rows"], key=lambda row: -row["ratio"])
    measured = f"{record['date']}, load average {record['load_average']}, median of {record['rounds']} rounds"
    return "\n".join(
        [
            f"{measured}; PyTorch eager {record['pytorch_ms']} ms.",
            "",
            "| runtime | file | times PyTorch | ms | bytes | largest difference of a probability |",
            "| --- | --- | --- | --- | --- | --- |",
            *(
                f"| {row['runtime']} | {row['kind']} | {row['ratio']:.2f} | {row['ms']:.2f} | {row['bytes']:,} | "
                f"{row['difference']:.1g} |"
                for row in rows
            ),
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
