/**
 * Words of DICOM headers that may be shown: terms of the standard, which cannot name a person. Elements that should hold
 * a code hold free text in many archives, a patient's name among it. The list of `pocketcxr.imaging.header_terms`; a
 * test compares the two.
 */

const WORDS = new Set(
  `
  abdomen abdomenpelvis adrenal ankle anus aorta arm axilla back bladder bone brain breast bronchus buttock
  calcaneus calf carotid cerebellum cervix cheek chest chestabdomen chestabdpelvis clavicle coccyx colon cornea
  coronaryartery cspine ctspine duodenum ear elbow esophagus extremity eye eyelid face feet femur finger foot
  forearm forefoot gallbladder genitalia hand hands head headneck heart hip hips humerus ileum ilium jaw jejunum
  kidney knee knees larynx leg liver lspine lsspine lung lungs mamma mandible maxilla mediastinum mouth neck
  neckchest neckchestabdomen neckchestabdpelv nose orbit ovary pancreas parotid patella pecho pelvis penis pharynx
  prostate rectum rib ribs sacrum scalp scapula sclera scrotum shoulder skull spine spleen sspine sternum stomach
  teeth testis thigh thorax thumb thymus thyroid tibia tlspine toe tongue tooth torax trachea tspine ureter
  urethra uterus vagina vulva wholebody wrist zygoma ap pa ll rl rld lld rlo llo lat lateral laterals oblique
  axial cc mlo ml lm lmo frontal postero antero anterior posterior posteroanterior anteroposterior port portable
  portatil mobile bedside bed erect upright standing supine prone decubitus sitting semi view views adult ped
  child left right l r lt rt bilateral lower upper hfp hfs hfdr hfdl hfv ffdr ffdl ffp ffs ffv ar as au bdus bi
  bmd cr cs ct dd df dg dm doc dr ds dx ec ecg eps es fa fs fid gm hc hd io iol ivoct ivus ker ko len lp ls ma mg
  mr ms nm oam oct op opm opt opv oss ot plan pr pt px reg resp rf rg rtdose rtimage rtplan rtrecord rtstruct rwv
  sc seg sm smr sr srf st tg us va vf xa xc argb cmyk exact full hsv ict identity inverse linear monochrome
  palette color partial rct rgb sigmoid ybr
  `
    .toUpperCase()
    .split(/\s+/)
    .filter(Boolean),
);

/** What stands for a value that is not shown. */
export const ANOTHER_VALUE = "another value";

const LONGEST = 32; // two codes of 16 characters (PS3.5, CS)

/** A header's value where all its words are terms of the standard, else `ANOTHER_VALUE`. */
export function knownTerm(text: string): string {
  const words = text.toUpperCase().match(/[A-Z]+/g) ?? [];
  const fits = text.length <= LONGEST && /^[A-Za-z _/-]*$/.test(text) && words.every((word) => WORDS.has(word));
  return fits ? text : ANOTHER_VALUE;
}
