import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";

import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Smaller ones gain less than the head of their answer. */
const MIN_COMPRESSED_BYTES = 1024;

/** Writes a `.br` and a `.gz` beside each text: the server sends these where a browser takes them. */
function compressed(): Plugin {
  let folder = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved: (config) => {
      folder = join(config.root, config.build.outDir, config.build.assetsDir);
    },
    closeBundle: () => {
      for (const name of readdirSync(folder).filter((file) => /\.(js|css|svg)$/.test(file))) {
        const path = join(folder, name);
        const text = readFileSync(path);
        if (text.length < MIN_COMPRESSED_BYTES) continue;
        writeFileSync(`${path}.br`, brotliCompressSync(text));
        writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), tailwindcss(), compressed()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  build: {
    // Nothing as a data: address: the page's policy loads from its own server only.
    assetsInlineLimit: 0,
    // Inlined, it would need a policy that allows inline scripts.
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` beside a server on its customary port.
    proxy: { "/api": "http://127.0.0.1:3000" },
  },
  test: {
    environment: "happy-dom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: "src/testing/setup.ts",
  },
});
