/** Notes on how a file was read (Python: `ImageMetadata.notes`), in words: English, Spanish, Persian, Chinese. */

type Words = readonly [en: string, es: string, fa: string, zh: string];

/** `$1`, `$2`, `$3` are the numbers that the pattern found. */
const NOTES: readonly (readonly [RegExp, Words])[] = [
  [/^window 1 of (\d+): (?:LINEAR|LINEAR_EXACT) (.+)\/(.+)$/, [
    "shown with the window of the file: centre $2, width $3 (first of $1)",
    "mostrada con la ventana del archivo: centro $2, anchura $3 (primera de $1)",
    "با پنجرهٔ پرونده نشان داده شد: مرکز $2، پهنا $3 (نخستین از $1)",
    "按文件的窗口显示：窗位 $2，窗宽 $3（共 $1 个，取第一个）",
  ]],
  [/^window 1 of (\d+): SIGMOID (.+)\/(.+)$/, [
    "shown with the S-shaped window of the file: centre $2, width $3 (first of $1)",
    "mostrada con la ventana sigmoide del archivo: centro $2, anchura $3 (primera de $1)",
    "با پنجرهٔ سیگموئید پرونده نشان داده شد: مرکز $2، پهنا $3 (نخستین از $1)",
    "按文件的S形窗口显示：窗位 $2，窗宽 $3（共 $1 个，取第一个）",
  ]],
  [/^VOI LUT (\d+) of (\d+)$/, [
    "shown with the look-up table of the file ($1 of $2)", "mostrada con la tabla de consulta del archivo ($1 de $2)",
    "با جدول نمایش پرونده نشان داده شد ($1 از $2)", "按文件的查找表显示（第 $1 个，共 $2 个）",
  ]],
  [/^its entries use (\d+) bits, not (\d+) as stated$/, [
    "the entries of the table use $1 bits, not $2 as stated", "las entradas de la tabla usan $1 bits, no $2 como se indica",
    "خانه‌های جدول $1 بیت دارند، نه $2 بیت که گفته شده", "查找表的条目使用 $1 位，而非所述的 $2 位",
  ]],
  [/^no window: whole 8-bit range$/, [
    "the file states no window: all 256 grey levels are shown", "el archivo no indica ventana: se muestran los 256 niveles de gris",
    "پرونده پنجره‌ای نمی‌گوید: همهٔ ۲۵۶ درجهٔ خاکستری نشان داده می‌شود", "文件未给出窗口：显示全部 256 级灰度",
  ]],
  [/^no window: smallest to largest value$/, [
    "the file states no window: shown from the smallest value to the largest", "el archivo no indica ventana: se muestra del valor menor al mayor",
    "پرونده پنجره‌ای نمی‌گوید: از کوچک‌ترین تا بزرگ‌ترین مقدار نشان داده می‌شود", "文件未给出窗口：从最小值到最大值显示",
  ]],
  [/^MONOCHROME1 inverted$/, [
    "stored with bright as air (MONOCHROME1), turned round for display", "guardada con el aire claro (MONOCHROME1), invertida para mostrarla",
    "با هوای روشن ذخیره شده (MONOCHROME1) و برای نمایش وارونه شده", "文件以亮色表示空气 (MONOCHROME1)，显示时已反转",
  ]],
  [/^pixel padding drawn black$/, ["filling around the image drawn black", "relleno alrededor de la imagen en negro", "حاشیهٔ پرکنندهٔ تصویر سیاه شد", "图像周围的填充像素显示为黑色"]],
  [/^modality LUT$/, ["values by the modality’s look-up table", "valores según la tabla de la modalidad", "مقدارها بر پایهٔ جدول دستگاه", "数值经设备查找表转换"]],
  [/^rescaled by (.+), (.+)$/, ["values rescaled: slope $1, intercept $2", "valores reescalados: pendiente $1, ordenada $2", "مقدارها تبدیل شدند: شیب $1، عرض $2", "数值经线性变换：斜率 $1，截距 $2"]],
  [/^palette read as grey$/, ["colours of a palette read as grey", "colores de una paleta leídos como gris", "رنگ‌های جعبه‌رنگ خاکستری خوانده شدند", "调色板颜色按灰度读取"]],
  [/^colour channels read as grey$/, ["equal colour channels read as grey", "canales de color iguales leídos como gris", "کانال‌های رنگ برابر، خاکستری خوانده شدند", "相同的颜色通道按灰度读取"]],
  [/^EXIF orientation (\d+) turned upright$/, ["turned upright, as the file’s orientation ($1) says", "girada según la orientación del archivo ($1)", "بر پایهٔ جهت پرونده ($1) راست شد", "按文件的方向标记（$1）转正"]],
  [/^16-bit samples read as 8 bits$/, ["16 bits of a colour image read as 8", "16 bits de una imagen en color leídos como 8", "۱۶ بیت تصویر رنگی ۸ بیت خوانده شد", "彩色图像的 16 位按 8 位读取"]],
  [/^transparent parts drawn black$/, ["transparent parts drawn black", "partes transparentes en negro", "بخش‌های شفاف سیاه شدند", "透明部分显示为黑色"]],
  [/^(\d+) significant bits \(sBIT\)$/, ["$1 of the stored bits are used", "se usan $1 de los bits guardados", "$1 بیت از بیت‌های ذخیره‌شده به کار می‌رود", "使用所存位数中的 $1 位"]],
];

const ORDER = ["en", "es", "fa", "zh"] as const;

/** A note in a language; null where it has no words. */
export function noteText(note: string, language: (typeof ORDER)[number], number: (value: number, decimals?: number) => string): string | null {
  for (const [pattern, words] of NOTES) {
    const found = pattern.exec(note);
    if (!found) continue;
    return words[ORDER.indexOf(language)]!.replace(/\$(\d)/g, (_, at: string) => {
      const value = found[Number(at)]!;
      return /^-?\d+(\.\d+)?$/.test(value) ? number(Number(value), value.split(".")[1]?.length ?? 0) : value;
    });
  }
  return null;
}
