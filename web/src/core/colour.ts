/** Makes one grey channel of several, and says whether there was colour (Python: `imaging.colour`). */

const COLOUR_STEP = 16 / 255; // difference between channels that JPEG does not make of a grey picture
const COLOUR_FRACTION = 0.01; // part that may be coloured, such as an arrow, before the whole counts as coloured
const LUMINANCE = [0.299, 0.587, 0.114] as const; // ITU-R BT.601

/** Samples of red, green and blue: `stride` apart, the three of one pixel next to each other. */
export interface Samples {
  data: ArrayLike<number>;
  stride: number;
  count: number;
}

/** Luminance in [0, 1], single precision at each step as in Python, and whether the picture is really coloured. */
export function toGrey(samples: Samples, largest: number): { grey: Float32Array; colour: boolean } {
  const { data, stride, count } = samples;
  const grey = new Float32Array(count);
  if (isGrey(samples)) {
    const scale = Math.fround(largest);
    for (let pixel = 0, at = 0; pixel < count; pixel++, at += stride) grey[pixel] = (data[at] as number) / scale;
    return { grey, colour: false };
  }
  const f = Math.fround;
  const [ofRed, ofGreen, ofBlue] = LUMINANCE.map((weight) => f(weight / largest)) as [number, number, number];
  const step = COLOUR_STEP * largest;
  let coloured = 0;
  for (let pixel = 0, at = 0; pixel < count; pixel++, at += stride) {
    const red = data[at] as number;
    const green = data[at + 1] as number;
    const blue = data[at + 2] as number;
    if (Math.max(red, green, blue) - Math.min(red, green, blue) > step) coloured++;
    const sum = f(f(f(red * ofRed) + f(green * ofGreen)) + f(blue * ofBlue));
    grey[pixel] = sum > 1 ? 1 : sum;
  }
  return { grey, colour: coloured / count > COLOUR_FRACTION };
}

function isGrey({ data, stride, count }: Samples): boolean {
  for (let pixel = 0, at = 0; pixel < count; pixel++, at += stride) {
    const red = data[at];
    if (red !== data[at + 1] || red !== data[at + 2]) return false;
  }
  return true;
}
