// @anthropic-ai/sdk against the gateway: raw loops and helpers, errors, tools, broken streams.

import Anthropic from "@anthropic-ai/sdk";

import { CUTS, GATEWAY, GATEWAYS, KEY, MODES, TEXT, check, checkEach, collect, equal, run, throws } from "./check.mjs";

const ask = { max_tokens: 100, messages: [{ role: "user", content: "Say something." }] };
const input_schema = { type: "object", properties: { path: { type: "string" } }, required: ["path"] };
const tools = [{ name: "read_file", description: "Reads a file.", input_schema }];

const client = (gateway = GATEWAY, options = {}) =>
  new Anthropic({ baseURL: gateway, apiKey: KEY, maxRetries: 0, timeout: 20_000, ...options });

const events = async (model, gateway) => collect(await client(gateway).messages.create({ model, stream: true, ...ask }));

const textOf = (list) =>
  list.filter((event) => event.type === "content_block_delta").map((event) => event.delta.text).join("");

/** The SDK's own accumulation. */
async function helper(model, gateway) {
  const message = await client(gateway).messages.stream({ model, ...ask }).finalMessage();
  equal([message.stop_reason, message.usage.output_tokens], ["end_turn", 4]);
  return message.content[0].text;
}

checkEach("messages", ["claude-plain", "claude-switch"], async (model) => {
  const { data, response } = await client().messages.create({ model, ...ask }).withResponse();
  equal(data.content[0].text, TEXT);
  equal(response.headers.get("x-gateway-model-used"), "claude-plain");
  equal(data.gateway_notice?.toModel ?? null, model === "claude-switch" ? "claude-plain" : null);
});

checkEach("streams", MODES, async (mode) => {
  for (const model of ["claude-plain", "claude-switch"]) {
    equal(textOf(await events(model, GATEWAYS[mode])), TEXT);
    equal(await helper(model, GATEWAYS[mode]), TEXT);
  }
});

checkEach("every event has a type", ["chunk", "comment", "off"], async (mode) => {
  equal((await events("claude-switch", GATEWAYS[mode])).every((event) => event.type), true);
});

checkEach("tools", ["chunk", "comment", "off"], async (mode) => {
  for (const model of ["claude-tools", "claude-switch-tools"]) {
    const message = await client(GATEWAYS[mode]).messages.stream({ model, tools, ...ask }).finalMessage();
    const call = message.content[0];
    equal([message.stop_reason, call.name, call.input], ["tool_use", "read_file", { path: "src/main.rs" }]);
  }
});

checkEach("base URL and both credentials", ["", "/anthropic"], async (prefix) => {
  for (const credential of [{ apiKey: KEY }, { apiKey: null, authToken: KEY }]) {
    const user = client(GATEWAY + prefix, credential);
    equal((await user.messages.create({ model: "claude-plain", ...ask })).content[0].text, TEXT);
    const count = await user.messages.countTokens({ model: "claude-plain", messages: ask.messages });
    equal(count.input_tokens > 0, true);
  }
});

checkEach("broken stream", CUTS, async (cut) => {
  await throws(Anthropic.APIError, () => events(`claude-${cut}`));
  await throws(Anthropic.AnthropicError, () => helper(`claude-${cut}`));
});

check("refusals", async () => {
  const create = (model, options) => client(GATEWAY, options).messages.create({ model, ...ask });
  const unknown = await throws(Anthropic.NotFoundError, () => create("claude-plane"));
  equal(unknown.error.error.type, "not_found_error");
  await throws(Anthropic.AuthenticationError, () => create("claude-plain", { apiKey: "x".repeat(20) }));
  await throws(Anthropic.InternalServerError, () => create("claude-busy"));
  await throws(Anthropic.RateLimitError, () => create("claude-limited"));
});

await run();
