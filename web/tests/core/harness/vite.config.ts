import { defaultClientConditions, defineConfig } from "vite";

/** The core alone, built as the page's build does it. */
export default defineConfig({
  root: import.meta.dirname,
  base: "./",
  resolve: { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
  worker: { format: "es" },
  build: { target: "es2022", assetsInlineLimit: 0 },
});
