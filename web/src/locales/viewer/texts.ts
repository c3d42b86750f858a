import type { Shape } from "../shape";
import type { viewerEn } from "./en";

export type ViewerTexts = Shape<typeof viewerEn>;
