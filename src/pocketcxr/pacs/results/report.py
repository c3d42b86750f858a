"""Comprehensive 3D SR of one image by TID 1500, in the shape of IHE AI Results: one group per class and one overall."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

from pocketcxr.inference.prediction import ERROR, REFUSED, UNCERTAIN
from pocketcxr.pacs.results import codes as terms
from pocketcxr.pacs.results.identity import MANUFACTURER, REPORT, derived_uid, maker

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from pocketcxr.bundle.manifest import Manifest
    from pocketcxr.inference.prediction import Prediction
    from pocketcxr.pacs.results.identity import Instance

MARK = "For research only; not a medical device, not for diagnosis."
DEVICE = "image taken by: "
"""Start of the algorithm parameter that names the device of the image; drift is computed by it."""
_DIGITS = 4


def report_of(
    prediction: Prediction,
    evidence: Dataset,
    instance: Instance,
    *,
    manifest: Manifest,
    sha256: str,
    device: str,
    site: str,
) -> Comprehensive3DSR:
    """Make the report of one prediction, also of an image that was not scored.

    Args:
        prediction: decision, probabilities and reasons.
        evidence: from `identity.evidence_of`.
        instance: the image.
        manifest: of the bundle.
        sha256: hash that the bundle carries.
        device: manufacturer, model and station of the image, or "".
        site: where the bundle was calibrated, as the administrator says, or "".
    """
    algorithm = AlgorithmIdentification(
        name="pocketcxr", version=manifest.version, parameters=_parameters(manifest, sha256, device=device, site=site)
    )
    source = SourceImageForMeasurementGroup(instance.sop_class_uid, instance.sop_instance_uid)
    groups = [_overall(prediction, instance, sha256, algorithm, source)]
    groups += [_group(prediction, label, instance, manifest, sha256, source) for label in prediction.probabilities]
    observer = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=derived_uid(sha256, "device"),
            name="pocketcxr",
            manufacturer_name=MANUFACTURER,
            model_name="pocketcxr",
            serial_number=sha256[:16],
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=terms.PROCEDURE,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = Comprehensive3DSR(
        evidence=[evidence],
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        **maker(instance, sha256, manifest.version, REPORT),
    )
    report.CodingSchemeIdentificationSequence = [terms.scheme_item()]
    return report


def _parameters(manifest: Manifest, sha256: str, *, device: str, site: str) -> list[str]:
    """What the result depends on, one text each."""
    points = [
        f"operating point {point.name}: {point.label} at {point.threshold:.4f} or more; sensitivity "
        f"{point.sensitivity:.3f}, specificity {point.specificity:.3f} on {point.chosen_on}"
        for point in manifest.operating_points
    ]
    needed, coverage = 1 - manifest.conformal_quantile, manifest.conformal_coverage
    return [
        MARK,
        f"bundle: {manifest.name} {manifest.version}",
        f"bundle sha256: {sha256}",
        f"prediction set: probability {needed:.4f} or more; coverage {coverage:.0%} on data like the calibration data",
        *points,
        *([f"calibration site: {site}"] if site else []),
        *([f"{DEVICE}{device}"] if device else []),
    ]


def _overall(
    prediction: Prediction,
    instance: Instance,
    sha256: str,
    algorithm: AlgorithmIdentification,
    source: SourceImageForMeasurementGroup,
) -> MeasurementsAndQualitativeEvaluations:
    analysed = prediction.decision not in {REFUSED, ERROR}
    evaluations = [QualitativeEvaluation(terms.ANALYSIS, terms.SUCCEEDED if analysed else terms.NOT_ATTEMPTED)]
    if analysed:
        decided = terms.UNCERTAIN if prediction.decision == UNCERTAIN else terms.class_code(prediction.decision)
        evaluations.append(QualitativeEvaluation(terms.DECISION, decided))
    evaluations += [
        QualitativeEvaluation(terms.REASON, terms.own(reason.code, reason.words)) for reason in prediction.reasons
    ]
    measured = None
    if prediction.novelty is not None and math.isfinite(prediction.novelty):
        measured = [Measurement(terms.NOVELTY, round(prediction.novelty, _DIGITS), terms.NO_UNITS)]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(instance.sop_instance_uid, sha256, "group"), identifier="whole image"
        ),
        algorithm_id=algorithm,
        source_images=[source],
        measurements=measured,
        qualitative_evaluations=evaluations,
    )
    for text in (MARK, *(reason.words for reason in prediction.reasons)):
        group[0].ContentSequence.append(
            TextContentItem(terms.COMMENT, text, relationship_type=RelationshipTypeValues.CONTAINS)
        )
    return group


def _group(
    prediction: Prediction,
    label: str,
    instance: Instance,
    manifest: Manifest,
    sha256: str,
    source: SourceImageForMeasurementGroup,
) -> MeasurementsAndQualitativeEvaluations:
    probability = prediction.probabilities[label]
    member = probability >= 1 - manifest.conformal_quantile
    evaluations = [QualitativeEvaluation(terms.IN_PREDICTION_SET, terms.YES if member else terms.NO)]
    evaluations += [
        QualitativeEvaluation(terms.above(point.name), terms.YES if probability >= point.threshold else terms.NO)
        for point in manifest.operating_points
        if point.label == label
    ]
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(instance.sop_instance_uid, sha256, "group", label), identifier=label
        ),
        finding_type=terms.class_code(label),
        finding_sites=[FindingSite(terms.CHEST)],
        source_images=[source],
        measurements=[Measurement(terms.PROBABILITY, round(100 * probability, _DIGITS), terms.PERCENT)],
        qualitative_evaluations=evaluations,
    )
