"""How long would ten million images take on a cluster? A model on paper, and a simulation that checks it.

The simulation follows `pocketcxr.inference.cluster`: windows of parts, and one driver that lists files and writes rows.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import time
from pathlib import Path

import numpy as np

from pocketcxr.imaging.folders import PassedOver
from pocketcxr.inference.batch import find_images
from pocketcxr.inference.cluster import LARGEST_PART, WINDOW
from pocketcxr.inference.prediction import Prediction
from pocketcxr.inference.predictor import Predictor
from pocketcxr.inference.session import load_bundle

FIGURES = Path(__file__).parents[1] / "docs" / "results" / "cluster_on_paper.json"
FILES, SLOTS_PER_NODE, NODES = 10_000_000, 16, (1, 4, 16, 64)
ASSUMED = {
    "start_s": (1.0, "a part's scoring process starts"),
    "task_s": (0.005, "the driver hands out one part after the other"),
    "node_speed_spread": (0.1, "standard deviation of the nodes' speeds, relative"),
    "storage_gb_s": (10.0, "all nodes together read so much"),
    "mtbf_h": (500.0, "a node is lost once in so many hours"),
    "detect_s": (30.0, "until Ray notices and begins the part again"),
}


def measure(folder: Path, count: int = 300) -> dict:
    """Processor times of scoring, listing and writing a row, in this process alone."""
    began = time.process_time()
    paths = list(find_images([folder], passed_over=PassedOver()))
    list_s = (time.process_time() - began) / len(paths)
    predictor, image_s, records = Predictor(load_bundle(threads=1)), [], []
    for path in paths[: count + 5]:
        began = time.process_time()
        records.append(json.dumps(predictor.predict(path).record()))
        image_s.append(time.process_time() - began)
    began = time.process_time()
    for record in records * 20:
        json.dumps(Prediction.from_record(json.loads(record)).record())
    row_s = (time.process_time() - began) / 20 / len(records)
    megabytes = float(np.mean([path.stat().st_size for path in paths[:count]]) / 1e6)
    times = {"image_s": [round(one, 5) for one in image_s[5:]], "list_s": list_s, "row_s": row_s}
    return {**times, "megabytes": megabytes, "load_average": os.getloadavg()}


def simulate(measured: dict, assumed: dict, *, nodes: int, files: int, seed: int = 0) -> float:
    """Seconds until the last row is written."""
    generator, slots = np.random.default_rng(seed), nodes * SLOTS_PER_NODE
    speed = np.maximum(0.5, generator.normal(1, assumed["node_speed_spread"], nodes))
    reading_s = measured["megabytes"] * LARGEST_PART / (assumed["storage_gb_s"] * 1000 / slots)
    free, written, listed, left = [(0.0, slot) for slot in range(slots)], 0.0, 0.0, files
    while left:
        window = min(left, slots * WINDOW)
        listed += window * measured["list_s"]
        began, left = max(written, listed), left - window
        for part in range(-(-window // LARGEST_PART)):
            at, slot = heapq.heappop(free)
            scoring_s = generator.choice(measured["image_s"], LARGEST_PART).sum() / speed[slot // SLOTS_PER_NODE]
            took = assumed["start_s"] + max(scoring_s, reading_s)
            if generator.random() < took / (assumed["mtbf_h"] * 3600):
                took += generator.random() * took + assumed["detect_s"]
            ends = max(at, began + part * assumed["task_s"]) + took
            heapq.heappush(free, (ends, slot))
            written = max(written, ends) + LARGEST_PART * measured["row_s"]
        listed = max(listed, began)  # one window is listed ahead, no more
    return written


def on_paper(measured: dict, assumed: dict, *, nodes: int, files: int) -> dict[str, float]:
    """Seconds that each resource needs by itself; the largest is the estimate."""
    part_s = assumed["start_s"] + LARGEST_PART * float(np.mean(measured["image_s"]))
    return {
        "processors": files / LARGEST_PART * part_s / (nodes * SLOTS_PER_NODE),
        "storage": files * measured["megabytes"] / (assumed["storage_gb_s"] * 1000),
        "listing": files * measured["list_s"],
        "rows": files * measured["row_s"],
    }


def page(measured: dict) -> str:
    """Assumptions, a check of the simulation where the answer is known, and the table."""
    assumed = {name: value for name, (value, _) in ASSUMED.items()}
    ideal = {**dict.fromkeys(assumed, 0.0), "storage_gb_s": 1e9, "mtbf_h": 1e9}
    only, few = {**measured, "list_s": 0.0, "row_s": 0.0}, FILES // 10
    ratio = simulate(only, ideal, nodes=1, files=few) / on_paper(only, ideal, nodes=1, files=few)["processors"]
    lines = [f"- assumed `{name}` = {value:g}: {why}" for name, (value, why) in ASSUMED.items()]
    names = ("image_s", "megabytes", "list_s", "row_s")
    lines += [f"- measured `{name}` = {np.mean(measured[name]):.3g}" for name in names]
    lines += [f"- check: without overheads, simulated time over images x time / processors = {ratio:.3f}", ""]
    lines += ["| nodes | simulated, min | on paper, min | bound by | images/s |", "| --- | --- | --- | --- | --- |"]
    for nodes in NODES:
        took = simulate(measured, assumed, nodes=nodes, files=FILES)
        paper = on_paper(measured, assumed, nodes=nodes, files=FILES)
        bound = max(paper, key=paper.__getitem__)
        lines.append(f"| {nodes} | {took / 60:.0f} | {paper[bound] / 60:.0f} | {bound} | {FILES / took:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure where asked, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help="measure on these images first")
    if folder := parser.parse_args().measure:
        FIGURES.write_text(json.dumps(measure(folder)) + "\n", encoding="utf-8")
    print(page(json.loads(FIGURES.read_text("utf-8"))))


if __name__ == "__main__":
    main()
