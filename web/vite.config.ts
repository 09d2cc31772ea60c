import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the page and passes /api on to a running `clew serve`.
const server = process.env.CLEW_SERVER ?? "http://127.0.0.1:7410";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  build: {
    outDir: "../src/clew/_static",
    emptyOutDir: true,
    target: "es2023",
    // What the page is built on changes less often than the page: a browser keeps it.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "vendor", test: /node_modules/ }] } } },
  },
  server: {
    host: "127.0.0.1",
    // The server refuses foreign origins, and to it this proxy is the page.
    proxy: { "/api": { target: server, changeOrigin: true, headers: { origin: server } } },
  },
});
