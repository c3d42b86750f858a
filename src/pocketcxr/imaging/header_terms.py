"""Words of DICOM headers that may be quoted: terms of the standard, which cannot name a person.

Elements that should hold a code hold free text in many archives, a patient's name among it. A value is told in messages
and tables only where each of its words stands here: BodyPartExamined (PS3.16 Annex L), ViewPosition (PS3.3 C.8.11.5 and
C.8.1.1), Modality (PS3.3 C.7.3.1.1.1), terms of the grey scale, and the words that archives join to them.
"""

from __future__ import annotations

import re

ANOTHER_VALUE = "another value"
"""What stands for a value that is not told."""

_BODY_PARTS = """
abdomen abdomenpelvis adrenal ankle anus aorta arm axilla back bladder bone brain breast bronchus buttock calcaneus calf
carotid cerebellum cervix cheek chest chestabdomen chestabdpelvis clavicle coccyx colon cornea coronaryartery cspine
ctspine duodenum ear elbow esophagus extremity eye eyelid face feet femur finger foot forearm forefoot gallbladder
genitalia hand hands head headneck heart hip hips humerus ileum ilium jaw jejunum kidney knee knees larynx leg liver
lspine lsspine lung lungs mamma mandible maxilla mediastinum mouth neck neckchest neckchestabdomen neckchestabdpelv nose
orbit ovary pancreas parotid patella pecho pelvis penis pharynx prostate rectum rib ribs sacrum scalp scapula sclera
scrotum shoulder skull spine spleen sspine sternum stomach teeth testis thigh thorax thumb thymus thyroid tibia tlspine
toe tongue tooth torax trachea tspine ureter urethra uterus vagina vulva wholebody wrist zygoma
"""
_VIEWS = """
ap pa ll rl rld lld rlo llo lat lateral laterals oblique axial cc mlo ml lm lmo frontal postero antero anterior
posterior posteroanterior anteroposterior port portable portatil mobile bedside bed erect upright standing supine prone
decubitus
sitting semi view views adult ped child left right l r lt rt bilateral lower upper
hfp hfs hfdr hfdl hfv ffdr ffdl ffp ffs ffv
"""
_MODALITIES = """
ar as au bdus bi bmd cr cs ct dd df dg dm doc dr ds dx ec ecg eps es fa fs fid gm hc hd io iol ivoct ivus ker ko len lp
ls ma mg mr ms nm oam oct op opm opt opv oss ot plan pr pt px reg resp rf rg rtdose rtimage rtplan rtrecord rtstruct rwv
sc seg sm smr sr srf st tg us va vf xa xc
"""
_GREY_SCALES = """
argb cmyk exact full hsv ict identity inverse linear monochrome palette color partial rct rgb sigmoid ybr
"""
_WORDS = frozenset(f"{_BODY_PARTS} {_VIEWS} {_MODALITIES} {_GREY_SCALES}".upper().split())
_LONGEST = 32  # two codes of 16 characters (PS3.5, CS)
_CODE = re.compile(r"[A-Z _/-]*", re.IGNORECASE)


def known_term(text: str) -> str:
    """Return a header's value where all its words are terms of the standard, else `ANOTHER_VALUE`."""
    fits = len(text) <= _LONGEST and _CODE.fullmatch(text) and set(re.findall("[A-Z]+", text.upper())) <= _WORDS
    return text if fits else ANOTHER_VALUE


def known_start(text: str) -> str:
    """Return the words at the start of a value that are terms of the standard, else `ANOTHER_VALUE`."""
    words = text.split()
    known = next((i for i, word in enumerate(words) if known_term(word) == ANOTHER_VALUE), len(words))
    return " ".join(words[:known]) if known or not words else ANOTHER_VALUE


def quoted_term(text: str) -> str:
    """Return a header's value for a message: in quotes where it is known, see `known_term`."""
    known = known_term(text)
    return known if known == ANOTHER_VALUE else repr(known)
