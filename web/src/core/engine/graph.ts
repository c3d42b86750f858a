/**
 * What a bundle's graph may hold, so that the sealed bytes decide its answers: no numbers from other files, no chance
 * (Python: `bundle.graph`, where the reasons are written down).
 */

import { BundleError } from "../errors";
import { fieldsOf } from "./protobuf";

/** Message to its fields that hold messages: every way from a model to its tensors. */
const MESSAGES: Record<string, Record<number, string>> = {
  model: { 7: "graph", 8: "operator set", 20: "training", 25: "function" },
  graph: { 1: "node", 5: "tensor", 15: "sparse tensor" },
  node: { 5: "attribute" },
  attribute: { 5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor" },
};
const [EXTERNAL_DATA, DATA_LOCATION] = [13, 14]; // TensorProto
const [OP_TYPE, NODE_DOMAIN, SET_DOMAIN] = [4, 7, 1]; // NodeProto, OperatorSetIdProto
const STANDARD_DOMAINS = ["", "ai.onnx"];
const RANDOM = [
  "Bernoulli",
  "Dropout", // an input switches it on
  "Multinomial",
  "RandomNormal",
  "RandomNormalLike",
  "RandomUniform",
  "RandomUniformLike",
];

type Fields = [number, Uint8Array][];

/** Refuse external data, functions, subgraphs, sparse or training data, foreign operators and those that draw. */
export function checkGraph(model: Uint8Array, name: string): void {
  try {
    check("model", [...fieldsOf(model)], name);
  } catch (error) {
    if (error instanceof BundleError) throw error;
    throw new BundleError(`${name}: not a complete ONNX file (another format, cut short or damaged): get it again`);
  }
}

function check(parent: string, fields: Fields, name: string): void {
  for (const [number, content] of fields) {
    const kind = MESSAGES[parent]?.[number];
    if (!kind) continue;
    const inner: Fields = content.length ? [...fieldsOf(content)] : [];
    if (kind === "training" || kind === "function") refuse(name, `a model without ${kind}s`, `a ${kind}`);
    if (kind === "sparse tensor" || (parent === "attribute" && kind === "graph")) {
      refuse(name, "one graph of dense tensors", `a ${kind} inside it`);
    }
    if (kind === "node" || kind === "operator set") checkOperator(kind, inner, name);
    if (kind === "tensor") checkTensor(inner, name);
    check(kind, inner, name); // no recursion beyond five levels: a graph inside a graph was refused above
  }
}

function checkOperator(kind: string, fields: Fields, name: string): void {
  const texts = (place: number): string[] =>
    fields.filter(([number]) => number === place).map(([, value]) => new TextDecoder().decode(value));
  const foreign = texts(kind === "node" ? NODE_DOMAIN : SET_DOMAIN).find((one) => !STANDARD_DOMAINS.includes(one));
  if (foreign !== undefined) refuse(name, "standard ONNX operators", `the domain '${foreign}'`);
  const drawn = texts(OP_TYPE).find((one) => RANDOM.includes(one));
  if (drawn !== undefined) refuse(name, "a graph that always gives the same answer", `the operator ${drawn}`);
}

function checkTensor(fields: Fields, name: string): void {
  for (const [number, value] of fields) {
    if (number === EXTERNAL_DATA || (number === DATA_LOCATION && value.some((byte) => byte !== 0))) {
      refuse(name, "all weights inside the file", "external data");
    }
  }
}

function refuse(name: string, expected: string, found: string): never {
  throw new BundleError(`${name}: expected ${expected}, found ${found}: export it again as one ONNX file`);
}
