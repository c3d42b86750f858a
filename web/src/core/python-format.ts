/** Python's number and text formats, so that both programs say the same words. */

/** `f"{x:.{digits}f}"`: correctly rounded, ties to even. */
export function fixed(value: number, digits: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value < 0 ? "-inf" : "inf";
  const rounded = value.toFixed(digits);
  if (Math.abs(value) >= 1e21) return BigInt(value).toString() + (digits ? `.${"0".repeat(digits)}` : "");
  const exact = Math.abs(value).toFixed(Math.min(100, digits + 60)); // every digit that a double of this size has
  const cut = exact.indexOf(".") + 1 + digits;
  const rest = exact.slice(exact.indexOf(".") + 1 + digits);
  if (!/^50*$/.test(rest)) return rounded;
  const kept = exact.slice(0, cut).replace(/\.$/, "");
  if (Number(kept.at(-1)) % 2 !== 0) return rounded; // JavaScript rounds ties away from zero: up to even, as Python
  return (value < 0 ? "-" : "") + kept;
}

/** `f"{x:.0%}"`. */
export function percent(value: number): string {
  return `${fixed(value * 100, 0)}%`;
}

/** `f"{x:g}"`: six significant digits, no trailing zeros. */
export function general(value: number): string {
  if (!Number.isFinite(value)) return fixed(value, 0);
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, power] = value.toExponential(5).split("e") as [string, string];
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 6) {
    const size = String(Math.abs(exponent)).padStart(2, "0");
    return `${trimmed(mantissa)}e${exponent < 0 ? "-" : "+"}${size}`;
  }
  return trimmed(value.toFixed(5 - exponent));
}

function trimmed(digits: string): string {
  return digits.includes(".") ? digits.replace(/\.?0+$/, "") : digits;
}

/** `f"{n:,}"` of a whole number. */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `repr(text)`. */
export function repr(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let inside = "";
  for (const character of text) inside += escaped(character, quote);
  return quote + inside + quote;
}

const NAMED: Record<string, string> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}]/u;

function escaped(character: string, quote: string): string {
  if (character === quote) return `\\${quote}`;
  const named = NAMED[character];
  if (named) return named;
  if (character === " " || !UNPRINTABLE.test(character)) return character;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** `text[:count]`: by characters, not by UTF-16 units. */
export function head(text: string, count: number): string {
  return [...text].slice(0, count).join("");
}
