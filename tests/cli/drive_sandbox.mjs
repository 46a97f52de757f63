// A service's test in Node.js: drives the sandbox over HTTP, and prints what it saw.
const base = process.env.TAXIZER_BASE_URL;

async function send(method, path, body, headers = {}) {
  const response = await fetch(base + path, {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    body: body && JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

async function kindsUntil(reader, last) {
  const decoder = new TextDecoder();
  let text = "";
  while (!text.includes(`event: ${last}\n`)) {
    text += decoder.decode((await reader.read()).value, { stream: true });
  }
  return [...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1]);
}

const connect = () =>
  send("POST", "/v1/Auth/Connect", {
    clientId: process.env.TAXIZER_CLIENT_ID,
    clientSecret: process.env.TAXIZER_CLIENT_SECRET,
  });
const register = (jwt) =>
  send("POST", "/v1/Devices/Register", {}, { Authorization: `Bearer ${jwt}` });

const stream = (await fetch(`${base}/_sandbox/events`)).body.getReader();
await send("POST", "/_sandbox/fail", { kind: "answer", code: 503, where: "connect", times: 1 });
const statuses = [(await connect()).status];
const login = await connect();
statuses.push(login.status, (await register(login.body.jwtToken)).status);
await send("POST", "/_sandbox/revoke", {});
statuses.push((await register(login.body.jwtToken)).status);
await send("PATCH", "/_sandbox/settings", { clock_offset: 60 });
const { counters, settings } = (await send("GET", "/_sandbox/state")).body;
const kinds = await kindsUntil(stream, "setting");

const seen = kinds.filter((kind) => kind !== "state");
const counts = [counters.connects, counters.connects_ok, counters.unauthorized];
console.log(JSON.stringify({ statuses, counts, offset: settings.clock_offset, seen }));
process.exit(0);
