// Vercel's AI SDK against the gateway, through its three providers.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, streamText, tool } from "ai";

import { CUTS, GATEWAYS, KEY, MODES, TEXT, check, checkEach, equal, run, throws } from "./check.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const prompt = "Say something.";
const inputSchema = jsonSchema({ type: "object", properties: { path: { type: "string" } }, required: ["path"] });
const tools = { read_file: tool({ description: "Reads a file.", inputSchema }) };

/** Name of a provider -> model of that name at the gateway of that mode. */
const PROVIDERS = {
  chat: (model, mode) => createOpenAI({ baseURL: `${GATEWAYS[mode]}/v1`, apiKey: KEY }).chat(model),
  responses: (model, mode) => createOpenAI({ baseURL: `${GATEWAYS[mode]}/v1`, apiKey: KEY }).responses(model),
  compatible: (model, mode) =>
    createOpenAICompatible({ name: "weir", baseURL: `${GATEWAYS[mode]}/v1`, apiKey: KEY, includeUsage: true }).chatModel(model),
  anthropic: (model, mode) =>
    createAnthropic({ baseURL: `${GATEWAYS[mode]}/v1`, apiKey: KEY })(`claude-${model}`),
};
const NAMES = Object.keys(PROVIDERS);

/** The text of a stream; an error part is thrown, as this SDK leaves that to its user. */
async function streamed(provider, model, mode = "chunk") {
  const result = streamText({ model: PROVIDERS[provider](model, mode), prompt, maxRetries: 0, onError: () => {} });
  let text = "";
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "error") throw part.error instanceof Error ? part.error : new Error(JSON.stringify(part.error));
  }
  equal(await result.finishReason, "stop");
  return text;
}

checkEach("generateText", NAMES, async (provider) => {
  for (const model of ["plain", "switch"]) {
    const result = await generateText({ model: PROVIDERS[provider](model, "chunk"), prompt, maxRetries: 0 });
    equal([result.text, result.finishReason, result.usage.outputTokens], [TEXT, "stop", 4]);
  }
});

checkEach("streamText without a switch", MODES, async (mode) => {
  for (const provider of NAMES) equal(await streamed(provider, "plain", mode), TEXT);
});

checkEach("streamText with a switch", ["chunk", "comment", "off"], async (mode) => {
  for (const provider of NAMES) equal(await streamed(provider, "switch", mode), TEXT);
});

check("the seed form breaks typed clients", async () => {
  for (const provider of NAMES) {
    const error = await throws(Error, () => streamed(provider, "switch", "event"));
    if (provider !== "anthropic") equal([provider, error.name], [provider, "AI_TypeValidationError"]);
  }
});

checkEach("tools", NAMES, async (provider) => {
  for (const model of ["tools", "switch-tools"]) {
    const result = streamText({ model: PROVIDERS[provider](model, "chunk"), prompt, tools, maxRetries: 0 });
    const [call] = await result.toolCalls;
    equal([call.toolName, call.input], ["read_file", { path: "src/main.rs" }]);
  }
});

checkEach("broken stream", CUTS, async (cut) => {
  for (const provider of NAMES) await throws(Error, () => streamed(provider, cut));
});

checkEach("refusals", NAMES, async (provider) => {
  const unknown = await throws(Error, () => streamed(provider, "plane"));
  equal([unknown.name, unknown.statusCode], ["AI_APICallError", 404]);
  const busy = await throws(Error, () => streamed(provider, "busy"));
  equal(busy.statusCode, 503);
});

await run();
