/** Findings that all data sets share (Python: `vocabulary.FINDINGS`), as a radiologist writes them: English, Spanish, Persian, Chinese. */

const NAMES: Readonly<Record<string, readonly [en: string, es: string, fa: string, zh: string]>> = {
  no_finding: ["no finding", "sin hallazgos", "بدون یافته", "未见异常"],
  no_pneumonia: ["negative for pneumonia", "negativo para neumonía", "بدون ذات‌الریه", "无肺炎"],
  covid19: ["COVID-19", "COVID-19", "کووید-۱۹", "新冠肺炎（COVID-19）"],
  typical_appearance: ["appearance typical of COVID-19", "aspecto típico de COVID-19", "نمای معمول کووید-۱۹", "新冠肺炎典型表现"],
  indeterminate_appearance: ["appearance indeterminate for COVID-19", "aspecto indeterminado para COVID-19", "نمای نامعین برای کووید-۱۹", "新冠肺炎不确定表现"],
  atypical_appearance: ["appearance atypical for COVID-19", "aspecto atípico para COVID-19", "نمای نامعمول برای کووید-۱۹", "新冠肺炎不典型表现"],
  bacterial_pneumonia: ["bacterial pneumonia", "neumonía bacteriana", "ذات‌الریهٔ باکتریایی", "细菌性肺炎"],
  viral_pneumonia: ["viral pneumonia", "neumonía vírica", "ذات‌الریهٔ ویروسی", "病毒性肺炎"],
  fungal_pneumonia: ["fungal pneumonia", "neumonía fúngica", "ذات‌الریهٔ قارچی", "真菌性肺炎"],
  pneumonia: ["pneumonia", "neumonía", "ذات‌الریه", "肺炎"],
  tuberculosis: ["tuberculosis", "tuberculosis", "سل", "肺结核"],
  lung_opacity: ["lung opacity", "opacidad pulmonar", "کدورت ریه", "肺部阴影"],
  atelectasis: ["atelectasis", "atelectasia", "آتلکتازی", "肺不张"],
  cardiomegaly: ["cardiomegaly", "cardiomegalia", "بزرگی قلب", "心影增大"],
  consolidation: ["consolidation", "consolidación", "تراکم ریوی", "肺实变"],
  edema: ["pulmonary edema", "edema pulmonar", "ادم ریه", "肺水肿"],
  emphysema: ["emphysema", "enfisema", "آمفیزم", "肺气肿"],
  enlarged_cardiomediastinum: ["enlarged cardiomediastinum", "cardiomediastino ensanchado", "پهن‌شدگی قلب و میان‌سینه", "心纵隔增宽"],
  fibrosis: ["pulmonary fibrosis", "fibrosis pulmonar", "فیبروز ریه", "肺纤维化"],
  fracture: ["fracture", "fractura", "شکستگی", "骨折"],
  hernia: ["hernia", "hernia", "فتق", "疝"],
  infiltration: ["infiltration", "infiltrado", "ارتشاح", "浸润"],
  lung_lesion: ["lung lesion", "lesión pulmonar", "ضایعهٔ ریه", "肺部病变"],
  mass: ["mass", "masa", "توده", "肿块"],
  nodule: ["nodule", "nódulo", "ندول", "结节"],
  pleural_effusion: ["pleural effusion", "derrame pleural", "افیوژن پلور", "胸腔积液"],
  pleural_other: ["other pleural finding", "otro hallazgo pleural", "یافتهٔ دیگر پلور", "其他胸膜异常"],
  pleural_thickening: ["pleural thickening", "engrosamiento pleural", "ضخیم‌شدگی پلور", "胸膜增厚"],
  pneumothorax: ["pneumothorax", "neumotórax", "پنوموتوراکس", "气胸"],
  support_devices: ["support devices", "dispositivos de soporte", "ابزارهای پزشکی", "体内医疗器械"],
  other: ["other finding", "otro hallazgo", "یافتهٔ دیگر", "其他异常"],
};
export const FINDINGS: readonly string[] = Object.keys(NAMES);

const ORDER = ["en", "es", "fa", "zh"] as const;

/** Name of a finding; one of the user's own as the bundle writes it. */
export function findingName(finding: string, language: (typeof ORDER)[number]): string {
  return Object.hasOwn(NAMES, finding) ? NAMES[finding]![ORDER.indexOf(language)]! : finding;
}
