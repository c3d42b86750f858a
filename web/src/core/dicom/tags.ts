/** The elements that are read, with the value representation that implicit encoding leaves out (PS3.6). */

export const TAGS = {
  TransferSyntaxUID: [0x00020010, "UI"],
  SpecificCharacterSet: [0x00080005, "CS"],
  SyntheticData: [0x0008001c, "CS"],
  SOPClassUID: [0x00080016, "UI"],
  Modality: [0x00080060, "CS"],
  CodeValue: [0x00080100, "SH"],
  CodeMeaning: [0x00080104, "LO"],
  AnatomicRegionSequence: [0x00082218, "SQ"],
  BodyPartExamined: [0x00180015, "CS"],
  ImagerPixelSpacing: [0x00181164, "DS"],
  ViewPosition: [0x00185101, "CS"],
  PatientPosition: [0x00185100, "CS"],
  PatientOrientation: [0x00200020, "CS"],
  SamplesPerPixel: [0x00280002, "US"],
  PhotometricInterpretation: [0x00280004, "CS"],
  PlanarConfiguration: [0x00280006, "US"],
  NumberOfFrames: [0x00280008, "IS"],
  Rows: [0x00280010, "US"],
  Columns: [0x00280011, "US"],
  PixelSpacing: [0x00280030, "DS"],
  BitsAllocated: [0x00280100, "US"],
  BitsStored: [0x00280101, "US"],
  HighBit: [0x00280102, "US"],
  PixelRepresentation: [0x00280103, "US"],
  PixelPaddingValue: [0x00280120, "US or SS"],
  PixelPaddingRangeLimit: [0x00280121, "US or SS"],
  PixelSpacingCalibrationType: [0x00280a02, "CS"],
  WindowCenter: [0x00281050, "DS"],
  WindowWidth: [0x00281051, "DS"],
  RescaleIntercept: [0x00281052, "DS"],
  RescaleSlope: [0x00281053, "DS"],
  VOILUTFunction: [0x00281056, "CS"],
  RedPaletteColorLookupTableDescriptor: [0x00281101, "US or SS"],
  RedPaletteColorLookupTableData: [0x00281201, "OW"],
  GreenPaletteColorLookupTableData: [0x00281202, "OW"],
  BluePaletteColorLookupTableData: [0x00281203, "OW"],
  SegmentedRedPaletteColorLookupTableData: [0x00281221, "OW"],
  ModalityLUTSequence: [0x00283000, "SQ"],
  LUTDescriptor: [0x00283002, "US or SS"],
  LUTData: [0x00283006, "US or OW"],
  VOILUTSequence: [0x00283010, "SQ"],
  PresentationLUTShape: [0x20500020, "CS"],
  ViewCodeSequence: [0x00540220, "SQ"],
  SharedFunctionalGroupsSequence: [0x52009229, "SQ"],
  PixelData: [0x7fe00010, "OW"],
} as const satisfies Record<string, readonly [number, string]>;

export type Keyword = keyof typeof TAGS;

const KNOWN = new Map<number, string>(Object.values(TAGS).map(([tag, vr]) => [tag, vr]));

/** Value representation of an element that the file does not tell; undefined for those that are not read. */
export function dictionaryVr(tag: number): string | undefined {
  return KNOWN.get(tag);
}
