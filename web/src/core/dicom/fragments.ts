/** Finds the frame of compressed pixel data in its fragments (Python: `imaging.dicom.fragments`). */

import { joined } from "../bytes";
import { damaged, InputError } from "../errors";
import { latin } from "../file-type";

const ITEM = 0xfffee000;
const SEQUENCE_END = 0xfffee0dd;
const MOST_FRAGMENTS = 65_536;
const STARTS = ["\xff\xd8\xff", "\xff\x4f\xff\x51", "\0\0\0\x0cjP"]; // of JPEG, of JPEG 2000, of its file format
const RLE_HEADER = 64;

/** The contents of the items, the offset table's among them, and where the sequence ends in the data. */
export interface Fragments {
  contents: Uint8Array[];
  end: number;
}

/**
 * Walk the items from `start` to the delimiter, or, where there is none, to what is no item. An item of odd length may
 * be followed by a byte of padding. Whether a picture is whole is for its codestream to tell.
 */
export function findFragments(data: Uint8Array, start: number, little: boolean): Fragments {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const tagAt = (at: number): number => view.getUint16(at, little) * 0x10000 + view.getUint16(at + 2, little);
  const contents: Uint8Array[] = [];
  for (let at = start; ; ) {
    if (at + 8 > data.length) return { contents, end: data.length };
    if (tagAt(at) !== ITEM && contents.length && contents.at(-1)!.length % 2) at += 1;
    if (at + 8 > data.length) return { contents, end: data.length };
    const tag = tagAt(at);
    if (tag !== ITEM) return { contents, end: at + (tag === SEQUENCE_END ? 8 : 0) };
    if (contents.length === MOST_FRAGMENTS) throw damaged();
    const content = data.subarray(at + 8, Math.min(data.length, at + 8 + view.getUint32(at + 4, little)));
    contents.push(content);
    at += 8 + content.length;
  }
}

/** The one frame that the fragments hold. */
export function joinFrame({ contents }: Fragments): Uint8Array {
  // the first item is the offset table, except where a writer left it out
  const parts = (startsPicture(contents[0]) || contents.length === 1 ? contents : contents.slice(1)).filter(
    (part) => part.length,
  );
  const [first, ...rest] = parts;
  if (!first) throw damaged();
  const isRle = first.length >= 8 && first[4] === RLE_HEADER && !first[5] && !first[6] && !first[7];
  const head = latin(first, 0, 8);
  if (rest.some((part) => startsPicture(part) || (isRle && latin(part, 0, 8) === head))) {
    throw new InputError("several-frames");
  }
  return rest.length ? joined(parts) : first;
}

function startsPicture(content: Uint8Array | undefined): boolean {
  return !!content && STARTS.some((start) => latin(content, 0, start.length) === start);
}
