// The SDKs read streams in which the guard has redacted, and are told when it has ended one.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const { default: OpenAI } = await import(process.argv[2] ?? "openai");
const { WEIR_CHUNK: REDACT, WEIR_EVENT: BLOCK, WEIR_KEY: apiKey } = process.env;
const MARK = "[REDACTED_API_KEY_GROQ_1]";
const SECRET = "q7Zk2Vb9";
const messages = [{ role: "user", content: "hi" }];
const oai = (base) => new OpenAI({ baseURL: `${base}/v1`, apiKey, maxRetries: 0 });
const ant = (base) => new Anthropic({ baseURL: base, apiKey, maxRetries: 0 });
const check = (text) => {
  assert.ok(text.includes(MARK) && !text.includes(SECRET) && text.endsWith("keep it."), text);
};

let said = "";
for await (const chunk of await oai(REDACT).chat.completions.create({ model: "oai", messages, stream: true })) {
  said += chunk.choices[0]?.delta.content ?? "";
}
check(said);
const response = oai(REDACT).responses.stream({ model: "oai", input: "hi" });
check((await response.finalResponse()).output[0].content[0].text);
check(await ant(REDACT).messages.stream({ model: "ant", max_tokens: 64, messages }).finalText());

said = "";
let reason;
const blocked = async () => {
  for await (const chunk of await oai(BLOCK).chat.completions.create({ model: "oai", messages, stream: true })) {
    said += chunk.choices[0].delta.content ?? "";
    reason = chunk.choices[0].finish_reason;
  }
};
await assert.rejects(blocked, (error) => error.code === "output_blocked");
assert.equal(reason, "content_filter");
assert.ok(!said.includes(SECRET), said);
const types = [];
try {
  for await (const event of await oai(BLOCK).responses.create({ model: "oai", input: "hi", stream: true })) {
    types.push(event.type);
  }
  assert.equal(types.at(-1), "response.incomplete");
} catch (error) {
  assert.ok(String(error.code ?? error.message).includes("output_blocked") || error instanceof OpenAI.APIError, error);
}
await assert.rejects(
  ant(BLOCK).messages.stream({ model: "ant", max_tokens: 64, messages }).finalText(),
  (error) => JSON.stringify(error.error ?? error.message).includes("output_blocked"),
);
console.log("ok");
