/** Protocol Buffers read without a library (Python: `bundle.protobuf`). Source: Protocol Buffers, "Encoding". */

const LARGEST_NUMBER = 2 ** 29 - 1; // beyond it other readers drop the upper bits, and see another field
const LONGEST_VARINT = 10; // bytes

/** Number and content of every field of a protobuf message; RangeError where it breaks off. */
export function* fieldsOf(data: Uint8Array): Generator<[number, Uint8Array]> {
  if (!data.length) throw new RangeError();
  for (let position = 0; position < data.length; ) {
    const [tag, begin] = varint(data, position);
    const number = Math.floor(tag / 8);
    let start = begin;
    switch (tag % 8) {
      case 0:
        position = varint(data, start)[1];
        break;
      case 1:
        position = start + 8;
        break;
      case 2: {
        const [length, after] = varint(data, start);
        [start, position] = [after, after + length];
        break;
      }
      case 5:
        position = start + 4;
        break;
      default:
        throw new RangeError();
    }
    if (position > data.length || number === 0 || number > LARGEST_NUMBER) throw new RangeError();
    yield [number, data.subarray(start, position)];
  }
}

/** A base-128 number and the position after it; numbers beyond 2^53 only matter as too large. */
function varint(data: Uint8Array, position: number): [number, number] {
  for (let number = 0, factor = 1, count = 0; count < LONGEST_VARINT; factor *= 128, count++) {
    const byte = data[position++];
    if (byte === undefined) break;
    number += (byte & 0x7f) * factor;
    if (byte < 0x80) return [number, position];
  }
  throw new RangeError();
}
