import { defineConfig, type Plugin } from "vite";

/** Every browser that the page runs in reads woff2: the two older forms of KaTeX's fonts stay away. */
const onlyWoff2: Plugin = {
  name: "only-woff2",
  enforce: "pre",
  transform: (code, id) =>
    /katex(?:\.min)?\.css/.test(id) ? code.replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\([^)]*\)/g, "") : null,
};

export default defineConfig({
  base: "/",
  plugins: [onlyWoff2],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // the page's policy allows no inline script or style and no data: font
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    license: { fileName: "licenses.md" },
  },
  // `npm run dev` works beside a server that runs
  server: { proxy: { "/app/api": "http://127.0.0.1:8000" } },
});
