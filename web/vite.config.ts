import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";

// Threads of WebAssembly need a cross-origin isolated page; without these headers one thread is used.
const isolation = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};

export default defineConfig({
  base: "./", // served from any folder
  // the runtime's WebAssembly as files of our own rather than addresses of a CDN
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: { target: "es2022", assetsInlineLimit: 0 },
  server: { headers: isolation },
  preview: { headers: isolation },
  test: { include: ["tests/**/*.unit.test.ts"] },
});
