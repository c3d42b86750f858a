"""A small model trained on drawings: where one hospital is the class the probes say so; elsewhere they are silent."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from pocketcxr.audit.model.audited_model import make_audited_model
from pocketcxr.audit.model.config import AuditConfig
from pocketcxr.audit.model.lungs import find_lungs
from pocketcxr.audit.model.probes.shortcuts import describe, measure
from pocketcxr.bundle.contract import ModelOutputs
from pocketcxr.data.dataset import Dataset
from pocketcxr.data.rows import IndexRow
from pocketcxr.data.synthetic.generate import draw_synthetic_xrays
from pocketcxr.imaging.reading import read_image
from pocketcxr.imaging.resize import resize
from pocketcxr.labels import TASKS

pytestmark = pytest.mark.slow

SIZE, THUMBNAIL = 64, 24
CONFIG = AuditConfig(bootstrap=200, probe_images=200)


def _drawings(folder, *, seed, confounded):
    draw_synthetic_xrays(
        folder, patients=150, seed=seed, size=96, confounded=confounded, stages=(0.8, 1.0), progress=False
    )
    task, rows, pixels, labels = TASKS["covid-3class"], [], [], []
    with (folder / "phantom.csv").open(newline="", encoding="utf-8") as stream:
        for record in csv.DictReader(stream):
            if not record["patient_id"]:
                continue  # a copy under another name
            label = task.label_of(record["finding"])
            split = ("train", "train", "train", "calibration", "test", "test")[int(record["patient_id"][1:]) // 3 % 6]
            labels.append(task.labels.index(label))
            pixels.append(np.round(resize(read_image(folder / record["path"]).pixels, size=SIZE) * 255))
            names = ("path", "source", "finding", "patient_id", "view", "sex", "age")
            rows.append(IndexRow(**{name: record[name] for name in names}, label=label, split=split))
    return Dataset(task, tuple(rows), np.stack(pixels).astype(np.uint8), np.array(labels), f"{seed} {confounded}")


def _trained(data):
    """Logistic regression on the principal components of thumbnails."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(images):
        return np.stack([resize(image[0], size=THUMBNAIL).ravel() for image in images])

    train = data.positions("train")
    table = features(data.images(train))
    reduce = make_pipeline(StandardScaler(), PCA(60, random_state=0)).fit(table)
    classify = LogisticRegression(C=0.01, max_iter=2000).fit(reduce.transform(table), data.labels[train])

    def predict(images, /):
        embedding = reduce.transform(features(images))
        arrays = (classify.predict_proba(embedding), classify.decision_function(embedding), embedding)
        return ModelOutputs(*(array.astype(np.float32) for array in arrays))

    return predict


def _probed(folder, *, seed, confounded):
    data = _drawings(folder, seed=seed, confounded=confounded)
    model = make_audited_model("model", _trained(data), data, config=CONFIG, seed=0)
    places = model.sample(CONFIG.probe_images)
    section = describe(measure(model, find_lungs(data.images(model.test.positions[places])), places))
    return {one.key: one.value for one in section.measures}


@pytest.mark.parametrize("seed", [0, 1])
def test_the_confounded_hospital_is_caught_and_the_clean_set_is_silent(tmp_path, seed):
    clean = _probed(tmp_path / "clean", seed=seed, confounded=False)
    planted = _probed(tmp_path / "planted", seed=seed, confounded=True)
    assert planted["shortcuts.look_followed"] > 0.2
    assert clean["shortcuts.look_followed"] is None or clean["shortcuts.look_followed"] < 0.2
    assert planted["shortcuts.lungs_out_auroc"] > 0.65 > clean["shortcuts.lungs_out_auroc"]
    assert planted["shortcuts.look_changed"] > 0.5 > clean["shortcuts.look_changed"]
    # the honest model lives on the lungs; the other loses nearly all of its skill when it sees nothing but lungs
    assert clean["shortcuts.lungs_only_auroc"] > planted["shortcuts.lungs_only_auroc"]
