// Vercel's AI SDK at providers of every dialect, through its four ways to speak: text, tools that it runs
// itself in loops of two steps, usage, errors, broken streams.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { CUTS, GATEWAY, KEY, TEXT, checkEach, equal, run, throws } from "./check.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const prompt = "Say something that is worth a few tokens of input, please.";
const inputSchema = jsonSchema({ type: "object", properties: { path: { type: "string" } }, required: ["path"] });
const TARGETS = ["chat", "claude", "responses"];
const settings = { baseURL: `${GATEWAY}/v1`, apiKey: KEY };
// Without this the next step names items that only one provider has stored, which no other can look up.
const providerOptions = { openai: { store: false } };

const CLIENTS = {
  chat: (model) => createOpenAI(settings).chat(model),
  responses: (model) => createOpenAI(settings).responses(model),
  compatible: (model) => createOpenAICompatible({ name: "weir", ...settings, includeUsage: true }).chatModel(model),
  anthropic: (model) => createAnthropic(settings)(model),
};
const PAIRS = Object.keys(CLIENTS).flatMap((name) => TARGETS.map((target) => `${name} at ${target}`));

/** Splits the name of a pair, and gives the way to its model of that kind. */
function modelOf(pair, kind) {
  const [name, target] = pair.split(" at ");
  return CLIENTS[name](`${target}-${kind}`);
}

/** All of a stream; an error part is thrown, as this SDK leaves that to its user. */
async function streamed(options) {
  const result = streamText({ ...options, onError: () => {} });
  let text = "";
  for await (const part of result.fullStream) {
    if (part.type === "text-delta") text += part.text;
    if (part.type === "error") throw part.error instanceof Error ? part.error : new Error(JSON.stringify(part.error));
  }
  const [finishReason, usage, steps] = await Promise.all([result.finishReason, result.usage, result.steps]);
  return { text, finishReason, usage, steps };
}

const WAYS = [generateText, streamed];

checkEach("text", PAIRS, async (pair) => {
  for (const way of WAYS) {
    const { text, finishReason, usage } = await way({ model: modelOf(pair, "mock"), prompt, maxRetries: 0, providerOptions });
    equal([text, finishReason, usage.outputTokens], [TEXT, "stop", 4]);
    equal(usage.inputTokens > 0, true);
  }
});

checkEach("tools in a loop of two steps", PAIRS, async (pair) => {
  for (const way of WAYS) {
    const read = [];
    const execute = async ({ path }) => {
      read.push(path);
      return { content: "fn main() {}" };
    };
    const tools = { read_file: tool({ description: "Reads a file.", inputSchema, execute }) };
    const options = { model: modelOf(pair, "tools"), prompt, tools, maxRetries: 0, providerOptions };
    const { text, finishReason, steps } = await way({ ...options, stopWhen: stepCountIs(4) });
    equal([text, finishReason, read, steps.length], [TEXT, "stop", ["src/main.rs"], 2]);
    equal(steps[0].finishReason, "tool-calls");
  }
});

if (process.env.WEIR_DEMO === undefined) {
  checkEach("usage", PAIRS, async (pair) => {
    for (const way of WAYS) {
      const { usage } = await way({ model: modelOf(pair, "counted"), prompt, maxRetries: 0, providerOptions });
      equal([usage.inputTokenDetails?.cacheReadTokens ?? usage.cachedInputTokens, usage.outputTokens], [7, 6]);
    }
  });

  checkEach("refusals", PAIRS, async (pair) => {
    for (const [kind, status] of [["busy", 503], ["limited", 429], ["bad", 400]]) {
      for (const way of WAYS) {
        const model = modelOf(pair, kind);
        const error = await throws(Error, () => way({ model, prompt, maxRetries: 0, providerOptions }));
        equal([error.name, error.statusCode], ["AI_APICallError", status]);
      }
    }
  });

  checkEach("broken stream", CUTS, async (cut) => {
    for (const pair of PAIRS) {
      const options = { model: modelOf(pair, cut), prompt, maxRetries: 0, providerOptions };
      await throws(Error, () => streamed(options)).catch((cause) => {
        throw new Error(pair, { cause });
      });
    }
  });
}

await run();
