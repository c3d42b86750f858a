import type { Engine, OpenOptions } from "./api";

export function openEngine(_options: OpenOptions): Promise<Engine> {
  return Promise.reject(new Error("the engine is not built yet"));
}
