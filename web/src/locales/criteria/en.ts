/** English: what is wrong where a criterion of the audit fails, by its key, and what it means for an image, by its kind. */

export const en = {
  faults: {
    "leaks.patients": "patients are in more than one split",
    "leaks.same_file": "the same files are in more than one split",
    "leaks.near_duplicates": "near duplicates are in more than one split",
    "persons.images": "images in different splits are probably of the same people",
    "duplicates.contradictory": "copies of one image have different classes",
    "confounding.source": "the source predicts the class",
    "confounding.worst_device": "the device or its settings predict the class",
    "confounding.worst_file": "the files' processing predicts the class",
    "confounding.worst_patient": "the projection, or the patients' sex or age, predicts the class",
    "splits.untrained": "the test split holds a source, or a class of it, that training does not",
    "splits.source": "the splits hold different sources",
    "cues.spectrum": "fine detail (sharpness, noise, filtering or a regular pattern such as grid lines) predicts the class",
    "cues.lines": "tubes, leads or marks within the lungs predict the class",
    "labels.worst_source": "at one source the images agree less with the labels than at the others",
    "cues.file": "the files' size and format predict the class",
    "cues.border": "the image border predicts the class",
    "cues.corners": "the image corners predict the class",
    "scorecard.auroc_same_source": "the AUROC within one source is low",
    "shortcuts.kept_without_lungs": "it keeps most of its skill with the lungs masked",
    "shortcuts.border_only_auroc": "it tells the classes apart from the image border alone",
    "shortcuts.marker_changed": "a marker in a corner changes its predictions",
    "shortcuts.look_followed": "the appearance of a source shifts its predictions to that source's class",
    "saliency.randomised_similarity": "its saliency maps do not depend on its weights",
    "robustness.worst_drop": "everyday distortions lower its AUROC",
    "calibration.ece_positive": "its probabilities are miscalibrated",
    "conformal.coverage": "its prediction sets cover the truth less often than stated",
    "gate.answered_confidently": "it answers images that are no frontal chest X-rays with confidence",
    "scorecard.source_flattery": "its AUROC is inflated by differences between sources",
    "unseen.accuracy_drop": "it loses accuracy at sources that took no part in training",
    "sources.less_baseline_student": "distillation made its embedding more specific to the source",
    "conformal.other_source_coverage": "its prediction sets do not keep their coverage at other sources",
    "gate.least_refused": "it does not refuse every kind of image that is no frontal chest X-ray",
    "gate.films_refused": "it refuses too many frontal chest X-rays",
    "boxes.beyond_centre": "its saliency maps find the radiologists' boxes hardly better than the image's centre does",
    "boxes.beyond_random": "its saliency maps find the radiologists' boxes hardly better than those of random weights",
    "gate.refusal_difference": "its input filter refuses one class more often than the others",
    "gate.largest_boxes_refused": "its input filter refuses images with extensive findings",
  },
  meanings: {
    shortcut: "The answer may come from the border, markers, device or hospital of this image and not from the lungs.",
    elsewhere: "If this image comes from a hospital or device that took no part in training, the answer is wrong more often than the figures say.",
    figures: "The model is right less often than its figures say: do not judge this image by them.",
    probability: "The probability shown for this image, or the classes that stay possible, may be wrong.",
    refusal: "An image that is no frontal chest X-ray may get an answer, and a good one may get none.",
    heatmap: "The heatmap may mark a place that has nothing to do with the finding.",
    copy: "A recompressed, exported or photographed copy of this image may get another answer.",
  },
};

type Same<T> = { readonly [Key in keyof T]: string };

export interface CriterionTexts {
  readonly faults: Same<(typeof en)["faults"]>;
  readonly meanings: Same<(typeof en)["meanings"]>;
}
