// The one way to the gateway: same origin, by the session cookie, with the session's token beside every change.

let token = null;
let opened = null;

/** What the gateway answered instead (RFC 9457). `code` is one of its documented codes. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.message ?? body.title ?? `The gateway answered ${status}.`);
    this.status = status;
    this.code = body.code ?? "";
    /** The field or parameter to blame, `spend_micros_per_day`; empty: none. */
    this.param = body.param ?? "";
  }
}

/** Told when the session is over, whichever call found out. */
export const session = new EventTarget();

/**
 * Call the gateway and read its JSON.
 *
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal, headers?: Record<string, string>}} [options] A Blob is
 *   sent as it is, anything else as JSON.
 * @throws {Problem} It refused; 401 also ends the session here.
 */
export async function call(path, { method = "GET", body, signal, headers = {} } = {}) {
  const sent = { Accept: "application/json", ...headers };
  const isFile = body instanceof Blob;
  if (body !== undefined) sent["Content-Type"] = isFile ? "text/csv" : "application/json";
  if (method !== "GET" && token) sent["Holdfast-CSRF"] = token;
  const answer = await fetch(path, { method, headers: sent, signal, credentials: "same-origin", cache: "no-store", body: isFile || body === undefined ? body : JSON.stringify(body) });
  if (answer.status === 204) return null;
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  const problem = new Problem(answer.status, told.error ?? told);
  if (answer.status === 401 && token) {
    token = null;
    session.dispatchEvent(new CustomEvent("over", { detail: problem.message }));
  }
  throw problem;
}

export const admin = (path, options) => call(`/admin/v1/${path}`, options);

/** Append what is set of a query. */
export function withQuery(path, query) {
  const set = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `${path}?${new URLSearchParams(set)}` : path;
}

/** What was asked for before this was here (early.js), once; null: it was not, or was refused. */
export async function earlyAnswer(name) {
  const asked = globalThis.holdfastEarly?.[name];
  if (!asked) return null;
  globalThis.holdfastEarly[name] = null;
  return asked;
}

/** Open a session with a key, or take up the one that the cookie stands for. */
export async function enter(key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const early = await earlyAnswer("session");
  opened = (!key && early) || await admin("session", { method: key ? "POST" : "GET", headers });
  token = opened.csrf_token;
  return opened;
}

/** The id of the key that the session was opened with. */
export const ownKey = () => opened?.key_id ?? "";

export async function leave() {
  await admin("session", { method: "DELETE" });
  token = null;
}
