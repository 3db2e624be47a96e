// Builds both bundles, and gathers the licences of what is in them.
import { build } from "esbuild";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const OUT = "../static";
const shared = {
  banner: { js: "/*! Licences of what is in this file: licences.txt, beside it. */" },
  bundle: true,
  define: { "process.env.NODE_ENV": '"production"' },
  format: "esm",
  jsx: "automatic",
  loader: { ".css": "text" },
  logLevel: "info",
  metafile: true,
  minify: true,
  target: "es2022",
};

const results = [
  // In Airflow's page, which brings all but the charts.
  await build({
    ...shared,
    alias: {
      "@chakra-ui/react": "./src/page/chakra.ts",
      react: "./src/page/react.ts",
      "react-router-dom": "./src/page/router.ts",
      "react/jsx-runtime": "./src/page/jsx-runtime.ts",
    },
    entryPoints: ["src/main.tsx"],
    outfile: `${OUT}/bulkhead.js`,
  }),
  // A page of its own, for 'bulkhead ui'.
  await build({
    ...shared,
    alias: { "react-router-dom": "./src/standalone/router.tsx" },
    entryPoints: ["src/standalone/main.tsx"],
    outfile: `${OUT}/standalone.js`,
  }),
];

const packages = new Set();

for (const { metafile } of results) {
  for (const input of Object.keys(metafile.inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//u.exec(input);

    if (found !== null) {
      packages.add(found[1]);
    }
  }
}
const texts = [...packages].sort().map((name) => {
  const folder = `node_modules/${name}`;
  const { license, version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/iu.test(entry));
  const text = file === undefined ? "" : `\n\n${readFileSync(`${folder}/${file}`, "utf8").trim()}`;

  return `${name} ${version}: ${license}${text}`;
});

writeFileSync(`${OUT}/licences.txt`, `${texts.join(`\n\n${"-".repeat(80)}\n\n`)}\n`);
