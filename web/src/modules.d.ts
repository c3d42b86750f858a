/** Glue code that ships without types. */
declare module "@cornerstonejs/*/decodewasmjs" {
  const factory: (options: object) => Promise<unknown>;
  export default factory;
}
declare module "*?url" {
  const address: string;
  export default address;
}
declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    decode(buffer: ArrayBuffer, offset: number, length: number, numBytes: number): Uint8Array | Uint16Array;
  }
}
