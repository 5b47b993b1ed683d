// The public JavaScript clients of both services and of Anthropic against a served emulator.
// Reads the calls of `ai.run` from its input, one JSON object of name -> {model, body, raw}, and prints one JSON object
// of answers, which test_javascript.py holds against those of the Python clients and of the wire itself.
// node --experimental-import-meta-resolve client.mjs ..., see redirect.mjs.
import { readFileSync } from "node:fs";
import { account, load, print, url } from "./redirect.mjs";

const [{ default: Cloudflare }, { default: OpenAI }, { default: Anthropic }] = await load("cloudflare", "openai", "@anthropic-ai/sdk");

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

const helped = await chat.chat.completions.stream({ model: glm, messages: asked, tools: [weather] }).finalChatCompletion();
const gateway = `https://gateway.ai.cloudflare.com/v1/${account}/javascript`;
const unified = new OpenAI({ apiKey: "x", baseURL: `${gateway}/compat`, maxRetries: 0 });
const behind = await unified.chat.completions.create({ model: `workers-ai/${glm}`, messages });
const claude = { model: "anthropic/claude-sonnet-5", max_tokens: 100, messages: asked, tools: [{ name: "weather", input_schema: CITY }] };
const speaker = new Anthropic({ apiKey: "x", baseURL: `${url}/accounts/${account}/ai`, maxRetries: 0 });
const message = await speaker.messages.create(claude);
const events = await speaker.messages.stream({ ...claude, tools: [] }).finalMessage();

const adapter = { account_id: account, model: "@cf/meta/llama-3.2-11b-vision-instruct", name: "javascript", public: true };
const finetune = await flare.ai.finetunes.create(adapter);
const config = new File([JSON.stringify({ model_type: "llama", r: 8 })], "adapter_config.json");
await flare.ai.finetunes.assets.create(finetune.id, { account_id: account, file: config, file_name: config.name });

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

print({
  runs,
  chat: plain.choices[0].message.content,
  streamed,
  usage: plain.usage.total_tokens,
  embeddings: vectors.data.map((row) => row.embedding),
  called: [called.choices[0].finish_reason, called.choices[0].message.tool_calls[0].function],
  helped: [helped.choices[0].finish_reason, helped.choices[0].message.tool_calls[0].function],
  behind: behind.choices[0].message.content,
  message: [message.stop_reason, message.content[0].name, message.content[0].input],
  events: events.content[0].text,
  finetunes: [await flare.ai.finetunes.list({ account_id: account }), await all(flare.ai.finetunes.public.list({ account_id: account }))],
  formed: formed.choices[0].message.content,
  answered: answered.output_text,
  nearest: found.matches.map((match) => match.id),
  pages,
  tasks: await all(flare.ai.tasks.list({ account_id: account })),
  authors: await all(flare.ai.authors.list({ account_id: account })),
});
