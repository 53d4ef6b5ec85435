// The official Anthropic client for Node, which agents are built on. Argument: URL of a server with the bundled model.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { run } from "./sections.mjs";

const [url] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0, timeout: 120_000 });
const models = await client.models.list();
const model = models.data[0].id;
const ask = { model, max_tokens: 60, messages: [{ role: "user", content: "What is Penstock?" }] };
const weather = { model, max_tokens: 120, messages: [{ role: "user", content: "What is the weather in Paris?" }] };
const input_schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ name: "get_weather", description: "Get the weather of a city", input_schema }];

async function text() {
  const whole = await client.messages.create({ ...ask, top_k: 1 });
  assert.match(whole.content[0].text, /engine/);
  const stream = client.messages.stream({ ...ask, top_k: 1 });
  const pieces = [];
  stream.on("text", (delta) => pieces.push(delta));
  const streamed = await stream.finalMessage();
  assert.equal(pieces.join(""), whole.content[0].text);
  assert.equal(streamed.stop_reason, whole.stop_reason);
  assert.equal(streamed.usage.output_tokens, whole.usage.output_tokens);
  const counted = await client.messages.countTokens({ model, messages: ask.messages });
  assert.equal(counted.input_tokens, whole.usage.input_tokens + whole.usage.cache_read_input_tokens);
}

async function toolCalls() {
  const fields = { ...weather, tools, top_k: 1 };
  const streamed = await client.messages.stream(fields).finalMessage();
  const call = streamed.content.at(-1);
  assert.deepEqual([call.type, call.name, call.input], ["tool_use", "get_weather", { city: "Paris" }]);
  const result = { type: "tool_result", tool_use_id: call.id, content: "18 degrees, sunny" };
  const turns = [...weather.messages, { role: "assistant", content: streamed.content }, { role: "user", content: [result] }];
  const answer = await client.messages.create({ ...fields, messages: turns });
  assert.equal(answer.stop_reason, "end_turn");
}

async function errors() {
  await assert.rejects(client.messages.create({ ...ask, max_tokens: 0 }), (e) => e instanceof Anthropic.BadRequestError && e.type === "invalid_request_error");
  await assert.rejects(client.messages.create({ ...ask, model: "other" }), Anthropic.NotFoundError);
}

await run({ text, toolCalls, errors });
