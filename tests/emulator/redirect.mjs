// What the scripts of the public JavaScript clients share: where the packages lie, and fetch, which sends what is meant
// for the two public hosts to a served emulator. The clients themselves are unchanged.
// node --experimental-import-meta-resolve <script>.mjs <url up to /client/v4> <account>
import path from "node:path";
import { pathToFileURL } from "node:url";

export const [url, account] = process.argv.slice(2);
const modules = process.env.CFAI_NODE_MODULES;
const anchor = modules ? pathToFileURL(path.join(path.resolve(modules), "..", "anchor.mjs")).href : import.meta.url;

/** Import packages, or leave with 3 where they are not installed. */
export async function load(...names) {
  try {
    return await Promise.all(names.map((name) => import(import.meta.resolve(name, anchor))));
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    console.error(String(error));
    process.exit(3);
  }
}

const root = new URL(url).origin;
const plain = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const asked = typeof input === "string" ? input : (input.url ?? input.href);
  const here = asked.replace(/^https:\/\/(api\.cloudflare\.com|gateway\.ai\.cloudflare\.com)(?=\/)/, root);
  if (!here.startsWith(root)) throw new Error(`no request leaves this machine: ${asked}`);
  return plain(here, init);
};

// what the packages have to say goes beside the answers
for (const name of ["log", "info", "debug", "dir", "warn"]) console[name] = console.error;

/** Print the answers. */
export const print = (found) => process.stdout.write(JSON.stringify(found));

/** Run named calls one after the other, and print one JSON object of what each gave, or of how it failed. */
export async function attempt(calls) {
  const found = {};
  for (const [name, call] of Object.entries(calls)) {
    try {
      found[name] = (await call()) ?? null;
    } catch (error) {
      found[name] = { failed: `${error.name}: ${error.message}`.slice(0, 400), status: error.statusCode ?? error.status ?? null };
    }
  }
  print(found);
}
