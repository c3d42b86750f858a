/** ONNX Runtime for WebAssembly behind one function: a picture in, the graph's outputs out. */

import * as ort from "onnxruntime-web/wasm";
import glueUrl from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { Manifest } from "../types";
import type { Outputs } from "./decision";
import { BundleError } from "../errors";

const INPUT = "image";
const OUTPUTS = ["probabilities", "logits", "embedding", "saliency", "novelty"];
const INPUT_KIND = "input_kind";
const SUM_TOLERANCE = 1e-3;

// y = Identity(x), the smallest ONNX model: starts the runtime while the real model is still on its way
const IDENTITY = Uint8Array.of(
  8, 8, 58, 55, 10, 16, 10, 1, 120, 18, 1, 121, 34, 8, 73, 100, 101, 110, 116, 105, 116, 121, 18, 1, 103, 90, 15, 10, 1,
  120, 18, 10, 10, 8, 8, 1, 18, 4, 10, 2, 8, 1, 98, 15, 10, 1, 121, 18, 10, 10, 8, 8, 1, 18, 4, 10, 2, 8, 1, 66, 4, 10,
  0, 16, 13,
);

export type Network = (image: Float32Array) => Promise<Outputs>;

/** Fetch and start the runtime. Threads cannot be changed afterwards. */
export async function startRuntime(threads: number): Promise<void> {
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: absolute(glueUrl), wasm: absolute(wasmUrl) };
  ort.env.logLevel = "fatal"; // a failure reaches the user as one error, not also as console lines
  const session = await ort.InferenceSession.create(IDENTITY, { executionProviders: ["wasm"] });
  await session.release();
}

function absolute(url: string): string {
  return new URL(url, import.meta.url).href;
}

/** Load a verified model. */
export async function loadNetwork(model: Uint8Array, manifest: Manifest, name: string): Promise<Network> {
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(model, {
      executionProviders: ["wasm"],
      graphOptimizationLevel: "all",
      logSeverityLevel: 4,
    });
  } catch (error) {
    throw new BundleError(`${name}: ONNX Runtime ${ort.env.versions.web ?? ""} cannot load it (${firstLine(error)})`);
  }
  checkFit(session, manifest, name);
  const { size } = manifest.preprocessing;
  return async (image) => {
    let found: ort.InferenceSession.ReturnType;
    try {
      found = await session.run({ [INPUT]: new ort.Tensor("float32", image, [1, 1, size, size]) });
    } catch (error) {
      throw new BundleError(`${name}: the model fails on an image (${firstLine(error)})`);
    }
    checkOutputs(found, manifest, name);
    const take = (output: string): Float32Array => Float32Array.from(found[output]!.data as Float32Array);
    const [rows, columns] = found["saliency"]!.dims.slice(2) as [number, number];
    return {
      probabilities: take("probabilities"),
      novelty: take("novelty")[0]!,
      saliency: { data: take("saliency"), rows, columns },
      inputKind: found[INPUT_KIND] ? take(INPUT_KIND) : null,
    };
  };
}

/** Refuse a graph whose input or outputs are not those that its manifest speaks of. */
function checkFit(session: ort.InferenceSession, manifest: Manifest, name: string): void {
  const [inputs, outputs] = [session.inputNames, session.outputNames];
  if (inputs.length !== 1 || inputs[0] !== INPUT) {
    throw new BundleError(`${name}: expected the input ${INPUT}, found ${inputs.join(", ")}: export the bundle again`);
  }
  const expected = manifest.input_gate ? [...OUTPUTS, INPUT_KIND] : OUTPUTS;
  const missing = expected.filter((output) => !outputs.includes(output));
  if (missing.length) {
    throw new BundleError(
      `${name}: expected outputs ${expected.join(", ")}, found ${outputs.join(", ")}: export it again`,
    );
  }
}

/** Refuse outputs of other shapes than the manifest speaks of, and probabilities that are none; NaN is the caller's. */
function checkOutputs(found: ort.InferenceSession.ReturnType, manifest: Manifest, name: string): void {
  const classes = manifest.labels.length;
  const widths: Record<string, number[]> = { probabilities: [classes], saliency: [classes, -1, -1], novelty: [] };
  if (manifest.input_gate) widths[INPUT_KIND] = [manifest.input_gate.kinds.length];
  for (const [output, width] of Object.entries(widths)) {
    const { dims, type, data } = found[output]!;
    const fits = dims.length === width.length + 1 && dims[0] === 1 && width.every((n, axis) => n < 0 || dims[axis + 1] === n);
    if (!fits || type !== "float32") {
      throw new BundleError(`${name}: output ${output} has the shape ${dims.join(" x ")}: export the bundle again`);
    }
    const row = data as Float32Array;
    if (width.length !== 1 || !row.every(Number.isFinite)) continue;
    const alone = manifest.findings !== undefined && output === "probabilities"; // findings by themselves do not sum to 1
    const wrong = alone ? row.some((one) => one > 1) : Math.abs(row.reduce((total, one) => total + one, 0) - 1) > SUM_TOLERANCE;
    if (wrong || row.some((one) => one < 0)) {
      throw new BundleError(`${name}: output ${output} holds no probabilities: export the bundle again`);
    }
  }
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split("\n")[0]!;
}
