// Google's own SDK. The first line of standard input is {"root", "token"}; each other line is a call:
// {"call": "events.insert", "params": {…}, "headers": {…}}. The response is {"status", "data"}, with "reason" for an error.
import { calendar } from "@googleapis/calendar";
import { createInterface } from "node:readline";

let client;

async function order(line) {
  if (!client) {
    const headers = { authorization: `Bearer ${line.token}` };
    client = calendar({ version: "v3", rootUrl: `${line.root}/`, headers, retry: false });
    return { ok: true };
  }
  const [resource, method] = line.call.split(".");
  try {
    const { status, data } = await client[resource][method](line.params, { headers: line.headers ?? {} });
    return { status, data };
  } catch (error) {
    if (!error.response) throw error;
    const { status, data } = error.response;
    return { status, data, reason: data?.error?.errors?.[0]?.reason };
  }
}

for await (const line of createInterface({ input: process.stdin }))
  process.stdout.write(`${JSON.stringify(await order(JSON.parse(line)))}\n`);
