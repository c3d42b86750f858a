"""From files to answers: `pocketcxr predict` against the usual ways, in one run, as ratios.

    make bench                                   (or: python benchmarks/predict_speed.py --files 2000)

1. One full-size picture, process start to printed answer: against Pillow with PyTorch.
2. A folder of full-size JPEGs: against merely decoding them on the same cores (all pixels, and as few as `predict` asks
   for), against Pillow with PyTorch in as many processes, and against torchxrayvision's own pipeline (skipped where it
   is not installed; `--overlay` names a folder that holds it).
3. Peak memory of every process of `predict`, and of all together without counting shared pages twice.

All do the same work: the same files, one thread a process, as many processes, the same input size and architecture
(torchxrayvision its own), a probability for every film. PyTorch runs MobileNetV2 eagerly under `inference_mode`, with
all pixels decoded and resized by Pillow, as a competent user would write it; and, beside it, traced, which starts
faster.

Rivals run in turn, over several rounds, and the median ratio counts: a slow minute of the machine hits all alike. Other
programs on the machine distort elapsed time all the same, so the ratio of processor time is given beside it: it is what
would count on an idle machine. Start-up is left out for all in the second comparison; for `pocketcxr predict`, that is
the time for eight films, taken off. Films are 2000 x 2000 with grain, about as many bytes as real ones: drawn, or, with
`--films`, X-rays of a folder enlarged. `predict` reads a film twice where its answer stands at a limit; what a trained
network says of drawings tells nothing of how often, so give it real ones. A network of random weights is exported (as
fast as any), and the bundles named with `--bundle` are measured after it. `--table FILE` prints what a result says.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from predict_table import tables

RIVALS = Path(__file__).with_name("predict_rivals.py")
SIDE = 2000
FEW = 8  # films of the run that tells what our start costs
DISTINCT = 24  # drawn films that differ; more are copies, which cost a decoder just as much
REAL = 400  # real ones: as large a share stands at a limit, and is read twice, as elsewhere


def main() -> int:
    """Run the comparison and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300, help="in the folder (torchxrayvision gets a tenth)")
    parser.add_argument("--films", type=Path, metavar="FOLDER", help="real X-rays (JPEG or PNG), instead of drawn ones")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--starts", type=int, default=7, help="rounds of the first comparison")
    parser.add_argument("--size", type=int, default=160, help="of the random network; 0 for none")
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="measure this one, too")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of an earlier result, no more")
    parser.add_argument("--overlay", type=Path, help="folder of installed packages that holds torchxrayvision")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks/predict.json"))
    options = parser.parse_args()
    if options.table:
        print(tables(json.loads(options.table.read_text(encoding="utf-8"))))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = _compare(options, folder)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(tables(record))
    return 0


def _compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    # compiled modules for all alike, wherever this runs
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(folder / "compiled"))
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    (folder / "films").mkdir()
    if options.films:
        _enlarge(options.films, folder / "films", options.files)
    else:
        _draw(folder / "films", options.files)
    _copy_few(folder)
    networks = {f"random weights, {options.size} px": _random_bundle(folder, options.size)} if options.size else {}
    networks |= {_name_of(bundle): bundle for bundle in options.bundle}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "side": SIDE,
        "films": "real X-rays, enlarged" if options.films else "drawn",
        "files": options.files,
        "workers": options.workers,
        "processors": len(os.sched_getaffinity(0)),
        "mean_kb_per_film": round(_mean_kb(folder / "films")),
        "networks": {name: _measure(options, folder, bundle) for name, bundle in networks.items()},
    }


def _measure(options: argparse.Namespace, folder: Path, bundle: Path) -> dict[str, Any]:
    size = _size_of(bundle)
    model = _traced(folder, size)
    before = os.getloadavg()[0]
    record = {
        "start": _starts(options, folder, bundle, size, model),
        "folder": _folders(options, folder, bundle, size, model),
        "memory_mb": _memory(folder, bundle, options.workers),
    }
    return {**record, "load_average": [before, os.getloadavg()[0]]}


# ------------------------------------------------------------------------------------------------------------ material


def _random_bundle(folder: Path, size: int) -> Path:
    from pocketcxr.data.dataset import Dataset
    from pocketcxr.data.rows import IndexRow
    from pocketcxr.evaluation.config import EvaluationConfig
    from pocketcxr.export.export import export_student
    from pocketcxr.labels import load_task
    from pocketcxr.models.networks import NetworkSpec, build_network

    task = load_task("covid-3class")
    splits = ["train"] * 30 + ["calibration"] * 30
    labels = np.arange(len(splits)) % len(task.labels)
    pixels = np.random.default_rng(0).integers(0, 256, (len(splits), size, size)).astype(np.uint8)
    rows = tuple(IndexRow(path=str(i), source="noise", finding="", split=split) for i, split in enumerate(splits))
    dataset = Dataset(task=task, rows=rows, pixels=pixels, labels=labels, fingerprint="noise")
    spec = NetworkSpec("student", ("mobilenetv2_100",), task.labels, size)
    options = {"evaluation": EvaluationConfig(), "name": "random", "version": "0", "licence": "none", "records": {}}
    path = export_student(build_network(spec), spec, dataset, out=folder / "random.onnx", progress=False, **options)
    _make_decided(path)
    return path


def _make_decided(path: Path) -> None:
    """Move the limits away from what random weights answer: trained networks are rarely at one, and those would be."""
    import onnx

    from pocketcxr.bundle.format import MANIFEST_KEY, SHA256_KEY, read_manifest, seal

    model, manifest = onnx.load(path), read_manifest(path.read_bytes(), "random")
    kept = [(entry.key, entry.value) for entry in model.metadata_props if entry.key not in {SHA256_KEY, MANIFEST_KEY}]
    kept.append((MANIFEST_KEY, dataclasses.replace(manifest, conformal_quantile=0.05).to_json()))
    del model.metadata_props[:]
    for key, value in kept:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(seal(model.SerializeToString()))


def _traced(folder: Path, size: int) -> Path:
    import torch
    from torch import nn

    from pocketcxr.models.networks import NetworkSpec, build_network

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = build_network(NetworkSpec("student", ("mobilenetv2_100",), ("a", "b", "c"), size))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.network(images).logits

    path = folder / "traced.pt"
    with torch.inference_mode():
        torch.jit.trace(Logits().eval(), torch.zeros(1, 1, size, size)).save(str(path))
    return path


def _name_of(bundle: Path) -> str:
    manifest = _manifest_of(bundle)
    kind = ", int8" if "quantisation" in manifest.run else ""
    return f"{bundle.stem}, {manifest.preprocessing.size} px{kind}"


def _size_of(bundle: Path) -> int:
    return _manifest_of(bundle).preprocessing.size


def _manifest_of(bundle: Path) -> Any:
    from pocketcxr.bundle.verified import read_verified

    return read_verified(bundle).manifest


def _draw(folder: Path, files: int) -> None:
    """Ovals, ribs and grain: what matters here is how much a decoder has to do."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    drawn = []
    for number in range(min(files, DISTINCT)):
        lungs = sum(np.exp(-(((x - c) / 0.15) ** 2) - ((y - 0.45) / 0.28) ** 2) for c in (0.3, 0.7))
        film = 175 + 10 * np.sin(60 * y + 4 * np.cos(6 * x) + number) - 115 * lungs
        film += generator.normal(0, 3.2, film.shape)
        drawn.append(_save(film, folder / f"{number:05}.jpg"))
    _repeat(drawn, folder, files)


def _enlarge(source: Path, folder: Path, files: int) -> None:
    """Real X-rays, evenly from a folder, brought to the size of a detector with the grain that reduction took away."""
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not found:
        raise SystemExit(f"{source}: expected JPEG or PNG files, found none")
    chosen = found[:: max(1, len(found) // min(files, REAL))][: min(files, REAL)]
    generator = np.random.default_rng(0)
    made = []
    for number, path in enumerate(chosen):
        with Image.open(path) as image:
            film = np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)
        made.append(_save(film + generator.normal(0, 3.2, film.shape), folder / f"{number:05}.jpg"))
    _repeat(made, folder, files)


def _save(film: Any, path: Path) -> bytes:
    Image.fromarray(np.clip(film, 0, 255).astype(np.uint8)).save(path, quality=90)
    return path.read_bytes()


def _repeat(made: list[bytes], folder: Path, files: int) -> None:
    for number in range(len(made), files):
        (folder / f"{number:05}.jpg").write_bytes(made[number % len(made)])


def _mean_kb(folder: Path) -> float:
    return statistics.mean(path.stat().st_size for path in folder.iterdir()) / 1000


# --------------------------------------------------------------------------------------------------------- comparisons


def _predict(bundle: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pocketcxr.cli", "predict", "--bundle", str(bundle), *arguments]


def _starts(
    options: argparse.Namespace, folder: Path, bundle: Path, size: int, model: Path
) -> dict[str, dict[str, list[float]]]:
    film = folder / "films" / "00000.jpg"
    listing = folder / "one.txt"
    listing.write_text(str(film))
    commands = {
        "pocketcxr": _predict(bundle, str(film)),
        "pytorch": [sys.executable, str(RIVALS), "pytorch", str(size), str(listing)],
        "pytorch-traced": [sys.executable, str(RIVALS), "pytorch-traced", str(size), str(listing), str(model)],
    }
    found: dict[str, dict[str, list[float]]] = {name: {"s": [], "cpu_s": []} for name in commands}
    for number in range(options.starts + 1):
        for name, command in commands.items():
            before, started = _cpu_of_children(), time.perf_counter()
            subprocess.run(command, input="go\n", text=True, stdout=subprocess.PIPE, check=True)
            if number:  # the first one compiles modules
                found[name]["s"].append(time.perf_counter() - started)
                found[name]["cpu_s"].append(_cpu_of_children() - before)
    return found


def _folders(
    options: argparse.Namespace, folder: Path, bundle: Path, size: int, model: Path
) -> dict[str, dict[str, Any]]:
    """Images per second, and processor milliseconds per image, of each round."""
    films = sorted(map(str, (folder / "films").iterdir()))
    names = ["decode-fully", "decode-scaled", "pytorch", "pytorch-traced"]
    skipped = _torchxrayvision_is_missing(options.overlay)
    if not skipped:
        names.append("torchxrayvision")
    found: dict[str, dict[str, Any]] = {name: {"per_s": [], "cpu_ms": []} for name in ("pocketcxr", *names)}
    found["pocketcxr"]["per_s_with_start"] = []
    for _ in range(options.rounds):
        start_s, start_cpu_s = _our_folder(options, folder, bundle, folder / "few")
        whole_s, whole_cpu_s = _our_folder(options, folder, bundle, folder / "films")
        found["pocketcxr"]["per_s_with_start"].append(len(films) / whole_s)
        found["pocketcxr"]["per_s"].append((len(films) - FEW) / max(whole_s - start_s, 1e-9))
        found["pocketcxr"]["cpu_ms"].append(1000 * (whole_cpu_s - start_cpu_s) / (len(films) - FEW))
        for name in names:
            chosen = films[: max(2 * options.workers, len(films) // 10)] if name == "torchxrayvision" else films
            per_s, cpu_ms = _rival_folder(options, folder, [name, str(size)], [str(model)], chosen)
            found[name]["per_s"].append(per_s)
            found[name]["cpu_ms"].append(cpu_ms)
    if skipped:
        found["torchxrayvision"] = {"skipped": skipped}
    return found


def _torchxrayvision_is_missing(overlay: Path | None) -> str:
    if overlay is not None:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(overlay.resolve())]))
    done = subprocess.run([sys.executable, "-c", "import torchxrayvision"], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def _copy_few(folder: Path) -> None:
    (folder / "few").mkdir()
    for path in sorted((folder / "films").iterdir())[:FEW]:
        (folder / "few" / path.name).write_bytes(path.read_bytes())


def _our_folder(options: argparse.Namespace, folder: Path, bundle: Path, films: Path) -> tuple[float, float]:
    """Seconds, and seconds of processor time of all processes."""
    output = folder / "scores.jsonl"
    output.unlink(missing_ok=True)
    command = _predict(bundle, str(films), "-o", str(output), "--workers", str(options.workers))
    before, started = _cpu_of_children(), time.perf_counter()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    elapsed_s, cpu_s = time.perf_counter() - started, _cpu_of_children() - before
    assert len(output.read_text(encoding="ascii").splitlines()) == len(list(films.iterdir()))
    return elapsed_s, cpu_s


def _rival_folder(
    options: argparse.Namespace, folder: Path, before: list[str], after: list[str], films: list[str]
) -> tuple[float, float]:
    processes = []
    for number in range(options.workers):
        listing = folder / f"share-{number}.txt"
        listing.write_text("\n".join(films[number :: options.workers]), encoding="utf-8")
        command = [sys.executable, str(RIVALS), *before, str(listing), *after]
        processes.append(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        )
    for process in processes:
        while (line := process.stdout.readline()) != "ready\n":
            assert line, f"{before[0]} did not start"
    started = time.perf_counter()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    cpu_s = 0.0
    for process in processes:
        words = process.stdout.readline().split()
        assert words[0] == "done"
        cpu_s += float(words[1])
    elapsed_s = time.perf_counter() - started
    for process in processes:
        process.communicate()
    return len(films) / elapsed_s, 1000 * cpu_s / len(films)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(folder: Path, bundle: Path, workers: int) -> dict[str, dict[str, Any]]:
    """Peak resident megabytes of each process, the largest first; and of all together, shared pages counted once."""
    films = folder / "films"
    return {
        "one picture": _peaks(_predict(bundle, str(films / "00000.jpg"))),
        "one picture, exact": _peaks(_predict(bundle, str(films / "00000.jpg"), "--exact")),
        "folder": _peaks(_predict(bundle, str(folder / "few"), "--workers", str(workers))),
    }


def _peaks(command: list[str]) -> dict[str, Any]:
    peaks: dict[int, int] = {}
    together = turns = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            for pid in (process.pid, *_children(process.pid)):
                peaks[pid] = max(peaks.get(pid, 0), _kb(pid, "status", "VmHWM"))
            if turns % 10 == 0:  # walks all pages, so not as often
                together = max(together, together_kb(process.pid))
            turns += 1
            time.sleep(0.002)
    return {"each": sorted((kb // 1024 for kb in peaks.values()), reverse=True), "together": together // 1024}


def together_kb(pid: int) -> int:
    """Memory that a process and its children hold now; what they share is counted once."""
    return sum(_kb(one, "smaps_rollup", "Pss:") for one in (pid, *_children(pid)))


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _kb(pid: int, file: str, what: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(what)), 0)


if __name__ == "__main__":
    sys.exit(main())
