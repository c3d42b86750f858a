/** Titles of audit criteria in bundles of earlier versions, which were sentences, with the quantities that they name. */

const FORMER: Readonly<Record<string, string>> = {
  "No patient stands on both sides of a split": "Images whose patient is in more than one split",
  "No file stands on both sides of a split": "Images whose file is in more than one split",
  "No near duplicate stands on both sides of a split": "Images with a near duplicate in another split",
  "Copies of one picture do not bear different classes": "Images whose copies have another class",
  "The source does not give the class away": "Association of source and class (Cramér's V)",
  "The file's header does not give the class away": "AUROC of the class from the file header",
  "The border does not give the class away": "AUROC of the class from the image border",
  "The corners do not give the class away": "AUROC of the class from the image corners",
  "It tells the classes apart within one source": "AUROC within one source",
  "Most of its skill goes with the lungs": "Share of the skill (AUROC − 0.5) kept with the lungs masked",
  "The border alone tells it little": "AUROC from the image border alone",
  "Letters in a corner do not change its answer": "Predictions changed by a marker in a corner",
  "The look of a source does not pull answers to its class": "Rise of probability under another source's appearance",
  "Its maps depend on what it learnt": "Similarity of saliency maps with random weights",
  "Everyday handling of a film costs it little": "AUROC drop under an everyday distortion, worst",
  "Its probabilities mean what they say": "Calibration error of the positive class",
  "Its sets of classes hold the truth as often as promised": "Coverage of the prediction sets",
  "It does not answer what is no chest X-ray with confidence":
    "Out-of-distribution images answered with 0.9 or more",
  "Figures are not won by telling sources apart": "AUROC across sources less AUROC within a source",
  "It keeps its accuracy at a source that took no part in training": "Accuracy drop at an unseen source",
  "Distillation did not teach it to recognise the source": "Source recognition beyond the baseline student's",
  "Its sets hold the truth at sources they were not calibrated on":
    "Coverage of the prediction sets at another source",
  "It refuses pictures that are no frontal chest X-ray, of every kind":
    "Out-of-distribution images refused, worst kind",
  "It answers frontal chest X-rays": "Frontal chest X-rays refused",
};

/** The quantity of a failed criterion as a manifest of this or an earlier version names it. */
export function quantityOf(title: string): string {
  return Object.hasOwn(FORMER, title) ? FORMER[title]! : title;
}
