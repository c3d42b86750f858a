"""Tables of the DICOM conformance statement: requests as the client sends them, objects as the program makes them."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from functools import cache
from typing import Any

import numpy as np
from configuration import own_fields
from highdicom.sr import CodedConcept
from markdown import code, sentence, table
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import UID, AllTransferSyntaxes

from pocketcxr.bundle.verified import read_verified
from pocketcxr.dicomweb import client
from pocketcxr.dicomweb.settings import ArchiveSettings
from pocketcxr.errors import ArchiveError
from pocketcxr.imaging.dicom.decoding import _PLUGINS
from pocketcxr.imaging.radiograph import ImageMetadata, Radiograph
from pocketcxr.inference.prediction import Prediction
from pocketcxr.pacs import settings
from pocketcxr.pacs.results import codes
from pocketcxr.pacs.results.identity import KINDS, Instance, evidence_of
from pocketcxr.pacs.results.pictures import capture_of, map_of
from pocketcxr.pacs.results.report import report_of

_CR = "1.2.840.10008.5.1.4.1.1.1"
_OF_BUNDLE = ("DeviceSerialNumber", "SoftwareVersions")
_UIDS = ("{study}", "{series}", "{instance}")


class _Recorded(client.Archive):
    """A client that notes its requests and gets no answer."""

    asked: tuple[str, str, dict[str, Any]] = ("", "", {})

    def _ask(self, method: str, address: str, **given: Any) -> tuple[str, bytes]:
        self.asked = (method, address, given)
        raise ArchiveError("noted")


def requests() -> str:
    """Every request of the client: method, address, query, headers, and what it is for."""
    rows = [
        _request("studies", StudyDate="{first}-{last}"),
        _request("studies", PatientID="{patient}"),
        _request("series", _UIDS[0]),
        _request("instances", *_UIDS[:2]),
        _request("retrieve", *_UIDS),
        _request("store", [b""]),
        _request("remove", *_UIDS),
        _request("changes", 1, orthanc=True),
        _request("study_of", "{id}", orthanc=True),
        _request("remove", *_UIDS, orthanc=True),
    ]
    return table(("request", "query", "Accept", "for"), rows)


def _request(name: str, *given: Any, orthanc: bool = False, **matching: str) -> tuple[str, str, str, str]:
    archive = _Recorded(ArchiveSettings(url="https://A", changes_url="https://O" if orthanc else ""), "")
    with contextlib.suppress(ArchiveError):
        answer = getattr(archive, name)(*given, **matching)
        next(answer, None) if inspect.isgenerator(answer) else None
    method, address, sent = archive.asked
    address, _, query = address.partition("?")
    shown = {key: value for key, value in sent.get("params", {}).items() if key not in {"limit", "offset"}}
    query = query or "&".join(f"{key}={value}" for key, value in shown.items())
    place = address.replace("https://A", "").replace("https://O", "(Orthanc) ")
    what = (inspect.getdoc(getattr(client.Archive, name)) or "").partition("\n")[0]
    return f"`{method} {place}`", code(query), code(sent.get("headers", {}).get("Accept", "")), what


def queried() -> str:
    """Attributes of answers that are read."""
    return table(("tag", "keyword"), [(f"({tag[:4]},{tag[4:]})", name) for name, tag in client._KEYWORDS.items()])


def syntaxes() -> str:
    """Transfer syntaxes that are decoded, with the decoder."""
    native = {uid: "pydicom" for uid in AllTransferSyntaxes if uid in _NATIVE}
    rows = [(UID(uid).name, f"`{uid}`", how) for uid, how in sorted({**native, **_PLUGINS}.items())]
    return table(("transfer syntax", "UID", "decoder"), rows)


_NATIVE = {f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2", ".5")}


@cache
def _objects() -> dict[str, Dataset]:
    """One object of each kind, of an image of which only the spacing is known, by the bundle that ships."""
    bundle = read_verified(None)
    manifest = bundle.manifest
    header = Dataset()
    header.ImagerPixelSpacing = [0.2, 0.2]
    instance = Instance("1.2.3", "1.2.3.1", _CR, "1.2.3.1.1")
    evidence = evidence_of(header, instance)
    probabilities = {label: 1 / len(manifest.labels) for label in manifest.labels}
    maps = np.zeros((len(manifest.labels), 4, 4), np.float32)
    scored = Prediction("image", manifest.positive, probabilities, 0.5, (), bundle.identity, saliency=maps)
    radiograph = Radiograph(np.zeros((64, 64), np.float32), ImageMetadata("dicom", 64, 64, 12))
    given: dict[str, Any] = {"manifest": manifest, "sha256": bundle.sha256}
    report = report_of(scored, evidence, instance, device="ACME, Ray 1", site="", **given)
    capture = capture_of(scored, radiograph, evidence, instance, **given)
    saliency = map_of(scored, radiograph, evidence, instance, **given)
    assert saliency is not None
    return dict(zip(KINDS, (report, capture, saliency), strict=True))


def objects() -> str:
    """SOP class, transfer syntax and series of each kind of result."""
    rows = [
        (
            kind,
            f"{one.SOPClassUID.name} `{one.SOPClassUID}`",
            one.file_meta.TransferSyntaxUID.name,
            one.Modality,
            str(one.SeriesNumber),
            one.get("SeriesDescription", ""),
        )
        for kind, one in _objects().items()
    ]
    return table(("result", "SOP class", "transfer syntax", "modality", "series", "description"), rows)


def attributes() -> str:
    """Top-level attributes of each kind of result that are filled."""
    parts = []
    for kind, one in _objects().items():
        rows = [
            (f"`{element.tag}`", keyword_for_tag(element.tag), element.VR, _value(element))
            for element in one
            if element.VR == "SQ" or element.value not in ("", None)
        ]
        parts.append(f"### {sentence(kind)[:-1]}\n\n" + table(("tag", "keyword", "VR", "value"), rows))
    return "\n\n".join(parts)


def _value(element: Any) -> str:
    """What stands there for every image; a dash for what depends on it or on the time."""
    fixed = element.VR in {"CS", "LO"} and str(element.value).isprintable()
    return code(str(element.value)) if fixed and element.keyword not in _OF_BUNDLE else "–"


def coded() -> str:
    """Concepts that reports use."""
    own = {name: one for name, one in vars(codes).items() if name.isupper() and hasattr(one, "scheme_designator")}
    shown = {**own, **{f"class {label}": codes.class_code(label) for label in read_verified(None).manifest.labels}}
    shown["operating point"] = codes.above("{name}")
    shown["reason"] = CodedConcept("{code}", codes.SCHEME, "{sentence}")
    rows = sorted({(one.scheme_designator, one.value, one.meaning) for one in shown.values()})
    return table(("scheme", "code", "meaning"), [(one, f"`{value}`", meaning) for one, value, meaning in rows])


def limits() -> str:
    """Settings of the worker with their defaults."""
    rows = [
        (f"`{name}.{field.name}`", code(str(_default(field))))
        for name, kind in inspect.get_annotations(settings.PacsSettings, eval_str=True).items()
        for field in own_fields(kind)
    ]
    return table(("setting", "default"), rows)


def _default(field: dataclasses.Field) -> Any:
    value = "" if field.default is dataclasses.MISSING else field.default
    return ", ".join(value) if isinstance(value, tuple) else value
