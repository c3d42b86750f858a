/** Writes the licences of what is shipped beside the page, as those licences ask; fails where one is not permissive. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
const PERMISSIVE = new Set(["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"]);
const native = readFileSync(join(root, "scripts/native-licences.txt"), "utf8");
const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const sections = Object.keys(dependencies).map((name) => {
  const folder = join(root, "node_modules", name);
  const { license, version } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (!PERMISSIVE.has(license)) throw new Error(`${name} ${version}: expected a permissive licence, found ${license}`);
  const text = join(folder, "LICENSE");
  if (existsSync(text)) return `## ${name} ${version} (${license})\n\n${readFileSync(text, "utf8").trim()}\n`;
  const short = name.split("/").pop();
  if (!native.includes(short)) throw new Error(`${name}: its licence text is missing in scripts/native-licences.txt`);
  return "";
});

mkdirSync(join(root, "public"), { recursive: true });
writeFileSync(
  join(root, "public/third-party-licences.txt"),
  `# Licences of what this page is built from\n\n${native}\n${sections.filter(Boolean).join("\n")}`,
);
