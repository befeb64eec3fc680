// openai-node against the gateway: naive loops and helpers, errors, tools, broken streams.
// The argument names the package: `openai` (newest) or `openai-6` (the generation before).

import { ARGUMENTS, CUTS, GATEWAY, GATEWAYS, KEY, MODES, TEXT, check, checkEach, collect, equal, run, throws } from "./check.mjs";

const { default: OpenAI } = await import(process.argv[2] ?? "openai");
const messages = [{ role: "user", content: "Say something." }];
const parameters = { type: "object", properties: { path: { type: "string" } }, required: ["path"], additionalProperties: false };
const tools = [{ type: "function", function: { name: "read_file", description: "Reads a file.", parameters } }];

const client = (gateway = GATEWAY, options = {}) =>
  new OpenAI({ baseURL: `${gateway}/v1`, apiKey: KEY, maxRetries: 0, timeout: 20_000, ...options });

/** The loop of every tutorial. */
async function naive(model, gateway) {
  let text = "";
  for await (const chunk of await client(gateway).chat.completions.create({ model, messages, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
  }
  return text;
}

/** The careful loop that many write: it still reads `choices` of every chunk. */
async function careful(model, gateway) {
  let text = "";
  for await (const chunk of await client(gateway).chat.completions.create({ model, messages, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return text;
}

/** The SDK's own accumulation. */
async function helper(model, gateway) {
  const stream = client(gateway).chat.completions.stream({ model, messages });
  let text = "";
  stream.on("content", (delta) => (text += delta));
  equal(await stream.finalContent(), text);
  equal((await stream.finalChatCompletion()).choices[0].finish_reason, "stop");
  return text;
}

const responseEvents = async (model, gateway) =>
  collect(await client(gateway).responses.create({ model, input: "Say something.", stream: true }));

const responseText = (events) =>
  events.filter((event) => event.type === "response.output_text.delta").map((event) => event.delta).join("");

checkEach("chat", ["plain", "switch"], async (model) => {
  const { data, response } = await client().chat.completions.create({ model, messages }).withResponse();
  equal(data.choices[0].message.content, TEXT);
  equal(response.headers.get("x-gateway-model-used"), "plain");
  equal(response.headers.get("x-gateway-switched"), model === "switch" ? "1" : "0");
  equal(data.gateway_notice?.toModel ?? null, model === "switch" ? "plain" : null);
});

checkEach("stream without a switch", MODES, async (mode) => {
  equal(await naive("plain", GATEWAYS[mode]), TEXT);
  equal(await helper("plain", GATEWAYS[mode]), TEXT);
});

checkEach("stream with a switch", ["chunk", "comment", "off"], async (mode) => {
  equal(await naive("switch", GATEWAYS[mode]), TEXT);
  equal(await careful("switch", GATEWAYS[mode]), TEXT);
  equal(await helper("switch", GATEWAYS[mode]), TEXT);
});

check("the seed form breaks typed clients", async () => {
  await throws(TypeError, () => naive("switch", GATEWAYS.event));
  await throws(TypeError, () => careful("switch", GATEWAYS.event));
});

check("usage only if asked for", async () => {
  const create = (more) => client().chat.completions.create({ model: "plain", messages, stream: true, ...more });
  const plain = await collect(await create({}));
  equal(plain.every((chunk) => chunk.choices.length === 1), true);
  const asked = await collect(await create({ stream_options: { include_usage: true } }));
  equal(asked.at(-1).choices, []);
  equal(asked.at(-1).usage.completion_tokens, 4);
});

checkEach("tools", ["chunk", "comment", "off"], async (mode) => {
  for (const model of ["tools", "switch-tools"]) {
    const whole = await client(GATEWAYS[mode]).chat.completions.create({ model, messages, tools });
    equal(whole.choices[0].message.tool_calls[0].function.arguments, ARGUMENTS);
    const stream = client(GATEWAYS[mode]).chat.completions.stream({ model, messages, tools });
    const call = (await stream.finalChatCompletion()).choices[0].message.tool_calls[0];
    equal([call.function.name, call.function.arguments], ["read_file", ARGUMENTS]);
  }
});

checkEach("completions", ["chunk", "comment", "off"], async (mode) => {
  for (const model of ["plain", "switch"]) {
    const stream = await client(GATEWAYS[mode]).completions.create({ model, prompt: "Say something.", stream: true });
    equal((await collect(stream)).map((chunk) => chunk.choices[0].text).join(""), TEXT);
  }
});

check("embeddings and models", async () => {
  const answer = await client().embeddings.create({ model: "plain", input: ["one", "two"] });
  equal([answer.data.length, answer.data[0].embedding.length], [2, 8]);
  const ids = (await collect(await client().models.list())).map((model) => model.id);
  equal(["plain", "claude-plain", "auto"].every((id) => ids.includes(id)), true);
});

checkEach("responses", ["chunk", "comment", "off"], async (mode) => {
  for (const model of ["plain", "switch"]) {
    const whole = await client(GATEWAYS[mode]).responses.create({ model, input: "Say something." });
    equal(whole.output_text, TEXT);
    const events = await responseEvents(model, GATEWAYS[mode]);
    equal(responseText(events), TEXT);
    equal(events.at(-1).type, "response.completed");
    const stream = client(GATEWAYS[mode]).responses.stream({ model, input: "Say something." });
    equal((await stream.finalResponse()).output_text, TEXT);
  }
});

checkEach("broken stream", CUTS, async (cut) => {
  await throws(OpenAI.APIError, () => naive(cut));
  await throws(OpenAI.OpenAIError, () => helper(cut));
});

// The newest SDK throws on `event: error`; the one before hands it to the loop, as both do with
// `response.failed`. Neither may show a completed response.
checkEach("broken response", CUTS, async (cut) => {
  const kinds = await responseEvents(cut).then((events) => events.map((event) => event.type), (error) => {
    if (!(error instanceof OpenAI.APIError)) throw error;
    return ["error"];
  });
  equal([["error", "response.failed"].includes(kinds.at(-1)), kinds.includes("response.completed")], [true, false]);
  const stream = client().responses.stream({ model: cut, input: "Say something." });
  const status = await stream.finalResponse().then((response) => response.status, () => "thrown");
  equal(["thrown", "failed"].includes(status), true);
});

check("refusals", async () => {
  const ask = (model, options) => client(GATEWAY, options).chat.completions.create({ model, messages });
  const unknown = await throws(OpenAI.NotFoundError, () => ask("plai"));
  equal([unknown.code, unknown.type, unknown.param], ["model_not_found", "invalid_request_error", "model"]);
  const key = await throws(OpenAI.AuthenticationError, () => ask("plain", { apiKey: "x".repeat(20) }));
  equal(key.code, "invalid_key");
  await throws(OpenAI.InternalServerError, () => ask("busy"));
  await throws(OpenAI.RateLimitError, () => ask("limited"));
});

check("retries reach a healed upstream", async () => {
  const headers = { "x-mock-fail-first": "1", "x-mock-key": `node-${process.argv[2]}`, "x-mock-retry-after": "0" };
  const user = client(GATEWAY, { maxRetries: 1 });
  const answer = await user.chat.completions.create({ model: "plain", messages }, { headers });
  equal(answer.choices[0].message.content, TEXT);
});

await run();
