// Cloudflare's provider for the AI SDK, over REST and through a gateway, against a served emulator.
import { account, attempt, load } from "./redirect.mjs";

const [{ createWorkersAI }, ai, { z }] = await load("workers-ai-provider", "ai", "zod");
const { embedMany, generateImage, generateSpeech, generateText, Output, rerank, stepCountIs, isStepCount, streamText, tool, transcribe } = ai;
const until = isStepCount ?? stepCountIs;
globalThis.AI_SDK_LOG_WARNINGS = false;

const direct = createWorkersAI({ accountId: account, apiKey: "x".repeat(40) });
const gated = createWorkersAI({ accountId: account, apiKey: "x".repeat(40), gateway: { id: "provider", cacheTtl: 3600, metadata: { from: "provider" } } });
const CHATS = {
  glm: "@cf/zai-org/glm-4.7-flash",
  kimi: "@cf/moonshotai/kimi-k2.7-code",
  gemma: "@cf/google/gemma-4-26b-a4b-it",
  nemotron: "@cf/nvidia/nemotron-3-120b-a12b",
  oss: "@cf/openai/gpt-oss-120b",
  llama: "@cf/meta/llama-3.3-70b-instruct-fp8-fast",
  scout: "@cf/meta/llama-4-scout-17b-16e-instruct",
  mistral: "@cf/mistralai/mistral-small-3.1-24b-instruct",
  qwen: "@cf/qwen/qwen3-30b-a3b-fp8",
  qwq: "@cf/qwen/qwq-32b",
};

// a parameter without a description, one of two types, one that may be missing
const parameters = z.object({ city: z.string(), day: z.union([z.string(), z.number()]).optional(), unit: z.enum(["C", "F"]).nullish() });
const weather = tool({ description: "The weather of a city", inputSchema: parameters, execute: async ({ city }) => ({ report: `It rains in ${city}` }) });
const bare = tool({ description: "Says the time", inputSchema: z.object({}) });
const prompt = "What is the weather in Paris?";
const place = z.object({ capital: z.string(), population: z.number() });

const calls = {};
for (const [name, id] of Object.entries(CHATS)) {
  for (const [way, provider] of [["", direct], ["gateway ", gated]]) {
    const model = provider(id);
    if (way && !["glm", "llama"].includes(name)) continue;
    calls[`${way}${name} text`] = async () => (await generateText({ model, prompt: "Tell me about rivers.", maxRetries: 0 })).text;
    calls[`${way}${name} stream`] = async () => {
      const said = streamText({ model, prompt: "Tell me about rivers.", maxRetries: 0, onError: () => {} });
      let text = "";
      for await (const part of said.textStream) text += part;
      return { text, finish: await said.finishReason, usage: (await said.usage).totalTokens };
    };
    calls[`${way}${name} tool`] = async () => {
      const said = await generateText({ model, prompt, tools: { weather, bare }, stopWhen: until(2), maxRetries: 0 });
      return { called: said.steps[0].toolCalls.map((call) => [call.toolName, call.input]), text: said.text };
    };
    calls[`${way}${name} forced tool`] = async () => {
      const toolChoice = { type: "tool", toolName: "weather" };
      const said = await generateText({ model, prompt: "Paris", tools: { weather, bare }, toolChoice, maxRetries: 0 });
      return said.toolCalls.map((call) => call.toolName);
    };
    calls[`${way}${name} streamed tool`] = async () => {
      const said = streamText({ model, prompt, tools: { weather, bare }, maxRetries: 0, onError: () => {} });
      const kinds = [];
      for await (const part of said.fullStream) if (part.type.startsWith("tool") || part.type === "error") kinds.push(part.type);
      return { kinds: [...new Set(kinds)], called: (await said.toolCalls).map((call) => [call.toolName, call.input]), finish: await said.finishReason };
    };
    calls[`${way}${name} object`] = async () => {
      const output = Output.object({ schema: place, name: "Capital", description: "A capital and its people" });
      return (await generateText({ model, prompt: "France has the capital Paris with 2 million people.", output, maxRetries: 0 })).output;
    };
  }
}

const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8/5+hHgAHggJ/PchI7wAAAABJRU5ErkJggg==", "base64");
const see = [{ role: "user", content: [{ type: "text", text: "What is this?" }, { type: "image", image: new Uint8Array(png) }] }];
const head = (bytes) => Buffer.from(bytes).subarray(0, 4).toString("hex");
let spoken;
for (const [way, provider] of [["", direct], ["gateway ", gated]]) {
  calls[`${way}embedding`] = async () => {
    const found = await embedMany({ model: provider.textEmbedding("@cf/baai/bge-base-en-v1.5"), values: ["one", "two"], maxRetries: 0 });
    return found.embeddings.map((row) => row.length);
  };
  calls[`${way}reranking`] = async () => {
    const model = provider.reranking("@cf/baai/bge-reranker-base");
    const found = await rerank({ model, query: "rivers", documents: ["the moon", "wide rivers"], topN: 1, maxRetries: 0 });
    return found.ranking.map((row) => row.originalIndex);
  };
  calls[`${way}image`] = async () => {
    const model = provider.image("@cf/black-forest-labs/flux-1-schnell");
    return head((await generateImage({ model, prompt: "a red circle", maxRetries: 0 })).image.uint8Array);
  };
  calls[`${way}speech`] = async () => {
    const model = provider.speech("@cf/deepgram/aura-1");
    spoken = (await generateSpeech({ model, text: "The river is wide.", voice: "asteria", maxRetries: 0 })).audio.uint8Array;
    return spoken.length > 100;
  };
  for (const id of ["@cf/openai/whisper", "@cf/openai/whisper-large-v3-turbo", "@cf/deepgram/nova-3"]) {
    calls[`${way}transcription ${id.split("/")[2]}`] = async () =>
      (await transcribe({ model: provider.transcription(id), audio: spoken, maxRetries: 0 })).text;
  }
}
calls.vision = async () => (await generateText({ model: direct(CHATS.scout), messages: see, maxRetries: 0 })).text;
calls["no such model"] = async () => (await generateText({ model: direct("@cf/no/body"), prompt, maxRetries: 0 })).text;

await attempt(calls);
