// The official OpenAI client for Node. Arguments: URL of a server with the bundled model, URL of one that embeds.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { run } from "./sections.mjs";

const [url, embedder] = process.argv.slice(2);
const options = { apiKey: "none", maxRetries: 0, timeout: 120_000 };
const client = new OpenAI({ baseURL: `${url}/v1`, ...options });
const model = (await client.models.list()).data[0].id;
const chat = { model, temperature: 0, max_tokens: 60, messages: [{ role: "user", content: "What is Penstock?" }] };
const weather = {
  model,
  temperature: 0,
  max_tokens: 120,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
};
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", description: "Get the weather of a city", parameters } }];

async function chatWholeAndStreamed() {
  const whole = await client.chat.completions.create(chat);
  assert.match(whole.choices[0].message.content, /engine/);
  const stream = client.chat.completions.stream({ ...chat, stream_options: { include_usage: true } });
  const pieces = [];
  stream.on("content", (delta) => pieces.push(delta));
  const streamed = await stream.finalChatCompletion();
  assert.equal(pieces.join(""), whole.choices[0].message.content);
  assert.deepEqual(streamed.choices[0].message.content, whole.choices[0].message.content);
  assert.equal(streamed.choices[0].finish_reason, whole.choices[0].finish_reason);
  assert.equal(streamed.usage.completion_tokens, whole.usage.completion_tokens);
}

async function rawChunks() {
  let first = null;
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...chat, stream: true })) {
    first ??= chunk;
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(first.choices[0].delta.role, "assistant");
  assert.match(text, /engine/);
}

async function toolCalls() {
  const whole = await client.chat.completions.create({ ...weather, tools });
  const call = whole.choices[0].message.tool_calls[0];
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  const streamed = await client.chat.completions.stream({ ...weather, tools }).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);
}

async function toolsRun() {
  const asked = [];
  const tool = {
    type: "function",
    function: { ...tools[0].function, parse: JSON.parse, function: ({ city }) => (asked.push(city), "18 degrees, sunny") },
  };
  const runner = client.chat.completions.runTools({ ...weather, tools: [tool], stream: true }, { maxChatCompletions: 3 });
  await runner.done();
  assert.equal(asked[0], "Paris");
}

async function schema() {
  const schema = { type: "object", properties: { city: { enum: ["Oslo", "Rome"] } }, required: ["city"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "city", schema, strict: true } };
  const answer = await client.chat.completions.parse({ ...weather, response_format });
  assert.ok(["Oslo", "Rome"].includes(JSON.parse(answer.choices[0].message.content).city));
}

async function completions() {
  const fields = { model, prompt: ["The capital of France is", "Once"], max_tokens: 5, temperature: 0, logprobs: 2 };
  const whole = await client.completions.create(fields);
  const texts = ["", ""];
  for await (const chunk of await client.completions.create({ ...fields, stream: true })) {
    for (const choice of chunk.choices) texts[choice.index] += choice.text;
  }
  assert.deepEqual(texts, whole.choices.map((c) => c.text));
}

async function errors() {
  await assert.rejects(client.chat.completions.create({ ...chat, temperature: 9 }), (e) => e instanceof OpenAI.BadRequestError && e.param === "temperature");
  await assert.rejects(client.chat.completions.create({ ...chat, model: "other" }), OpenAI.NotFoundError);
}

async function leaving() {
  const stream = await client.chat.completions.create({ ...chat, max_tokens: 400, ignore_eos: true, stream: true });
  for await (const _ of stream) break; // the client closes the connection
  const after = await client.chat.completions.create(chat);
  assert.match(after.choices[0].message.content, /engine/);
}

const response = { model, temperature: 0, max_output_tokens: 60, input: "What is Penstock?" };

async function responses() {
  const whole = await client.responses.create(response);
  assert.match(whole.output_text, /engine/);
  const stream = client.responses.stream(response);
  const pieces = [];
  const numbers = [];
  stream.on("response.output_text.delta", (event) => pieces.push(event.delta));
  stream.on("event", (event) => numbers.push(event.sequence_number));
  const streamed = await stream.finalResponse();
  assert.equal(pieces.join(""), whole.output_text);
  assert.equal(streamed.output_text, whole.output_text);
  assert.deepEqual(numbers, numbers.map((_, i) => i));
  const again = await client.responses.retrieve(whole.id);
  assert.equal(again.output_text, whole.output_text);
  const next = await client.responses.create({ ...response, input: "And who made it?", previous_response_id: whole.id });
  assert.equal(next.previous_response_id, whole.id);
}

async function responsesWithTools() {
  const tool = { type: "function", name: "get_weather", description: "Get the weather of a city", parameters, strict: false };
  const fields = { ...response, input: weather.messages, tools: [tool] };
  const first = await client.responses.stream(fields).finalResponse();
  const call = first.output.find((item) => item.type === "function_call");
  assert.deepEqual([call.name, JSON.parse(call.arguments)], ["get_weather", { city: "Paris" }]);
  const result = { type: "function_call_output", call_id: call.call_id, output: "18 degrees, sunny" };
  const answer = await client.responses.create({ ...fields, input: [...weather.messages, ...first.output, result] });
  assert.equal(answer.status, "completed");
}

async function embeddings() {
  const other = new OpenAI({ baseURL: `${embedder}/v1`, ...options });
  const name = (await other.models.list()).data[0].id;
  const answer = await other.embeddings.create({ model: name, input: ["one text", "another"] }); // asks for base64
  const plain = await other.embeddings.create({ model: name, input: ["one text", "another"], encoding_format: "float" });
  assert.equal(answer.data.length, 2);
  assert.deepEqual(answer.data[1].embedding.map(Math.fround), plain.data[1].embedding.map(Math.fround));
}

await run({ chatWholeAndStreamed, rawChunks, toolCalls, toolsRun, schema, completions, errors, leaving, responses, responsesWithTools, embeddings });
