// The public JavaScript clients against a served emulator: node client.mjs <url up to /client/v4> <account>.
// Reads the calls of `ai.run` from its input, one JSON object of name -> {model, body, raw}, and prints one JSON object
// of answers, which test_javascript.py holds against those of the Python clients and of the wire itself.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";
import path from "node:path";

const [url, account] = process.argv.slice(2);
const modules = process.env.CFAI_NODE_MODULES;
const require = createRequire(modules ? path.join(path.resolve(modules), "..", "anchor.cjs") : import.meta.url);
const load = async (name) => (await import(pathToFileURL(require.resolve(name)))).default;
const pick = (found) => found.default ?? found;
const absent = (error) => {
  console.error(String(error));
  process.exit(3); // the packages are not there
};
const [Cloudflare, OpenAI] = (await Promise.all(["cloudflare", "openai"].map(load)).catch(absent)).map(pick);

const flare = new Cloudflare({ apiToken: "x".repeat(40), baseURL: url, maxRetries: 0 });
const chat = new OpenAI({ apiKey: "x", baseURL: `${url}/accounts/${account}/ai/v1`, maxRetries: 0 });

async function run({ model, body, raw }) {
  try {
    const asked = flare.ai.run(model, { account_id: account, ...body });
    return raw ? Buffer.from(await (await asked.asResponse()).arrayBuffer()).toString("base64") : await asked;
  } catch (error) {
    return { refused: [error.status, error.errors?.[0]?.code ?? error.error?.errors?.[0]?.code] };
  }
}

const glm = "@cf/zai-org/glm-4.7-flash";
const messages = [{ role: "user", content: "Tell me about 42 rivers." }];
const plain = await chat.chat.completions.create({ model: glm, messages });
let streamed = "";
for await (const chunk of await chat.chat.completions.create({ model: glm, messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const vectors = await chat.embeddings.create({ model: "@cf/baai/bge-base-en-v1.5", input: ["one", "two"], encoding_format: "float" });

const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const weather = { type: "function", function: { name: "weather", description: "The weather of a city", parameters: CITY } };
const asked = [{ role: "user", content: "What is the weather in Paris?" }];
const called = await chat.chat.completions.create({ model: glm, messages: asked, tools: [weather] });
const form = { type: "json_schema", json_schema: { name: "place", schema: CITY } };
const formed = await chat.chat.completions.create({ model: glm, messages: asked, response_format: form });
const answered = await chat.responses.create({ model: "@cf/openai/gpt-oss-20b", input: "Hello there." });

const indexes = flare.vectorize.indexes;
await indexes.create({ account_id: account, name: "javascript", config: { dimensions: 2, metric: "cosine" } });
const lines = [[1, 0], [0, 1]].map((values, place) => JSON.stringify({ id: String(place), values })).join("\n");
await indexes.upsert("javascript", { account_id: account, body: lines });
await indexes.info("javascript", { account_id: account });
const found = await indexes.query("javascript", { account_id: account, vector: [0, 1], topK: 1 });

const pages = [];
const files = [new File(["a,b\n1,2\n"], "a.csv", { type: "text/csv" }), new File(["?"], "a.bin")];
for await (const page of flare.ai.toMarkdown.transform({ account_id: account, file: { files } })) {
  pages.push([page.name, page.format, page.data ?? null]);
}
const all = async (list) => {
  const items = [];
  for await (const item of list) items.push(item.name);
  return items;
};

const runs = {};
for (const [name, call] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) runs[name] = await run(call);

console.log(
  JSON.stringify({
    runs,
    chat: plain.choices[0].message.content,
    streamed,
    usage: plain.usage.total_tokens,
    embeddings: vectors.data.map((row) => row.embedding),
    called: [called.choices[0].finish_reason, called.choices[0].message.tool_calls[0].function],
    formed: formed.choices[0].message.content,
    answered: answered.output_text,
    nearest: found.matches.map((match) => match.id),
    pages,
    tasks: await all(flare.ai.tasks.list({ account_id: account })),
    authors: await all(flare.ai.authors.list({ account_id: account })),
  }),
);
