/** Hands the core to a test in a real browser. */

import * as ort from "onnxruntime-web/wasm";
import { openEngine } from "../../../src/core/api";
import { downloadBundle } from "../../../src/core/engine/download";
import { loadNetwork, startRuntime } from "../../../src/core/engine/session";

interface Golden {
  inputs: number[][]; // [n, size * size], 0 to 255
  probabilities: number[][];
  novelty: number[];
  saliency: number[][];
  input_kind?: number[][];
}

/** Largest difference of each output from the golden vectors. */
async function checkGolden(options: { modelUrl: string; threads: number; golden: Golden }): Promise<object> {
  const { modelUrl, threads, golden } = options;
  await startRuntime(threads);
  const { bytes, manifest } = await downloadBundle(modelUrl);
  const network = await loadNetwork(bytes, manifest, "golden");
  const worst = { probabilities: 0, novelty: 0, saliency: 0, input_kind: 0 };
  const compare = (key: keyof typeof worst, expected: ArrayLike<number>, found: ArrayLike<number>): void => {
    if (expected.length !== found.length) throw new Error(`${key}: ${expected.length} numbers, found ${found.length}`);
    for (let at = 0; at < expected.length; at++) {
      worst[key] = Math.max(worst[key], Math.abs(expected[at]! - found[at]!));
    }
  };
  for (const [index, picture] of golden.inputs.entries()) {
    const found = await network(Float32Array.from(picture, (value) => value / 255));
    compare("probabilities", golden.probabilities[index]!, found.probabilities);
    compare("novelty", [golden.novelty[index]!], [found.novelty]);
    compare("saliency", golden.saliency[index]!, found.saliency.data);
    if (golden.input_kind) compare("input_kind", golden.input_kind[index]!, found.inputKind ?? []);
  }
  return { pictures: golden.inputs.length, worst };
}

/** What the runtime alone takes with the same model, after nothing and again: the floor of any page's answer. */
async function runtimeAlone(options: { modelUrl: string; threads: number; rounds: number }): Promise<{ first: number; next: number[] }> {
  const start = performance.now();
  const model = new Uint8Array(await (await fetch(options.modelUrl)).arrayBuffer());
  await startRuntime(options.threads);
  const session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], graphOptimizationLevel: "all", logSeverityLevel: 4 });
  const side = 224;
  const run = (): Promise<unknown> => session.run({ image: new ort.Tensor("float32", new Float32Array(side * side).fill(0.5), [1, 1, side, side]) });
  await run();
  const first = performance.now() - start;
  const next: number[] = [];
  for (let round = 0; round < options.rounds; round++) {
    const before = performance.now();
    await run();
    next.push(performance.now() - before);
  }
  return { first, next };
}

Object.assign(globalThis, { openEngine, checkGolden, runtimeAlone });
