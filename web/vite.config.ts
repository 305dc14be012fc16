import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react(), tailwindcss()],
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
