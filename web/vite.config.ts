import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";
import { WORKER, offlinePlugin } from "./scripts/offline-plugin";

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
  plugins: [offlinePlugin()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: "index.html", worker: "src/service-worker.ts" },
      // the service worker keeps its name: browsers ask for it at the same address in every version
      output: { entryFileNames: (chunk) => (chunk.name === "worker" ? WORKER : "assets/[name]-[hash].js") },
    },
  },
  server: { headers: isolation },
  preview: { headers: isolation },
  test: { include: ["tests/**/*.unit.test.ts"] },
});
