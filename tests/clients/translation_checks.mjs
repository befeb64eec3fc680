// openai-node and @anthropic-ai/sdk at providers of every dialect: text, tools in loops of two turns,
// usage, errors, broken streams, and every fixture of the other dialects as its manifest says.
// The argument names the OpenAI package: `openai` (newest) or `openai-6` (the generation before).

import { readFileSync } from "node:fs";

import Anthropic from "@anthropic-ai/sdk";

import { CUTS, GATEWAY, KEY, TEXT, check, checkEach, collect, equal, run, throws } from "./check.mjs";

const { default: OpenAI } = await import(process.argv[2] ?? "openai");
const PROVIDERS = ["chat", "claude", "responses"];
const parameters = { type: "object", properties: { path: { type: "string" } }, required: ["path"] };
const description = "Reads a file.";
const ASK = { role: "user", content: "Say something that is worth a few tokens of input, please." };
const openai = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
const anthropic = new Anthropic({ baseURL: GATEWAY, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
// With `weir demo` there are only models that answer.
const IS_DEMO = process.env.WEIR_DEMO !== undefined;

/** Usage as the manifest counts it: the input without its cached parts. */
const usageOf = (total, read, written, output, reasoning) => ({
  input_plain: total - (read ?? 0) - (written ?? 0),
  cache_read: read ?? 0,
  cache_write: written ?? 0,
  output,
  reasoning_within_output: reasoning ?? 0,
});

/** `client.chat.completions`. */
const chat = {
  package: OpenAI,
  home: "chat",
  options: ({ tool, most }) => ({
    ...(tool && { tools: [{ type: "function", function: { name: tool, description, parameters } }] }),
    ...(most && { max_completion_tokens: most }),
  }),
  said({ choices: [{ message, finish_reason }], usage }) {
    const calls = (message.tool_calls ?? []).map((call) => [call.id, call.function.name, JSON.parse(call.function.arguments)]);
    const inputs = usage?.prompt_tokens_details;
    return {
      text: message.content ?? "",
      calls,
      finish: { stop: "stop", tool_calls: "tools", length: "length" }[finish_reason],
      usage: usage && usageOf(usage.prompt_tokens, inputs?.cached_tokens, inputs?.cache_write_tokens,
        usage.completion_tokens, usage.completion_tokens_details?.reasoning_tokens),
      turns: [message],
    };
  },
  async whole(model, turns, options = {}) {
    return this.said(await openai.chat.completions.create({ model, messages: turns, ...this.options(options) }));
  },
  async helper(model, turns, options = {}) {
    const asked = { stream_options: { include_usage: true }, ...this.options(options) };
    return this.said(await openai.chat.completions.stream({ model, messages: turns, ...asked }).finalChatCompletion());
  },
  async loop(model, turns) {
    let text = "";
    for await (const chunk of await openai.chat.completions.create({ model, messages: turns, stream: true })) {
      text += chunk.choices[0].delta.content ?? "";
    }
    return text;
  },
  result: (call) => [{ role: "tool", tool_call_id: call, content: "fn main() {}" }],
};

/** `client.responses`. */
const responses = {
  package: OpenAI,
  home: "responses",
  options: ({ tool, most }) => ({
    store: false,
    ...(tool && { tools: [{ type: "function", name: tool, description, parameters, strict: false }] }),
    ...(most && { max_output_tokens: most }),
  }),
  said(response) {
    const calls = response.output
      .filter((item) => item.type === "function_call")
      .map((item) => [item.call_id, item.name, JSON.parse(item.arguments)]);
    const { status, usage } = response;
    if (status === "failed") throw new OpenAI.APIError(undefined, response.error, undefined, undefined);
    const ends = { completed: calls.length > 0 ? "tools" : "stop", incomplete: "length" };
    return {
      text: response.output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join(""),
      calls,
      finish: ends[status],
      usage: usage && usageOf(usage.input_tokens, usage.input_tokens_details.cached_tokens,
        usage.input_tokens_details.cache_write_tokens, usage.output_tokens, usage.output_tokens_details.reasoning_tokens),
      turns: response.output,
    };
  },
  async whole(model, turns, options = {}) {
    return this.said(await openai.responses.create({ model, input: turns, ...this.options(options) }));
  },
  async helper(model, turns, options = {}) {
    return this.said(await openai.responses.stream({ model, input: turns, ...this.options(options) }).finalResponse());
  },
  async loop(model, turns) {
    const events = await collect(await openai.responses.create({ model, input: turns, stream: true }));
    const broken = events.find((event) => ["error", "response.failed"].includes(event.type));
    if (broken) throw new OpenAI.APIError(undefined, broken, undefined, undefined);
    equal(events.at(-1).type, "response.completed");
    return events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");
  },
  result: (call) => [{ type: "function_call_output", call_id: call, output: "fn main() {}" }],
};

/** `client.messages`. */
const messages = {
  package: Anthropic,
  home: "claude",
  options: ({ tool, most }) => ({
    max_tokens: most ?? 100,
    ...(tool && { tools: [{ name: tool, description, input_schema: parameters }] }),
  }),
  said({ content, stop_reason, usage }) {
    const [read, written] = [usage.cache_read_input_tokens ?? 0, usage.cache_creation_input_tokens ?? 0];
    return {
      text: content.map((block) => block.text ?? "").join(""),
      calls: content.filter((block) => block.type === "tool_use").map((block) => [block.id, block.name, block.input]),
      finish: { end_turn: "stop", tool_use: "tools", max_tokens: "length" }[stop_reason],
      usage: usageOf(usage.input_tokens + read + written, read, written, usage.output_tokens,
        usage.output_tokens_details?.thinking_tokens),
      turns: [{ role: "assistant", content }],
    };
  },
  async whole(model, turns, options = {}) {
    return this.said(await anthropic.messages.create({ model, messages: turns, ...this.options(options) }));
  },
  async helper(model, turns, options = {}) {
    return this.said(await anthropic.messages.stream({ model, messages: turns, ...this.options(options) }).finalMessage());
  },
  async loop(model, turns) {
    let text = "";
    for await (const event of await anthropic.messages.create({ model, messages: turns, stream: true, max_tokens: 100 })) {
      text += event.delta?.text ?? "";
    }
    return text;
  },
  result: (call) => [{ role: "user", content: [{ type: "tool_result", tool_use_id: call, content: "fn main() {}" }] }],
};

const CLIENTS = { chat, responses, messages };
const ways = (client) => [client.whole.bind(client), client.helper.bind(client)];
const PAIRS = Object.keys(CLIENTS).flatMap((name) => PROVIDERS.map((provider) => `${name} at ${provider}`));
const parts = (pair) => {
  const [name, provider] = pair.split(" at ");
  return [CLIENTS[name], provider];
};
const FOREIGN = PAIRS.filter((pair) => parts(pair)[0].home !== parts(pair)[1]);

checkEach("text", PAIRS, async (pair) => {
  const [client, provider] = parts(pair);
  for (const way of ways(client)) {
    const said = await way(`${provider}-mock`, [ASK]);
    equal([said.text, said.calls, said.finish, said.usage.output], [TEXT, [], "stop", 4]);
    const again = await way(`${provider}-mock`, [ASK, ...said.turns, ASK]);
    equal(again.text, TEXT);
  }
  equal(await client.loop(`${provider}-mock`, [ASK]), TEXT);
});

checkEach("an answer that was limited", PAIRS, async (pair) => {
  const [client, provider] = parts(pair);
  for (const way of ways(client)) {
    const said = await way(`${provider}-mock`, [ASK], { most: 2 });
    equal([said.text, said.finish], ["w0 w1 ", "length"]);
  }
});

checkEach("a tool loop of two turns", PAIRS, async (pair) => {
  const [client, provider] = parts(pair);
  const names = ["read_file", "n".repeat(64), ...(client === messages ? ["mcp__server__" + "n".repeat(100)] : [])];
  for (const tool of names) {
    for (const way of ways(client)) {
      const first = await way(`${provider}-tools`, [ASK], { tool });
      equal([first.calls.map((call) => call.slice(1)), first.finish], [[[tool, { path: "src/main.rs" }]], "tools"]);
      const second = await way(`${provider}-tools`, [ASK, ...first.turns, ...client.result(first.calls[0][0])], { tool });
      equal([second.text, second.calls, second.finish], [TEXT, [], "stop"]);
    }
  }
});

if (!IS_DEMO) {
  checkEach("usage", PAIRS, async (pair) => {
    const [client, provider] = parts(pair);
    for (const way of ways(client)) {
      const { usage } = await way(`${provider}-counted`, [ASK]);
      // The mock tells of reasoning in OpenAI's dialects only; Anthropic's form of it is in a fixture.
      const reasoning = provider === "claude" ? 0 : 2;
      equal([usage.cache_read, usage.cache_write, usage.output, usage.reasoning_within_output], [7, 3, 6, reasoning]);
      equal(usage.input_plain > 0, true);
    }
  });

  checkEach("errors", PAIRS, async (pair) => {
    const [client, provider] = parts(pair);
    const kinds = { busy: "InternalServerError", limited: "RateLimitError", bad: "BadRequestError" };
    for (const [model, kind] of Object.entries(kinds)) {
      await throws(client.package[kind], () => client.whole(`${provider}-${model}`, [ASK]));
      await throws(client.package[kind], () => client.loop(`${provider}-${model}`, [ASK]));
      await throws(Error, () => client.helper(`${provider}-${model}`, [ASK]));
    }
  });

  checkEach("broken stream", FOREIGN.flatMap((pair) => CUTS.map((cut) => `${pair}, ${cut}`)), async (what) => {
    const [pair, cut] = what.split(", ");
    const [client, provider] = parts(pair);
    await throws(client.package.APIError, () => client.loop(`${provider}-${cut}`, [ASK]));
    // What the helper of the generation before throws is the event itself.
    const ended = await client.helper(`${provider}-${cut}`, [ASK]).then(() => "an answer", () => "thrown");
    equal(ended, "thrown");
  });
}

check("what was left out is listed", async () => {
  const ask = (more) => openai.chat.completions.create({ model: "claude-mock", messages: [ASK], ...more });
  const { response } = await ask({ seed: 1, logit_bias: { 9: -1 } }).withResponse();
  equal(response.headers.get("x-gateway-dropped-params"), "seed, logit_bias");
  equal((await throws(OpenAI.BadRequestError, () => ask({ n: 2 }))).param, "n");
});

checkEach("tokens are counted", PROVIDERS, async (provider) => {
  const counting = anthropic.messages.countTokens({ model: `${provider}-mock`, messages: [ASK] });
  const { data, response } = await counting.withResponse();
  equal(data.input_tokens > 0, true);
  equal(response.headers.get("x-gateway-estimated"), provider === "claude" ? null : "1");
});

// --- Fixtures of the other dialects, as their manifest says.

const read = (name) => JSON.parse(readFileSync(`${process.env.WEIR_FIXTURES}/${name}`, "utf8"));
const HOMES = {
  openai_chat: "chat", anthropic_messages: "claude", openai_responses: "responses",
  "gateway/openai": "chat", "gateway/anthropic": "claude",
};

async function readFixture(client, name, facts) {
  const model = `fixture-${name.replaceAll("/", "-")}`;
  if (facts.end === "http_error") {
    const { status } = read(name);
    const shown = { 401: 502, 529: client.package === OpenAI ? 503 : 529 }[status] ?? status;
    const error = await throws(client.package.APIError, () => client.whole(model, [ASK]));
    return equal(error.status, shown);
  }
  if (["error", "response.failed"].includes(facts.end) || facts.end.startsWith("cut")) {
    await throws(client.package.APIError, () => client.loop(model, [ASK]));
    return throws(Error, () => client.helper(model, [ASK]));
  }
  const isStream = name.endsWith(".sse");
  const said = await (isStream ? client.helper(model, [ASK]) : client.whole(model, [ASK]));
  const calls = (facts.tool_calls ?? []).map((call) => [call.id, call.name, call.input ?? JSON.parse(call.arguments)]);
  equal([said.text, said.calls, said.finish], [facts.text, calls, calls.length > 0 ? "tools" : "stop"]);
  if (facts.usage) {
    equal(said.usage, Object.fromEntries(Object.keys(said.usage).map((key) => [key, facts.usage[key]])));
  }
  if (isStream) equal(await client.loop(model, [ASK]), facts.text);
}

if (!IS_DEMO) {
  for (const [name, facts] of Object.entries(read("manifest.json").fixtures)) {
    const home = HOMES[facts.dialect] ?? HOMES[facts.dialect.split("/")[0]];
    for (const [by, client] of Object.entries(CLIENTS)) {
      if (home && client.home !== home) check(`${name} by ${by}`, () => readFixture(client, name, facts));
    }
  }
}

await run();
